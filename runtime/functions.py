"""Query functions: Python functions whose docstring is a program."""

from __future__ import annotations

import ast
import asyncio
import functools
import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import FunctionType, MethodType, ModuleType
from typing import Any

from lmqlc.compiler.ir import Program
from lmqlc.grammar.errors import LmqlCompileError, RunEnded
from lmqlc.grammar.source import Source
from lmqlc.runtime.arguments import ArgumentError, bind_arguments, environment_for
from lmqlc.runtime.decoders import taken, takes
from lmqlc.runtime.execute import execute, outcome, run_coroutine
from lmqlc.runtime.interpreter import CURRENT
from lmqlc.runtime.nested import QueryCall
from lmqlc.runtime.recorded import in_program
from lmqlc.runtime.results import Result
from lmqlc.runtime.run import Settings
from lmqlc.runtime.stream import OutputWriter
from lmqlc.runtime.writers import as_writer

RUN_OPTIONS = ("model", "decoder", "output_writer", "certificate")
"""Keywords of a call that choose how to run, beside the decoder's own arguments."""


_LITERAL = re.compile(r"""[rRuU]?('{3}|"{3}|['"])(?P<text>.*)\1""", re.DOTALL)
"""A string literal, and what stands between its quotes."""


class QueryFunction:
    """A callable query. It keeps the function's name and signature.

    captured: names that the program sees beside the function's globals and its arguments: the local names where it was defined.
    A call gives what the query returns, else its Result. Calls of an `async def`, and calls in a program, give an awaitable.
    """

    __lmql_query__ = True

    def __init__(
        self, function: Callable[..., Any], program: Program, settings: Settings, namespace: ModuleType | None, captured: Mapping[str, Any]
    ) -> None:
        functools.update_wrapper(self, function)
        self.program = program
        self.settings = settings
        self.is_async = inspect.iscoroutinefunction(function)
        self._function = function
        self._namespace = namespace
        self._captured = dict(captured)
        self.__signature__ = inspect.signature(function)
        if self.is_async:
            _mark_async(self)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.is_async or in_program(sys._getframe(1)):
            return self.call(args, kwargs)
        return run_coroutine(self.start(args, kwargs))

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        return self if instance is None else MethodType(self, instance)

    def call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> QueryCall:
        """A call that has not begun."""
        return QueryCall(self, args, kwargs)

    def environment(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Globals of one call. Raises ArgumentError for arguments that do not fit the signature, and for names nobody binds."""
        own, _ = self._split(kwargs)
        try:
            bound = self.__signature__.bind(*args, **own)
        except TypeError as error:
            raise ArgumentError(f"{self._function.__name__}(): {error}") from None
        bound.apply_defaults()
        own_name = {self._function.__name__: self}
        around = {
            **getattr(self._function, "__globals__", {}),
            **own_name,
            **self._captured,
            **inspect.getclosurevars(self._function).nonlocals,
        }
        environment = environment_for(self._namespace, {**around, "__name__": self._function.__module__, **bound.arguments})
        bind_arguments(self.program, (), {}, known=environment)
        return environment

    async def start(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run the query on a prompt of its own. Inside another query it uses that one's model, unless it names one."""
        return outcome(await self.results(args, kwargs))

    async def results(self, args: tuple[Any, ...], kwargs: dict[str, Any], writer: OutputWriter | None = None) -> list[Result]:
        """The results of every branch; `writer` is told the events too."""
        environment = self.environment(args, kwargs)
        own, options = self._split(kwargs)
        settings = self._settings(options)
        bound = self.__signature__.bind(*args, **own)
        bound.apply_defaults()
        settings = settings if writer is None else settings.listening(writer)
        try:
            results = await execute(self.program, environment, settings, bound.arguments)
        except RunEnded as error:
            _spend(error.results)
            raise
        _spend(results)
        return results

    def _split(self, kwargs: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Keywords of the function itself, and those of the run."""
        decoder = kwargs.get("decoder") or self.settings.decoder
        options = {*RUN_OPTIONS, *taken(decoder, self.program.decoder)} - set(self.__signature__.parameters)
        own = {key: value for key, value in kwargs.items() if key not in options}
        return own, {key: value for key, value in kwargs.items() if key in options}

    def _settings(self, given: Mapping[str, Any]) -> Settings:
        settings = settings_with(self.settings, given)
        outer = CURRENT.get()
        if outer is not None:
            settings = replace(settings, default_model=outer.run.chosen_model, left=outer.left(), warn=outer.run.warn)
        return settings


def _spend(results: Sequence[Result]) -> None:
    """Count what a query cost for the one that called it."""
    outer = CURRENT.get()
    if outer is not None:
        outer.spent.tokens += sum(result.usage.tokens + result.usage.forced for result in results)


def settings_with(settings: Settings, given: Mapping[str, Any]) -> Settings:
    """Settings with a call's own keywords: those of `RUN_OPTIONS`, and arguments of the decoder. Arguments that were set for another
    decoder, and that the new one does not take, are left out."""
    rest = {key: value for key, value in given.items() if key not in RUN_OPTIONS}
    writer, decoder, options = given.get("output_writer"), given.get("decoder"), settings.options
    if decoder and options and decoder != settings.decoder:
        others = takes(decoder)
        options = {key: value for key, value in options.items() if key in others}
    return replace(
        settings,
        model=given["model"] if given.get("model") is not None else settings.model,
        decoder=decoder or settings.decoder,
        options={**options, **rest},
        certificate=given.get("certificate", settings.certificate),
        writers=(*settings.writers, as_writer(writer)) if writer is not None else settings.writers,
    )


def _mark_async(function: Any) -> None:
    """Let frameworks see that calls are awaited: `inspect.iscoroutinefunction`, before Python 3.12 that of asyncio."""
    if sys.version_info >= (3, 12):
        inspect.markcoroutinefunction(function)
    else:
        function._is_coroutine = asyncio.coroutines._is_coroutine  # type: ignore[attr-defined]


def function_of(program: Program, *, is_async: bool) -> Callable[..., Any]:
    """A function with a program's arguments for its parameters; it is never called."""
    required = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in program.parameters]
    code = _awaited_stub.__code__ if is_async else _stub.__code__
    function = FunctionType(code, {"__name__": "__lmql__"}, "query")
    function.__signature__ = inspect.Signature(required)  # type: ignore[attr-defined]
    function.__doc__ = program.source.text
    return function


def _stub(*_args: Any, **_kwargs: Any) -> None: ...


async def _awaited_stub(*_args: Any, **_kwargs: Any) -> None: ...


def program_source(function: Callable[..., Any]) -> Source:
    """The program in a function's docstring; lines count as in the function's file, where that can be read.

    There the docstring is taken as it is written, escapes untouched: in a program, `\\n` is an escape of its query strings, and ends no
    line of the program. Where the file cannot be read, Python's value of the docstring has to do.
    Raises LmqlCompileError where there is no docstring.
    """
    if not function.__doc__ or not function.__doc__.strip():
        raise LmqlCompileError(f"the query function `{function.__name__}` has no docstring: its program is written there, '''lmql … '''")
    text, line = _written_docstring(function) or (function.__doc__, 0)
    head = text.lstrip()
    if head.startswith("lmql") and not head[4:5].isidentifier():
        text = text[: len(text) - len(head)] + head[4:]
    first, newline, rest = text.partition("\n")
    text = first.strip() + newline + textwrap.dedent(rest)
    place = f" in {function.__code__.co_filename}" if line else ""
    return Source(f"<query {function.__name__}{place}>", "\n" * max(line - 1, 0) + text)


def _written_docstring(function: Callable[..., Any]) -> tuple[str, int] | None:
    """A function's docstring between its quotes as the file has it, and the line where it begins; None where the file cannot be read, or
    the docstring is no single literal."""
    try:
        lines, start = inspect.getsourcelines(function)
        text = textwrap.dedent("".join(lines))
        tree = ast.parse(text)
    except (OSError, TypeError, SyntaxError):
        return None
    found = tree.body[0] if tree.body else None
    if not isinstance(found, ast.FunctionDef | ast.AsyncFunctionDef):
        return None
    written = _LITERAL.fullmatch(ast.get_source_segment(text, found.body[0]) or "")
    return None if written is None else (written["text"], max(start, 1) + found.body[0].lineno - 1)
