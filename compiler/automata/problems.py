"""Findings about constraints: one place that makes their errors. Codes L0400 … L0449."""

from __future__ import annotations

from lmqlc.grammar.diagnostics import Diagnostic
from lmqlc.grammar.errors import LmqlCompileError, UnsatisfiableConstraint, UnsupportedConstraint
from lmqlc.grammar.source import Source, Span

BAD_OPERAND = "L0400"
BAD_PATTERN = "L0401"
UNSATISFIABLE = "L0402"
VACUOUS = "L0403"
UNSUPPORTED = "L0404"
TOO_LARGE = "L0405"
MISPLACED_STOP = "L0406"
BAD_TYPE = "L0407"
BAD_VALUE = "L0408"

Notes = tuple[tuple[str, Span | None], ...]


def error(code: str, message: str, span: Span | None = None, hint: str | None = None, source: Source | None = None) -> LmqlCompileError:
    """A compile error with one finding."""
    kind = UnsupportedConstraint if code == UNSUPPORTED else LmqlCompileError
    return kind(diagnostics=[Diagnostic(code, "error", message, span, hint=hint)], source=source)


def operand(message: str, span: Span | None, hint: str | None = None) -> LmqlCompileError:
    """An operand of the wrong kind."""
    return error(BAD_OPERAND, message, span, hint)


def unsatisfiable(message: str, span: Span | None, notes: Notes, hint: str | None, source: Source | None) -> UnsatisfiableConstraint:
    """No text meets a constraint."""
    return UnsatisfiableConstraint(diagnostics=[Diagnostic(UNSATISFIABLE, "error", message, span, notes, hint)], source=source)
