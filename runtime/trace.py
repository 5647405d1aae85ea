"""Runs as they were, for certificates: what was run with which arguments, on which model, by which decoder, and what came of it."""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar, Token
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from lmqlc.backends.base import ModelSpec
from lmqlc.compiler.ir import Program
from lmqlc.runtime.models import as_spec
from lmqlc.runtime.plain import plain
from lmqlc.runtime.results import Result

if TYPE_CHECKING:
    from lmqlc.backends.base import Tokenizer
    from lmqlc.runtime.run import Run

F = TypeVar("F", bound=Callable[..., Any])


@dataclass
class RunRecord:
    """One run. arguments: as `argument_facts` shows them, when the run began. results: also partial ones, where it failed with `error`."""

    program: Program
    arguments: dict[str, Any]
    started: float = field(default_factory=time.time)
    seconds: float = 0.0
    model: dict[str, Any] | None = None
    tokenizer: Tokenizer | None = None
    decoder: dict[str, Any] = field(default_factory=dict)
    results: list[Result] = field(default_factory=list)
    error: BaseException | None = None

    def complete(self, run: Run) -> None:
        """Take over what only the run knows, at its end."""
        self.seconds = time.time() - self.started
        self.decoder = {"name": run.decoder.name, "arguments": plain(run.decoder.arguments), "seed": run.seed}
        self.model = model_facts(run)
        backend = run.opened
        self.tokenizer = None if backend is None else backend.tokenizer


class Trace:
    """The runs of a context, in the order in which they ended, and the traces inside it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.started = time.time()
        self.runs: list[RunRecord] = []
        self.children: list[Trace] = []


CURRENT_TRACE: ContextVar[Trace | None] = ContextVar("lmql_trace", default=None)


class traced:
    """Collect the runs of a context: `with traced("name") as trace: …`, then `certificate(trace)`. As a decorator, of every call of a
    function, `async` ones included.

    certificate: where the certificate goes at the end: a path, a function of it, or True for standard output.
    """

    def __init__(self, name: str = "", *, certificate: Any = None) -> None:
        self.name = name
        self._certificate = certificate
        self._entered: list[tuple[Trace, Token[Trace | None]]] = []

    def __enter__(self) -> Trace:
        trace, outer = Trace(self.name), CURRENT_TRACE.get()
        if outer is not None:
            outer.children.append(trace)
        self._entered.append((trace, CURRENT_TRACE.set(trace)))
        return trace

    def __exit__(self, *_error: object) -> None:
        from lmqlc.runtime.certificate import certificate, deliver

        trace, token = self._entered.pop()
        CURRENT_TRACE.reset(token)
        if self._certificate is not None and self._certificate is not False:
            deliver(certificate(trace), self._certificate)

    def __call__(self, function: F) -> F:
        def fresh() -> traced:
            return traced(self.name or function.__name__, certificate=self._certificate)

        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def waited(*args: Any, **kwargs: Any) -> Any:
                with fresh():
                    return await function(*args, **kwargs)

            return waited  # type: ignore[return-value]

        @functools.wraps(function)
        def called(*args: Any, **kwargs: Any) -> Any:
            with fresh():
                return function(*args, **kwargs)

        return called  # type: ignore[return-value]


@contextmanager
def recorded(program: Program, arguments: Mapping[str, Any], certificate: Any) -> Iterator[RunRecord | None]:
    """Record a run where somebody wants to know: the trace around it, or the `certificate=` of its call. None where nobody does."""
    trace = CURRENT_TRACE.get()
    if trace is None and (certificate is None or certificate is False):
        yield None
        return
    record = RunRecord(program, argument_facts(arguments))
    try:
        yield record
    except BaseException as error:
        record.error = error
        partial = getattr(error, "result", None) or getattr(error, "lmql_result", None)
        record.results = [partial] if isinstance(partial, Result) else []
        raise
    finally:
        if trace is not None:
            trace.runs.append(record)
        if certificate is not None and certificate is not False:
            from lmqlc.runtime.certificate import certificate_of, deliver

            deliver(certificate_of(record), certificate)


def argument_facts(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments in terms of JSON: `{"value": …}` (or `{"tuple": …}`) where JSON gives the same value back, else `{"type": …, "text": …}`,
    which only a person can repeat."""
    return {name: _fact(value) for name, value in arguments.items()}


def _fact(value: Any) -> dict[str, Any]:
    shown = plain(value)
    if type(value) is tuple and _is_same(shown, list(value)):
        return {"tuple": shown}
    if _is_same(shown, value):
        return {"value": shown}
    return {"type": f"{type(value).__module__}.{type(value).__qualname__}", "text": repr(value)[:500]}


def _is_same(shown: Any, value: Any) -> bool:
    if type(shown) is not type(value):
        return False
    if isinstance(value, dict):
        return list(shown) == list(value) and all(_is_same(shown[key], value[key]) for key in value)
    if isinstance(value, list):
        return all(map(_is_same, shown, value))
    return bool(shown == value)


def model_facts(run: Run) -> dict[str, Any] | None:
    """What names the model of a run; None where none was needed."""
    backend = run.opened
    if backend is None:
        return None
    named = as_spec(run.chosen_model())
    facts: dict[str, Any] = {"backend": backend.name, "level": backend.level, "context_length": getattr(backend, "context_length", None)}
    if isinstance(named, ModelSpec):
        facts |= {"kind": named.kind, "name": named.name, "options": {key: plain(value) for key, value in named.shown()}}
    return facts
