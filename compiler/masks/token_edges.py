"""Where the tokens of a vocabulary lead from all states of an automaton: edges, without the tokens that take them.

What it costs to finish a text with so many tokens needs only to know that some token leads from a state to a value, and how few code points
it begins. Automata of a hundred thousand states mostly have few such edges (a set of texts, a long text), and a walk of the trie from all
states at once finds them; where most tokens lead on from most states they are too many.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from lmqlc.compiler.masks.classes import ONE_BLOCK, ClassBlock
from lmqlc.compiler.masks.steps import Steps
from lmqlc.compiler.masks.trie import VocabularyIndex

Ints = npt.NDArray[np.integer[Any]]

MOST_EDGES = 1 << 23
"""Edges of one automaton; 130 MB with what is made of them."""
MOST_WORK = 1 << 28
"""Places of the trie that are looked at; one that is alive counts as many of the others do: some second."""
_ALIVE = 8
_TRIED = 48
"""States whose places are counted before all states are walked."""
_STATES, _AT_ONCE = 1 << 12, 1 << 20
"""States of one part of the walk at first, and places of one of its levels past which it is halved."""


@dataclass(frozen=True, eq=False)
class TokenEdges:
    """The edges of one pair (`steps`), sorted by source.

    sources, targets: int32[E], states and the values that some token leads to. chars: int32[E], the fewest code points that such a token
    begins; 0 where they are not counted.
    """

    sources: Ints
    targets: Ints
    chars: Ints


def edges_of(block: ClassBlock, pair: int, width: int) -> TokenEdges:
    """The edges of a block of all states."""
    parts = []
    size = max(1, _AT_ONCE // block.classes)
    for first in range(0, block.states, size):
        table = block.table[pair, first : first + size]
        rows, kinds = np.nonzero(table)
        parts.append(_distinct(rows + first, table[rows, kinds], block.chars[kinds], width))
    return _together(parts)


def _together(parts: Sequence[TokenEdges]) -> TokenEdges:
    return TokenEdges(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("sources", "targets", "chars")))


def _distinct(sources: Ints, targets: Ints, chars: Ints, width: int) -> TokenEdges:
    """Every edge once, with the fewest code points."""
    keys = sources.astype(np.int64) * width + targets
    if chars.any():
        order = np.lexsort((chars, keys))
        keys, chars = keys[order], chars[order]
        first = np.flatnonzero(np.append(True, keys[1:] != keys[:-1]))
        keys, chars = keys[first], chars[first]
    else:
        keys = np.unique(keys)
        chars = np.zeros(len(keys), np.int32)
    return TokenEdges((keys // width).astype(np.int32), (keys % width).astype(np.int32), chars.astype(np.int32))


def walked_edges(steps: Steps, index: VocabularyIndex, pair: int, sources: Ints) -> TokenEdges | None:
    """The edges from some states, None where they are too many, or blocks of classes are found sooner."""
    most = MOST_WORK if steps.states * steps.pairs > ONE_BLOCK else 3 * MOST_WORK // 4
    walk = _Walk(steps, index, pair)
    tried = sorted(walk.tried(sources[at : at + 1]) for at in np.linspace(0, len(sources) - 1, min(_TRIED, len(sources))).astype(int))
    usual = tried[: -_TRIED // 16]  # a few states, such as the first one, may have far more
    if usual and sum(usual) // len(usual) * len(sources) > most:
        return None
    parts = [TokenEdges(*(np.zeros(0, np.int32) for _ in range(3)))]
    pending = np.array_split(sources, -(-len(sources) // _STATES))[::-1] if len(sources) else []
    while pending:
        part = pending.pop()
        try:
            parts.append(walk.edges(part))
        except _TooMany:
            pending += np.array_split(part, 2)[::-1]
        if walk.work > most or sum(len(part.targets) for part in parts) > MOST_EDGES:
            return None
    return _together(parts)


class _TooMany(Exception):
    """Too many places for one part of a walk."""


class _Walk:
    """A walk of the trie from many states at once. work: places that were looked at."""

    def __init__(self, steps: Steps, index: VocabularyIndex, pair: int) -> None:
        self._steps = steps
        self._index = index
        self._pair = pair
        self._kinds = steps.byte_class[index.byte].astype(np.intp)
        self._ends = index.tokens_from[1:] > index.tokens_from[:-1]
        self._deep = np.zeros(len(index.parent), np.bool_)
        self._deep[index.node[index.long]] = True
        self.work = 0

    def tried(self, sources: Ints) -> int:
        """The work from some states."""
        before = self.work
        self.edges(sources)
        return self.work - before

    def edges(self, sources: Ints) -> TokenEdges:
        """The edges from some states, ascending."""
        steps, index, level = self._steps, self._index, self._index.level.tolist()
        rest, size = steps.rest.reshape(-1), steps.classes
        roots = np.arange(1, level[2] if len(level) > 2 else 1)
        through = steps.first[self._pair][sources][:, self._kinds[roots]]
        at, children = np.nonzero(through)
        self.work += through.size
        nodes, values = roots[children], through[at, children]
        none = np.zeros(0, np.intp)
        found: list[tuple[Ints, Ints, Ints]] = [(none, none, none)]
        while len(nodes):
            ends = np.flatnonzero(self._ends[nodes])
            found += self._ended(at[ends], nodes[ends], values[ends])
            starts = index.children[nodes]
            counts = index.children[nodes + 1] - starts
            total = int(counts.sum())
            self.work += total
            if total > _AT_ONCE and len(sources) > 1:
                raise _TooMany
            below = np.repeat(starts - (np.cumsum(counts) - counts), counts) + np.arange(total)
            through = rest[np.repeat(values, counts) * size + self._kinds[below]]
            alive = np.flatnonzero(through)
            self.work += _ALIVE * len(alive)
            at, nodes, values = np.repeat(at, counts)[alive], below[alive], through[alive]
        at, values, chars = (np.concatenate(part) for part in zip(*found, strict=True))
        live = values != 0
        return _distinct(sources[at[live]], values[live] % steps.width, chars[live], steps.width)

    def _ended(self, at: Ints, nodes: Ints, values: Ints) -> list[tuple[Ints, Ints, Ints]]:
        """Of places where tokens end: the sources, the values, and the code points that a token begins. All tokens of a node are alike, but
        for those that are longer than the trie is deep."""
        index = self._index
        here = np.flatnonzero(~self._deep[nodes])
        found = [(at[here], values[here], self._chars(index.tokens_by_node[index.tokens_from[nodes[here]]]))]
        if len(here) == len(nodes):
            return found
        there = np.flatnonzero(self._deep[nodes])
        starts, counts = index.tokens_from[nodes[there]], index.tokens_from[nodes[there] + 1] - index.tokens_from[nodes[there]]
        tokens = index.tokens_by_node[np.repeat(starts - (np.cumsum(counts) - counts), counts) + np.arange(counts.sum())]
        return [*found, (np.repeat(at[there], counts), self._read_on(tokens, np.repeat(values[there], counts)), self._chars(tokens))]

    def _chars(self, tokens: Ints) -> Ints:
        return self._index.chars[tokens] if self._steps.counts_chars else np.zeros(len(tokens), np.int32)

    def _read_on(self, tokens: Ints, values: Ints) -> Ints:
        """The values after the bytes of some tokens that the trie does not hold."""
        rest, size, (number, kinds) = self._steps.rest.reshape(-1), self._steps.classes, self._rests
        rows, values = kinds[number[tokens]], values.copy()
        for column in range(rows.shape[1]):
            more = np.flatnonzero(rows[:, column] >= 0)
            if not len(more):
                break
            values[more] = rest[values[more] * size + rows[more, column]]
        return values

    @cached_property
    def _rests(self) -> tuple[Ints, Ints]:
        """intp[V], the row of every token, and intp[G + 1, …], by row the classes of the bytes that the trie does not hold; -1 behind them.
        Row 0 is that of all tokens without such bytes."""
        index = self._index
        number = np.zeros(len(index.node), np.intp)
        number[index.long] = np.arange(1, len(index.long) + 1)
        sizes = np.diff(index.long_start)
        kinds = np.full((len(index.long) + 1, int(sizes.max(initial=0))), -1, np.intp)
        kinds[1:][np.arange(kinds.shape[1]) < sizes[:, None]] = self._steps.byte_class[index.long_bytes]
        return number, kinds
