"""The token classes of one state of a large automaton: a walk of the vocabulary's trie that follows only what is alive.

An automaton of a hundred thousand states has too many classes to find them for all states at once, and a text meets few of its states. From
most of those few tokens lead on, so a level of the trie is walked whole as long as many of its nodes are alive, and then node by node.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from lmqlc.compiler.masks.classes import ClassBlock, table_type
from lmqlc.compiler.masks.steps import Steps
from lmqlc.compiler.masks.trie import VocabularyIndex

Ints = npt.NDArray[np.integer[Any]]
Found = tuple[Ints, Ints]
"""Tokens, or nodes of the trie, that are alive, and the global values (`steps`) to which they lead."""

_DENSE = 4
"""A level is walked whole while one of so many of its nodes is alive."""
_DIRECT = 1 << 22
"""Keys below this are numbered by a table, which is faster than sorting them."""


class OneState:
    """Builds blocks of one state each. Not safe to share between threads."""

    def __init__(self, steps: Steps, index: VocabularyIndex) -> None:
        self._steps = steps
        self._index = index
        self._table = np.zeros(0, np.intp)

    def block(self, state: int) -> ClassBlock:
        """The classes of a state."""
        steps, index = self._steps, self._index
        tokens, columns = _aligned([self._tokens(state, pair) for pair in range(steps.pairs)])
        chars = index.chars[tokens] if steps.counts_chars else np.zeros(len(tokens), np.int32)
        kind, count = self._numbered(columns[0])
        for column in (*columns[1:], *((chars,) if steps.counts_chars else ())):
            other, others = self._numbered(column)
            kind, count = self._numbered(kind * others + other)
        shown = np.zeros(count, np.intp)
        shown[kind] = np.arange(len(kind))  # a token of every class
        table = np.zeros((steps.pairs, 1, count + 1), table_type(steps))
        for pair, column in enumerate(columns):
            table[pair, 0, 1:] = column[shown] % steps.width
        small: np.dtype[np.unsignedinteger[Any]] = np.dtype(np.uint16 if count < 1 << 16 else np.uint32)
        class_of = np.zeros(len(index.node), small)
        class_of[tokens] = kind + 1
        return ClassBlock(state, class_of, table, np.append(np.zeros(1, np.int32), chars[shown]), alive=(tokens, kind + 1))

    def _numbered(self, keys: Ints) -> tuple[Ints, int]:
        """The number of every key among the distinct ones, and how many those are."""
        if not len(keys):
            return np.zeros(0, np.intp), 0
        bound = int(keys.max()) + 1
        if bound > _DIRECT:
            used, numbers = np.unique(keys, return_inverse=True)
            return numbers, len(used)
        if len(self._table) < bound:
            self._table = np.zeros(bound, np.intp)
        places = np.arange(len(keys))
        self._table[keys] = places  # the last one of equal keys stays: it stands for them
        stands = self._table[keys]
        first = np.flatnonzero(stands == places)
        self._table[keys[first]] = np.arange(len(first))
        return self._table[keys], len(first)

    def _tokens(self, state: int, pair: int) -> Found:
        """The tokens that are alive after a state."""
        index = self._index
        (end, whole), (nodes, values) = self._walk(state, pair)
        upto = int(index.tokens_from[end])
        through = whole[index.tokens_at[:upto]]
        alive = np.flatnonzero(through)
        starts, counts = index.tokens_from[nodes], index.tokens_from[nodes + 1] - index.tokens_from[nodes]
        places = np.concatenate([alive, _ranges(starts, counts)])
        tokens, values = index.tokens_by_node[places], np.concatenate([through[alive], np.repeat(values, counts)])
        return self._longer(tokens, values) if len(index.long) else (tokens, values)

    def _walk(self, state: int, pair: int) -> tuple[tuple[int, Ints], Found]:
        """The nodes that are alive after a state: of levels walked whole the end of the last one, and the values of all their nodes
        (0: dead); then nodes of the other levels, one by one."""
        steps, index = self._steps, self._index
        rest, width, level = steps.rest.reshape(-1), steps.classes, index.level.tolist()
        end = level[2] if len(level) > 2 else 1
        above = steps.first[pair][state][self._kinds[1:end]]
        whole = [np.zeros(1, np.int32), above]
        depth, start = 2, 1
        while depth + 1 < len(level) and _DENSE * np.count_nonzero(above) > len(above):
            here = slice(end, level[depth + 1])
            found = above[index.parents[here] - start] * width + self._kinds[here]
            above, start, end, depth = rest[found], end, level[depth + 1], depth + 1
            whole.append(above)
        nodes: list[Ints] = [np.zeros(0, np.intp)]
        values: list[Ints] = [np.zeros(0, np.int32)]
        alive: Ints = np.flatnonzero(above)
        frontier: Ints = alive + start
        led: Ints = above[alive]
        while len(frontier) and depth + 1 < len(level):
            counts = index.children[frontier + 1] - index.children[frontier]
            below = _ranges(index.children[frontier], counts)
            through = rest[np.repeat(led, counts) * width + self._kinds[below]]
            alive = np.flatnonzero(through)
            frontier, led, depth = below[alive], through[alive], depth + 1
            nodes.append(frontier)
            values.append(led)
        return (end, np.concatenate(whole)), (np.concatenate(nodes), np.concatenate(values))

    @cached_property
    def _kinds(self) -> npt.NDArray[np.intp]:
        """By node of the trie: the class of its byte."""
        return self._steps.byte_class[self._index.byte].astype(np.intp)

    @cached_property
    def _ends(self) -> tuple[npt.NDArray[np.bool_], dict[int, list[int]]]:
        """bool[V], tokens that are longer than the trie is deep, and the classes of their bytes from there on."""
        index = self._index
        starts, kinds = index.long_start.tolist(), self._steps.byte_class[index.long_bytes].tolist()
        flags = np.zeros(len(index.node), np.bool_)
        flags[index.long] = True
        return flags, {token: kinds[starts[at] : starts[at + 1]] for at, token in enumerate(index.long.tolist())}

    def _longer(self, tokens: Ints, values: Ints) -> Found:
        """The same with longer tokens walked to their ends."""
        rest, (long, ends) = self._steps.rest.data, self._ends
        for at in np.flatnonzero(long[tokens]).tolist():
            value = int(values[at])
            for kind in ends[int(tokens[at])]:
                value = rest[value, kind]
                if value == 0:
                    break
            values[at] = value
        alive = values != 0
        return tokens[alive], values[alive]


def _ranges(starts: Ints, counts: Ints) -> Ints:
    """The numbers of all ranges, one after the other."""
    offsets = np.cumsum(counts) - counts
    return np.repeat(starts - offsets, counts) + np.arange(counts.sum())


def _aligned(found: Sequence[Found]) -> tuple[Ints, list[Ints]]:
    """The tokens that are alive in some pair, and where each pair leads (0: nowhere)."""
    if len(found) == 1:
        return found[0][0], [found[0][1]]
    tokens = np.unique(np.concatenate([part for part, _ in found]))
    columns: list[Ints] = []
    for part, values in found:
        column = np.zeros(len(tokens), np.int32)
        column[np.searchsorted(tokens, part)] = values
        columns.append(column)
    return tokens, columns
