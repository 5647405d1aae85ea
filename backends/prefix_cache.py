"""Key/value caches of sequences a model has read, so that a prefix is computed once, whoever asks for it again.

A `Branch` is one id sequence and where its keys and values lie: a row of a transformers cache, after `pad` positions of padding. Keys and
values that were computed never change, caches only grow behind them (`lmqlc.backends.growing`); so several branches may look into one
cache, and a branch is forked at any length by slicing, without copying. Shapes: `[rows, heads, positions, size of a head]`.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

import torch

from lmqlc.backends.base import DEFAULT_CACHE_BYTES
from lmqlc.backends.growing import GrowingLayer, growing_cache
from lmqlc.backends.prefix_tree import Node, PrefixTree

MAX_BRANCHES = 4096
"""Most sequences kept, so that those of tiny models take no memory without end either."""


@dataclass(slots=True, eq=False)
class Branch:
    """The keys and values of `ids`: positions `pad` to `pad + len(ids)` of row `row` of `cache` (None for no ids).

    storage: what tells its memory apart, while it is kept. stays: others go on from it, and leave it as it is, where layers forget; anchor:
    the one of those that this one goes on from.
    """

    ids: list[int]
    cache: Any
    row: int = 0
    pad: int = 0
    storage: int = 0
    stays: bool = False
    anchor: Branch | None = None


def fork(branch: Branch, length: int) -> Branch:
    """A branch of its own for the first `length` ids; its tensors are views of the old ones. Needs layers that only append."""
    rows, positions = slice(branch.row, branch.row + 1), slice(branch.pad, branch.pad + length)
    layers = [layer.like(layer.keys[rows, :, positions], layer.values[rows, :, positions]) for layer in branch.cache.layers]
    return Branch(branch.ids[:length], growing_cache(layers))


def repeated(branch: Branch, rows: int) -> Any:
    """A cache with the branch in each of its rows; the branch stays as it is."""
    layers = fork(branch, len(branch.ids)).cache.layers
    return growing_cache([layer.like(layer.keys.expand(rows, -1, -1, -1), layer.values.expand(rows, -1, -1, -1)) for layer in layers])


def repeated_whole(branch: Branch, rows: int) -> Any:
    """`repeated` for layers that may forget: they never write into the tensors that they hold, but make longer ones."""
    layers = []
    for layer in branch.cache.layers:
        layers.append(copy(layer))
        layers[-1].keys, layers[-1].values = layer.keys.expand(rows, -1, -1, -1), layer.values.expand(rows, -1, -1, -1)
    return growing_cache(layers)


def gather(branches: Sequence[Branch]) -> tuple[Any, list[int]]:
    """One cache with a row for each branch, all of it read, shorter ones padded on the left; and the padding of each row.

    A cache whose rows are exactly the branches is taken over as it is; where all are rows of one cache, to its end, rows are copied whole.
    """
    longest = max(len(branch.ids) for branch in branches)
    if _is_whole(branches, longest):
        return branches[0].cache, [branch.pad for branch in branches]
    if _are_rows(branches):
        layers = branches[0].cache.layers
        rows = torch.tensor([branch.row for branch in branches], device=layers[0].keys.device)
        return growing_cache([layer.picked(rows) for layer in layers]), [branch.pad for branch in branches]
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


def _are_rows(branches: Sequence[Branch]) -> bool:
    """Whether the branches are rows of one cache, each to its end, the longest one without padding."""
    cache = branches[0].cache
    end = cache.layers[0].keys.shape[2]
    return min(b.pad for b in branches) == 0 and all(b.cache is cache and b.pad + len(b.ids) == end for b in branches)


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
    """The branches kept, within a number of bytes: those used longest ago go first. A sequence is kept once.

    Found by a radix tree over their ids, so that a look-up takes as long with thousands of sequences as with one. Memory is counted by the
    storage that keys and values lie in, once for all branches that look into it, since it is free only when none does.
    """

    def __init__(self, budget: int = DEFAULT_CACHE_BYTES) -> None:
        self.budget = budget
        self._tree: PrefixTree[Branch] = PrefixTree()
        self._places: dict[Branch, Node[Branch]] = {}  # least recently used first
        self._storages: dict[int, _Storage] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._places)

    def find(self, ids: list[int], limit: int) -> tuple[Branch | None, int]:
        """The branch that begins with most of `ids`, and how many ids that is, at most `limit`; (None, 0) where none does."""
        return self._tree.longest(ids, limit)

    def find_whole(self, ids: list[int], limit: int) -> Branch | None:
        """The longest branch all of which `ids` begins with, of at most `limit` ids."""
        return self._tree.whole(ids, limit)

    def newest_are(self, sequences: Sequence[list[int]]) -> bool:
        """Whether the branches used last are these sequences, in order."""
        if len(self._places) < len(sequences):
            return False
        return all(branch.ids == ids for branch, ids in zip(reversed(self._places), reversed(sequences), strict=False))

    def remove(self, branch: Branch) -> None:
        """Forgets a branch, if it is kept."""
        node = self._places.pop(branch, None)
        if node is not None:
            self._tree.drop(node)
            self._release(branch)

    def add(self, branches: Sequence[Branch]) -> None:
        """Keeps branches as the most recently used, and forgets the oldest ones beyond the limits."""
        for branch in branches:
            self.remove(branch)
            node, before = self._tree.put(branch.ids, branch)
            if before is not None:
                del self._places[before]
                self._release(before)
            self._places[branch] = node
            self._hold(branch)
        while len(self._places) > len(branches) and (len(self._places) > MAX_BRANCHES or self._bytes > self.budget):
            self.remove(next(iter(self._places)))

    def _hold(self, branch: Branch) -> None:
        key = branch.storage = storage_of(branch.cache)
        held = self._storages.get(key)
        if held is None:
            held = self._storages[key] = _Storage(storage_bytes(branch.cache))
            self._bytes += held.bytes
        held.branches += 1

    def _release(self, branch: Branch) -> None:
        held = self._storages[branch.storage]
        held.branches -= 1
        if not held.branches:
            del self._storages[branch.storage]
            self._bytes -= held.bytes

    def bytes(self) -> int:
        """Memory of the keys and values, room that is set aside for more included."""
        return self._bytes

    def clear(self) -> None:
        self._tree = PrefixTree()
        self._places.clear()
        self._storages.clear()
        self._bytes = 0


@dataclass(slots=True)
class _Storage:
    """Memory, and how many of the branches kept look into it."""

    bytes: int
    branches: int = 0


def storage_of(cache: Any) -> int:
    """What tells the memory of caches apart: that of one layer stands for all."""
    keys = next((layer.keys for layer in cache.layers if layer.keys is not None), None)
    return id(cache) if keys is None else int(keys.untyped_storage().data_ptr())


def storage_bytes(cache: Any) -> int:
    """Memory that a cache's keys and values lie in."""
    tensors = [t for layer in cache.layers for t in (layer.keys, layer.values) if t is not None]
    return sum(t.untyped_storage().nbytes() for t in tensors)


def cache_bytes(cache: Any) -> int:
    """Memory of a cache's keys and values themselves."""
    tensors = [t for layer in cache.layers for t in (layer.keys, layer.values) if t is not None]
    return sum(t.numel() * t.element_size() for t in tensors)
