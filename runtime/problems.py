"""Errors of a hole show the hole. Codes L0800 … L0849, beside those of the compiler."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lmqlc.grammar.diagnostics import Diagnostic
from lmqlc.grammar.errors import ConstraintViolated, ContextOverflow, LmqlError, UnsatisfiableConstraint
from lmqlc.grammar.source import Source, Span
from lmqlc.runtime.budget import EndOfRun

OTHER, VIOLATED, OVERFLOW, UNSATISFIABLE = "L0800", "L0801", "L0802", "L0402"

_CODES: tuple[tuple[type[LmqlError], str], ...] = (
    (ConstraintViolated, VIOLATED),
    (ContextOverflow, OVERFLOW),
    (UnsatisfiableConstraint, UNSATISFIABLE),
)


@contextmanager
def at_hole(span: Span, source: Source) -> Iterator[None]:
    """Errors without a place get that of the hole; the model's own (of loading and serving) stay as they are."""
    try:
        yield
    except EndOfRun as end:
        if end.source is None:
            end.span, end.source = span, source
        raise
    except LmqlError as error:
        if error.source is not None or error.exit_code != LmqlError.exit_code:
            raise
        raise _placed(error, span, source).with_traceback(error.__traceback__) from error.__cause__


def _placed(error: LmqlError, span: Span, source: Source) -> LmqlError:
    found = error.diagnostics or (Diagnostic(_code(error), "error", *_split(error.message)),)
    placed = [Diagnostic(d.code, d.severity, d.message, d.span or span, d.notes, d.hint) for d in found]
    try:
        return type(error)(diagnostics=placed, source=source)
    except TypeError:  # a subclass with a constructor of its own
        return error


def _code(error: LmqlError) -> str:
    return next((code for kind, code in _CODES if isinstance(error, kind)), OTHER)


def _split(message: str) -> tuple[str, None, tuple[()], str | None]:
    """The arguments of a Diagnostic after its severity: what follows a semicolon is what to do."""
    what, _, hint = message.partition("; ")
    return what, None, (), hint or None
