"""An automaton for what may still come of a text where stops are judged elsewhere.

A residue knows only what the formula says under assumed values of its external atoms, so at a phrase's end it cannot know whether decoding
stops. Its automaton is widened to allow both: a token may overrun a possible stop, and a removed phrase may follow an accepted text; but
nothing is lost by going on. A state is the residue's own state with the phrases begun. A token that overruns a possible stop, and is
no way to go on, leads to one more state, where decoding ends. At a token's end that chance is past: `settled` gives the state without it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lmqlc.compiler.automata.automaton import TextAutomaton
from lmqlc.compiler.masks.phrases import Phrase

MAX_STATES = 20_000
"""States of a widened automaton. Past that the residue stays as it is, and texts that only an overrun could end may be refused."""

Threads = frozenset[tuple[int, int]]
_Key = tuple[int, Threads]
_STOPPED = -1


@dataclass(frozen=True, eq=False)
class Widened:
    """automaton: over S states. settled: int[S], the state to go on from at a token's end; 0 where only phrases went on."""

    automaton: TextAutomaton
    settled: list[int]


def widen(automaton: TextAutomaton, phrases: tuple[Phrase, ...]) -> Widened:
    """The automaton of a residue (which has no stops of its own) under optional stops."""
    found = _Search(automaton, phrases)
    if not phrases or not found.explore():
        return Widened(automaton, list(range(automaton.delta.shape[1])))
    return found.assembled()


class _Search:
    """Subset construction: a state's threads are the phrases that have begun and may still end."""

    def __init__(self, automaton: TextAutomaton, phrases: tuple[Phrase, ...]) -> None:
        self._automaton = automaton
        self._phrases = phrases
        differs = len(automaton.delta) > 1 or bool((automaton.accepts != automaton.accepts[0]).any())
        self._regions = len(automaton.accepts) if differs else 1
        columns = [automaton.byte_class.tolist(), *(list(row) for phrase in phrases for row in phrase.steps)]
        kinds: dict[tuple[int, ...], int] = {}
        self._byte_class = np.array([kinds.setdefault(key, len(kinds)) for key in zip(*columns, strict=True)], np.uint8)
        self._bytes = [int(np.argmax(self._byte_class == kind)) for kind in range(len(kinds))]
        self._numbers: dict[_Key, int] = {(0, frozenset()): 0}
        self._keys: list[_Key] = [(0, frozenset())]
        self._rows: list[list[list[int]]] = []

    def explore(self) -> bool:
        """Find all states; False past the bound."""
        self._number((self._automaton.start, frozenset()))
        while len(self._rows) < len(self._keys) <= MAX_STATES:
            key = self._keys[len(self._rows)]
            self._rows.append([[self._next(key, region, byte) for byte in self._bytes] for region in range(self._regions)])
        return len(self._keys) <= MAX_STATES

    def _number(self, key: _Key) -> int:
        if key not in self._numbers:
            self._numbers[key] = len(self._keys)
            self._keys.append(key)
        return self._numbers[key]

    def _next(self, key: _Key, region: int, byte: int) -> int:
        """The number of the state after a byte, `_STOPPED` where only a stop before the byte is left."""
        q, _ = key
        automaton = self._automaton
        after = int(automaton.delta[region % len(automaton.delta), q, automaton.byte_class[byte]])
        threads = frozenset(self._threads(key, region, byte, after != 0))
        if after == 0 and not threads:
            return _STOPPED if self._may_stop(key, region) else 0
        return self._number((after, threads))

    def _threads(self, key: _Key, region: int, byte: int, alive: bool) -> Iterator[tuple[int, int]]:
        """The phrases under way after a byte. A kept one needs a text that is alive, a removed one began after an accepted text."""
        q, threads = key
        accepted = bool(self._automaton.accepts[region, q])
        fresh = ((k, phrase.start) for k, phrase in enumerate(self._phrases) if (q and phrase.keep) or accepted)
        for number, state in (*threads, *fresh):
            phrase = self._phrases[number]
            after = phrase.steps[state][byte]
            if after and (alive or not phrase.keep):
                yield number, after

    def _may_stop(self, key: _Key, region: int) -> bool:
        q, threads = key
        accepted = bool(self._automaton.accepts[region, q])
        return any(self._phrases[k].ends[state] and (accepted or not self._phrases[k].keep) for k, state in threads)

    def assembled(self) -> Widened:
        """All states, then the state where decoding ends, then a quiet copy of every state that could stop."""
        count = len(self._keys)
        delta: npt.NDArray[np.int32] = np.array(self._rows, np.int32).transpose(1, 0, 2)
        stopping = np.flatnonzero((delta == _STOPPED).any(axis=(0, 2)))
        quiet = np.where(delta[:, stopping] == _STOPPED, 0, delta[:, stopping])
        ended = np.zeros((self._regions, 1, len(self._bytes)), np.int32)
        whole = np.concatenate([np.where(delta == _STOPPED, count, delta), ended, quiet], axis=1)
        settled = [number if q else 0 for number, (q, _) in enumerate(self._keys)] + [0]
        for place, number in enumerate(stopping.tolist()):
            settled[number] = count + 1 + place if settled[number] else 0
        settled += [count + 1 + place for place in range(len(stopping))]
        accepts = self._accepts()
        old = self._automaton
        return Widened(
            TextAutomaton(
                delta=np.ascontiguousarray(whole),
                byte_class=self._byte_class,
                start=self._numbers[old.start, frozenset()],
                accepts=np.concatenate([accepts, np.zeros((len(accepts), 1), np.bool_), accepts[:, stopping]], axis=1),
                stops=np.repeat(np.arange(whole.shape[1])[None] == count, len(accepts), axis=0),
                token_bounds=old.token_bounds,
                char_limit=old.char_limit,
                memory=old.memory,
            ),
            settled,
        )

    def _accepts(self) -> npt.NDArray[np.bool_]:
        """bool[R, S]: the residue accepts, or a removed phrase has ended."""
        removed = [any(self._phrases[k].ends[s] and not self._phrases[k].keep for k, s in threads) for _, threads in self._keys]
        accepts: npt.NDArray[np.bool_] = self._automaton.accepts[:, [q for q, _ in self._keys]] | np.array(removed)
        return accepts
