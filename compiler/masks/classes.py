"""Token classes: tokens that lead from every state to the same value are one class.

The vocabulary's trie is walked level by level. Every node is given the vector of values (`steps`) to which its bytes lead from all
source states; equal vectors are stored once, so a node costs one table lookup and only distinct vectors cost work in the number of
states. Tens of thousands of tokens become tens or hundreds of classes.

The states of a large automaton are cut into blocks of consecutive numbers, each with its own classes, built when first needed: work
and memory follow the states that are reached.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from lmqlc.compiler.masks.steps import Steps, Values
from lmqlc.compiler.masks.trie import VocabularyIndex

BLOCK = 1024
"""Source states (times pairs) per block: past this, vectors cost more than walking the trie again."""


@dataclass(frozen=True, eq=False)
class ClassBlock:
    """The classes of one block of states `first <= q < first + n`, over K classes and V tokens.

    class_of: uint16 or uint32[V], class of every token; class 0 holds the tokens that are never allowed here.
    table: int32[P, n, K], the value to which a class leads by pair and state. chars: int32[K], code points that its tokens begin (0 where
    characters are not counted).
    """

    first: int
    class_of: npt.NDArray[np.unsignedinteger[Any]]
    table: npt.NDArray[np.int32]
    chars: npt.NDArray[np.int32]

    @cached_property
    def states(self) -> int:
        return len(self.table[0])

    @cached_property
    def classes(self) -> int:
        return len(self.chars)

    @cached_property
    def sizes(self) -> npt.NDArray[np.intp]:
        """intp[K], tokens by class."""
        return np.bincount(self.class_of, minlength=self.classes)

    @cached_property
    def members(self) -> list[npt.NDArray[np.intp]]:
        """The token ids of every class, ascending."""
        order = np.argsort(self.class_of, kind="stable")
        return np.split(order, np.cumsum(self.sizes)[:-1])

    @cached_property
    def token_classes(self) -> memoryview:
        """`class_of` for reading single entries fast."""
        return self.class_of.data

    @cached_property
    def values(self) -> memoryview:
        """`table`, flattened, for reading single entries fast."""
        return self.table.reshape(-1).data

    @cached_property
    def token_chars(self) -> memoryview:
        """`chars` for reading single entries fast."""
        return self.chars.data


class _Vectors:
    """The distinct vectors met so far, and which vector follows which by a byte class (-1: not computed yet). Vector 0 is all dead."""

    def __init__(self, steps: Steps, sources: slice) -> None:
        self._steps = steps
        self._classes = steps.classes
        entries = steps.pairs * (sources.stop - sources.start)
        self._type = np.dtype(np.int16 if len(steps.rest) // self._classes < 1 << 15 else np.int32)
        self._ids = {bytes(entries * self._type.itemsize): 0}
        self._rows = np.zeros((64, entries), self._type)
        self.next = np.full(64 * self._classes, -1, np.intp)
        self.next[: self._classes] = 0
        self.roots = self._add(steps.first[:, sources].reshape(entries, self._classes).T)

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def rows(self) -> npt.NDArray[np.signedinteger[Any]]:
        return self._rows[: len(self._ids)]

    def _add(self, rows: npt.NDArray[np.integer[Any]]) -> Values:
        """The numbers of some vectors, new ones added."""
        data = np.ascontiguousarray(rows, self._type)
        size, raw, ids = data.shape[1] * data.itemsize, data.tobytes(), self._ids
        numbers = [ids.setdefault(raw[at : at + size], len(ids)) for at in range(0, len(raw), size)]
        self._grow(len(ids))
        result = np.array(numbers, np.intp)
        self._rows[result] = data
        return result

    def _grow(self, count: int) -> None:
        have = len(self._rows)
        if count > have:
            more = max(count, 2 * have) - have
            self._rows = np.concatenate([self._rows, np.zeros((more, self._rows.shape[1]), self._type)])
            self.next = np.concatenate([self.next, np.full(more * self._classes, -1, np.intp)])

    def compute(self, keys: Values) -> None:
        """Fill `next` at keys `vector * classes + byte class` (distinct, not yet computed)."""
        vector, byte_class = np.divmod(keys, self._classes)
        for at in range(0, len(keys), _CHUNK):
            part = slice(at, at + _CHUNK)
            source = self._rows[vector[part]].astype(np.intp) * self._classes + byte_class[part, None]
            self.next[keys[part]] = self._add(self._steps.rest.take(source))

    def follow(self, keys: Values) -> Values:
        """The vectors at keys `vector * classes + byte class`, computed where they are not known."""
        found = self.next.take(keys)
        unknown = keys[found < 0]
        if len(unknown):
            wanted = np.zeros(len(self) * self._classes, np.bool_)
            wanted[unknown] = True
            self.compute(np.flatnonzero(wanted))
            found = self.next.take(keys)
        return found


_CHUNK = 256
"""Vectors computed at once: bounds the memory of a step."""


def _walk(index: VocabularyIndex, steps: Steps, vectors: _Vectors) -> Values:
    """The vector of every trie node. A node below a dead one stays 0 without work."""
    nodes = np.zeros(len(index.parent), np.intp)
    classes = steps.byte_class[index.byte].astype(np.intp)
    starts = index.level.tolist()
    if len(starts) > 2:
        nodes[1 : starts[2]] = vectors.roots[classes[1 : starts[2]]]
    for start, end in pairwise(starts[2:]):
        above = nodes.take(index.parents[start:end])
        alive = np.flatnonzero(above)
        if not len(alive):
            break
        if 4 * len(alive) > 3 * (end - start):
            nodes[start:end] = vectors.follow(above * steps.classes + classes[start:end])
        else:
            nodes[start + alive] = vectors.follow(above[alive] * steps.classes + classes[start:end][alive])
    return nodes


def _finish_long(index: VocabularyIndex, steps: Steps, vectors: _Vectors, tokens: Values) -> None:
    """Walk the tokens that are longer than the trie is deep, in place."""
    rest = steps.byte_class[index.long_bytes].tolist()
    starts, size = index.long_start.tolist(), steps.classes
    known = vectors.next.data
    for at, token in enumerate(index.long.tolist()):
        vector = int(tokens[token])
        for byte_class in rest[starts[at] : starts[at + 1]]:
            if vector == 0:
                break
            key = vector * size + byte_class
            if key >= len(known) or known[key] < 0:
                vectors.follow(np.array([key], np.intp))
                known = vectors.next.data
            vector = known[key]
        tokens[token] = vector


def build_block(index: VocabularyIndex, steps: Steps, first: int, count: int) -> ClassBlock:
    """The classes of `count` states from `first` on."""
    vectors = _Vectors(steps, slice(first, first + count))
    tokens = _walk(index, steps, vectors).take(index.ends)
    _finish_long(index, steps, vectors, tokens)
    tokens[~index.usable] = 0
    keys, factor = tokens, 1
    if steps.counts_chars:
        factor = index.max_chars + 1
        keys = np.where(tokens == 0, 0, tokens * factor + index.chars)
    used, class_of = _number(keys, len(vectors) * factor)
    vector, chars = np.divmod(used, factor)
    table = vectors.rows[vector].astype(np.int32) % steps.width
    table = table.reshape(len(used), steps.pairs, count).transpose(1, 2, 0)
    small: np.dtype[np.unsignedinteger[Any]] = np.dtype(np.uint16 if len(used) <= 1 << 16 else np.uint32)
    return ClassBlock(first, class_of.astype(small), np.ascontiguousarray(table), chars.astype(np.int32))


def _number(keys: Values, bound: int) -> tuple[Values, Values]:
    """The distinct keys, ascending and 0 always among them, and the place of every key; `bound` is above all keys."""
    seen = np.zeros(bound, np.bool_)
    seen[keys] = True
    seen[0] = True
    used = np.flatnonzero(seen)
    place = np.zeros(bound, np.intp)
    place[used] = np.arange(len(used))
    return used, place.take(keys)


def block_size(steps: Steps) -> int:
    """States per block; the last block may hold fewer."""
    return max(1, min(steps.states, BLOCK // steps.pairs))


class TokenClasses:
    """The blocks of one automaton over one vocabulary, built when first needed."""

    def __init__(self, steps: Steps, index: Callable[[], VocabularyIndex], blocks: Sequence[ClassBlock] = ()) -> None:
        self._steps = steps
        self._index = index
        self._size = block_size(steps)
        self._blocks: list[ClassBlock | None] = [*blocks] or [None] * -(-steps.states // self._size)

    def block(self, state: int) -> ClassBlock:
        """The block that holds a state."""
        at = state // self._size
        block = self._blocks[at]
        if block is None:
            first = at * self._size
            block = build_block(self._index(), self._steps, first, min(self._size, self._steps.states - first))
            self._blocks[at] = block
        return block

    def all(self) -> Iterator[ClassBlock]:
        """Every block, in the order of its states."""
        return (self.block(at * self._size) for at in range(len(self._blocks)))
