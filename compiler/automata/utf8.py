"""Rows over classes of code points become rows over bytes of UTF-8.

A state's row sends ASCII bytes straight to states. Longer characters go through states of their own, shaped by how the classes lie
among the code points: a *template*, built once for every way to tell the classes beyond ASCII apart and filled in per state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from lmqlc.compiler.automata.partition import Partition

Ints = npt.NDArray[np.int32]
Piece = tuple[int, int, int]
"""A half-open range of code points and the number of what follows it."""

_SECTIONS = ((0x80, 0x800, 0xC0, 0x40), (0x800, 0x10000, 0xE0, 0x1000), (0x10000, 0x110000, 0xF0, 0x40000))
"""First and end code point of every length, its first lead byte, code points per lead byte."""
_FAN = 64


@dataclass(frozen=True, slots=True)
class Template:
    """The states inside characters. Entries: 0 dead, 1 … targets the target of that number, targets + 1 + i the inner state i.

    leads: int32[64], by lead byte from 0xC0. inner: int32[n, 64], by continuation byte from 0x80.
    """

    leads: Ints
    inner: Ints


def template(partition: Partition, masks: Sequence[int]) -> Template:
    """The template that leads from the classes in `masks[i]` to target i + 1; classes in none are dead."""
    return _template(tuple(_pieces(partition, masks)), len(masks))


@lru_cache(maxsize=64)
def _template(pieces: tuple[Piece, ...], targets: int) -> Template:
    return _Shape(targets).build(pieces)


def _pieces(partition: Partition, masks: Sequence[int]) -> list[Piece]:
    """All code points from 0x80 as pieces in order. The most frequent target is not listed but fills the gaps."""
    rest = partition.wide
    for mask in masks:
        rest &= ~mask
    groups = [rest, *masks]
    common = max(range(len(groups)), key=lambda number: (groups[number] & partition.wide).bit_count())
    listed: list[Piece] = [(0xD800, 0xE000, 0)]
    for number, mask in enumerate(groups):
        if number != common:
            listed += _ranges(partition, mask & partition.wide, number)
    listed.sort()
    pieces, at = [], 0x80
    for low, high, number in listed:
        if at < low:
            pieces.append((at, low, common))
        pieces.append((low, high, number))
        at = high
    if at < 0x110000:
        pieces.append((at, 0x110000, common))
    return pieces


def _ranges(partition: Partition, mask: int, number: int) -> list[Piece]:
    found = []
    while mask:
        low = mask & -mask
        mask ^= low
        found += [(max(a, 0x80), b, number) for a, b in partition.ranges[low.bit_length() - 1] if b > 0x80]
    return found


class _Shape:
    """Builds a template; equal inner states are built once."""

    def __init__(self, targets: int) -> None:
        self._first = targets + 1
        self._inner: dict[tuple[int, ...], int] = {}

    def build(self, pieces: tuple[Piece, ...]) -> Template:
        leads = [0] * _FAN
        for start, end, lead, span in _SECTIONS:
            inside = [(max(low, start), min(high, end), number) for low, high, number in pieces if low < end and high > start]
            for at, entry in enumerate(self._row(inside, 0, span)):
                if entry:
                    leads[lead - 0xC0 + at] = entry
        inner = np.array(list(self._inner), dtype=np.int32).reshape(-1, _FAN)
        return Template(np.array(leads, dtype=np.int32), inner)

    def _row(self, pieces: list[Piece], base: int, span: int) -> list[int]:
        """Up to 64 entries for the blocks of `span` code points from `base` on."""
        row: list[int] = [0] * _FAN
        partial: dict[int, list[Piece]] = {}
        for low, high, number in pieces:
            first, last = -((base - low) // span), (high - base) // span
            if first < last:
                row[first:last] = [self._whole(number, span)] * (last - first)
            if first > last:  # inside one block
                partial.setdefault(last, []).append((low, high, number))
                continue
            if low < base + first * span:
                partial.setdefault(first - 1, []).append((low, base + first * span, number))
            if high > base + last * span:
                partial.setdefault(last, []).append((base + last * span, high, number))
        for at, inside in partial.items():
            row[at] = self._state(self._row(inside, base + at * span, span // _FAN))
        return row

    def _whole(self, number: int, span: int) -> int:
        """The entry for a block all of whose characters lead to one target."""
        while span > 1 and number:
            number = self._state([number] * _FAN)
            span //= _FAN
        return number

    def _state(self, row: list[int]) -> int:
        if not any(row):
            return 0
        return self._inner.setdefault(tuple(row), self._first + len(self._inner))
