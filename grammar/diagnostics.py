"""Diagnostics: what is wrong, where, and what to do about it; and how they are shown."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from lmqlc.grammar.source import Source, Span

Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One finding about a program.

    `code` is stable and documented (`L0203`); `span` is None only where no place can be named.
    `notes` are further places with a text each; `hint` says what to do.
    """

    code: str
    severity: Severity
    message: str
    span: Span | None = None
    notes: tuple[tuple[str, Span | None], ...] = ()
    hint: str | None = None


def _width(text: str) -> int:
    """Terminal cells of a text: wide East Asian characters take two, combining ones none."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _caret_lines(source: Source, span: Span) -> list[str]:
    """The first source line of a span with carets below it."""
    line, column = source.position(span.start)
    last, end = source.position(max(span.end, span.start))
    text = source.line(line).expandtabs(1)
    stop = end if last == line else len(text) + 1
    carets = "^" * max(1, _width(text[column - 1 : stop - 1]))
    number = f"{line:>5}"
    return [f"{number} | {text}", f"{' ' * len(number)} | {' ' * _width(text[: column - 1])}{carets}"]


def place(source: Source, span: Span | None) -> str:
    """`name:line:column`, or the name alone where there is no span."""
    if span is None:
        return source.name
    line, column = source.position(span.start)
    return f"{source.name}:{line}:{column}"


def render(diagnostic: Diagnostic, source: Source | None) -> str:
    """A diagnostic as text: head line, source line, carets, notes and hint; no final newline."""
    head = f"{diagnostic.severity}[{diagnostic.code}]: {diagnostic.message}"
    if source is None:
        return "\n".join([head] + ([f"  hint: {diagnostic.hint}"] if diagnostic.hint else []))
    lines = [f"{place(source, diagnostic.span)}: {head}"]
    if diagnostic.span is not None:
        lines += _caret_lines(source, diagnostic.span)
    for text, span in diagnostic.notes:
        lines.append(f"  note: {text}" if span is None else f"  note: {place(source, span)}: {text}")
        if span is not None:
            lines += _caret_lines(source, span)
    if diagnostic.hint:
        lines.append(f"  hint: {diagnostic.hint}")
    return "\n".join(lines)


def render_all(diagnostics: Sequence[Diagnostic], source: Source | None) -> str:
    """Several diagnostics as text, in order of their places."""
    ordered = sorted(diagnostics, key=lambda d: d.span.start if d.span else -1)
    return "\n".join(render(d, source) for d in ordered)
