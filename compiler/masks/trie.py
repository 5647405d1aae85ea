"""The vocabulary as a trie over token bytes: what every automaton of a vocabulary is walked against.

Nodes are numbered level by level (breadth first), so one level is a slice and all its nodes are stepped at once. The trie is cut at
`DEPTH` bytes; the rest of the few longer tokens is kept as bytes and walked one at a time. Duplicate tokens end at the same node.

An index is kept per vocabulary fingerprint, in the process and on disk (`files.cache_folder()/vocabularies`). A file that is damaged,
or of another version, is built again; a folder that cannot be written only costs the time to build.
"""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from lmqlc.backends.base import Vocabulary
from lmqlc.compiler.masks.files import Array, cache_folder, read_arrays, write_arrays
from lmqlc.grammar.errors import ArtifactError

Ints = npt.NDArray[np.int64]

DEPTH = 32
"""Bytes of a token that are in the trie. Deeper levels hold few nodes, and a level costs the same whatever it holds."""
INDEX_VERSION = 2
_KEPT = 8


@dataclass(frozen=True, eq=False)
class VocabularyIndex:
    """N nodes, L + 1 levels, V tokens, M usable tokens (not special, not empty), G of them longer than `DEPTH`.

    level: int64[L + 2], first node of every level; node 0 is the root, alone on level 0.
    parent: int32[N], by node (the root's is 0). byte: uint8[N], the last byte of a node's prefix.
    node: int32[V], where a token ends (at `DEPTH` for longer ones); -1 for tokens that are never allowed in a text.
    chars: int32[V], code points begun by a token: bytes that are no UTF-8 continuation bytes.
    long: int32[G], ids of longer tokens. long_start: int64[G + 1], long_bytes: uint8, their bytes from `DEPTH` on.
    order: int32[M], usable ids sorted by their bytes.
    """

    level: Ints
    parent: npt.NDArray[np.int32]
    byte: npt.NDArray[np.uint8]
    node: npt.NDArray[np.int32]
    chars: npt.NDArray[np.int32]
    long: npt.NDArray[np.int32]
    long_start: Ints
    long_bytes: npt.NDArray[np.uint8]
    order: npt.NDArray[np.int32]

    @cached_property
    def parents(self) -> npt.NDArray[np.intp]:
        """`parent` in the type that NumPy gathers with, so that no walk converts it again."""
        return self.parent.astype(np.intp)

    @cached_property
    def usable(self) -> npt.NDArray[np.bool_]:
        """bool[V]: the token may stand in a text."""
        return self.node >= 0

    @cached_property
    def ends(self) -> npt.NDArray[np.intp]:
        """`node` for gathering; the root stands for tokens that are never allowed."""
        return np.maximum(self.node, 0).astype(np.intp)

    @cached_property
    def by_bytes(self) -> list[int]:
        """`order` as a list, for searching."""
        ids: list[int] = self.order.tolist()
        return ids

    @cached_property
    def children(self) -> npt.NDArray[np.intp]:
        """intp[N + 1], the first node below every node; those of one node stand together, before those of the next."""
        return np.searchsorted(self.parent[1:], np.arange(len(self.parent) + 1)) + 1

    @cached_property
    def tokens_by_node(self) -> npt.NDArray[np.intp]:
        """intp[M], usable tokens in the order of the nodes where they end."""
        return np.argsort(self.node, kind="stable")[np.count_nonzero(self.node < 0) :]

    @cached_property
    def tokens_at(self) -> npt.NDArray[np.intp]:
        """intp[M], the nodes of `tokens_by_node`."""
        return self.node[self.tokens_by_node].astype(np.intp)

    @cached_property
    def tokens_from(self) -> npt.NDArray[np.intp]:
        """intp[N + 1], the place in `tokens_by_node` of the first token of every node, or of the next one that has any."""
        return np.searchsorted(self.tokens_at, np.arange(len(self.parent) + 1))

    @cached_property
    def single_bytes(self) -> npt.NDArray[np.bool_]:
        """bool[256]: some token is this byte alone. With all bytes a text needs, it can be written whatever the other tokens are."""
        found = np.zeros(256, np.bool_)
        nodes = self.node[self.order]
        found[self.byte[nodes[(nodes >= self.level[1]) & (nodes < self.level[2])]]] = True
        return found

    @cached_property
    def max_bytes(self) -> int:
        """The length of the longest token."""
        return len(self.level) - 2 + int(np.diff(self.long_start).max(initial=0))

    @cached_property
    def max_chars(self) -> int:
        """The most code points that one token begins."""
        return int(self.chars.max(initial=0))


_ARRAYS = {
    "level": "<i8", "parent": "<i4", "byte": "|u1", "node": "<i4", "chars": "<i4",
    "long": "<i4", "long_start": "<i8", "long_bytes": "|u1", "order": "<i4",
}  # fmt: skip


def build_index(vocabulary: Vocabulary) -> VocabularyIndex:
    """Build the index of a vocabulary; about 0.3 s for 100,000 tokens."""
    tokens = vocabulary.tokens
    never = vocabulary.special.union(vocabulary.eos_ids)
    order = sorted((i for i, token in enumerate(tokens) if token and i not in never), key=tokens.__getitem__)
    texts = [tokens[i] for i in order]
    level, parent, byte, ends = _levels(texts)
    node = np.full(len(tokens), -1, np.int32)
    node[order] = ends
    chars = np.zeros(len(tokens), np.int32)
    chars[order] = [len(text) - _continuations(text) for text in texts]
    long = [i for i in order if len(tokens[i]) > DEPTH]
    rests = [tokens[i][DEPTH:] for i in long]
    return VocabularyIndex(
        level=level,
        parent=parent,
        byte=byte,
        node=node,
        chars=chars,
        long=np.array(long, np.int32),
        long_start=np.cumsum([0, *map(len, rests)], dtype=np.int64),
        long_bytes=np.frombuffer(b"".join(rests), np.uint8),
        order=np.array(order, np.int32),
    )


