"""A hole of a program meets a vocabulary: constraint and operand values become a constraint on tokens.

Text automata and linked constraints are kept for the process, by everything they depend on: the same hole with the same values is
compiled and linked once, whatever the budget. What took long is kept on disk too (`link_cache`).
"""

from __future__ import annotations

import dataclasses
import re
import time
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from lmqlc.backends.base import Tokenizer, Vocabulary
from lmqlc.compiler.automata.automaton import StopPhrase, TextAutomaton
from lmqlc.compiler.constraints import And, Const, Constraint, Number, NumberCompare, Or, Truth, TypeIs
from lmqlc.compiler.masks.interface import TokenConstraint
from lmqlc.compiler.masks.kept import Kept
from lmqlc.compiler.masks.leading import with_leading_space
from lmqlc.compiler.masks.request import DecodesHoles, Formula, Language
from lmqlc.grammar.errors import LmqlCompileError, UnsatisfiableConstraint
from lmqlc.grammar.source import Source
from lmqlc.runtime.link_cache import DiskEntry

if TYPE_CHECKING:
    from lmqlc.compiler.masks.core import Core

MOST_AUTOMATA = 64 << 20
"""Bytes of text automata that are kept for the process."""
MOST_LINKED = 256 << 20
"""Bytes of constraints over a vocabulary that are kept for the process: linked ones, and the tables that those of one automaton share."""
_BUDGETS = 16
"""How many budgets are kept for each."""


@dataclass(frozen=True, slots=True)
class LinkedHole:
    """What decoding a hole needs: its constraint on tokens (None: unconstrained) and its stop phrases.

    elsewhere: the session decodes the hole; `language` is what it is told (None: unconstrained), and `constraint` is None.
    longest: the most tokens that its text may take, None where texts have no bound.
    """

    constraint: TokenConstraint | None
    phrases: tuple[StopPhrase, ...] = ()
    language: Language | None = None
    elsewhere: bool = False
    longest: int | None = None
    _budgets: OrderedDict[tuple[int | None, bytes], LinkedHole] = field(default_factory=OrderedDict, init=False, repr=False, compare=False)

    def within(self, budget: int | None, before: bytes = b"") -> LinkedHole:
        """The same hole for at most so many tokens (None: any number): no other one where its texts cannot take more.

        before: text at the end of the prompt that the first token may cover.

        Raises UnsatisfiableConstraint where no text fits.
        """
        if self.constraint is None:
            return self
        found = self._budgets.get((budget, before))
        if found is None:
            constraint = self.constraint.within(budget).require(before)
            found = self if constraint is self.constraint else replace(self, constraint=constraint)
            self._budgets[budget, before] = found
            while len(self._budgets) > _BUDGETS:
                self._budgets.popitem(last=False)
        return found


@dataclass(frozen=True, slots=True)
class Place:
    """Where a constraint is used.

    budget: tokens the hole may have (None: any number, or not known yet). follow: the literal after the hole. leading_space: one space may
    stand before the text. source: the program, for the places in errors. before: text at the end of the prompt that the first token may
    cover.
    """

    budget: int | None = None
    follow: str | None = None
    leading_space: bool = False
    source: Source | None = None
    before: bytes = b""


_AUTOMATA: Kept[TextAutomaton] = Kept(MOST_AUTOMATA)
_CORES: Kept[Core] = Kept(MOST_LINKED)
_LINKED: Kept[LinkedHole] = Kept(MOST_LINKED)
_LONGEST: Kept[tuple[int | None]] = Kept(MOST_LINKED >> 8)
_ENTRY = 2000  # bytes of an entry beside its tables, about


def whole_constraint(constraint: Constraint, slots: tuple[Any, ...], hole_type: object) -> Constraint:
    """A hole's constraint with the values of its operands, and its type's condition joined to it."""
    from lmqlc.compiler.passes.bind import bind

    typed = hole_type is not None and hole_type is not str
    return bind(And((constraint, TypeIs(Const(hole_type)))) if typed else constraint, slots, hole_type)


