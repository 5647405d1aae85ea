"""Headers and clauses: the Python in them, and what each may hold."""

from __future__ import annotations

import ast
import keyword
import unicodedata
from collections.abc import Iterable, Sequence

from lmqlc.grammar.diagnostics import Diagnostic
from lmqlc.grammar.fragments import Fragments
from lmqlc.grammar.keywords import DECODERS, near_decoder
from lmqlc.grammar.lexer import Symbol
from lmqlc.grammar.nodes import Clause, Distribution, Header
from lmqlc.grammar.prompts import InlineClauses
from lmqlc.grammar.source import Span
from lmqlc.grammar.structure import RawClause

_EXAMPLES = {"where": "`where len(ANSWER) < 20`", "from": '`from "local:gpt2"`', "distribution": '`distribution ANSWER in ["yes", "no"]`'}


class Clauses:
    """Reads the clauses and the header of one program."""

    def __init__(self, fragments: Fragments, decoders: Iterable[str]) -> None:
        self.fragments = fragments
        self.decoders = frozenset(decoders)

    def _report(self, code: str, message: str, span: Span, hint: str, *notes: tuple[str, Span | None]) -> None:
        self.fragments.diagnostics.append(Diagnostic(code, "error", message, span, notes, hint))

    def first_of_each(self, raw: Sequence[RawClause]) -> dict[str, RawClause]:
        """The clauses by kind; one that stands twice is reported."""
        found: dict[str, RawClause] = {}
        for clause in raw:
            first = found.setdefault(clause.kind, clause)
            if first is not clause:
                hint = "join the conditions with `and`" if clause.kind == "where" else "keep one of them"
                self._report("L0303", f"`{clause.kind}` stands twice", clause.span, hint, ("the first one", first.span))
        return found

    def inline(self, raw: Sequence[RawClause]) -> InlineClauses:
        """The clauses of a query string."""
        found = self.first_of_each(raw)
        if "from" in found:
            hint = "`from` names the model of the whole query: put it below the query's body, without indentation"
            self._report("L0301", "`from` cannot stand here", found["from"].span, hint)
        return InlineClauses(self.clause(found.get("where")), self.distribution(found.get("distribution")))

    def clause(self, raw: RawClause | None) -> Clause | None:
        """A `where` or `from` clause."""
        if raw is None:
            return None
        expr = self._expression(raw)
        if isinstance(expr, ast.Tuple) and raw.kind == "where" and self._bare(expr, raw):
            self._report("L0314", "conditions are not separated by commas", raw.expr, "join them with `and`")
            return None
        return Clause(expr, raw.span) if expr is not None else None

    def _bare(self, expr: ast.Tuple, raw: RawClause) -> bool:
        """Whether a tuple is written without parentheses of its own."""
        first = self.fragments.places.offset(expr.lineno, expr.col_offset)
        return first < raw.expr.start

    def _expression(self, raw: RawClause) -> ast.expr | None:
        if raw.expr.start == raw.expr.end:
            self._report("L0302", f"`{raw.kind}` without an expression", raw.span, f"write it as in {_EXAMPLES[raw.kind]}")
            return None
        return self.fragments.plain(raw.expr, "L0313", f"`{raw.kind}` clause")

    def distribution(self, raw: RawClause | None) -> Distribution | None:
        """A `distribution` clause."""
        if raw is None or raw.name is None:
            return None
        written = self.fragments.places.text[raw.name.start : raw.name.end]
        name = unicodedata.normalize("NFKC", written)
        if keyword.iskeyword(name) or not written.isidentifier():
            self._report("L0311", "`distribution` needs a hole and its options", raw.span, f"write it as in {_EXAMPLES['distribution']}")
            return None
        options = self._expression(raw)
        return Distribution(name, options, raw.span, raw.name) if options is not None else None

    def header(self, symbol: Symbol | None, bound: set[str]) -> Header | None:
        """The header; `bound` are names that the program binds before it."""
        if symbol is None:
            return None
        end = symbol.group[1] if symbol.group else symbol.end
        name = self.fragments.places.text[symbol.start : end].strip(" \t\f\\\r\n")
        if name not in self.decoders and name not in bound:
            self._unknown(name, Span(symbol.start, symbol.start + len(name)))
        keywords = self._arguments(symbol)
        return Header(unicodedata.normalize("NFKC", name), keywords, Span(symbol.start, symbol.end))

    def _unknown(self, name: str, span: Span) -> None:
        near = near_decoder(name)
        listed = "the decoders are " + ", ".join(f"`{decoder}`" for decoder in DECODERS)
        self._report("L0306", f"unknown decoder `{name}`", span, f"did you mean `{near}`?" if near else listed)

    def _arguments(self, symbol: Symbol) -> tuple[ast.keyword, ...]:
        """The keyword arguments of a header; anything else in its parentheses is reported."""
        if symbol.group is None:
            return ()
        call = self.fragments.plain(Span(symbol.start, symbol.end), "L0315", "arguments of a decoder")
        if not isinstance(call, ast.Call):
            return ()
        hint = "name every argument, as in `sample(temperature=0.8)`"
        for argument in call.args:
            star = isinstance(argument, ast.Starred)
            text = "a decoder's arguments cannot be unpacked" if star else "a decoder takes no positional arguments"
            self._report("L0309" if star else "L0307", text, self._span(argument), hint)
        return tuple(self._keywords(call.keywords))

    def _keywords(self, found: list[ast.keyword]) -> list[ast.keyword]:
        seen: dict[str, ast.keyword] = {}
        for argument in found:
            if argument.arg is None:
                hint = "name every argument, as in `sample(temperature=0.8)`"
                self._report("L0309", "a decoder's arguments cannot be unpacked", self._span(argument), hint)
            elif argument.arg in seen:
                self._report("L0308", f"`{argument.arg}` is given twice", self._span(argument), "keep one of them")
            else:
                seen[argument.arg] = argument
        return list(seen.values())

    def _span(self, node: ast.expr | ast.keyword) -> Span:
        places = self.fragments.places
        end = places.offset(node.end_lineno or node.lineno, node.end_col_offset or node.col_offset)
        return Span(places.offset(node.lineno, node.col_offset), end)
