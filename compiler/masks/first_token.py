"""Where a text's first token leads when its first bytes are the prompt's: a walk of a part of the vocabulary's trie from one state."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lmqlc.backends.base import Vocabulary
from lmqlc.compiler.masks.interface import Ids
from lmqlc.compiler.masks.steps import Steps
from lmqlc.compiler.masks.trie import DEPTH, VocabularyIndex

Values = npt.NDArray[np.int32]


def values_behind(
    steps: Steps, vocabulary: Vocabulary, index: VocabularyIndex, place: tuple[int, int], ids: Ids, skip: int
) -> npt.NDArray[np.intp]:
    """intp[n], the value (`steps`) to which each of n tokens leads by its bytes behind the first `skip`.

    The tokens are usable, longer than `skip` bytes, and begin with the same ones. place: the state, and the pair in which they are read.
    """
    ends = index.ends[ids]
    by_node = _by_node(steps, index, place, _ancestor(index, int(ends[0]), skip), skip)
    values = by_node[ends]
    for at in np.flatnonzero(np.isin(ids, index.long)) if len(index.long) else ():
        for byte in vocabulary.tokens[int(ids[at])][DEPTH:]:
            values[at] = steps.rest[values[at], steps.byte_class[byte]]
    found: npt.NDArray[np.intp] = values.astype(np.intp) % steps.width
    return found


def value_behind(steps: Steps, place: tuple[int, int], text: bytes) -> int:
    """The value to which bytes lead that are read as one token; not empty."""
    q, pair = place
    value = int(steps.first[pair][q, steps.byte_class[text[0]]])
    for byte in text[1:]:
        value = int(steps.rest[value, steps.byte_class[byte]])
    return value % steps.width


def _ancestor(index: VocabularyIndex, node: int, depth: int) -> int:
    """The node above a node (or itself) on a level."""
    while node >= index.level[depth + 1]:
        node = int(index.parent[node])
    return node


def _by_node(steps: Steps, index: VocabularyIndex, place: tuple[int, int], top: int, depth: int) -> Values:
    """int32[N], global values after the bytes below a node of a level, 0 elsewhere. Nodes with a common parent are neighbours."""
    q, pair = place
    found = np.zeros(len(index.parent), np.int32)
    low, high = top, top + 1
    for level in range(depth + 1, len(index.level) - 1):
        start, end = int(index.level[level]), int(index.level[level + 1])
        above = index.parents[start:end]
        low, high = start + int(np.searchsorted(above, low)), start + int(np.searchsorted(above, high))
        if low == high:
            break
        kinds = steps.byte_class[index.byte[low:high]]
        found[low:high] = steps.first[pair][q, kinds] if level == depth + 1 else steps.rest[found[index.parents[low:high]], kinds]
    return found
