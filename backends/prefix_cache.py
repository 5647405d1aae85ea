"""Key/value caches of sequences a model has read, so that a prefix is computed once, whoever asks for it again.

A `Branch` is one id sequence and where its keys and values lie: a row of a transformers cache, after `pad` positions of padding. Keys and
values that were computed never change, caches only grow behind them (`lmqlc.backends.growing`); so several branches may look into one
cache, and a branch is forked at any length by slicing, without copying. Shapes: `[rows, heads, positions, size of a head]`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lmqlc.backends.base import DEFAULT_CACHE_BYTES
from lmqlc.backends.growing import GrowingLayer, growing_cache

MAX_BRANCHES = 64
"""Most sequences kept; a bound on the time a look-up takes."""

_WEIGH_EVERY = 16  # calls between two looks at the memory: weighing takes as long as a fast call itself


@dataclass(slots=True, eq=False)
class Branch:
    """The keys and values of `ids`: positions `pad` to `pad + len(ids)` of row `row` of `cache` (None for no ids)."""

    ids: list[int]
    cache: Any
    row: int = 0
    pad: int = 0


def shared_length(a: list[int], b: list[int], limit: int) -> int:
    """How many ids two sequences begin with in common, at most `limit`."""
    low, high = 0, min(len(a), len(b), limit)
    if a[:high] == b[:high]:
        return high
    while low < high:
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def fork(branch: Branch, length: int) -> Branch:
    """A branch of its own for the first `length` ids; its tensors are views of the old ones. Needs layers that only append."""
    rows, positions = slice(branch.row, branch.row + 1), slice(branch.pad, branch.pad + length)
    layers = [layer.like(layer.keys[rows, :, positions], layer.values[rows, :, positions]) for layer in branch.cache.layers]
    return Branch(branch.ids[:length], growing_cache(layers))


def repeated(branch: Branch, rows: int) -> Any:
    """A cache with the branch in each of its rows; the branch stays as it is."""
    layers = fork(branch, len(branch.ids)).cache.layers
    return growing_cache([layer.like(layer.keys.expand(rows, -1, -1, -1), layer.values.expand(rows, -1, -1, -1)) for layer in layers])


def gather(branches: Sequence[Branch]) -> tuple[Any, list[int]]:
    """One cache with a row for each branch, all of it read, shorter ones padded on the left; and the padding of each row.

    A cache whose rows are exactly the branches is taken over as it is.
    """
    longest = max(len(branch.ids) for branch in branches)
    if _is_whole(branches, longest):
        return branches[0].cache, [branch.pad for branch in branches]
    pads = [longest - len(branch.ids) for branch in branches]
    layers = [_gathered(index, branches, pads) for index in range(len(branches[0].cache.layers))]
    return growing_cache(layers), pads


def _is_whole(branches: Sequence[Branch], longest: int) -> bool:
    """Whether the branches are the rows of one cache, in order and to its end."""
    cache = branches[0].cache
    keys = cache.layers[0].keys
    if keys.shape[0] != len(branches) or keys.shape[2] != longest:
        return False
    return all(b.cache is cache and b.row == i and b.pad + len(b.ids) == longest for i, b in enumerate(branches))


def _gathered(index: int, branches: Sequence[Branch], pads: Sequence[int]) -> GrowingLayer:
    layers: list[GrowingLayer] = [branch.cache.layers[index] for branch in branches]
    keys = _stacked([layer.keys for layer in layers], branches, pads)
    return layers[0].like(keys, _stacked([layer.values for layer in layers], branches, pads))


def _stacked(tensors: Sequence[Any], branches: Sequence[Branch], pads: Sequence[int]) -> Any:
    """One tensor from each branch's row of its own, padded on the left with zeros."""
    longest = pads[0] + len(branches[0].ids)
    stacked = tensors[0].new_zeros((len(branches), tensors[0].shape[1], longest, tensors[0].shape[3]))
    for i, (tensor, branch, pad) in enumerate(zip(tensors, branches, pads, strict=True)):
        stacked[i, :, pad:] = tensor[branch.row, :, branch.pad : branch.pad + len(branch.ids)]
    return stacked


class PrefixCache:
    """The branches kept, most recently used last, within a number of bytes."""

    def __init__(self, budget: int = DEFAULT_CACHE_BYTES) -> None:
        self.budget = budget
        self._branches: list[Branch] = []
        self._added = 0

    def __len__(self) -> int:
        return len(self._branches)

    def find(self, ids: list[int], limit: int) -> tuple[Branch | None, int]:
        """The branch that begins with most of `ids`, and how many ids that is, at most `limit`; (None, 0) where none does."""
        best, length = None, 0
        for branch in reversed(self._branches):
            shared = shared_length(branch.ids, ids, limit)
            if shared > length or (shared == length > 0 and best is not None and len(branch.ids) < len(best.ids)):
                best, length = branch, shared
            if length == limit and best is branch and len(branch.ids) == limit:
                break
        return best, length

    def find_whole(self, ids: list[int], limit: int) -> Branch | None:
        """The longest branch all of which `ids` begins with, of at most `limit` ids."""
        whole = [b for b in self._branches if len(b.ids) <= limit and ids[: len(b.ids)] == b.ids]
        return max(whole, key=lambda b: len(b.ids), default=None)

    def newest_are(self, sequences: Sequence[list[int]]) -> bool:
        """Whether the branches used last are these sequences, in order."""
        return [branch.ids for branch in self._branches[-len(sequences) :]] == sequences

    def remove(self, branch: Branch) -> None:
        """Forgets a branch, if it is kept."""
        if branch in self._branches:
            self._branches.remove(branch)

    def add(self, branches: Sequence[Branch]) -> None:
        """Keeps branches as the most recently used, and forgets the oldest ones beyond the limits."""
        self._branches += branches
        while len(self._branches) > max(MAX_BRANCHES, len(branches)):
            self._branches.pop(0)
        self._added += 1
        if self._added % _WEIGH_EVERY == 0:
            while len(self._branches) > len(branches) and self.bytes() > self.budget:
                self._branches.pop(0)

    def bytes(self) -> int:
        """Memory of the keys and values, each cache counted once."""
        caches = {id(branch.cache): branch.cache for branch in self._branches}
        return sum(cache_bytes(cache) for cache in caches.values())

    def clear(self) -> None:
        self._branches.clear()


def cache_bytes(cache: Any) -> int:
    """Memory of a cache's keys and values."""
    tensors = [t for layer in cache.layers for t in (layer.keys, layer.values) if t is not None]
    return sum(t.numel() * t.element_size() for t in tensors)
