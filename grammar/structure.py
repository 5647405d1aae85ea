"""The structure of a program: its header, its prompts and its clauses, as the LALR grammar reads them.

Errors do not stop the parse: what cannot stand where it stands is reported and left out, and the parse goes on behind it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

from lmqlc.grammar import lalr
from lmqlc.grammar.diagnostics import Diagnostic
from lmqlc.grammar.lalr import Unexpected
from lmqlc.grammar.lexer import Symbol
from lmqlc.grammar.source import Span

Kind = Literal["where", "from", "distribution"]
Form = Literal["headless", "suite", "single", "open", "bare"]
_LAYOUT = frozenset({"NEWLINE", "INDENT", "DEDENT", "SEP", lalr.END})
_CLAUSE_WORDS = frozenset({"WHERE", "FROM", "DISTRIBUTION"})
_FORMATTED = re.compile(r"(?:[fF][rR]?|[rR][fF])[\"']")
_ITEM_ENDS = frozenset({"NEWLINE", "SEP", lalr.END})


@dataclass(frozen=True, slots=True)
class RawClause:
    """A clause before its Python is read: the keyword's place and the ranges of its parts (empty where one is missing)."""

    kind: Kind
    start: int
    expr: Span
    name: Span | None = None

    @property
    def span(self) -> Span:
        return Span(self.start, max(self.expr.end, self.start + len(self.kind)))


@dataclass(frozen=True, slots=True)
class RawPrompt:
    """A string statement: the range of its literals, and the clauses that follow it."""

    span: Span
    clauses: tuple[RawClause, ...]


@dataclass(slots=True)
class Structure:
    """What the grammar found. Its methods are the grammar's actions.

    `prompts` maps the start of a string's first literal to it. `dropped` are ranges that hold errors and are no Python;
    those in `opened` are headers out of place, with a suite below.
    """

    form: Form = "headless"
    header: Symbol | None = None
    prompts: dict[int, RawPrompt] = field(default_factory=dict)
    clauses: list[RawClause] = field(default_factory=list)
    dropped: list[Span] = field(default_factory=list)
    opened: list[Span] = field(default_factory=list)
    diagnostics: list[Diagnostic] = field(default_factory=list)

    def where(self, values: list[Symbol]) -> RawClause:
        return RawClause("where", values[0].start, _span(values[1]))

    def model(self, values: list[Symbol]) -> RawClause:
        return RawClause("from", values[0].start, _span(values[1]))

    def distribution(self, values: list[Symbol]) -> RawClause:
        return RawClause("distribution", values[0].start, _span(values[2]), _span(values[1]))

    def prompt(self, values: list[Symbol | RawClause]) -> RawPrompt:
        string = values[0]
        assert isinstance(string, Symbol)
        prompt = RawPrompt(_span(string), tuple(value for value in values if isinstance(value, RawClause)))
        self.prompts[string.start] = prompt
        return prompt

    def headless(self, values: list[object]) -> None:
        self._program("headless", values)

    def suite(self, values: list[object]) -> None:
        self._program("suite", values)

    def single(self, values: list[object]) -> None:
        self._program("single", values)

    def open(self, values: list[object]) -> None:
        self._program("open", values)

    def bare(self, values: list[object]) -> None:
        self._program("bare", values)

    def _program(self, form: Form, values: list[object]) -> None:
        self.form = form
        self.clauses = [value for value in values if isinstance(value, RawClause)]
        self.header = next((value for value in values if isinstance(value, Symbol) and value.type == "HEADER"), None)


def _span(symbol: Symbol) -> Span:
    return Span(symbol.start, symbol.end)


def read(text: str, symbols: list[Symbol]) -> Structure:
    """Parse the symbols of a program, which end with `$END`; `text` is the program."""
    structure = Structure()
    parser = lalr.Parser(lalr.load("lmql"), structure)
    at = 0
    while at < len(symbols):
        try:
            parser.feed(symbols[at])
            at += 1
        except Unexpected as error:
            if symbols[at].type in _LAYOUT:
                at += _fill(parser, symbols[at], error.expected)
            else:
                at = _recover(structure, text, symbols, at)
    return structure


def _fill(parser: lalr.Parser, symbol: Symbol, expected: frozenset[str]) -> int:
    """Layout that cannot stand here: after a line that was left out, or indentation that Python's parser will speak about.

    Where something is missing before it, an empty statement takes its place (0: try again); else it is skipped (1).
    """
    surplus = symbol.type == "DEDENT" and lalr.END in expected
    if symbol.type == "SEP" or surplus or not expected & {"PYTHON", "NEWLINE", "DEDENT"}:
        return 1
    kind = next(kind for kind in ("PYTHON", "NEWLINE", "DEDENT") if kind in expected)
    parser.feed(Symbol(kind, symbol.start, symbol.start))
    return 0


def _recover(structure: Structure, text: str, symbols: list[Symbol], at: int) -> int:
    """Report the symbol that cannot stand here and give the index of the next one to try."""
    symbol = symbols[at]
    end = at
    if symbol.type in _CLAUSE_WORDS:
        while symbols[end + 1].type in ("NAME", "EXPR"):
            end += 1
        structure.diagnostics.append(_misplaced(text, symbols, at))
    else:
        while symbols[end + 1].type not in _ITEM_ENDS:
            end += 1
        _second(structure, symbol, symbols[end].end)
    suite = symbol.type == "HEADER" and symbols[min(end + 2, len(symbols) - 1)].type == "INDENT"
    (structure.opened if suite else structure.dropped).append(Span(symbol.start, symbols[end].end))
    return end + 1


def _misplaced(text: str, symbols: list[Symbol], at: int) -> Diagnostic:
    word, before = symbols[at].type.lower(), symbols[at - 1]
    span = Span(symbols[at].start, symbols[at].end)
    if word == "from":
        hint = "`from` names the model of the whole query: put it below the query's body, without indentation (an import needs `import`)"
    elif before.type == "PYTHON" and _FORMATTED.match(text, before.start):
        hint = "an f-string is plain Python: drop the `f`, a query string interpolates `{…}` by itself"
    elif before.type == "PYTHON" and before.start < before.end:
        hint = "a clause follows a query string, a string literal that is a statement of its own"
    else:
        hint = f"put `{word}` on the query string's own line, on an indented line below it, or without indentation at the program's end"
    return Diagnostic("L0301", "error", f"`{word}` cannot stand here", span, hint=hint)


def _second(structure: Structure, symbol: Symbol, end: int) -> None:
    """Report a second header, or the first of the statements that follow the body's end."""
    if symbol.type == "HEADER":
        hint = "a program has one decoder, without indentation, before the query's body"
        found = Diagnostic("L0304", "error", "a decoder cannot stand here", Span(symbol.start, symbol.end), hint=hint)
        structure.diagnostics.append(found)
    elif all(found.code != "L0305" for found in structure.diagnostics):
        hint = "only `from`, `where` and `distribution` may follow the body; put all of the body on indented lines below the decoder"
        span = Span(symbol.start, end)
        structure.diagnostics.append(Diagnostic("L0305", "error", "a statement after the query's body", span, hint=hint))
