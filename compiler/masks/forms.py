"""Masks as they are kept and applied: packed bits, short lists of ids, rows of limits.

A mask over V tokens is uint32[ceil(V / 32)]: bit `i % 32` of word `i // 32` says that token `i` is allowed; bits from V on are zero.
Setting scores by a list of ids costs next to nothing where few tokens are allowed, or few forbidden; between, the minimum with a row
of +inf and -inf is one pass over the scores. Masks that come from an automaton remember these forms, once per distinct mask.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol
from weakref import WeakValueDictionary

import numpy as np
import numpy.typing as npt

from lmqlc.compiler.masks.interface import Bits, Ids

Scores = npt.NDArray[np.float32]

ROWS = 64
"""Rows of limits kept at a time (0.4 MB each for 100,000 tokens)."""
FEW = 0.05
"""Up to this share of the tokens, a mask is applied by the ids that it allows, or forbids."""


class Mask:
    """One distinct mask and its forms.

    bits: read-only. allowed: number of tokens allowed; `ids` the ids of the rarer kind, which `lists_allowed` names.
    """

    __slots__ = ("__weakref__", "_ids", "_row", "allowed", "bits", "width")

    def __init__(self, bits: Bits, width: int, allowed: int) -> None:
        bits.flags.writeable = False
        self.bits = bits
        self.width = width
        self.allowed = allowed
        self._ids: Ids | None = None
        self._row: Scores | None = None
        _masks[id(bits)] = self

    @property
    def lists_allowed(self) -> bool:
        return 2 * self.allowed <= self.width

    @property
    def ids(self) -> Ids:
        """Ids of the allowed tokens, or of the forbidden ones where those are fewer."""
        if self._ids is None:
            flags = unpack(self.bits, self.width)
            self._ids = np.flatnonzero(flags if self.lists_allowed else ~flags)
        return self._ids

    @property
    def has_row(self) -> bool:
        """Whether `row` is in memory."""
        return self._row is not None

    @property
    def row(self) -> Scores:
        """float32[width]: +inf where allowed, -inf where not."""
        if self._row is None:
            if len(_with_row) >= ROWS:
                _with_row.popleft()._row = None
            self._row = np.where(unpack(self.bits, self.width), np.float32(np.inf), np.float32(-np.inf))
            _with_row.append(self)
        return self._row

    def apply(self, scores: Scores) -> None:
        """Set the scores of forbidden tokens to -inf, in place."""
        rare = min(self.allowed, self.width - self.allowed)
        if rare > FEW * self.width:
            np.minimum(scores, self.row, out=scores)
        elif self.lists_allowed:
            kept = scores[self.ids]
            scores.fill(-np.inf)
            scores[self.ids] = kept
        else:
            scores[self.ids] = -np.inf


_with_row: deque[Mask] = deque()
_masks: WeakValueDictionary[int, Mask] = WeakValueDictionary()
"""Masks by the identity of their bits. A mask holds its bits, so an identity found here is never that of another array."""


def words(width: int) -> int:
    """uint32 words of a mask over `width` tokens."""
    return -(-width // 32)


def pack(flags: npt.NDArray[np.bool_]) -> Bits:
    """The mask of bool[V]."""
    packed = np.zeros(4 * words(len(flags)), np.uint8)
    packed[: -(-len(flags) // 8)] = np.packbits(flags, bitorder="little")
    return packed.view("<u4").astype(np.uint32, copy=False)


def unpack(bits: Bits, width: int) -> npt.NDArray[np.bool_]:
    """bool[V] of a mask; words that are missing count as zero."""
    raw = np.ascontiguousarray(bits, "<u4").view(np.uint8)
    return np.unpackbits(raw, count=width, bitorder="little").view(np.bool_)


def allows(bits: Bits, token_id: int) -> bool:
    """Whether a mask allows a token; ids outside the mask are not allowed."""
    word = token_id >> 5
    return 0 <= word < len(bits) and bool((int(bits[word]) >> (token_id & 31)) & 1)


def apply(scores: Scores, bits: Bits) -> None:
    """Set the scores of forbidden tokens to -inf, in place. scores: float32[V] or more; beyond the mask nothing is allowed."""
    mask = _masks.get(id(bits))
    if mask is not None and mask.width == len(scores):
        mask.apply(scores)
    else:
        scores[~unpack(bits, len(scores))] = -np.inf


class Classes(Protocol):
    """What a pool needs to know of token classes: the tokens of some of them, and the tokens by class, empty where they are not listed."""

    @property
    def listed(self) -> list[Ids]: ...

    def flags(self, allowed: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]: ...


class MaskPool:
    """The distinct masks of one automaton over `width` tokens, each built once."""

    def __init__(self, width: int) -> None:
        self.width = width

    def build(self, classes: Classes, allowed: npt.NDArray[np.bool_], extra: Ids) -> Mask:
        """The mask of the tokens of some classes (`allowed`, by class) and of `extra` tokens."""
        flags = self._by_member(classes.listed, allowed) if classes.listed else classes.flags(allowed)
        flags[extra] = True
        return Mask(pack(flags), self.width, int(np.count_nonzero(flags)))

    def _by_member(self, members: list[Ids], allowed: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """The flags of the tokens of allowed classes, set by the lists of the rarer kind."""
        yes, no = np.flatnonzero(allowed), np.flatnonzero(~allowed)
        count = sum(len(members[k]) for k in yes)
        dense = 2 * count > self.width
        flags = np.full(self.width, dense)
        for k in no if dense else yes:
            flags[members[k]] = not dense
        return flags

    def extend(self, bits: Bits, allowed: int, extra: Ids) -> Mask:
        """The mask that allows `extra` tokens too; a mask without any is kept where it lies."""
        if not len(extra):
            return Mask(bits.view(), self.width, allowed)
        longer = bits.copy()
        for token in extra.tolist():
            bit = 1 << (token & 31)
            allowed += not int(longer[token >> 5]) & bit
            longer[token >> 5] |= np.uint32(bit)
        return Mask(longer, self.width, allowed)
