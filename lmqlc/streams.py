"""Streams of a run's events, and ready output writers, in the public face."""

from __future__ import annotations

from typing import Any

from lmqlc.grammar.errors import LmqlError
from lmqlc.queries import F, program_of, run_program, settings_of
from lmqlc.runtime.functions import QueryFunction
from lmqlc.runtime.results import Result
from lmqlc.runtime.stream import Event, OutputWriter
from lmqlc.runtime.streaming import Stream
from lmqlc.runtime.writers import StreamWriter

printing = StreamWriter()
"""Output writer: prints the prompt as it grows to standard output."""


class _Silent:
    """Shows nothing."""

    def write(self, event: Event) -> None:
        return None


silent = _Silent()
"""Output writer: shows nothing."""


class _Headless(_Silent):
    """Shows nothing, and has nobody to ask."""

    def input(self, prompt: object) -> str:
        raise LmqlError(f"the program asks for input ({str(prompt)!r}), and runs without anybody to give it")


headless = _Headless()
"""Output writer: shows nothing, and makes `input()` of the program an error."""


def stream(query: Any, *args: Any, **kwargs: Any) -> Any:
    """The events of a run: `async for event in stream(query, …)`, or `for event in stream(query, …)`.

    query: a program's text or path, a compiled query, a query function or an `F`; the arguments are those of `run`, or of the function.
    Gives a `Stream`: events of every branch in the order they happen, `RunEnd` with the results at the end. Leaving the loop early
    cancels the run (`async with stream(…) as events` does so at once); what the run raises comes out of the loop.

    With a variable's name alone, `stream("ANSWER")`, the output writer that prints what is decoded for this variable.
    """
    if isinstance(query, str) and query.isidentifier() and not args and not kwargs:
        return StreamWriter(variable=query)

    async def start(writer: OutputWriter) -> list[Result]:
        if isinstance(query, QueryFunction | F):
            return await query.results(args, kwargs, writer)
        settings = settings_of(query)
        return await run_program(program_of(query), args, {**kwargs}, settings.listening(writer))

    return Stream(start)
