"""Query strings: a string literal's value to text, holes, interpolations and role tags, by the LALR grammar `qstring.lark`."""

from __future__ import annotations

import ast
import keyword
import re
import unicodedata
from dataclasses import dataclass

from lmqlc.grammar import lalr
from lmqlc.grammar.diagnostics import Diagnostic
from lmqlc.grammar.fragments import Fragments
from lmqlc.grammar.lalr import Unexpected
from lmqlc.grammar.literals import Mapped
from lmqlc.grammar.nodes import Hole, Interpolation, Literal, Part, RoleTag
from lmqlc.grammar.places import Places
from lmqlc.grammar.qlexer import Problem, Symbol, parts

ROLES = ("system", "user", "assistant")
_OPENING = frozenset({"LSQB", "LBRACE"})


@dataclass(frozen=True, slots=True)
class _Type:
    expr: ast.expr | None


@dataclass(frozen=True, slots=True)
class _Decorator:
    expr: ast.expr | None


@dataclass(frozen=True, slots=True)
class _Conversion:
    name: str


@dataclass(frozen=True, slots=True)
class _Format:
    spec: ast.JoinedStr


class Builder:
    """The actions of the grammar for one query string. A part that cannot be built is left out, with a finding."""

    def __init__(self, mapped: Mapped, fragments: Fragments) -> None:
        self.mapped = mapped
        self.fragments = fragments

    def report(self, problem: Problem) -> None:
        span = self.mapped.span(problem.start, problem.end)
        self.fragments.diagnostics.append(Diagnostic(problem.code, problem.severity, problem.message, span, hint=problem.hint))

    def _error(self, code: str, message: str, symbol: Symbol, hint: str) -> None:
        self.report(Problem(code, message, symbol.start, symbol.end, hint))

    def text(self, values: list[Symbol]) -> Literal:
        return Literal(values[0].text, self.mapped.span(values[0].start, values[0].end))

    def decorator(self, values: list[Symbol]) -> _Decorator:
        return _Decorator(self.fragments.mapped(self.mapped, values[1].start, values[1].end, "L0212", "decorator of a hole"))

    def type(self, values: list[Symbol]) -> _Type:
        return _Type(self.fragments.mapped(self.mapped, values[1].start, values[1].end, "L0210", "type of a hole"))

    def hole(self, values: list[Symbol | _Decorator | _Type]) -> list[Part]:
        symbols = [value for value in values if isinstance(value, Symbol)]
        name = next(symbol for symbol in symbols if symbol.type == "NAME")
        kind = next((value for value in values if isinstance(value, _Type)), None)
        decorators = [value.expr for value in values if isinstance(value, _Decorator)]
        word = self._name(name)
        if word is None or (kind and kind.expr is None) or None in decorators:
            return []
        span = self.mapped.span(symbols[0].start, symbols[-1].end)
        given = tuple(decorator for decorator in decorators if decorator is not None)
        return [Hole(word, kind.expr if kind else None, given, span, self.mapped.span(name.start, name.end))]

    def _name(self, symbol: Symbol) -> str | None:
        written = self.mapped.value[symbol.start : symbol.end]
        word = unicodedata.normalize("NFKC", written)
        if keyword.iskeyword(word):
            self._error(
                "L0204", f"`{word}` is a keyword of Python and cannot name a hole", symbol, f"use another name, such as `{word.upper()}`"
            )
            return None
        if not written.isidentifier():
            self._error(
                "L0203", f"`{written}` is no name", symbol, "a hole is named like a Python variable; write `[[` for a bracket in the prompt"
            )
            return None
        return word

    def conversion(self, values: list[Symbol]) -> _Conversion:
        name = self.mapped.value[values[1].start : values[1].end]
        if name not in ("r", "s", "a"):
            self._error("L0209", f"unknown conversion `!{name}`", values[1], "`!r`, `!s` and `!a` are the conversions")
        return _Conversion(name)

    def format(self, values: list[Symbol | Literal | Interpolation]) -> _Format:
        colon = values[0]
        assert isinstance(colon, Symbol)
        made: list[ast.expr] = []
        for value in merged([value for value in values[1:] if not isinstance(value, Symbol)]):
            if isinstance(value, Literal):
                made.append(self._placed(ast.Constant(value.text), value.span.start, value.span.end))
            elif isinstance(value, Interpolation):
                number = ord(value.conversion) if value.conversion else -1
                node = ast.FormattedValue(value.expr, number, value.format_spec)
                made.append(self._placed(node, value.span.start, value.span.end))
        first = self.mapped.start(colon.start)
        last = max([first + 1, *(value.span.end for value in values if not isinstance(value, Symbol))])
        spec = ast.JoinedStr(made)
        self._placed(spec, first, last)
        return _Format(spec)

    def _placed(self, node: ast.expr, start: int, end: int) -> ast.expr:
        places = self.fragments.places
        node.lineno, node.col_offset = places.place(start)
        node.end_lineno, node.end_col_offset = places.place(end)
        return node

    def interpolation(self, values: list[Symbol | _Conversion | _Format]) -> list[Part]:
        symbols = {value.type: value for value in values if isinstance(value, Symbol)}
        code, equals = symbols["EXPR"], symbols.get("EQUALS")
        conversion = next((value.name for value in values if isinstance(value, _Conversion)), "")
        spec = next((value.spec for value in values if isinstance(value, _Format)), None)
        if spec is not None and re.match(r"lambda\b", self.mapped.value[code.start : code.end]):
            self._error(
                "L0210", "a lambda in an interpolation needs parentheses", code, "its colon would start the format: write `{(lambda …)}`"
            )
            return []
        expr = self.fragments.mapped(self.mapped, code.start, code.end, "L0210", "interpolation")
        if expr is None or conversion not in ("", "r", "s", "a"):
            return []
        span = self.mapped.span(symbols["LBRACE"].start, symbols["RBRACE"].end)
        if isinstance(expr, ast.Constant) and isinstance(expr.value, str) and spec is not None:
            hint = "write `{{` and `}}` for braces in the prompt"
            text = "this interpolates a string with a format"
            self.report(Problem("L0284", text, symbols["LBRACE"].start, symbols["RBRACE"].end, hint, "warning"))
        if equals is None:
            return [Interpolation(expr, conversion, spec, span)]
        shown = "r" if not conversion and spec is None else conversion
        return [Literal(equals.text, self.mapped.span(equals.start, equals.end)), Interpolation(expr, shown, spec, span)]

    def role(self, values: list[Symbol]) -> list[Part]:
        name = self.mapped.value[values[2].start : values[2].end]
        if name not in ROLES:
            near = next((role for role in ROLES if role[:1] == name[:1].lower()), None)
            hint = f"did you mean `{{:{near}}}`?" if near else "the roles are `system`, `user` and `assistant`"
            self._error("L0211", f"unknown role `{name}`", values[2], hint)
            return []
        return [RoleTag(name, self.mapped.span(values[0].start, values[3].end))]

    def string(self, values: list[Part]) -> tuple[Part, ...]:
        return merged(values)


