"""The arrays of a `TextAutomaton` from an automaton over classes of code points."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lmqlc.compiler.automata.automaton import StopPhrase, TextAutomaton
from lmqlc.compiler.automata.explore import CharStates, Moves
from lmqlc.compiler.automata.limits import MAX_BYTE_STATES, MAX_ENTRIES, LimitExceeded
from lmqlc.compiler.automata.partition import Partition
from lmqlc.compiler.automata.utf8 import Template, template

Ints = npt.NDArray[np.int32]
_LEADS, _CONTINUATIONS, _FAN = 0xC0, 0x80, 64
_Use = tuple[int, tuple[int, ...]]
"""The number of a template with the state that each of its targets stands for."""
_SMALL = 8
"""Templates with at most so many inner states are filled in together."""


@dataclass(frozen=True, slots=True)
class _Columns:
    """The byte classes. byte_class: uint8[256]. ascii: column of every class of code points with ASCII members. leads,
    continuations: one representative (index from 0xC0, from 0x80) and the column of every other byte class."""

    byte_class: npt.NDArray[np.uint8]
    ascii: dict[int, int]
    leads: list[tuple[int, int]]
    continuations: list[tuple[int, int]]
    count: int


class _Wide:
    """The states inside characters: which are needed, and where they are numbered."""

    def __init__(self, states: CharStates) -> None:
        self._partition = states.partition
        self._numbers: dict[tuple[int, ...], int] = {}
        self.templates: list[Template] = []
        self.bases: dict[_Use, int] = {}
        self.users: list[defaultdict[_Use, list[int]]] = []
        self.next = len(states.accepts)
        for by_state in states.moves:
            self.users.append(defaultdict(list))
            for state, moves in enumerate(by_state):
                self._add(state, moves)

    def _add(self, state: int, moves: Moves) -> None:
        wide = self._partition.wide
        found = [(mask & wide, to) for mask, to in moves if mask & wide]
        if not found:
            return
        found.sort()
        number = self._template(tuple(mask for mask, _ in found))
        use = (number, tuple(to for _, to in found))
        self.users[-1][use].append(state)
        if use not in self.bases:
            self.bases[use] = self.next
            self.next += len(self.templates[number].inner)
            if self.next > MAX_BYTE_STATES:
                raise LimitExceeded("states")

    def _template(self, masks: tuple[int, ...]) -> int:
        """The number of the template that tells some sets of classes, beyond ASCII, apart."""
        number = self._numbers.get(masks)
        if number is None:
            number = self._numbers[masks] = len(self.templates)
            self.templates.append(template(self._partition, masks))
        return number


def assemble(states: CharStates, regions: Sequence[int], char_limit: int | None, phrases: tuple[StopPhrase, ...]) -> TextAutomaton:
    """The automaton over bytes. Raises LimitExceeded."""
    wide = _Wide(states)
    columns = _columns(states.partition, wide)
    if wide.next * columns.count * len(states.moves) > MAX_ENTRIES:
        raise LimitExceeded("memory")
    delta = np.zeros((len(states.moves), wide.next, columns.count), dtype=np.int32)
    for region, by_state in enumerate(states.moves):
        _fill_ascii(delta[region], by_state, columns, states.partition)
        _fill_wide(delta[region], wide, wide.users[region], columns)
    mixed = len({phrase.keep for phrase in phrases}) == 2
    holds = _bits(states.holds, len(regions), wide.next) if mixed and states.holds is not None else None
    return TextAutomaton(
        delta, columns.byte_class, states.start, _bits(states.accepts, len(regions), wide.next),
        _bits(states.stops, len(regions), wide.next), np.array(regions, dtype=np.int64), char_limit, phrases, holds,
    )  # fmt: skip


def _bits(by_state: list[int], regions: int, count: int) -> npt.NDArray[np.bool_]:
    found = np.zeros((regions, count), dtype=np.bool_)
    for region in range(regions):
        found[region, : len(by_state)] = [bits >> region & 1 for bits in by_state]
    return found


def _columns(partition: Partition, wide: _Wide) -> _Columns:
    """Byte classes: ASCII bytes by class of code points; others where no template tells them apart. Bytes of no character share one."""
    byte_class = np.zeros(256, dtype=np.uint8)
    ascii_columns: dict[int, int] = {}
    mask = partition.ascii
    while mask:
        number = (mask & -mask).bit_length() - 1
        mask &= mask - 1
        column = ascii_columns[number] = len(ascii_columns)
        for low, high in partition.ranges[number]:
            byte_class[low : min(high, 128)] = column
    count = len(ascii_columns)
    byte_class[128:] = count
    shapes = wide.templates
    leads, count = _alike(np.array([shape.leads for shape in shapes]).reshape(-1, _FAN), count + 1, byte_class[_LEADS:])
    inner = np.concatenate([shape.inner for shape in shapes]) if shapes else np.zeros((0, _FAN), dtype=np.int32)
    continuations, count = _alike(inner, count, byte_class[_CONTINUATIONS:_LEADS])
    return _Columns(byte_class, ascii_columns, leads, continuations, count)


def _alike(table: Ints, count: int, byte_class: npt.NDArray[np.uint8]) -> tuple[list[tuple[int, int]], int]:
    """Give equal columns of a table one byte class each, from `count` on; columns of zeros keep theirs."""
    numbers: dict[bytes, int] = {}
    found: list[tuple[int, int]] = []
    columns = np.ascontiguousarray(table.T)
    for at in np.flatnonzero(columns.any(axis=1)).tolist() if table.size else []:
        key = columns[at].tobytes()
        if key not in numbers:
            numbers[key] = count + len(numbers)
            found.append((at, numbers[key]))
        byte_class[at] = numbers[key]
    return found, count + len(numbers)


def _fill_ascii(delta: Ints, by_state: list[Moves], columns: _Columns, partition: Partition) -> None:
    groups: dict[int, tuple[list[int], list[int]]] = {}
    for state, moves in enumerate(by_state):
        for mask, to in moves:
            states, targets = groups.setdefault(mask & partition.ascii, ([], []))
            states.append(state)
            targets.append(to)
    for mask, (states, targets) in groups.items():
        found = [column for number, column in columns.ascii.items() if mask >> number & 1]
        delta[np.array(states)[:, None], np.array(found, dtype=np.intp)] = np.array(targets, dtype=np.int32)[:, None]


def _fill_wide(delta: Ints, wide: _Wide, users: dict[_Use, list[int]], columns: _Columns) -> None:
    """The lead bytes of the states of one region, and the states inside characters."""
    groups: defaultdict[tuple[int, ...], list[_Use]] = defaultdict(list)
    for use in wide.bases:
        count = len(wide.templates[use[0]].inner)
        groups[(len(use[1]), count) if count <= _SMALL else use[:1]].append(use)
    lead_at, lead_to = _pairs(columns.leads)
    inner_at, inner_to = _pairs(columns.continuations)
    for uses in groups.values():
        shapes = [wide.templates[use[0]] for use in uses]
        shapes = shapes if len(shapes[0].inner) <= _SMALL else shapes[:1]
        inner, entries = _entries(wide, uses, len(shapes[0].inner))
        number = np.arange(len(uses))
        found = np.array([shape.inner for shape in shapes])[:, :, inner_at]
        delta[inner[:, :, None], inner_to] = entries[number[:, None, None], found]
        leads = entries[number[:, None], np.array([shape.leads for shape in shapes])[:, lead_at]]
        states = [(state, at) for at, use in enumerate(uses) for state in users.get(use, ())]
        at_state, owners = _pairs(states)
        delta[at_state[:, None], lead_to] = leads[owners]


def _entries(wide: _Wide, uses: list[_Use], count: int) -> tuple[Ints, Ints]:
    """Of uses with equally many targets and inner states: the states inside characters, and what every entry of a template stands for."""
    bases = np.array([wide.bases[use] for use in uses], dtype=np.int32)
    known = np.array([(0, *use[1]) for use in uses], dtype=np.int32)
    inner = np.add(bases[:, None], np.arange(count, dtype=np.int32), dtype=np.int32)
    return inner, np.concatenate([known, inner], axis=1, dtype=np.int32)


def _pairs(found: list[tuple[int, int]]) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    both = np.array(found, dtype=np.intp).reshape(-1, 2)
    return both[:, 0], both[:, 1]
