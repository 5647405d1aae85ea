"""Running programs from Python."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Mapping
from types import FrameType
from typing import TYPE_CHECKING, Any

from lmqlc.compiler.ir import Program
from lmqlc.models import default_model
from lmqlc.runtime.arguments import bind_arguments, environment_for
from lmqlc.runtime.decoders import taken
from lmqlc.runtime.execute import execute, outcome, run_coroutine
from lmqlc.runtime.functions import RUN_OPTIONS, QueryFunction, function_of, program_source, settings_with
from lmqlc.runtime.results import Result
from lmqlc.runtime.run import Settings
from lmqlc.runtime.stream import OutputWriter
from lmqlc.sources import source_of

if TYPE_CHECKING:
    from lmqlc.api import CompiledQuery


def face() -> Any:
    """The package that programs see as `lmql`."""
    return sys.modules["lmqlc"]


def settings_of(query: object) -> Settings:
    """Settings of a run that the caller did not choose; the masks of a compiled query among them."""
    arrays = getattr(query, "arrays", None)
    if not arrays:
        return Settings(default_model=default_model)
    from lmqlc.runtime.stored import StoredAutomata

    return Settings(default_model=default_model, stored=StoredAutomata(arrays))


def program_of(query: str | os.PathLike[str] | CompiledQuery) -> Program:
    """The program that a text, a path or a compiled query names."""
    from lmqlc.compiler.driver import compile_source

    program = getattr(query, "program", None)
    return program if isinstance(program, Program) else compile_source(source_of(query))  # type: ignore[arg-type]


async def run_program(program: Program, args: tuple[Any, ...], kwargs: Mapping[str, Any], settings: Settings | None = None) -> list[Result]:
    """The results of a program's branches. Keywords are the program's arguments, `model`, `decoder`, `output_writer`, and those of the
    decoder."""
    decoder = kwargs.get("decoder") or (settings.decoder if settings else None)
    values, rest = bind_arguments(program, args, kwargs, options=(*RUN_OPTIONS, *taken(decoder, program.decoder)))
    base = settings or Settings(default_model=default_model)
    place = {} if program.source.name.startswith("<") else {"__file__": program.source.name}
    return await execute(program, environment_for(face(), place | values), settings_with(base, rest))


async def run(query: str | os.PathLike[str] | CompiledQuery, *args: Any, **kwargs: Any) -> Any:
    """Run a program: its text, its path, or a compiled one.

    Positional arguments and keywords bind the program's free names; further keywords are `model`, `decoder`, `output_writer` and
    arguments of the decoder. Gives what the program returns, else its Result; a list of these where the decoder has several branches.
    """
    return outcome(await run_program(program_of(query), args, kwargs, settings_of(query)))


def run_sync(query: str | os.PathLike[str] | CompiledQuery, *args: Any, **kwargs: Any) -> Any:
    """`run` from synchronous code, inside a running event loop too."""
    return run_coroutine(run(query, *args, **kwargs))


async def run_file(path: str | os.PathLike[str], *args: Any, **kwargs: Any) -> Any:
    """`run` for the program in a file."""
    from pathlib import Path

    return await run(Path(path), *args, **kwargs)


def query(function: Any = None, **settings: Any) -> Any:
    """Make a function whose docstring is a program (`'''lmql … '''`) a query; `@query` or `@query(model=…, decoder=…, …)`.

    The program sees the function's arguments, the names around its definition, and its module's globals. Works on functions, `async` ones,
    and methods of any kind. `query("text of a program", is_async=True)` compiles once what `run` compiles at every call: a function of the
    program's free names, which is awaited unless `is_async=False`.
    """
    around = sys._getframe(1)
    if isinstance(function, str):
        return _text_query(function, settings)
    if function is None:
        return lambda decorated: _query(decorated, settings, around)
    return _query(function, settings, around)


def _query(function: Any, settings: Mapping[str, Any], around: FrameType) -> Any:
    if isinstance(function, staticmethod | classmethod):
        return type(function)(_query(function.__func__, settings, around))
    from lmqlc.compiler.driver import compile_source

    source = program_source(function)
    local = around.f_locals if around.f_locals is not around.f_globals else {}
    captured = {name: value for name, value in local.items() if name in source.text}
    names = {*captured, *getattr(function, "__globals__", {}), *inspect.signature(function).parameters, function.__name__}
    program = compile_source(source, surrounding=frozenset(names))
    return QueryFunction(function, program, settings_with(Settings(default_model=default_model), settings), face(), captured)


def _text_query(text: str, settings: Mapping[str, Any]) -> QueryFunction:
    program = program_of(text)
    rest = {key: value for key, value in settings.items() if key != "is_async"}
    function = function_of(program, is_async=bool(settings.get("is_async", True)))
    return QueryFunction(function, program, settings_with(Settings(default_model=default_model), rest), face(), {})


class F:
    """A prompt as a function: `F("Translate {text}: [T]", "len(T) < 40")(text=…)`.

    text: what stands between the quotes of a query string; its free names are the keywords of a call. where: its constraint, also under
    the name `constraints`.
    A call gives the value of the only hole, or a dictionary of all of them; with `is_async=True` an awaitable.
    Further keywords are those of `run`.
    """

    def __init__(self, text: str, where: str | None = None, *, is_async: bool = False, **settings: Any) -> None:
        where = settings.pop("constraints", where)
        clause = f" where ({where})" if where else ""
        self.program = program_of(f"{text!r}{clause}\n")
        self._is_async = is_async
        self._settings = settings

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        coroutine = self._run(args, kwargs)
        return coroutine if self._is_async else run_coroutine(coroutine)

    async def results(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], writer: OutputWriter | None = None) -> list[Result]:
        """The results of every branch; `writer` is told the events too."""
        settings = Settings(default_model=default_model, gives_value=True)
        return await run_program(
            self.program, args, {**self._settings, **kwargs}, settings if writer is None else settings.listening(writer)
        )

    async def _run(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        values = [self._value(result) for result in await self.results(args, kwargs)]
        return values[0] if len(values) == 1 else values

    def _value(self, result: Result) -> Any:
        names = {hole.name for hole in self.program.holes}
        values = {name: value for name, value in result.variables.items() if name in names}
        return next(iter(values.values())) if len(names) == 1 and values else values