def merged(values: list[Part]) -> tuple[Part, ...]:
    """The parts with adjacent text joined; empty text is dropped."""
    made: list[Part] = []
    run: list[Literal] = []
    for value in [*values, None]:
        if isinstance(value, Literal):
            run.append(value)
            continue
        text = "".join(literal.text for literal in run)
        if text:
            made.append(Literal(text, run[0].span | run[-1].span))
        run.clear()
        if value is not None:
            made.append(value)
    return tuple(made)


def parse(mapped: Mapped, fragments: Fragments) -> tuple[Part, ...]:
    """The parts of a query string; what cannot be read is reported to `fragments.diagnostics`."""
    value = mapped.value
    if not any(char in value for char in "[]{}"):
        return (Literal(value, mapped.span(0, len(value))),) if value else ()
    builder = Builder(mapped, fragments)
    parser = lalr.Parser(lalr.load("qstring"), builder)
    for part in parts(value):
        if isinstance(part, Problem):
            builder.report(part)
        else:
            _feed(parser, builder, part)
    result: tuple[Part, ...] = parser.finish(Symbol(lalr.END, len(value), len(value)))
    return result


def parts_of_value(value: str) -> tuple[Part, ...]:
    """The parts of a query string's value on its own, with places in the value; what cannot be read is left out."""
    return parse(Mapped(value, [0], [0], [0]), Fragments(Places(value), []))


