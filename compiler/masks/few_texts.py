"""All texts of a hole, where they are few.

The texts are the final ones, without what a stop removes; a text that is ended by a kept stop counts with it. They are few where no way
through the automaton comes back to where it was and then to an end, and the bounds below hold.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from lmqlc.compiler.automata.automaton import TextAutomaton
from lmqlc.compiler.masks.cuts import removed_bytes

MOST_TEXTS = 1 << 14
MOST_BYTES = 1 << 20
"""Bytes of all texts together, and steps of the search for them."""
_FOREVER = 1 << 40

Many = Literal["it counts tokens", "there is no longest text", "there are too many texts"]
"""Why the texts of a hole are not listed."""


@dataclass(frozen=True, eq=False)
class FewTexts:
    """The texts of a hole, sorted. stopped: those that a kept stop ends: a token may run past them."""

    texts: tuple[bytes, ...]
    stopped: frozenset[bytes] = frozenset()

    def longer(self, text: bytes) -> tuple[bytes, ...]:
        """The texts that begin with one and go on."""
        low = bisect_right(self.texts, text)
        return self.texts[low : bisect_left(self.texts, text + b"\xff", low)]  # the byte 0xff is in no text


def few_texts(automaton: TextAutomaton) -> FewTexts | Many:
    """The texts of an automaton; why not, where they are not few."""
    if len(automaton.token_bounds) > 1:
        return "it counts tokens"
    return _Listing(automaton).texts()


class _Listing:
    """A walk over the states from which an end is reached."""

    def __init__(self, automaton: TextAutomaton) -> None:
        self._automaton = automaton
        self._delta = automaton.delta[0]
        self._by_class: list[list[int]] = [np.flatnonzero(automaton.byte_class == kind).tolist() for kind in range(self._delta.shape[1])]
        self._removed = any(not phrase.keep for phrase in automaton.phrases)
        kept = any(phrase.keep for phrase in automaton.phrases)
        self._ends = automaton.accepts[0] | automaton.stops[0] if kept else automaton.accepts[0]
        self._chars = self._chars_to_end()

    def texts(self) -> FewTexts | Many:
        """All texts, or why they are not listed."""
        start, limit = self._automaton.start, self._automaton.char_limit
        if self._chars[start] > (_FOREVER - 1 if limit is None else limit):
            return FewTexts(())
        problem = self._problem(start) if limit is None else None
        return problem or self._listed() or "there are too many texts"

    def _chars_to_end(self) -> list[int]:
        """int[S]: characters from every state to the nearest end, `_FOREVER` where none is reached."""
        begins = np.array([any(byte & 0xC0 != 0x80 for byte in found) for found in self._by_class])
        sources, kinds = np.nonzero(self._delta)
        edges = np.unique(np.stack([self._delta[sources, kinds], sources, begins[kinds]]), axis=1)
        first = np.searchsorted(edges[0], np.arange(len(self._ends) + 1)).tolist()
        before, costs = edges[1].tolist(), edges[2].tolist()
        chars = [_FOREVER] * len(self._ends)
        pending = deque((0, state) for state in np.flatnonzero(self._ends).tolist())
        while pending:
            cost, state = pending.popleft()
            if cost >= chars[state]:
                continue
            chars[state] = cost
            for edge in range(first[state], first[state + 1]):
                if cost + costs[edge] < chars[before[edge]]:
                    (pending.append if costs[edge] else pending.appendleft)((cost + costs[edge], before[edge]))
        return chars

    def _following(self, state: int) -> Iterator[tuple[int, int]]:
        """The byte classes after a state with which an end can be reached, and where they lead."""
        for kind, to in enumerate(self._delta[state].tolist()):
            if to and self._chars[to] < _FOREVER:
                yield kind, to

    def _problem(self, start: int) -> Many | None:
        """Why the texts after a state are not few, by their number; no text is made."""
        counts: dict[int, int] = {}
        under_way: set[int] = set()
        pending = [start]
        while pending:
            state = pending[-1]
            if state in counts:
                pending.pop()
                continue
            under_way.add(state)
            following = list(self._following(state))
            if any(to in under_way for _, to in following):
                return "there is no longest text"
            fresh = {to for _, to in following if to not in counts}
            if fresh:
                pending += fresh
                continue
            counts[state] = int(self._ends[state]) + sum(counts[to] * len(self._by_class[kind]) for kind, to in following)
            if counts[state] > MOST_TEXTS:
                return "there are too many texts"
            under_way.discard(state)
        return None

    def _listed(self) -> FewTexts | None:
        """The texts; None past the bounds."""
        texts: set[bytes] = set()
        stopped: set[bytes] = set()
        size = 0
        for state, path in self._walk():
            size += len(path) + 1 if self._ends[state] else 1
            if len(texts) > MOST_TEXTS or size > MOST_BYTES:
                return None
            if self._automaton.stops[0, state]:
                text = bytes(path)
                cut = removed_bytes(self._automaton, [text], 0) if self._removed else 0
                texts.add(text[: len(text) - cut])
                if not cut:
                    stopped.add(text)
            elif self._ends[state]:
                texts.add(bytes(path))
        return None if len(texts) > MOST_TEXTS else FewTexts(tuple(sorted(texts)), frozenset(stopped))

    def _walk(self) -> Iterator[tuple[int, bytearray]]:
        """Every state on the way to an end, with what leads there."""
        limit = self._automaton.char_limit
        path = bytearray()
        pending = [(self._automaton.start, 0, 0, _FOREVER - 1 if limit is None else limit)]
        while pending:
            state, depth, byte, room = pending.pop()
            if depth:
                path[depth - 1 :] = (byte,)
            yield state, path
            for kind, to in self._following(state):
                for following in self._by_class[kind]:
                    left = room - (following & 0xC0 != 0x80)
                    if self._chars[to] <= left:
                        pending.append((to, depth + 1, following, left))
