"""Text that a constraint leaves no choice about."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lmqlc.compiler.masks.counters import FOREVER
from lmqlc.compiler.masks.steps import Steps

LONGEST = 1 << 18
"""Bytes of forced text found at once."""
_ROWS = 1024
"""States whose only bytes are found at once."""
_WALKS = 64
"""Walks remembered."""


@dataclass(frozen=True, slots=True)
class Walk:
    """A text without a choice. data: whole characters. q, room: where the automaton stands behind it."""

    data: bytes
    q: int
    room: int


class ForcedText:
    """The texts without a choice of one automaton, in its last region of token counts.

    costs: int32[width], code points to finish with, by value.
    """

    def __init__(self, steps: Steps, costs: npt.NDArray[np.int32]) -> None:
        region = len(steps.bounds) - 1
        self._steps = steps
        self._costs = costs
        self._first = steps.first[2 * region if steps.pairs > 1 else 0]
        self._accepts: list[bool] = steps.automaton.accepts[region].tolist()
        self._most = int(costs[costs < FOREVER].max(initial=0))
        self._rows: dict[int, tuple[list[int], list[int]]] = {}
        self._walks: OrderedDict[tuple[int, int], Walk] = OrderedDict()
        self._long: tuple[Walk, dict[tuple[int, int], int]] | None = None

    def begins(self, q: int, room: int) -> bool:
        """Whether there is such a text after a state."""
        return not (room >= 0 and self._accepts[q]) and self._next(q, room)[0] >= 0

    def after(self, q: int, room: int) -> Walk:
        """The text after a state, up to where another byte could follow or the text may end. The stop that it reaches ends it.

        room: code points left of the text's limit; 0 where there is none.
        """
        key = (q, room)
        walk = self._walks.get(key)
        if walk is None:
            walk = self._part(key) or self._walk(q, room)
            self._walks[key] = walk
            while len(self._walks) > _WALKS:
                self._walks.popitem(last=False)
        return walk

    def _part(self, key: tuple[int, int]) -> Walk | None:
        """What is left of the long walk that was made last, where it comes by."""
        if self._long is None:
            return None
        walk, places = self._long
        place = places.get(key)
        return None if place is None else Walk(whole_beginning(walk.data[place:]), walk.q, walk.room)

    def _walk(self, q: int, room: int) -> Walk:
        text, places = bytearray(), [(q, room)]
        while len(text) < LONGEST and not (room >= 0 and self._accepts[q]):
            byte, value, lead = self._next(q, room)
            if byte < 0:
                break
            text.append(byte)
            q, room = value, room - lead
            places.append((q, room))
            if q >= self._steps.states:
                break
        data = whole_beginning(bytes(text))
        walk = Walk(data, *places[len(data)])
        if len(data) > _ROWS:
            self._long = walk, dict(zip(places, range(len(data) + 1), strict=False))
        return walk

    def _next(self, q: int, room: int) -> tuple[int, int, int]:
        """The only byte that may follow (-1: there are more, or none), where it leads, and the code points it begins."""
        steps = self._steps
        block = q // _ROWS
        rows = self._rows.get(block)
        if rows is None:
            rows = self._rows[block] = self._only(block * _ROWS)
        kind, value = rows[0][q % _ROWS], rows[1][q % _ROWS]
        if kind < 0 and steps.counts_chars and room <= self._most:
            values = self._first[q] % steps.width
            following = np.flatnonzero((values != 0) & (self._costs.take(values) + steps.leads <= room))
            if len(following) == 1:
                kind, value = int(following[0]), int(values[following[0]])
        byte = steps.only_byte[kind] if kind >= 0 else None
        return (-1, 0, 0) if byte is None else (byte, value, int(steps.leads[kind]))

    def _only(self, start: int) -> tuple[list[int], list[int]]:
        """For some states, the one class of bytes that may follow where room does not matter, -1 where not one may, and where it leads."""
        values = self._first[start : start + _ROWS] % self._steps.width
        live = (values != 0) & (self._costs.take(values) < FOREVER)
        kinds = live.argmax(axis=1)
        return np.where(live.sum(axis=1) == 1, kinds, -1).tolist(), values[np.arange(len(values)), kinds].tolist()


def common_beginning(one: bytes, other: bytes) -> bytes:
    """What two texts begin with."""
    size = next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return one[:size]


def whole_beginning(text: bytes) -> bytes:
    """The longest beginning that is whole characters; empty where the text begins inside one."""
    if text and text[0] & 0xC0 == 0x80:
        return b""
    for end in range(len(text), max(len(text) - 4, 0), -1):
        try:
            text[:end].decode()
        except UnicodeDecodeError:
            continue
        return text[:end]
    return b""
