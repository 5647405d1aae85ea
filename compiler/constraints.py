"""Constraint trees: what a `where` says about one hole.

A tree is a Boolean formula over atoms about the final text x of the hole. An atom's operands are `Const`, known at compile time, or
`Slot`, the number of an expression that the program evaluates when it reaches the hole (`OPEN` where a hole that the expression needs
is not decoded yet). `passes/` turns trees with slots into trees without.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from lmqlc.grammar.source import Span

Op = Literal["<", "<=", "==", "!=", ">=", ">"]
Unit = Literal["chars", "tokens", "words", "sentences"]
NumberKind = Literal["int", "float"]
TextTest = Literal["isdigit", "isalpha", "isalnum", "isupper", "islower"]


class _Open:
    """The value of an operand that needs a hole which is not decoded yet."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "OPEN"


OPEN = _Open()


@dataclass(frozen=True, slots=True)
class Const:
    """An operand known now. `value` is any Python value; lists and sets are kept as given."""

    value: Any


@dataclass(frozen=True, slots=True)
class Slot:
    """An operand that the program evaluates when it reaches the hole."""

    index: int


Operand = Const | Slot


@dataclass(frozen=True, slots=True)
class And:
    args: tuple[Constraint, ...]
    span: Span | None = None


@dataclass(frozen=True, slots=True)
class Or:
    args: tuple[Constraint, ...]
    span: Span | None = None


@dataclass(frozen=True, slots=True)
class Not:
    arg: Constraint
    span: Span | None = None


@dataclass(frozen=True, slots=True)
class Truth:
    """A constant, or any Python condition without an open hole: true or false whatever x is."""

    value: Operand
    span: Span | None = None


@dataclass(frozen=True, slots=True)
class InSet:
    """`X in C`: x is an element of an iterable of strings; where C is a string, x is a substring of it."""

    options: Operand
    span: Span | None = None


@dataclass(frozen=True, slots=True)
class Equals:
    value: Operand
    span: Span | None = None


@dataclass(frozen=True, slots=True)
class Compared:
    """`X < v`, `X == v`, `X in C` by values; op may be "in" and "not in" too.

    kind: the hole's type, known once the hole is reached (None before). is_hole: v is what another hole gave: where it is no value of the
    type, its text is meant. Of a union those options are meant that v can be compared with, also under `not`, which is another comparison.
    """

    op: str
    value: Operand
    kind: Operand | None = None
    is_hole: bool = False
    span: Span | None = None


@dataclass(frozen=True, slots=True)
class Contains:
    """`s in X`."""

    text: Operand
    span: Span | None = None


@dataclass(frozen=True, slots=True)
class StartsWith:
    """`X.startswith(s)`; s is a string or a tuple of strings."""

    text: Operand
    span: Span | None = None


@dataclass(frozen=True, slots=True)
class EndsWith:
    """`X.endswith(s)`; s is a string or a tuple of strings."""

    text: Operand
    span: Span | None = None


@dataclass(frozen=True, slots=True)
class TextIs:
    """`X.isdigit()` and its like, as `str` defines them."""

    test: TextTest
    span: Span | None = None


@dataclass(frozen=True, slots=True)
class Matches:
    """`REGEX(X, r)`: `re.fullmatch(r, x)`; r is a string or a compiled `re.Pattern`."""

    pattern: Operand
    span: Span | None = None
    pattern_span: Span | None = None
    """Where the pattern's literal stands in the program, for errors inside the pattern; None where it is computed."""


@dataclass(frozen=True, slots=True)
class Number:
    """`INT(X)`, `FLOAT(X)`."""

    kind: NumberKind
    span: Span | None = None


@dataclass(frozen=True, slots=True)
class NumberCompare:
    """`int(X) < n`; implies `Number(kind)`."""

    kind: NumberKind
    op: Op
    bound: Operand
    span: Span | None = None


@dataclass(frozen=True, slots=True)
class Count:
    """`len(X) < n`, `len(TOKENS(X)) < n`, `len(WORDS(X)) < n`, `len(SENTENCES(X)) < n`."""

    unit: Unit
    op: Op
    bound: Operand
    span: Span | None = None


@dataclass(frozen=True, slots=True)
class Json:
    """`JSON(X)`, `JSON(X, schema)`."""

    schema: Operand | None
    span: Span | None = None


@dataclass(frozen=True, slots=True)
class TypeIs:
    """`type(X) is T`, and a hole's own `: T`. T is any type, enum, dataclass, … or a pattern string of a typed hole."""

    type: Operand
    span: Span | None = None


@dataclass(frozen=True, slots=True)
class Grammar:
    """`GRAMMAR(X, lark_source)`."""

    grammar: Operand
    span: Span | None = None


@dataclass(frozen=True, slots=True)
class Custom:
    """A call of an `@lmql.constraint` function: `f(X, *args)`."""

    function: Operand
    args: tuple[Operand, ...]
    span: Span | None = None


@dataclass(frozen=True, slots=True)
class Stop:
    """`STOPS_AT(X, s)` (`keep`) and `STOPS_BEFORE(X, s)`; s is a string, a list of them, or a compiled pattern."""

    phrase: Operand
    keep: bool
    span: Span | None = None


Atom = (
    Truth | InSet | Equals | Compared | Contains | StartsWith | EndsWith | TextIs | Matches | Number | NumberCompare | Count
    | Json | TypeIs | Grammar | Custom | Stop
)  # fmt: skip
Constraint = And | Or | Not | Atom

TRUE = Truth(Const(True))
FALSE = Truth(Const(False))
