"""From expressions to a deterministic automaton over classes of code points.

A state is a tuple of expressions: what remains of the formula in every region of token counts, what remains of "any text that ends with
a kept stop phrase", and what remains of the removed stop phrases that have begun. A removed phrase may begin only where the formula
holds for the text before it, in the region of that text's count; so moves out of a state may depend on the region.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lmqlc.compiler.automata.derivative import Derivatives
from lmqlc.compiler.automata.expression import Expressions, Node
from lmqlc.compiler.automata.limits import MAX_STATES, LimitExceeded
from lmqlc.compiler.automata.partition import Partition

Moves = list[tuple[int, int]]
"""Disjoint sets of classes with the state after them; classes left out lead to the dead state 0."""


@dataclass(frozen=True, slots=True)
class CharStates:
    """An automaton over the classes of a partition; states are numbered from 1, 0 is dead, the start is 1 (0 where no text exists).

    moves: by region, or once for all regions; by state. accepts, stops: by state, a bit set of regions.
    """

    partition: Partition
    start: int
    moves: list[list[Moves]]
    accepts: list[int]
    stops: list[int]
    holds: list[int] | None = None
    """By state: the regions in which the formula holds for the whole text, stops or not; None where there are no stops."""


@dataclass(frozen=True, slots=True)
class StopNodes:
    """The languages of the stop phrases of a hole (empty: none). kept, ended: the texts that end with a kept phrase, and with a
    removed one. removed: the removed phrases themselves."""

    kept: Node
    removed: Node
    ended: Node


def explore(build: Expressions, formulas: Sequence[Node], stops: StopNodes) -> CharStates:
    """The automaton of a formula, given once per region, with its stops.

    Raises LimitExceeded.
    """
    rows = Derivatives(build, Partition(build.sets))
    stopless = stops.kept is build.empty and stops.removed is build.empty
    if stopless and len(formulas) == 1:
        states = _explore_plain(rows, formulas[0])
        return states if build.positive and formulas[0] is not build.empty else _trim(states)
    if not stopless and all(formula is build.anything for formula in formulas):  # a stop may be met anywhere
        return _stopping(_explore_plain(rows, build.union((stops.kept, stops.ended))), (1 << len(formulas)) - 1)
    return _trim(_Explorer(rows, formulas, stops.kept, stops.removed).run())


def _stopping(states: CharStates, regions: int) -> CharStates:
    """An automaton that accepts every text up to its first end, and stops there."""
    ends = [bool(accepts) for accepts in states.accepts]
    moves: list[Moves] = [[] if end else found for end, found in zip(ends, states.moves[0], strict=True)]
    holds = [0, *[regions] * (len(ends) - 1)]
    accepts = [0 if end else held for end, held in zip(ends, holds, strict=True)]
    return CharStates(states.partition, 1, [moves], accepts, [regions if end else 0 for end in ends], holds)


def _explore_plain(rows: Derivatives, formula: Node) -> CharStates:
    numbers: dict[Node, int] = {formula: 1}
    order = [formula]
    moves: list[Moves] = [[]]
    for node in order:
        found: Moves = []
        for mask, then in rows.row(node):
            number = numbers.get(then)
            if number is None:
                number = numbers[then] = len(numbers) + 1
                order.append(then)
            found.append((mask, number))
        moves.append(found)
        if len(order) > MAX_STATES:
            raise LimitExceeded("states")
    return CharStates(rows.partition, 1, [moves], [0, *(int(node.nullable) for node in order)], [0] * len(moves))


class _Explorer:
    """The general case: regions and stops. Regions whose formulas are one expression share it."""

    def __init__(self, rows: Derivatives, formulas: Sequence[Node], kept: Node, removed: Node) -> None:
        self._rows = rows
        self._removed = removed
        distinct = list(dict.fromkeys(formulas))
        self._owners = [distinct.index(formula) for formula in formulas]
        self._regions = [sum(1 << r for r, owner in enumerate(self._owners) if owner == at) for at in range(len(distinct))]
        first = (*distinct, kept, rows.build.empty)
        self._numbers: dict[tuple[Node, ...], int] = {first: 1}
        self._order = [first]

    def run(self) -> CharStates:
        moves: list[list[Moves]] = [[[]] for _ in self._regions]
        accepts, stops, holds = [0], [0], [0]
        for state in self._order:
            accepted, stopped = self._judge(state)
            accepts.append(accepted & ~stopped)
            stops.append(stopped)
            holds.append(accepted)
            for at, found in enumerate(self._moves(state, stopped)):
                moves[at].append(found)
            if len(self._order) > MAX_STATES:
                raise LimitExceeded("states")
        alike = all(found == moves[0] for found in moves[1:])
        by_region = moves[:1] if alike else [moves[at] for at in self._owners]
        return CharStates(self._rows.partition, 1, by_region, accepts, stops, holds)

    def _judge(self, state: tuple[Node, ...]) -> tuple[int, int]:
        """The regions in which the formula holds, and those in which a stop ends here."""
        *formulas, kept, begun = state
        holds = sum(regions for regions, node in zip(self._regions, formulas, strict=True) if node.nullable)
        return holds, sum(self._regions) if begun.nullable else holds if kept.nullable else 0

    def _moves(self, state: tuple[Node, ...], stopped: int) -> list[Moves]:
        """The moves by distinct formula; shared between those that agree."""
        made: dict[bool, Moves] = {}
        found: list[Moves] = []
        for at, regions in enumerate(self._regions):
            if stopped & regions:
                found.append([])
                continue
            begin = state[at].nullable and self._removed is not self._rows.build.empty
            if begin not in made:
                made[begin] = self._step(state, begin)
            found.append(made[begin])
        return found

    def _step(self, state: tuple[Node, ...], begin: bool) -> Moves:
        rows, build = self._rows, self._rows.build
        begun = rows.union((rows.row(state[-1]), rows.row(self._removed))) if begin else rows.row(state[-1])
        full = [rows.complete(rows.row(node)) for node in state[:-1]]
        targets: dict[int, int] = {}
        for mask, nodes in rows.product((*full, rows.complete(begun))):
            if all(node is build.empty for node in nodes[:-2]) and nodes[-1] is build.empty:
                continue
            number = self._numbers.get(nodes)
            if number is None:
                number = self._numbers[nodes] = len(self._numbers) + 1
                self._order.append(nodes)
            targets[number] = targets.get(number, 0) | mask
        return [(mask, number) for number, mask in targets.items()]


def _trim(states: CharStates) -> CharStates:
    """The automaton without the states from which no text can end, numbered anew in order."""
    alive = _alive(states)
    if all(alive[1:]):
        return states
    if not alive[states.start]:
        return CharStates(states.partition, 0, [[[]]], [0], [0])
    number, numbers = 0, [0] * len(alive)
    for state in range(1, len(alive)):
        if alive[state]:
            number += 1
            numbers[state] = number
    kept = [state for state in range(len(alive)) if state == 0 or alive[state]]
    moves = [[[(mask, numbers[to]) for mask, to in by_state[state] if alive[to]] for state in kept] for by_state in states.moves]
    holds = None if states.holds is None else [states.holds[s] for s in kept]
    return CharStates(states.partition, 1, moves, [states.accepts[s] for s in kept], [states.stops[s] for s in kept], holds)


def _alive(states: CharStates) -> list[bool]:
    """Which states reach one where the text may end, in some region."""
    sources: list[list[int]] = [[] for _ in states.accepts]
    for by_state in states.moves:
        for state, found in enumerate(by_state):
            for _, to in found:
                sources[to].append(state)
    alive = [bool(a or s) for a, s in zip(states.accepts, states.stops, strict=True)]
    pending = [state for state, ends in enumerate(alive) if ends]
    while pending:
        for state in sources[pending.pop()]:
            if not alive[state]:
                alive[state] = True
                pending.append(state)
    return alive


def nearest_end(states: CharStates) -> int:
    """The number of characters of a shortest text, in any region. The automaton has one."""
    seen, level, length = {states.start}, [states.start], 0
    while not any(states.accepts[state] or states.stops[state] for state in level):
        after = [to for state in level for moves in states.moves for _, to in moves[state]]
        level = [state for state in dict.fromkeys(after) if state not in seen]
        seen.update(level)
        length += 1
    return length