def value_kind(constraint: Constraint, hole_type: object) -> Any:
    """What says of which type a hole's value is: its numbers, or `type(X) is T` where the hole has no type of its own; None for neither."""
    from lmqlc.compiler.constraint_parts import own_type

    return number_kind(constraint) or (own_type(constraint) if hole_type is None else None)


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


def link_hole(constraint: Constraint, tokenizer: Tokenizer, place: Place) -> LinkedHole:
    """The constraint on tokens of one hole; `constraint` is without slots.

    Raises UnsatisfiableConstraint where no text, or none within the budget, meets the constraint; UnsupportedConstraint and
    LmqlCompileError for one that cannot be compiled.
    """
    return LinkedHole(None) if is_true(constraint) else _linked(constraint, tokenizer, place).within(place.budget, place.before)


def link_text(constraint: Constraint, tokenizer: Tokenizer, place: Place) -> TokenConstraint:
    """The constraint on tokens as for `link_hole`; one that holds for every text too."""
    linked = _linked(constraint, tokenizer, place).within(place.budget, place.before).constraint
    assert linked is not None
    return linked


def hand_over(constraint: Constraint, place: Place, session: DecodesHoles) -> LinkedHole | None:
    """A hole that its session decodes as a whole; None where the session does not take its constraint. Nothing is linked here.

    Raises UnsatisfiableConstraint and LmqlCompileError as `link_hole`, where that can be told without a vocabulary.
    """
    from lmqlc.compiler.masks.compose import is_regular
    from lmqlc.compiler.passes.stops import stop_texts

    if is_true(constraint):
        return LinkedHole(None, elsewhere=True) if session.takes(None) else None
    if is_regular(constraint):
        automaton = text_automaton(constraint, place)
        if not session.takes(automaton):
            return None
        return LinkedHole(None, automaton.phrases, automaton, True, _longest(constraint, place))
    formula = Formula(constraint, place.leading_space)
    if not session.takes(formula):
        return None
    return LinkedHole(None, stop_texts(constraint), formula, True, _longest(constraint, place))


def _linked(constraint: Constraint, tokenizer: Tokenizer, place: Place) -> LinkedHole:
    vocabulary = tokenizer.vocabulary
    # `forced` asks the tokenizer itself; the entry keeps it alive, so that no other one gets its `id`.
    key = _key((constraint, place.leading_space, vocabulary.fingerprint, id(tokenizer), place.follow))
    linked = None if key is None else _LINKED.get(key)
    if linked is None:
        linked = _link(constraint, tokenizer, place)
    if key is not None:
        _LINKED.put(key, linked, _ENTRY + (0 if linked.constraint is None else linked.constraint.nbytes))  # again: it grows with its use
    return linked


def _link(constraint: Constraint, tokenizer: Tokenizer, place: Place) -> LinkedHole:
    from lmqlc.compiler.masks.canonical import InText
    from lmqlc.compiler.masks.compose import compose, is_regular
    from lmqlc.compiler.masks.token_automaton import finished

    encode = InText(tokenizer)
    if is_regular(constraint):
        core = _core(constraint, tokenizer.vocabulary, place)
        linked = finished(core, max_tokens=None, follow=place.follow, encode=encode, named=tokenizer.vocabulary.named)
        return LinkedHole(linked, core.automaton.phrases, longest=core.longest)
    composed = compose(
        constraint,
        tokenizer.vocabulary,
        follow=place.follow,
        encode=encode,
        source=place.source,
        with_space=with_leading_space if place.leading_space else None,
        before=None,
    )
    return LinkedHole(composed, getattr(composed, "phrases", ()), longest=_longest(constraint, place))


