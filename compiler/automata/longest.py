"""How long the texts of an automaton can get: what a hole needs no other bound for."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import numpy.typing as npt

from lmqlc.compiler.automata.automaton import TextAutomaton

_CHARACTER = 4
"""Bytes of a code point at most."""


def longest_text(automaton: TextAutomaton) -> int | None:
    """The most tokens that a text may take, whatever the vocabulary: no token has less than a byte. Stop phrases count. None where texts
    have no bound.

    Where a count of tokens bounds the text, this is that count; else it is the bytes of the longest text.
    """
    counted = int(automaton.token_bounds[-1])  # from here on the count changes nothing any more
    graph = _Graph(automaton, len(automaton.token_bounds) - 1)
    if automaton.char_limit is not None:
        removed = max((len(phrase.text or "") for phrase in automaton.phrases if not phrase.keep), default=0)
        return counted + _CHARACTER * (automaton.char_limit + removed)
    if graph.loops:
        return None
    length = graph.longest(np.ones(graph.states, np.bool_))
    if length is None:
        length = graph.longest(graph.live)
    return None if length is None else counted + length


class _Graph:
    """The steps by one byte between the states of one region of token counts; the dead state is left out."""

    def __init__(self, automaton: TextAutomaton, region: int) -> None:
        rows = automaton.delta[min(region, len(automaton.delta) - 1)]
        self.states = len(rows)
        self._ends = automaton.accepts[region] | automaton.stops[region]
        own = np.arange(self.states)[:, None]
        self.loops = bool(((rows == own).any(axis=1) & automaton.accepts[region])[1:].any())
        """A state where the text may end goes on to itself: the commonest way to have no bound, seen at once."""
        self._rows = rows

    @cached_property
    def _edges(self) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        rows = self._rows
        live = rows != 0
        live[:, 1:] &= rows[:, 1:] != rows[:, :-1]
        live[0] = False
        sources, classes = np.nonzero(live)
        return sources, rows[sources, classes].astype(np.intp)

    @cached_property
    def live(self) -> npt.NDArray[np.bool_]:
        """bool[S], states from which a text can end."""
        sources, targets = self._edges
        before = _grouped(targets, sources, self.states)
        live: npt.NDArray[np.bool_] = self._ends.copy()
        live[0] = False
        pending = np.flatnonzero(live).tolist()
        while pending:
            for state in before[pending.pop()]:
                if not live[state]:
                    live[state] = True
                    pending.append(state)
        return live

    def longest(self, kept: npt.NDArray[np.bool_]) -> int | None:
        """The most steps of a walk through states that are kept, None where there is no most."""
        sources, targets = self._edges
        inside = kept[sources] & kept[targets]
        sources, targets = sources[inside], targets[inside]
        before, left = _grouped(targets, sources, self.states), np.bincount(sources, minlength=self.states).tolist()
        steps = [0] * self.states
        pending = [state for state, count in enumerate(left) if not count]
        done = 0
        for state in pending:  # it grows: a state follows when all that come after it are done
            done += 1
            for earlier in before[state]:
                steps[earlier] = max(steps[earlier], steps[state] + 1)
                left[earlier] -= 1
                if not left[earlier]:
                    pending.append(earlier)
        return max(steps) if done == self.states else None


def _grouped(keys: npt.NDArray[np.intp], values: npt.NDArray[np.intp], size: int) -> list[list[int]]:
    """The values of every key below `size`."""
    found: list[list[int]] = [[] for _ in range(size)]
    for key, value in zip(keys.tolist(), values.tolist(), strict=True):
        found[key].append(value)
    return found
