"""Token classes: tokens that lead from every state to the same value are one class.

The vocabulary's trie is walked level by level. Every node is given the vector of values (`steps`) to which its bytes lead from all
source states; equal vectors are stored once, so a node costs one table lookup and only distinct vectors cost work in the number of
states. Tens of thousands of tokens become tens or hundreds of classes.

The states of a large automaton are cut into blocks of consecutive numbers, each with its own classes, built when first needed: work
and memory follow the states that are reached.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lmqlc.compiler.masks.steps import Steps, Values
from lmqlc.compiler.masks.trie import VocabularyIndex

if TYPE_CHECKING:
    from lmqlc.compiler.masks.one_state import OneState

BLOCK = 1024
"""Source states (times pairs) per block of an automaton that is too large for one block."""
ONE_BLOCK = 1 << 15
"""Source states (times pairs) that are tried as one block."""
SINGLE = 64
"""Blocks of single states that are kept: a state's mask is, and a token is soon read byte by byte."""
WORK = 1 << 24
"""Entries of vectors that one block may compute before it is cut: some 50 ms."""


class TooMuchWork(Exception):
    """A block has too many states for its number of vectors."""


@dataclass(frozen=True, eq=False)
class ClassBlock:
    """The classes of one block of states `first <= q < first + n`, over K classes and V tokens.

    class_of: uint16 or uint32[V], class of every token; class 0 holds the tokens that are never allowed here.
    table: uint16 or int32[P, n, K], the value to which a class leads by pair and state. chars: int32[K], code points that its tokens begin
    (0 where characters are not counted). listed: the token ids of every class, ascending, once `list_members` was called; empty before.
    alive: where they are known, the tokens that are not of class 0, in any order, and their classes.
    """

    first: int
    class_of: npt.NDArray[np.unsignedinteger[Any]]
    table: npt.NDArray[np.integer[Any]]
    chars: npt.NDArray[np.int32]
    listed: list[npt.NDArray[np.intp]] = field(default_factory=list)
    alive: tuple[npt.NDArray[np.integer[Any]], npt.NDArray[np.integer[Any]]] | None = None

    def flags(self, allowed: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """bool[V], the tokens of some classes."""
        if self.alive is None:
            return allowed.take(self.class_of)
        flags = np.zeros(len(self.class_of), np.bool_)
        tokens, kinds = self.alive
        flags[tokens] = allowed[kinds]
        return flags

    @cached_property
    def states(self) -> int:
        return len(self.table[0])

    @cached_property
    def classes(self) -> int:
        return len(self.chars)

    def list_members(self) -> None:
        """List the tokens by class: most masks are built faster from the lists."""
        sizes = np.bincount(self.class_of, minlength=self.classes)
        self.listed[:] = np.split(np.argsort(self.class_of, kind="stable"), np.cumsum(sizes)[:-1])

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
        self._work = WORK if entries > BLOCK else -1
        self._type = np.dtype(np.int16 if len(steps.rest) < 1 << 15 else np.int32)
        self._ids = {bytes(entries * self._type.itemsize): 0}
        self._rows = np.zeros((64, entries), self._type)
        self._live = _bit_sets(steps.rest != 0)
        self.next = np.zeros(64 * self._classes, np.intp)
        self.roots = self._add(np.concatenate([table[sources] for table in steps.first]).T)

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def rows(self) -> npt.NDArray[np.signedinteger[Any]]:
        return self._rows[: len(self._ids)]

    def _add(self, rows: npt.NDArray[np.integer[Any]]) -> Values:
        """The numbers of some vectors, new ones added."""
        data = np.ascontiguousarray(rows, self._type)
        size, raw, ids = data.shape[1] * data.itemsize, data.tobytes(), self._ids
        old = len(ids)
        result = np.array([ids.setdefault(raw[at : at + size], len(ids)) for at in range(0, len(raw), size)], np.intp)
        self._grow(len(ids))
        fresh = np.flatnonzero(result >= old)
        numbers = result[fresh]
        self._rows[numbers] = data[fresh]
        dead = ~_bits(np.bitwise_or.reduce(self._live[data[fresh]], axis=1), self._classes)
        self.next.reshape(-1, self._classes)[numbers] = np.where(dead, 0, -1)
        return result

    def _grow(self, count: int) -> None:
        have = len(self._rows)
        if count > have:
            more = max(count, 2 * have) - have
            self._rows = np.concatenate([self._rows, np.zeros((more, self._rows.shape[1]), self._type)])
            self.next = np.concatenate([self.next, np.zeros(more * self._classes, np.intp)])

    def compute(self, keys: Values) -> None:
        """Fill `next` at keys `vector * classes + byte class` (distinct, not yet computed)."""
        self._spend(len(keys))
        vector, byte_class = np.divmod(keys, self._classes)
        for at in range(0, len(keys), _CHUNK):
            part = slice(at, at + _CHUNK)
            source = self._rows[vector[part]].astype(np.intp) * self._classes + byte_class[part, None]
            self.next[keys[part]] = self._add(self._steps.rest.take(source))

    def _spend(self, vectors: int) -> None:
        if self._work >= 0:
            self._work -= vectors * self._rows.shape[1]
            if self._work < 0:
                raise TooMuchWork

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


def _bit_sets(flags: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint64]:
    """Rows of flags bool[N, B] as sets of bits uint64[N, ceil(B / 64)]."""
    padded = np.zeros((len(flags), -(-flags.shape[1] // 64) * 64), np.bool_)
    padded[:, : flags.shape[1]] = flags
    return np.packbits(padded, axis=1, bitorder="little").view(np.uint64)


def _bits(sets: npt.NDArray[np.uint64], count: int) -> npt.NDArray[np.bool_]:
    """The flags of sets of bits."""
    return np.unpackbits(sets.view(np.uint8), axis=1, count=count, bitorder="little").view(np.bool_)


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
    values = vectors.rows[vector].astype(np.int32) % steps.width
    table = values.reshape(len(used), steps.pairs, count).transpose(1, 2, 0).astype(table_type(steps), order="C")
    small: np.dtype[np.unsignedinteger[Any]] = np.dtype(np.uint16 if len(used) <= 1 << 16 else np.uint32)
    return ClassBlock(first, class_of.astype(small), table, chars.astype(np.int32))


def table_type(steps: Steps) -> np.dtype[np.integer[Any]]:
    """The type of a block's table."""
    return np.dtype(np.uint16 if steps.width <= 1 << 16 else np.int32)


_DIRECT = 1 << 22
"""Keys below this are numbered by a table, which is faster than sorting them."""


def _number(keys: Values, bound: int) -> tuple[Values, Values]:
    """The distinct keys, ascending and 0 always among them, and the place of every key; `bound` is above all keys."""
    if bound > _DIRECT:
        used, place = np.unique(np.append(keys, 0), return_inverse=True)
        return used, place[:-1]
    seen = np.zeros(bound, np.bool_)
    seen[keys] = True
    seen[0] = True
    used = np.flatnonzero(seen)
    place = np.zeros(bound, np.intp)
    place[used] = np.arange(len(used))
    return used, place.take(keys)


class TokenClasses:
    """The classes of one automaton over one vocabulary, built when first needed: of all states in one block; where that is too much work
    those of each state by itself, and for questions about all states, of blocks of consecutive states."""

    def __init__(self, steps: Steps, index: Callable[[], VocabularyIndex], whole: ClassBlock | None = None, known: bool = False) -> None:
        """known: it was found before that this is the block of all states, or that there is none."""
        self._steps = steps
        self._index = index
        self._lock = threading.RLock()
        self._whole = whole
        self._large = (known and whole is None) or steps.states * steps.pairs > ONE_BLOCK
        self._single: OrderedDict[int, ClassBlock] = OrderedDict()
        self._parts: list[ClassBlock | None] = []
        self._size = cut_size(steps)
        self._walks: OneState | None = None

    def block(self, state: int) -> ClassBlock:
        """The block that holds a state."""
        return self.built(state) or self._build(state)

    def built(self, state: int) -> ClassBlock | None:
        """The block that holds a state, if it was built."""
        return self._whole or self._single.get(state) or (self._parts[state // self._size] if self._parts else None)

    @property
    def whole(self) -> ClassBlock | None:
        """The block of all states, None where there are too many for one."""
        with self._lock:
            if self._whole is None and not self._large:
                try:
                    self._whole = build_block(self._index(), self._steps, 0, self._steps.states)
                    self._whole.list_members()
                except TooMuchWork:
                    self._large = True
            return self._whole

    @property
    def index(self) -> VocabularyIndex:
        """The vocabulary's trie."""
        return self._index()

    def _build(self, state: int) -> ClassBlock:
        with self._lock:
            block = self.whole or self.built(state)
            if block is None:
                from lmqlc.compiler.masks.one_state import OneState

                self._walks = self._walks or OneState(self._steps, self._index())
                block = self._single[state] = self._walks.block(state)
                while len(self._single) > SINGLE:
                    self._single.popitem(last=False)
            return block

    @property
    def nbytes(self) -> int:
        """Bytes of the blocks that are built, with their lists of tokens."""
        built = [block for block in (self._whole, *self._single.values(), *self._parts) if block is not None]
        return sum(block.table.nbytes + block.class_of.nbytes + (8 * len(block.class_of) if block.listed else 0) for block in built)

    def all(self) -> Iterator[ClassBlock]:
        """Every block, in the order of its states."""
        whole = self.whole
        if whole is not None:
            yield whole
            return
        size, states = self._size, self._steps.states
        for at in range(-(-states // size)):
            with self._lock:
                self._parts = self._parts or [None] * -(-states // size)
                block = self._parts[at]
                if block is None:
                    block = self._parts[at] = build_block(self._index(), self._steps, at * size, min(size, states - at * size))
            yield block


def cut_size(steps: Steps) -> int:
    """States per block of a large automaton; the last block may hold fewer."""
    return max(1, min(steps.states, BLOCK // steps.pairs))
