"""Program text to a `Query`.

The stages: characters that no program can hold; logical lines (`tokens`); headers, prompts and clauses (`lexer`, `structure`);
the rest of the text, with those blanked out, read by Python's own parser (`recover`, `python`); clauses, query strings and
their Python (`clauses`, `prompts`). Every stage goes on after an error, so that one run finds them all.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable

from lmqlc.grammar.blank import Blanked, blank
from lmqlc.grammar.clauses import Clauses
from lmqlc.grammar.diagnostics import Diagnostic
from lmqlc.grammar.errors import LmqlSyntaxError
from lmqlc.grammar.fragments import Fragments
from lmqlc.grammar.lexer import Lexer, Symbol
from lmqlc.grammar.nodes import Query
from lmqlc.grammar.places import Places
from lmqlc.grammar.prompts import Prompts
from lmqlc.grammar.recover import Judge
from lmqlc.grammar.source import Source, Span
from lmqlc.grammar.structure import RawClause, Structure, read
from lmqlc.grammar.tokens import Line, scan

_FORBIDDEN = re.compile(r"[\0\ud800-\udfff]")
_MOST_FORBIDDEN = 5
MOST_FINDINGS = 100


def parse(text: str, name: str = "<string>", *, prompts: bool = True, decoders: Iterable[str] = ()) -> Query:
    """A program's syntax tree.

    `name` is what diagnostics show for the program. With `prompts=False` string statements without clauses stay plain Python.
    `decoders` are names that may stand in the header besides LMQL's own. Raises `LmqlSyntaxError` with all findings.
    """
    query, diagnostics = parse_with_diagnostics(text, name, prompts=prompts, decoders=decoders)
    if query is None:
        raise LmqlSyntaxError(None, diagnostics, Source(name, text))
    return query


def parse_with_diagnostics(
    text: str, name: str = "<string>", *, prompts: bool = True, decoders: Iterable[str] = ()
) -> tuple[Query | None, list[Diagnostic]]:
    """As `parse`, with the warnings; the query is None where there are errors. Findings are in the order of the text."""
    work = _Work(Source(name, text), prompts=prompts, decoders=frozenset(decoders))
    query = work.query()
    found = _shown(work.diagnostics)
    return (None if any(finding.severity == "error" for finding in found) else query), found


def _shown(findings: list[Diagnostic]) -> list[Diagnostic]:
    """The findings in the order of the text; of very many only the first, errors before warnings."""
    kept = findings
    if len(findings) > MOST_FINDINGS:
        kept = sorted(findings, key=lambda finding: (finding.severity != "error", _order(finding)))[:MOST_FINDINGS]
        text = f"{len(findings) - MOST_FINDINGS} more findings are not shown"
        kept.append(Diagnostic("L0108", "note", text, None, hint="mend these first"))
    return sorted(kept, key=_order)


def _order(finding: Diagnostic) -> tuple[int, str]:
    return (finding.span.start if finding.span else -1), finding.code


class _Work:
    """The parse of one program."""

    def __init__(self, source: Source, *, prompts: bool, decoders: frozenset[str]) -> None:
        self.source = source
        self.prompts = prompts
        self.diagnostics: list[Diagnostic] = []
        self.text = self._allowed(source.text)
        self.places = Places(self.text)
        self.fragments = Fragments(self.places, self.diagnostics)
        self.lexer = Lexer(self.text, self._lines(), prompts=prompts, decoders=decoders)
        self.symbols: list[Symbol] = []

    def _lines(self) -> list[Line]:
        return scan(self.text, 1 if self.text.startswith("\ufeff") else 0)

    def _allowed(self, text: str) -> str:
        """The text with a blank for every character that Python cannot read, each reported."""
        if text.isascii() and "\0" not in text:
            return text
        for count, match in enumerate(_FORBIDDEN.finditer(text)):
            if count == _MOST_FORBIDDEN:
                break
            what = "a NUL character" if match.group() == "\0" else "half of a surrogate pair"
            span = Span(match.start(), match.end())
            self.diagnostics.append(
                Diagnostic("L0106", "error", f"{what} cannot stand in a program", span, hint="delete it, or write it as an escape")
            )
        return _FORBIDDEN.sub(" ", text)

    def query(self) -> Query | None:
        self.symbols = self.lexer.run()
        structure = read(self.text, self.symbols)
        self.diagnostics.extend(structure.diagnostics)
        blanked = blank(self.text, structure)
        judge = Judge(blanked.text, self.places, self.lexer.lines)
        module = judge.run()
        self.diagnostics.extend(judge.diagnostics)
        return self._assemble(structure, blanked, module)

    def _assemble(self, structure: Structure, blanked: Blanked, module: ast.Module | None) -> Query | None:
        clauses = Clauses(self.fragments, self.lexer.decoders)
        header = clauses.header(structure.header, self.lexer.bound)
        whole, inline = self._sort_clauses(structure)
        read = {start: clauses.inline(raw) for start, raw in inline.items()}
        first = clauses.first_of_each(whole)
        model, where = clauses.clause(first.get("from")), clauses.clause(first.get("where"))
        distribution = clauses.distribution(first.get("distribution"))
        self._check_body(structure)
        if module is None:
            return None
        prompts = Prompts(self.fragments, structure.prompts, read, everywhere=self.prompts)
        prompts.convert(module)
        self._check_lost(inline, prompts.used)
        prelude, body = blanked.split(module, self.places)
        return Query(self.source, tuple(prelude), header, tuple(body), model, where, distribution)

    def _sort_clauses(self, structure: Structure) -> tuple[list[RawClause], dict[int, list[RawClause]]]:
        """The clauses of the program, and those of each query string by its start."""
        whole: list[RawClause] = list(structure.clauses)
        inline: dict[int, list[RawClause]] = {}
        for start, prompt in structure.prompts.items():
            single, outer = self._position(start, structure)
            for clause in prompt.clauses:
                if single or (outer and clause.kind == "from"):
                    whole.append(clause)
                else:
                    inline.setdefault(start, []).append(clause)
        return sorted(whole, key=lambda clause: clause.start), inline

    def _position(self, string: int, structure: Structure) -> tuple[bool, bool]:
        """Whether a query string is a whole one-line query, whose clauses are the program's; whether it stands at the left margin."""
        single = structure.header is not None and structure.form == "single" and string > structure.header.start
        line = self.places.starts[self.places.place(string)[0] - 1]
        return single, self.text[line:string].strip("(") == ""

    def _check_body(self, structure: Structure) -> None:
        if structure.header is not None and (
            structure.form == "bare" or (structure.form == "open" and not self._has_body(structure.header.end))
        ):
            span = Span(structure.header.start, structure.header.end)
            hint = "put the query strings behind the decoder, or on indented lines below it"
            self.diagnostics.append(Diagnostic("L0312", "error", "a decoder without a query", span, hint=hint))

    def _has_body(self, header: int) -> bool:
        return any(symbol.type in ("PYTHON", "STRING") and symbol.start >= header for symbol in self.symbols)

    def _check_lost(self, inline: dict[int, list[RawClause]], used: set[int]) -> None:
        for start, raw in inline.items():
            if start not in used and not any(finding.severity == "error" for finding in self.diagnostics):
                hint = "a clause follows a query string, a string literal that is a statement of its own"
                self.diagnostics.append(Diagnostic("L0301", "error", f"`{raw[0].kind}` cannot stand here", raw[0].span, hint=hint))
