"""The local alphabet of one expression: code points that no set in it tells apart form one class.

Sets of classes are Python integers used as bit sets: bit k stands for class k. Classes are numbered in order of their first code
point; surrogates belong to none.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from lmqlc.compiler.automata.charset import LIMIT, CharSet

_SURROGATES = (0xD800, 0xE000)
_ASCII_END = 0x80


class Partition:
    """The classes of a family of sets.

    ranges: the half-open ranges of every class, in order. full: all classes. ascii: those with ASCII members. wide: those with others.
    """

    def __init__(self, sets: Iterable[CharSet]) -> None:
        """A family of sets over code points; the classes are the coarsest that every set is a union of."""
        self._masks: dict[CharSet, int] = {}
        events: defaultdict[int, int] = defaultdict(int)
        family = list(dict.fromkeys(sets))
        for number, chars in enumerate(family):
            for cut in chars.cuts:
                events[cut] ^= 1 << number
        for cut in (0, _ASCII_END, *_SURROGATES):
            events[cut] ^= 0
        self.ranges: list[list[tuple[int, int]]] = []
        members = self._sweep(events)
        self.full = (1 << len(self.ranges)) - 1
        self.ascii = sum(1 << k for k, found in enumerate(self.ranges) if found[0][0] < _ASCII_END)
        self.wide = sum(1 << k for k, found in enumerate(self.ranges) if found[-1][1] > _ASCII_END)
        for number, chars in enumerate(family):
            self._masks[chars] = members[number]

    def _sweep(self, events: dict[int, int]) -> defaultdict[int, int]:
        """Fill `ranges` from the cuts of all sets; the classes of every set, by its number."""
        classes: dict[int, int] = {}
        members: defaultdict[int, int] = defaultdict(int)
        signature, cuts = 0, sorted(events)
        for cut, end in zip(cuts, (*cuts[1:], LIMIT), strict=True):
            signature ^= events[cut]
            if cut == _SURROGATES[0] or cut >= LIMIT or _SURROGATES[0] < cut < _SURROGATES[1]:
                continue
            number = classes.get(signature)
            if number is None:
                number = classes[signature] = len(self.ranges)
                self.ranges.append([])
                rest = signature
                while rest:
                    low = rest & -rest
                    members[low.bit_length() - 1] |= 1 << number
                    rest ^= low
            found = self.ranges[number]
            if found and found[-1][1] == cut:
                found[-1] = (found[-1][0], end)
            else:
                found.append((cut, end))
        return members

    def mask(self, chars: CharSet) -> int:
        """The classes of a set that is a union of classes."""
        mask = self._masks.get(chars)
        if mask is None:
            mask = sum(1 << k for k, found in enumerate(self.ranges) if found[0][0] in chars)
            self._masks[chars] = mask
        return mask

    def class_of(self, code: int) -> int:
        """The class of a code point; -1 for a surrogate."""
        for number, found in enumerate(self.ranges):
            if any(low <= code < high for low, high in found):
                return number
        return -1
