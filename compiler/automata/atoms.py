"""Atoms of constraints as expressions: what each says about the text, exactly."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from lmqlc.compiler import constraints as c
from lmqlc.compiler.automata import counts, numbers, operands
from lmqlc.compiler.automata.charset import by_method
from lmqlc.compiler.automata.expression import Expressions, Node
from lmqlc.compiler.automata.machine import containing, ending, substrings, words
from lmqlc.compiler.automata.pattern_errors import read_pattern
from lmqlc.compiler.automata.problems import UNSUPPORTED, error, operand
from lmqlc.compiler.automata.typed import Typed
from lmqlc.grammar.source import Source


class Atoms:
    """Builds atoms. source: the program, for errors inside patterns. tokens: the count of tokens that token atoms are judged by."""

    def __init__(self, build: Expressions, source: Source | None, tokens: int) -> None:
        self._build = build
        self._source = source
        self._tokens = tokens

    def node(self, atom: c.Constraint) -> Node:
        """The language of one atom. Raises LmqlCompileError for operands, UnsupportedConstraint for atoms that are not regular."""
        return _RULES[type(atom)](self, atom)

    def _truth(self, atom: c.Truth) -> Node:
        return self._build.anything if operands.value(atom.value) else self._build.empty

    def _in_set(self, atom: c.InSet) -> Node:
        options = operands.options(operands.value(atom.options), atom.span)
        return substrings(self._build, options) if isinstance(options, str) else words(self._build, options)

    def _equals(self, atom: c.Equals) -> Node:
        return self._build.literal(operands.text(operands.value(atom.value), "`==` of a hole", atom.span))

    def _contains(self, atom: c.Contains) -> Node:
        return containing(self._build, operands.text(operands.value(atom.text), "the left side of `in`", atom.span))

    def _starts_with(self, atom: c.StartsWith) -> Node:
        starts = operands.texts(operands.value(atom.text), "the argument of startswith", atom.span)
        return self._build.concat(words(self._build, starts), self._build.anything) if starts else self._build.empty

    def _ends_with(self, atom: c.EndsWith) -> Node:
        ends = operands.texts(operands.value(atom.text), "the argument of endswith", atom.span)
        return self._build.union(ending(self._build, end) for end in ends)

    def _text_is(self, atom: c.TextIs) -> Node:
        build = self._build
        if atom.test in ("isdigit", "isalpha", "isalnum"):
            return build.repeat(build.chars(by_method(atom.test)), 1)
        wanted, other = by_method(atom.test), by_method("islower" if atom.test == "isupper" else "isupper")
        allowed = ~(other | (by_method("istitle") - by_method("isupper")))
        return build.sequence([build.repeat(build.chars(allowed - wanted)), build.chars(wanted), build.repeat(build.chars(allowed))])

    def _matches(self, atom: c.Matches) -> Node:
        pattern, flags = operands.pattern(operands.value(atom.pattern), atom.span)
        return read_pattern(self._build, pattern, flags, atom, self._source)

    def _number(self, atom: c.Number) -> Node:
        return numbers.integer(self._build) if atom.kind == "int" else numbers.json_number(self._build)

    def _number_compare(self, atom: c.NumberCompare) -> Node:
        build = self._build
        bound = operands.number(operands.value(atom.bound), f"{atom.kind}(X)", atom.span)
        if atom.kind == "int":
            return _integers(build, atom.op, bound)
        exact = Decimal(repr(bound)) if isinstance(bound, float) else Decimal(bound)
        if exact.is_finite():
            return numbers.decimals(build, atom.op, exact)
        every = atom.op == "!=" or (not exact.is_nan() and (exact > 0) == (atom.op in ("<", "<=")) and atom.op != "==")
        return numbers.any_decimal(build) if every else build.empty

    def _count(self, atom: c.Count) -> Node:
        bound = operands.number(operands.value(atom.bound), "a count", atom.span)
        if atom.unit == "tokens":
            return self._build.anything if compare(self._tokens, atom.op, bound) else self._build.empty
        return counts.count(self._build, atom.unit, atom.op, bound)

    def _type_is(self, atom: c.TypeIs) -> Node:
        return Typed(self._build, atom.span).node(operands.value(atom.type))

    def _beyond(self, atom: c.Json | c.Grammar | c.Custom) -> Node:
        name = {c.Json: "JSON", c.Grammar: "GRAMMAR", c.Custom: "a custom constraint"}[type(atom)]
        raise error(
            UNSUPPORTED, f"{name} is not regular, so it cannot become an automaton", atom.span,
            "it can be checked while text is written; leave it out where an automaton is needed", self._source,
        )  # fmt: skip

    def _stop(self, _atom: c.Stop) -> Node:
        return self._build.anything


def compare(left: int, op: c.Op, right: counts.Number) -> bool:
    """`left op right`, as Python compares numbers."""
    return {"<": left < right, "<=": left <= right, "==": left == right, "!=": left != right, ">=": left >= right, ">": left > right}[op]


def _integers(build: Expressions, op: c.Op, bound: counts.Number) -> Node:
    if op == "!=":
        return build.intersection((numbers.integer(build), build.complement(_integers(build, "==", bound))))
    found = counts.interval(op, bound)
    return build.empty if found is None else numbers.integers(build, *found)


_RULES: dict[type, Callable[[Atoms, Any], Node]] = {
    c.Truth: Atoms._truth, c.InSet: Atoms._in_set, c.Equals: Atoms._equals, c.Contains: Atoms._contains,
    c.StartsWith: Atoms._starts_with, c.EndsWith: Atoms._ends_with, c.TextIs: Atoms._text_is, c.Matches: Atoms._matches,
    c.Number: Atoms._number, c.NumberCompare: Atoms._number_compare, c.Count: Atoms._count, c.TypeIs: Atoms._type_is,
    c.Json: Atoms._beyond, c.Grammar: Atoms._beyond, c.Custom: Atoms._beyond, c.Stop: Atoms._stop,
}  # fmt: skip


def stop_phrase(build: Expressions, phrase: str | re.Pattern[str], atom: c.Stop, source: Source | None) -> Node:
    """The language of one stop phrase, judged on the phrase alone."""
    if isinstance(phrase, str):
        return build.literal(phrase)
    node = read_pattern(build, phrase.pattern, phrase.flags, atom, source)
    if node.nullable:
        raise operand("a stop pattern must not match the empty text", atom.span, "let the pattern match at least one character")
    return node