def _longest(constraint: Constraint, place: Place) -> int | None:
    """The most tokens of a hole's text, as far as its regular parts bound it."""
    from lmqlc.compiler.masks.compose import is_regular

    if is_regular(constraint):
        return _longest_regular(constraint, place)
    if isinstance(constraint, Or):
        bounds = [_longest(part, place) for part in constraint.args]
        known = [bound for bound in bounds if bound is not None]
        return max(known) if len(known) == len(bounds) else None
    if not isinstance(constraint, And):
        return None
    regular = tuple(part for part in constraint.args if is_regular(part))
    bounds = [_longest(part, place) for part in constraint.args if not is_regular(part)]
    bounds += [_longest_regular(And(regular, constraint.span), place)] if regular else []
    return min((bound for bound in bounds if bound is not None), default=None)


def _longest_regular(constraint: Constraint, place: Place) -> int | None:
    from lmqlc.compiler.automata.longest import longest_text

    key = _key((constraint, place.leading_space))
    found = None if key is None else _LONGEST.get(key)
    if found is None:
        try:
            found = (longest_text(text_automaton(constraint, place)),)
        except UnsatisfiableConstraint:  # there may be others beside it
            found = (0,)
        if key is not None:
            _LONGEST.put(key, found, _ENTRY)
    return found[0]


def _core(constraint: Constraint, vocabulary: Vocabulary, place: Place) -> Core:
    """The automaton over a vocabulary: from this process, from the cache on disk, or built now."""
    key = _key((constraint, place.leading_space, vocabulary.fingerprint))
    core = None if key is None else _CORES.get(key)
    if core is None:
        core = _recalled_or_built(constraint, vocabulary, place)
    if key is not None:
        _CORES.put(key, core, _ENTRY + core.nbytes)
    return core


def _recalled_or_built(constraint: Constraint, vocabulary: Vocabulary, place: Place) -> Core:
    from lmqlc.compiler.masks.core import core_of
    from lmqlc.compiler.masks.trie import vocabulary_index

    disk = DiskEntry.of(constraint, place.leading_space, vocabulary)
    core = disk.recalled() if disk else None
    if core is None:
        vocabulary_index(vocabulary)  # once for all constraints: its time is not that of this one
        started = time.perf_counter()
        core = core_of(text_automaton(constraint, place), vocabulary)
        core.classes.block(core.automaton.start)
        if disk:
            disk.keep(core, time.perf_counter() - started)
    return core


def text_automaton(constraint: Constraint, place: Place) -> TextAutomaton:
    """The automaton of a regular constraint at a place."""
    return _text_automaton(constraint, place, remembers=True)


def written_automaton(constraint: Constraint, place: Place) -> TextAutomaton:
    """The automaton with all lengths in its states, for notations that have no memory; as it is where that is too large."""
    automaton = text_automaton(constraint, place)
    if not automaton.memory:
        return automaton
    try:
        return _text_automaton(constraint, place, remembers=False)
    except LmqlCompileError:
        return automaton


def _text_automaton(constraint: Constraint, place: Place, remembers: bool) -> TextAutomaton:
    from lmqlc.compiler.automata.build import build

    key = _key((constraint, place.leading_space, remembers))
    automaton = None if key is None else _AUTOMATA.get(key)
    if automaton is None:
        automaton = build(constraint, source=place.source, remembers=remembers)
        automaton = with_leading_space(automaton) if place.leading_space else automaton
        if key is not None:
            _AUTOMATA.put(key, automaton, _ENTRY + automaton.delta.nbytes + automaton.accepts.nbytes)
    return automaton


def is_true(constraint: Constraint) -> bool:
    """Whether a constraint holds for every text, by its own words."""
    return isinstance(constraint, Truth) and isinstance(constraint.value, Const) and bool(constraint.value.value)


def _key(value: object) -> Hashable | None:
    """A value that is equal only for what links alike; None where there is none, and nothing may be kept."""
    try:
        key = _frozen(value)
        hash(key)
    except (TypeError, RecursionError):
        return None
    return key


def _frozen(value: Any) -> Hashable:
    """Containers as tuples, numbers with their type (True is not 1), everything else as it is: by its own equality."""
    if isinstance(value, list | tuple):
        if len(value) > 64 and set(map(type, value)) == {str}:
            return (type(value).__name__, *value)  # strings are nothing else: everything else becomes a tuple
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