def _feed(parser: lalr.Parser, builder: Builder, part: list[Symbol]) -> None:
    """Feed one part; a part that the grammar refuses is taken back and reported."""
    parser.feed(part[0])
    bottom = parser.height - 1
    for at, symbol in enumerate(part[1:], 1):
        try:
            parser.feed(symbol)
        except Unexpected as error:
            parser.cut(bottom)
            builder.report(_explain(builder.mapped.value, part, at, error.expected))
            return


def _explain(value: str, part: list[Symbol], at: int, expected: frozenset[str]) -> Problem:
    """What is wrong with a hole or an interpolation whose symbol `at` cannot stand there."""
    symbol, whole = part[at], (part[0].start, part[-1].end)
    found = value[symbol.start : symbol.end]
    if part[0].type == "LSQB":
        return _explain_hole(symbol, found, whole, expected, decorated=part[1].type == "AT")
    if (symbol.type == "RBRACE" and part[at - 1].type == "LBRACE") or (symbol.type == "BANG" and "EXPR" in expected):
        return Problem("L0208", "an interpolation without an expression", *whole, "write `{{}}` for braces in the prompt")
    if part[1].type == "COLON":
        return Problem("L0211", "a role tag without a role", *whole, "`{:system}`, `{:user}` and `{:assistant}` start a chat turn")
    if part[at - 1].type == "BANG":
        return Problem(
            "L0209", "a conversion is missing after `!`", symbol.start - 1, symbol.end, "`!r`, `!s` and `!a` are the conversions"
        )
    return Problem(
        "L0214",
        f"`{found}` cannot stand here in an interpolation",
        symbol.start,
        symbol.end,
        "an interpolation is `{expr}`, `{expr!r}` or `{expr:format}`",
    )


def _explain_hole(symbol: Symbol, found: str, whole: tuple[int, int], expected: frozenset[str], *, decorated: bool) -> Problem:
    if symbol.type == "RSQB" and "AT" in expected and not decorated:
        return Problem(
            "L0202", "a hole without a name", *whole, "name it, as in `[ANSWER]`, or write `[[` and `]]` for brackets in the prompt"
        )
    if symbol.type == "RSQB" and "NAME" in expected:
        return Problem("L0202", "a hole without a name", *whole, "the name follows the decorators, as in `[@strip ANSWER]`")
    if symbol.type == "COLON" and "NAME" in expected:
        return Problem("L0202", "a hole without a name", *whole, "the name stands before the colon, as in `[ANSWER: int]`")
    if "EXPR" in expected and "AT" not in expected:
        kind = "L0215"
        return Problem(
            kind, "a type or a decorator is missing here", *whole, "write it as in `[@strip ANSWER: int]`, or leave the sign out"
        )
    if "NAME" in expected:
        hint = "a hole is named like a Python variable, as in `[ANSWER]`; write `[[` and `]]` for brackets in the prompt"
        return Problem("L0203", f"`{found}` is no name of a hole", symbol.start, symbol.end, hint)
    hint = "a hole has one name, and a type after a colon: `[NAME: TYPE]`; write `[[` and `]]` for brackets in the prompt"
    return Problem("L0205", f"`{found}` cannot stand here in a hole", symbol.start, symbol.end, hint)
