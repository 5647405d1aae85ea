"""One open program: its findings, and what is known about its holes. Nothing here runs a program, and nothing fails on a broken one."""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path

from lsprotocol import types

from lmqlc.compiler.driver import check_source, compile_source
from lmqlc.compiler.ir import Program
from lmqlc.grammar.diagnostics import Diagnostic
from lmqlc.grammar.errors import LmqlError
from lmqlc.grammar.source import Source, Span
from lmqlc.lsp.positions import Encoding, range_of

_SEVERITIES = {
    "error": types.DiagnosticSeverity.Error,
    "warning": types.DiagnosticSeverity.Warning,
    "note": types.DiagnosticSeverity.Information,
}
_SUGGESTED = re.compile(r"did you mean `([^`]+)`\?")


class Document:
    """A program's text at one moment."""

    def __init__(self, uri: str, path: str, text: str, version: int | None) -> None:
        self.uri = uri
        self.path = path
        self.version = version
        self.source = Source(Path(path).name or uri, text)

    @cached_property
    def findings(self) -> list[Diagnostic]:
        """Everything that is wrong or doubtful, the tests in comments included."""
        return [*check_source(self.source), *self._test_findings()]

    def _test_findings(self) -> list[Diagnostic]:
        from lmqlc.testing.cases import has_tests, written_tests

        if not has_tests(self.source.text):
            return []
        try:
            written_tests(self.source, Path(self.path or "program.lmql"))
        except LmqlError as error:
            return list(error.diagnostics) or [Diagnostic("L0901", "error", error.message)]
        return []

    @cached_property
    def program(self) -> Program | None:
        """The compiled program; None where it has errors."""
        try:
            return compile_source(self.source)
        except LmqlError:
            return None

    def diagnostics(self, encoding: Encoding) -> list[types.Diagnostic]:
        """The findings as editors take them."""
        return [self._diagnostic(finding, encoding) for finding in self.findings]

    def _diagnostic(self, finding: Diagnostic, encoding: Encoding) -> types.Diagnostic:
        hint = f"\n{finding.hint}" if finding.hint else ""
        notes = [
            types.DiagnosticRelatedInformation(types.Location(self.uri, range_of(self.source, span, encoding)), text)
            for text, span in finding.notes
            if span is not None
        ]
        return types.Diagnostic(
            range_of(self.source, _shown(finding.span, self.source), encoding),
            f"{finding.message}{hint}",
            severity=_SEVERITIES[finding.severity],
            code=finding.code,
            source="lmqlc",
            related_information=notes or None,
            data=suggestion(finding, self.source),
        )


def _shown(span: Span | None, source: Source) -> Span | None:
    """A range that can be seen: at least a character."""
    if span is None or span.end > span.start:
        return span
    return Span(max(0, span.start - 1), span.start) if span.start >= len(source.text) else Span(span.start, span.start + 1)


def suggestion(finding: Diagnostic, source: Source) -> str | None:
    """The word that a finding offers in place of its own, where that is one word."""
    match = _SUGGESTED.search(finding.hint or "")
    if match is None or finding.span is None:
        return None
    old = source.text[finding.span.start : finding.span.end]
    return match[1] if old.isidentifier() and match[1].isidentifier() else None
