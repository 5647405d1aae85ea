"""Atoms of constraints as expressions: what each says about the text, exactly."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import Any

from lmqlc.compiler import constraints as c
from lmqlc.compiler.automata import counts, numbers, operands
from lmqlc.compiler.automata.charset import by_method
from lmqlc.compiler.automata.compared import compared
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

    def union(self, atoms: Sequence[c.Constraint]) -> Node:
        """The union of some atoms. Texts of one kind become one tree, or one search: the work is that of all their characters together."""
        texts: dict[type, list[str]] = {}
        nodes = [self.node(atom) for atom in atoms if not self._add_texts(atom, texts)]
        for kind, found in texts.items():
            nodes.append(_OF_TEXTS[kind](self._build, found))
        return self._build.union(nodes)

    def _add_texts(self, atom: c.Constraint, found: dict[type, list[str]]) -> bool:
        """Add the texts of an atom that is about whole texts, their beginnings, their ends or their parts; False for other atoms."""
        if isinstance(atom, c.InSet):
            options = operands.options(operands.value(atom.options), atom.span)
            if isinstance(options, tuple):
                found.setdefault(c.Equals, []).extend(options)
                return True
        elif isinstance(atom, c.Equals | c.Contains):
            given = atom.value if isinstance(atom, c.Equals) else atom.text
            found.setdefault(type(atom), []).append(operands.text(operands.value(given), _NAMES[type(atom)], atom.span))
            return True
        elif isinstance(atom, c.StartsWith | c.EndsWith):
            found.setdefault(type(atom), []).extend(operands.texts(operands.value(atom.text), _NAMES[type(atom)], atom.span))
            return True
        elif isinstance(atom, c.NumberCompare) and atom.kind == "int" and atom.op == "==":
            number = counts.interval("==", operands.number(operands.value(atom.bound), "int(X)", atom.span))
            if number is not None:
                found.setdefault(c.Equals, []).extend(("0", "-0") if number[0] == 0 else (str(number[0]),))
            return True
        return False

    def _truth(self, atom: c.Truth) -> Node:
        return self._build.anything if operands.value(atom.value) else self._build.empty

    def _in_set(self, atom: c.InSet) -> Node:
        options = operands.options(operands.value(atom.options), atom.span)
        return substrings(self._build, options) if isinstance(options, str) else words(self._build, options)

    def _of_texts(self, atom: c.Equals | c.Contains | c.StartsWith | c.EndsWith) -> Node:
        return self.union((atom,))

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
        if atom.kind == "int" and atom.op == "==":
            return self.union((atom,))
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

    def _compared(self, atom: c.Compared) -> Node:
        kind = None if atom.kind is None else operands.value(atom.kind)
        return compared(self._build, kind, atom.op, operands.value(atom.value), atom.span)

    def type_is(self, atom: c.TypeIs, remembers: bool = False) -> Node:
        """The texts of a type; `remembers`: without what the memory beside the automaton holds."""
        return Typed(self._build, atom.span, remembers).node(operands.value(atom.type))

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
        found = counts.interval("==", bound)
        other = build.complement(numbers.integers(build, *found)) if found is not None else build.anything
        return build.intersection((numbers.integer(build), other))
    found = counts.interval(op, bound)
    return build.empty if found is None else numbers.integers(build, *found)


def _starting(build: Expressions, starts: Iterable[str]) -> Node:
    """The texts that begin with one of some texts."""
    return build.concat(words(build, starts), build.anything)


_OF_TEXTS: dict[type, Callable[[Expressions, Iterable[str]], Node]] = {
    c.Equals: words, c.Contains: containing, c.StartsWith: _starting, c.EndsWith: ending,
}  # fmt: skip
_NAMES: dict[type, str] = {
    c.Equals: "what a hole is compared with", c.Contains: "the left side of `in`", c.StartsWith: "the argument of startswith",
    c.EndsWith: "the argument of endswith",
}  # fmt: skip

_RULES: dict[type, Callable[[Atoms, Any], Node]] = {
    c.Compared: Atoms._compared, c.Truth: Atoms._truth, c.InSet: Atoms._in_set, c.Equals: Atoms._of_texts, c.Contains: Atoms._of_texts,
    c.StartsWith: Atoms._of_texts, c.EndsWith: Atoms._of_texts, c.TextIs: Atoms._text_is, c.Matches: Atoms._matches,
    c.Number: Atoms._number, c.NumberCompare: Atoms._number_compare, c.Count: Atoms._count, c.TypeIs: Atoms.type_is,
    c.Json: Atoms._beyond, c.Grammar: Atoms._beyond, c.Custom: Atoms._beyond, c.Stop: Atoms._stop,
}  # fmt: skip


def stop_pattern(build: Expressions, phrase: re.Pattern[str], atom: c.Stop, source: Source | None) -> Node:
    """The language of a stop pattern, judged on the phrase alone."""
    node = read_pattern(build, phrase.pattern, phrase.flags, atom, source)
    if node.nullable:
        raise operand("a stop pattern must not match the empty text", atom.span, "let the pattern match at least one character")
    return node
