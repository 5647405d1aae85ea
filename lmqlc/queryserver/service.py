"""The runs of one query for many clients: bounded in number and time; what clients send is data, and nothing else."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

from lmqlc.api import CompiledQuery
from lmqlc.compiler.ir import Program
from lmqlc.grammar.errors import BackendUnavailable, ContextOverflow, LmqlCompileError, LmqlError, ModelNotFound, RunEnded
from lmqlc.queries import run_program, settings_of
from lmqlc.queryserver.signature import arguments_schema, problems
from lmqlc.runtime.arguments import ArgumentError
from lmqlc.runtime.models import open_model
from lmqlc.runtime.plain import plain
from lmqlc.runtime.results import Result
from lmqlc.runtime.stream import OutputWriter
from lmqlc.streams import headless
from lmqlc.tracebacks import at_fault, format_program_error


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much clients may ask for. seconds: of one run; running, waiting: runs at one time, and those that wait for their turn; body:
    bytes of a request; drain: seconds for what is under way when the server stops."""

    seconds: float = 120.0
    running: int = 16
    waiting: int = 128
    body: int = 1 << 20
    drain: float = 30.0


class BadArguments(LmqlError):
    """A client sent something else than the query's arguments."""


class Busy(LmqlError):
    """More runs than may wait."""


class OutOfTime(LmqlError):
    """A run took longer than it may."""


class QueryService:
    """A query that is run for clients. model, decoder, options: what the server's owner chose, as for `lmqlc run`."""

    def __init__(
        self,
        query: CompiledQuery,
        *,
        model: Any = None,
        decoder: str | None = None,
        options: Mapping[str, Any] | None = None,
        bounds: Bounds,
    ) -> None:
        self.program: Program = query.program
        self.bounds = bounds
        self.schema = arguments_schema(query.program)
        self._settings = replace(settings_of(query), model=model, decoder=decoder, options=dict(options or {}))
        self._turn = asyncio.Semaphore(bounds.running)
        self.open = 0
        """Runs that are under way or wait for their turn."""

    async def load(self) -> None:
        """Load the model that is known before the query runs: the owner's, else the default one where the program names none."""
        import ast

        named = any(isinstance(node, ast.Attribute) and node.attr == "model" for node in ast.walk(self.program.body))
        model = self._settings.model
        if model is None and not named and self.program.holes and self._settings.default_model is not None:
            model = self._settings.default_model()
        if model is not None:
            await open_model(model)

    def arguments(self, given: Any) -> dict[str, Any]:
        """What a client sent, checked. Raises BadArguments with everything that is wrong."""
        if not isinstance(given, dict):
            raise BadArguments("the body is an object with the query's arguments")
        known: dict[str, Any] = self.schema["properties"]
        found = [f"the query needs a value for `{name}`" for name in self.schema["required"] if name not in given]
        for name, value in given.items():
            if name in known:
                found += problems(value, known[name], f"`{name}`")
            else:
                close = get_close_matches(name, known, 1)
                listed = f"; its arguments are: {', '.join(known)}" if known else "; it takes none"
                found.append(f"the query has no argument `{name}`" + (f"; did you mean `{close[0]}`?" if close else listed))
        if found:
            raise BadArguments("; ".join(found))
        return given

    async def run(self, arguments: Mapping[str, Any], writers: Sequence[OutputWriter] = ()) -> list[Result]:
        """Run the query. Raises Busy, OutOfTime, and what the run raises."""
        settings = replace(self._settings, writers=(*writers, headless))
        async with self._slot():
            try:
                async with asyncio.timeout(self.bounds.seconds) as limit:
                    return await run_program(self.program, (), _Named(arguments), settings)
            except TimeoutError:
                if not limit.expired():
                    raise
                raise OutOfTime(f"the run took longer than {self.bounds.seconds:g} seconds") from None

    @asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        if self.open >= self.bounds.running + self.bounds.waiting:
            raise Busy("too many runs are under way; come again")
        self.open += 1
        try:
            async with self._turn:
                yield
        finally:
            self.open -= 1


class _Named(dict[str, Any]):
    """A client's arguments. What `run_program` looks up beside them is the owner's business: a client names no decoder."""

    def get(self, key: str, default: Any = None) -> Any:
        """Nothing: arguments are bound by their names, and are no options of the run."""
        return default


def problem(error: BaseException, program: Program) -> tuple[int, dict[str, Any]]:
    """An error as a status and JSON. What a program raises is told to the owner, on standard error, and to clients by its kind alone."""
    if isinstance(error, LmqlError):
        shown: dict[str, Any] = {"type": type(error).__name__, "message": _plain(error)}
        if error.diagnostics:
            shown["diagnostics"] = [_diagnostic(one, error) for one in error.diagnostics]
        if isinstance(error, RunEnded | ContextOverflow) and isinstance(error.result, Result):
            shown["result"] = shown_result(error.result)
        return _status(error), {"error": shown}
    if at_fault(error, program.source):
        print(format_program_error(error, program.source), file=sys.stderr, flush=True)
        return 500, {"error": {"type": "ProgramFailed", "message": f"the program raised {type(error).__name__}"}}
    print(f"lmqlc: internal error: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
    return 500, {"error": {"type": "InternalError", "message": "the server is at fault"}}


def shown_result(result: Result) -> dict[str, Any]:
    """What clients see of one branch."""
    names = ("value", "variables", "prompt", "finish_reason", "logprob", "distribution", "usage", "warnings")
    whole = result.to_dict()
    return plain({name: whole[name] for name in names if name in whole})  # type: ignore[no-any-return]


def _plain(error: LmqlError) -> str:
    return "; ".join(one.message for one in error.diagnostics) if error.diagnostics else error.message


def _diagnostic(found: Any, error: LmqlError) -> dict[str, Any]:
    shown = {"code": found.code, "severity": found.severity, "message": found.message, "hint": found.hint}
    if found.span is not None and error.source is not None:
        shown["line"], shown["column"] = error.source.position(found.span.start)
    return shown


def _status(error: LmqlError) -> int:
    if isinstance(error, BadArguments | ArgumentError):
        return 422
    if isinstance(error, Busy | BackendUnavailable | ModelNotFound):
        return 503
    if isinstance(error, OutOfTime):
        return 504
    return 422 if isinstance(error, LmqlCompileError | ContextOverflow | RunEnded) else 500