_CONTINUATION = bytes(range(0x80, 0xC0))


def _continuations(text: bytes) -> int:
    return 0 if text.isascii() else len(text) - len(text.translate(None, _CONTINUATION))


def _levels(texts: list[bytes]) -> tuple[Ints, npt.NDArray[np.int32], npt.NDArray[np.uint8], npt.NDArray[np.int32]]:
    """Level starts, parents and bytes of the trie of sorted, nonempty texts, and the node where each ends.

    Texts with a common prefix are neighbours, so a node begins wherever the parent's node or the byte differs from the text before.
    """
    lengths = np.array([len(text) for text in texts], np.int64)
    depth = int(min(lengths.max(initial=0), DEPTH))
    data = np.frombuffer(b"".join(text[:DEPTH].ljust(depth, b"\0") for text in texts), np.uint8).reshape(len(texts), depth)
    at = np.zeros(len(texts), np.int32)
    starts, parents, node_bytes = [0, 1], [np.zeros(1, np.int32)], [np.zeros(1, np.uint8)]
    for column in range(depth):
        rows = np.flatnonzero(lengths > column)
        above, here = at[rows], data[rows, column]
        fresh = np.ones(len(rows), np.bool_)
        fresh[1:] = (above[1:] != above[:-1]) | (here[1:] != here[:-1])
        at[rows] = starts[-1] + np.cumsum(fresh) - 1
        parents.append(above[fresh])
        node_bytes.append(here[fresh])
        starts.append(starts[-1] + int(fresh.sum()))
    return np.array(starts, np.int64), np.concatenate(parents), np.concatenate(node_bytes), at


_lock = threading.Lock()
_kept: OrderedDict[str, VocabularyIndex] = OrderedDict()


def vocabulary_index(vocabulary: Vocabulary) -> VocabularyIndex:
    """The index of a vocabulary, from this process, the cache on disk, or built now."""
    with _lock:
        index = _kept.get(vocabulary.fingerprint)
        if index is None:
            index = _kept[vocabulary.fingerprint] = _stored(vocabulary) or _build_and_store(vocabulary)
            while len(_kept) > _KEPT:
                _kept.popitem(last=False)
        _kept.move_to_end(vocabulary.fingerprint)
        return index


def forget_indexes() -> None:
    """Drop the indexes of this process (the files stay)."""
    with _lock:
        _kept.clear()


WORTH_STORING = 4096
"""Smaller vocabularies are built faster than a file is opened."""


def _build_and_store(vocabulary: Vocabulary) -> VocabularyIndex:
    index = build_index(vocabulary)
    if len(vocabulary) >= WORTH_STORING:
        arrays = {name: getattr(index, name) for name in _ARRAYS}
        with contextlib.suppress(OSError):  # A cache that cannot be written is no reason to fail.
            write_arrays(cache_folder() / _file_name(vocabulary), arrays, _meta(vocabulary))
    return index


def _file_name(vocabulary: Vocabulary) -> str:
    return f"vocabularies/{vocabulary.fingerprint}.{INDEX_VERSION}.bin"


def _meta(vocabulary: Vocabulary) -> dict[str, Any]:
    return {"kind": "vocabulary", "version": INDEX_VERSION, "depth": DEPTH, "fingerprint": vocabulary.fingerprint}


def _stored(vocabulary: Vocabulary) -> VocabularyIndex | None:
    """The index from disk, None where there is none that is sound."""
    if len(vocabulary) < WORTH_STORING:
        return None
    try:
        arrays, meta = read_arrays(cache_folder() / _file_name(vocabulary))
    except (OSError, ArtifactError):
        return None
    if meta != _meta(vocabulary) or {name: array.dtype.str for name, array in arrays.items()} != _ARRAYS:
        return None
    return VocabularyIndex(**arrays) if _sound(arrays, len(vocabulary)) else None


def _sound(arrays: dict[str, Array], width: int) -> bool:
    """Whether shapes agree and every number that is used as a position lies in range, so that a damaged file cannot crash a walk."""
    level, parent, node, long_start = arrays["level"], arrays["parent"], arrays["node"], arrays["long_start"]
    count = len(parent)
    shapes = (
        all(array.ndim == 1 for array in arrays.values())
        and len(arrays["byte"]) == count
        and len(node) == len(arrays["chars"]) == width
        and len(long_start) == len(arrays["long"]) + 1
        and 2 <= len(level) <= DEPTH + 2
    )
    if not shapes or level[0] != 0 or level[1] != 1 or level[-1] != count or (np.diff(level) <= 0).any():
        return False
    if long_start[0] != 0 or long_start[-1] != len(arrays["long_bytes"]) or (np.diff(long_start) < 0).any():
        return False
    if not _within(node, -1, count) or not _within(arrays["chars"], 0, 1 << 24):
        return False
    if not _within(arrays["order"], 0, width) or not _within(arrays["long"], 0, width):
        return False
    starts = level.tolist()
    return all(_within(parent[b:c], a, b) for a, b, c in zip(starts, starts[1:], starts[2:], strict=False))


def _within(array: Array, low: int, high: int) -> bool:
    return array.size == 0 or bool(array.min() >= low and array.max() < high)
