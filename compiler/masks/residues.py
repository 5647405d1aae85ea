"""A formula over regular and external atoms, taken apart: what is left of it for every truth value of its external atoms.

With external atoms c_1 … c_n, each assignment of truth values leaves a formula over regular atoms alone, its residue. A final text is
valid if the residue of the actual values accepts it. A prefix may go on while some residue is live whose true atoms are all alive (the
false ones restrict nothing: an atom that is alive may still turn out false). Stops are taken out first; they are judged with
the whole formula, by `combine`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from itertools import product
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from lmqlc.compiler.automata.automaton import TextAutomaton
from lmqlc.compiler.automata.build import build
from lmqlc.compiler.automata.problems import UNSUPPORTED, error, unsatisfiable
from lmqlc.compiler.constraints import FALSE, TRUE, And, Const, Constraint, Count, Not, Or
from lmqlc.compiler.masks.closing import Closing
from lmqlc.compiler.masks.forms import pack
from lmqlc.compiler.masks.interface import Bits
from lmqlc.compiler.masks.optional_stops import widen
from lmqlc.compiler.masks.phrases import Phrase
from lmqlc.compiler.masks.token_automaton import ENDED, State, TokenAutomaton
from lmqlc.compiler.passes.fold import fold, truth
from lmqlc.grammar.errors import UnsatisfiableConstraint
from lmqlc.grammar.source import Source

MAX_EXTERNAL = 8
"""Distinct external atoms in one formula."""
MAX_RESIDUES = 16
"""Distinct residues of one formula: always enough for four external atoms, and for more where they are mostly joined by `and`."""

IsExternal = Callable[[Constraint], bool]


@dataclass(frozen=True, eq=False)
class RegularResidue:
    """A residue without a vocabulary. options: the sets of external atoms (by number) that must be true, minimal ones only."""

    formula: Constraint
    automaton: TextAutomaton
    options: tuple[frozenset[int], ...]


@dataclass(frozen=True, eq=False)
class Residue(RegularResidue):
    """A residue over one vocabulary. tokens: what tokens it allows, under optional stops. settled: see `Widened`."""

    tokens: TokenAutomaton
    settled: list[int]

    def start(self) -> State:
        return self.tokens.start()

    def advance(self, state: State, token_id: int) -> State | None:
        """The state after a token; None where the residue is dead, also where only a stop that did not come would have saved it."""
        return self._settled(self.tokens.advance(state, token_id))

    def mask(self, state: State) -> Bits:
        """The tokens after which the text goes on: those of `tokens` that meet no stop and miss none."""
        bits = self.tokens.mask(state)
        lost = self.tokens.leads_to(state, self._unsettled) if self._has_stops else None
        return bits if lost is None else bits & ~pack(lost)

    def forced(self, state: State) -> bytes:
        """The text without a choice after a state; for automata that count no tokens, and have no stops."""
        walk = self.tokens.core.forced.after(state[0], state[2])
        return walk.data

    @cached_property
    def _unsettled(self) -> npt.NDArray[np.bool_]:
        """By state: no text goes on from there without the stop that did not come."""
        return np.array([number > 0 and not settled for number, settled in enumerate(self.settled)])

    @cached_property
    def _has_stops(self) -> bool:
        return bool(self.tokens.core.automaton.stops.any()) or bool(self._unsettled.any())

    @cached_property
    def closing(self) -> Closing:
        """What may follow its texts."""
        return Closing(self.tokens.core, spaces=True)

    def read(self, state: State, text: bytes) -> State | None:
        """The state after some bytes, read as one token."""
        return self._settled(self.tokens.read(state, text))

    def _settled(self, after: State | None) -> State | None:
        if after is None or after[0] == ENDED:
            return None
        settled = self.settled[after[0]]
        return (settled, *after[1:]) if settled else None


R = TypeVar("R", bound=RegularResidue, covariant=True)


@dataclass(frozen=True, eq=False)
class Residues(Generic[R]):
    """All live residues, and for every assignment (a tuple of bools) the number of its residue."""

    residues: tuple[R, ...]
    by_values: dict[tuple[bool, ...], int]


def atoms_of(constraint: Constraint) -> Iterator[Constraint]:
    """Every atom of a formula, from left to right."""
    if isinstance(constraint, And | Or):
        for arg in constraint.args:
            yield from atoms_of(arg)
    elif isinstance(constraint, Not):
        yield from atoms_of(constraint.arg)
    else:
        yield constraint


def external_atoms(constraint: Constraint, is_external: IsExternal) -> tuple[Constraint, ...]:
    """The distinct external atoms of a formula. Raises UnsupportedConstraint past `MAX_EXTERNAL`."""
    found: list[Constraint] = []
    for atom in atoms_of(constraint):
        if is_external(atom) and not any(_same(atom, other) for other in found):
            found.append(atom)
    if len(found) > MAX_EXTERNAL:
        message = f"{len(found)} grammars, schemas and Python constraints on one hole; {MAX_EXTERNAL} are possible"
        hint = "join several Python constraints into one function"
        raise error(UNSUPPORTED, message, found[MAX_EXTERNAL].span, hint)
    return tuple(found)


def _same(one: Constraint, other: Constraint) -> bool:
    """Whether two formulas say the same, wherever they stand: the same operands, values by what they are, objects by identity."""
    if one is other:
        return True
    names = [field.name for field in fields(one) if field.name not in ("span", "pattern_span")]
    return type(one) is type(other) and all(_same_value(getattr(one, name), getattr(other, name)) for name in names)


def _same_value(one: Any, other: Any) -> bool:
    if one is other:
        return True
    if type(one) is not type(other):
        return False  # 1 is not True
    if isinstance(one, Constraint):
        return _same(one, other)
    if isinstance(one, Const):
        return _same_value(one.value, other.value)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(_same_value, one, other))
    if isinstance(one, dict):
        return _same_value(list(one.items()), list(other.items()))  # the order of keys is the order in which JSON has them
    return isinstance(one, str | bytes | int | float) and bool(one == other)


def assigned(constraint: Constraint, externals: tuple[Constraint, ...], values: tuple[bool, ...], is_external: IsExternal) -> Constraint:
    """The formula with external atoms replaced by their values, constants folded."""

    def put(part: Constraint) -> Constraint:
        if isinstance(part, And | Or):
            return replace(part, args=tuple(map(put, part.args)))
        if isinstance(part, Not):
            return replace(part, arg=put(part.arg))
        if not is_external(part):
            return part
        return TRUE if values[next(i for i, other in enumerate(externals) if _same(part, other))] else FALSE

    return fold(put(constraint))


def counts_tokens(constraint: Constraint) -> bool:
    return any(isinstance(atom, Count) and atom.unit == "tokens" for atom in atoms_of(constraint))


def regular_residues(
    constraint: Constraint, externals: tuple[Constraint, ...], is_external: IsExternal, source: Source | None = None
) -> Residues[RegularResidue]:
    """Build every residue that some text meets; source: the program, for errors. Raises UnsatisfiableConstraint where there is none."""
    residues: list[RegularResidue] = []
    by_values: dict[tuple[bool, ...], int] = {}
    problems: list[UnsatisfiableConstraint] = []
    for formula, group in _formulas(constraint, externals, is_external):
        try:
            automaton = build(formula, source=source)
        except UnsatisfiableConstraint as problem:
            problems.append(problem)
            continue
        by_values.update(dict.fromkeys(group, len(residues)))
        residues.append(RegularResidue(formula, automaton, _minimal(group)))
    if not residues:
        message = "no text can meet this constraint, whatever its grammars and functions say"
        raise problems[0] if problems else unsatisfiable(message, constraint.span, (), None, source)
    return Residues(tuple(residues), by_values)


def linked_residues(
    plain: Residues[RegularResidue],
    automata: Sequence[TextAutomaton],
    phrases: tuple[Phrase, ...],
    link: Callable[[TextAutomaton], TokenAutomaton],
) -> Residues[Residue]:
    """The residues over a vocabulary, with `automata` in place of their own. No text may be left to some, for want of tokens."""
    linked = []
    for residue, automaton in zip(plain.residues, automata, strict=True):
        widened = widen(automaton, phrases)
        tokens = link(replace(widened.automaton, spaces_end=False))  # the whole formula says what ends a text
        linked.append(Residue(residue.formula, automaton, residue.options, tokens, widened.settled))
    return Residues(tuple(linked), plain.by_values)


def within_budget(linked: Residues[Residue], max_tokens: int | None) -> Residues[Residue]:
    """The residues under another budget."""
    return Residues(tuple(replace(one, tokens=one.tokens.within(max_tokens)) for one in linked.residues), linked.by_values)


def _formulas(
    constraint: Constraint, externals: tuple[Constraint, ...], is_external: IsExternal
) -> list[tuple[Constraint, list[tuple[bool, ...]]]]:
    """The distinct residues as formulas, without the constant false, each with its assignments."""
    found: list[tuple[Constraint, list[tuple[bool, ...]]]] = []
    for values in product((False, True), repeat=len(externals)):
        formula = assigned(constraint, externals, values, is_external)
        group = next((group for known, group in found if _same(known, formula)), None)
        if group is not None:
            group.append(values)
        elif truth(formula) is not False:
            found.append((formula, [values]))
        if len(found) > MAX_RESIDUES:
            message = f"grammars, schemas and Python constraints stand in more than {MAX_RESIDUES} different relations to the rest"
            raise error(UNSUPPORTED, message, constraint.span, "join several Python constraints into one function")
    return found


def _minimal(group: list[tuple[bool, ...]]) -> tuple[frozenset[int], ...]:
    """The smallest sets of atoms that assignments make true."""
    positive = {frozenset(i for i, value in enumerate(values) if value) for values in group}
    return tuple(sorted((one for one in positive if not any(other < one for other in positive)), key=sorted))
