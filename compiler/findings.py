"""Collects what the compiler finds wrong with one program, and gives places to syntax nodes."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import dataclass, field

from lmqlc.compiler.python_text import python_text
from lmqlc.grammar.diagnostics import Diagnostic, Severity
from lmqlc.grammar.source import Source, Span

Notes = Iterable[tuple[str, Span | None]]


@dataclass(slots=True)
class Findings:
    """The findings about one source so far. The same finding at the same place is kept once."""

    source: Source
    diagnostics: list[Diagnostic] = field(default_factory=list)

    def error(self, code: str, message: str, span: Span | None, hint: str | None = None, notes: Notes = ()) -> None:
        """Report something that the program cannot be compiled with."""
        self._add("error", code, message, span, hint, notes)

    def warn(self, code: str, message: str, span: Span | None, hint: str | None = None, notes: Notes = ()) -> None:
        """Report something doubtful."""
        self._add("warning", code, message, span, hint, notes)

    @property
    def has_errors(self) -> bool:
        """One of the findings is an error."""
        return any(d.severity == "error" for d in self.diagnostics)

    def has_error_in(self, span: Span) -> bool:
        """An error was found inside a span."""
        return any(
            d.severity == "error" and d.span is not None and span.start <= d.span.start and d.span.end <= span.end for d in self.diagnostics
        )

    def span(self, node: ast.AST) -> Span:
        """Where a syntax node stands; a node without a place gives the start of the program."""
        return span_of(node, self.source)

    def text(self, node: ast.AST) -> str:
        """A node's text as the program has it, on one line, shortened where long."""
        span = self.span(node)
        text = " ".join(self.source.text[span.start : span.end].split()) or python_text(node)
        return text if len(text) <= 60 else text[:57] + "…"

    def _add(self, severity: Severity, code: str, message: str, span: Span | None, hint: str | None, notes: Notes) -> None:
        found = Diagnostic(code, severity, message, span, tuple(notes), hint)
        if found not in self.diagnostics:
            self.diagnostics.append(found)


def span_of(node: ast.AST, source: Source) -> Span:
    """The span of a node that carries `ast` places (lines from 1, columns in UTF-8 bytes)."""
    line = getattr(node, "lineno", None)
    if line is None:
        return Span(0, 0)
    start = source.offset_utf8(line, getattr(node, "col_offset", 0))
    end_line = getattr(node, "end_lineno", None) or line
    end_column = getattr(node, "end_col_offset", None)
    end = source.offset_utf8(end_line, end_column) if end_column is not None else start + 1
    return Span(start, max(start, end))


def nearest(name: str, known: Iterable[str], cutoff: float = 0.7) -> str | None:
    """The known name most like `name`, upper and lower case alike; None where none is near."""
    import difflib  # for a hint only

    by_key = {other.casefold(): other for other in sorted(known, reverse=True)}
    found = difflib.get_close_matches(name.casefold(), by_key, n=1, cutoff=cutoff)
    return by_key[found[0]] if found else None


def did_you_mean(name: str, known: Iterable[str], otherwise: str | None = None) -> str | None:
    """A hint with the nearest known name, or another one where none is near."""
    match = nearest(name, known)
    return f"did you mean `{match}`?" if match else otherwise
