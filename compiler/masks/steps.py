"""An automaton's transitions laid out for walking tokens: stops absorbed, overrun counted, regions of token counts side by side.

A *value* is where a token leads: a state `0 <= v < S` (0 is dead), or `S + a`: a stop was reached inside or at the end of the token, and
the token begins `a` code points past it (always 0 where characters are not counted). Values are `0 <= v < width`.

A *pair* says in which regions of token counts a token is read: its first byte in the region of the count before it, its other bytes,
and the stops it meets, in the region of the count with it. That is pair `2 r` within region r and `2 r + 1` from r to r + 1; automata
whose transitions and stops are the same in every region have the one pair 0.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import numpy.typing as npt

from lmqlc.compiler.automata.automaton import TextAutomaton

Values = npt.NDArray[np.intp]
Table = npt.NDArray[np.int32]

_LEAD = np.array([not 0x80 <= byte < 0xC0 for byte in range(256)])
"""bool[256]: the byte begins a code point."""


class Steps:
    """Tables of one automaton over S states, R regions, P pairs, `width` values and B byte classes.

    Byte tables are laid out when first asked for: a linked automaton that is read from a file may never need them. Global values are
    `region * width + value`, with 0 for dead in every region.
    """

    def __init__(self, automaton: TextAutomaton, width: int) -> None:
        self.automaton = automaton
        self.width = width
        self.counts_chars = automaton.char_limit is not None
        self.states: int = automaton.delta.shape[1]
        self.bounds: list[int] = automaton.token_bounds.tolist()
        self.pairs = 2 * len(self.bounds) - 1 if regions_differ(automaton) else 1

    @property
    def classes(self) -> int:
        """B; classes of the automaton, split where characters must be counted past a stop."""
        return len(self._classes[1])

    @property
    def byte_class(self) -> npt.NDArray[np.uint8]:
        """uint8[256], the class of every byte."""
        return self._classes[0]

    @cached_property
    def _classes(self) -> tuple[npt.NDArray[np.uint8], Values]:
        return _byte_classes(self.automaton.byte_class, self.width > self.states + 1)

    @property
    def first(self) -> list[Table]:
        """By pair: int32[S, B], global values after a token's first byte."""
        return self._tables[0]

    @property
    def rest(self) -> Table:
        """int32[R' * width, B], global value after a global value and a byte; R' is 1 where P is 1."""
        return self._tables[1]

    @cached_property
    def _tables(self) -> tuple[list[Table], Table]:
        automaton, states, width = self.automaton, self.states, self.width
        byte_class, old = self._classes
        regions = (self.pairs + 1) // 2
        rest = np.zeros((regions * width, len(old)), np.int32)
        first = []
        for region in range(regions):
            inside = automaton.delta[region % len(automaton.delta)]
            inside = inside if np.array_equal(old, np.arange(inside.shape[1])) else inside[:, old]
            here = rest[region * width : (region + 1) * width]
            _absorb(automaton, region, inside, here[:states], width)
            here[states:] = _overrun(states, width - states, byte_class, len(old)) + region * width
            first.append(here[:states])
            if region + 1 < regions:
                first.append(_absorb(automaton, region + 1, inside, np.zeros(inside.shape, np.int32), width))
        return first, rest

    def region(self, count: int) -> int:
        """The region in which a count of tokens lies."""
        region = len(self.bounds) - 1
        while self.bounds[region] > count:
            region -= 1
        return region

    def pair(self, count: int) -> int:
        """The pair in which the token after `count` others is read."""
        if self.pairs == 1:
            return 0
        before = self.region(count)
        return 2 * before + self.region(count + 1) - before

    def bytes_to_stop(self, q: int, token: bytes, pair: int) -> int:
        """Bytes of a token up to the first stop; all of them where there is none."""
        width, states = self.width, self.states
        value = int(self.first[pair][q, self.byte_class[token[0]]])
        for read in range(1, len(token)):
            if value % width >= states:
                return read
            value = int(self.rest[value, self.byte_class[token[read]]])
        return len(token)

    @cached_property
    def only_byte(self) -> list[int | None]:
        """The byte of every byte class that holds a single one, None for the others."""
        members = [np.flatnonzero(self.byte_class == number) for number in range(self.classes)]
        return [int(found[0]) if len(found) == 1 else None for found in members]

    @cached_property
    def leads(self) -> Table:
        """int32[B], code points that a byte of each class begins; 0 where characters are not counted."""
        leads = np.zeros(self.classes, np.int32)
        if self.counts_chars:
            leads[self.byte_class] = _LEAD
        return leads


def regions_differ(automaton: TextAutomaton) -> bool:
    """Whether the way a token is read depends on the count of tokens."""
    return automaton.delta.shape[0] > 1 or bool((automaton.stops != automaton.stops[0]).any())


def values_of(automaton: TextAutomaton, max_chars: int) -> int:
    """How many values an automaton's tokens lead to. max_chars: the most code points that one token of the vocabulary begins."""
    overruns = max_chars + 1 if automaton.char_limit is not None and bool(automaton.stops.any()) else 1
    return int(automaton.delta.shape[1]) + overruns


def _byte_classes(byte_class: npt.NDArray[np.uint8], split: bool) -> tuple[npt.NDArray[np.uint8], Values]:
    """Byte classes, split into first and continuation bytes of characters if asked; and the old class of every new one."""
    keys = byte_class.astype(np.intp) * 2 + (_LEAD if split else 0)
    found, classes = np.unique(keys, return_inverse=True)
    return classes.astype(np.uint8), found // 2


def _absorb(automaton: TextAutomaton, region: int, states: npt.NDArray[np.int32], found: Table, width: int) -> Table:
    """Fill `found` with the global values of next states that are reached in a region."""
    values = np.arange(automaton.delta.shape[1], dtype=np.int32)
    values[automaton.stops[region]] = len(values)
    values[1:] += region * width
    values[0] = 0
    return np.take(values, states, out=found, mode="clip")


def _overrun(states: int, overruns: int, byte_class: npt.NDArray[np.uint8], classes: int) -> Values:
    """Values after a byte that follows a stop: one more code point past it where the byte begins one."""
    lead = np.zeros(classes, np.intp)
    lead[byte_class] = _LEAD if overruns > 1 else 0
    past = np.minimum(np.arange(overruns)[:, None] + lead, overruns - 1)
    values: Values = states + past
    return values
