"""A hole of a program meets a vocabulary: constraint and operand values become a constraint on tokens.

Linked constraints are kept for the process, by everything they depend on: the same hole with the same values is linked once.
"""

from __future__ import annotations

import dataclasses
import re
import threading
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

from lmqlc.backends.base import Tokenizer
from lmqlc.compiler.automata.automaton import StopPhrase, TextAutomaton
from lmqlc.compiler.constraints import And, Const, Constraint, Number, NumberCompare, Or, Truth, TypeIs
from lmqlc.compiler.masks.interface import TokenConstraint
from lmqlc.grammar.source import Source
from lmqlc.runtime.leading import with_leading_space

KEPT = 512
"""How many linked constraints, and how many text automata, are kept for the process."""


@dataclass(frozen=True, slots=True)
class LinkedHole:
    """What decoding a hole needs: its constraint on tokens (None: unconstrained) and its stop phrases."""

    constraint: TokenConstraint | None
    phrases: tuple[StopPhrase, ...] = ()


class _Kept:
    """A small cache, least recently used out first; safe to share between threads."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._values: OrderedDict[Hashable, Any] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> Any:
        with self._lock:
            if key not in self._values:
                return None
            self._values.move_to_end(key)
            return self._values[key]

    def put(self, key: Hashable, value: Any) -> None:
        with self._lock:
            self._values[key] = value
            while len(self._values) > self._size:
                self._values.popitem(last=False)


_AUTOMATA = _Kept(KEPT)
_LINKED = _Kept(KEPT)


def whole_constraint(constraint: Constraint, slots: tuple[Any, ...], hole_type: object) -> Constraint:
    """A hole's constraint with the values of its operands, and its type's condition joined to it."""
    from lmqlc.compiler.passes.bind import bind

    bound = bind(constraint, slots)
    if hole_type is None or hole_type is str:
        return bound
    typed = TypeIs(Const(hole_type))
    return typed if _is_true(bound) else And((bound, typed))


def number_kind(constraint: Constraint) -> type | None:
    """`int` or `float` where every text the constraint allows is such a number, by its own words; else None."""
    if isinstance(constraint, Number | NumberCompare):
        return int if constraint.kind == "int" else float
    if isinstance(constraint, And):
        kinds = [kind for kind in map(number_kind, constraint.args) if kind is not None]
        return int if int in kinds else kinds[0] if kinds else None
    if isinstance(constraint, Or) and constraint.args:
        found = [number_kind(arg) for arg in constraint.args]
        return None if None in found else float if float in found else int
    return None


def link_hole(
    constraint: Constraint,
    tokenizer: Tokenizer,
    *,
    budget: int | None,
    follow: str | None,
    leading_space: bool,
    source: Source | None = None,
) -> LinkedHole:
    """The constraint on tokens of one hole.

    constraint: without slots. budget: tokens the hole may have (None: any number). follow: the literal after the hole. leading_space:
    one space may stand before the text. source: the program, for the places in errors.
    Raises UnsatisfiableConstraint where no text, or none within the budget, meets the constraint.
    """
    from lmqlc.compiler.masks.token_automaton import link

    if _is_true(constraint):
        return LinkedHole(None)
    automaton = _text_automaton(constraint, leading_space, source)
    vocabulary = tokenizer.vocabulary
    key = _key((constraint, leading_space, vocabulary.fingerprint, follow, budget))
    linked: TokenConstraint | None = None if key is None else _LINKED.get(key)
    if linked is None:
        linked = link(automaton, vocabulary, max_tokens=budget, follow=follow, encode=lambda text: tokenizer.encode(text, first=False))
        if key is not None:
            _LINKED.put(key, linked)
    return LinkedHole(linked, automaton.phrases)


def _text_automaton(constraint: Constraint, leading_space: bool, source: Source | None) -> TextAutomaton:
    from lmqlc.compiler.automata.build import build

    key = _key((constraint, leading_space))
    automaton: TextAutomaton | None = None if key is None else _AUTOMATA.get(key)
    if automaton is None:
        automaton = build(constraint, source=source)
        automaton = with_leading_space(automaton) if leading_space else automaton
        if key is not None:
            _AUTOMATA.put(key, automaton)
    return automaton


def _is_true(constraint: Constraint) -> bool:
    return isinstance(constraint, Truth) and isinstance(constraint.value, Const) and bool(constraint.value.value)


def _key(value: object) -> Hashable | None:
    """A value that is equal only for what links alike; None where there is none, and nothing may be kept."""
    try:
        key = _frozen(value)
        hash(key)
    except TypeError:
        return None
    return key


def _frozen(value: Any) -> Hashable:
    """Containers as tuples, numbers with their type (True is not 1), everything else as it is: by its own equality."""
    if isinstance(value, list | tuple):
        return (type(value).__name__, *map(_frozen, value))
    if isinstance(value, set | frozenset):
        return (type(value).__name__, frozenset(map(_frozen, value)))
    if isinstance(value, dict):
        return ("dict", *((_frozen(k), _frozen(v)) for k, v in value.items()))
    if isinstance(value, re.Pattern):
        return ("pattern", value.pattern, value.flags)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = (getattr(value, field.name) for field in dataclasses.fields(value) if field.name != "span")
        return (type(value), *map(_frozen, fields))
    if isinstance(value, bool | int | float | str | bytes) or value is None:
        return (type(value), value)
    hash(value)
    return (id(type(value)), value)
