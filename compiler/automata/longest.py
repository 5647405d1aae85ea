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
        back = _Back(sources, targets, self.states)
        live: npt.NDArray[np.bool_] = self._ends.copy()
        live[0] = False
        pending = np.flatnonzero(live)
        while len(pending):
            before = back.of(pending)
            pending = np.unique(before[~live[before]])
            live[pending] = True
        return live

    def longest(self, kept: npt.NDArray[np.bool_]) -> int | None:
        """The most steps of a walk through states that are kept, None where there is no most."""
        sources, targets = self._edges
        inside = kept[sources] & kept[targets]
        sources, targets = sources[inside], targets[inside]
        back, left = _Back(sources, targets, self.states), np.bincount(sources, minlength=self.states)
        # States whose steps all lead to states that were taken away are taken away: once for every step of the longest walk.
        layer, done, steps = np.flatnonzero(left == 0), 0, -1
        while len(layer):
            done, steps = done + len(layer), steps + 1
            before = back.of(layer)
            if len(before) < _FEW:
                found = []
                for state in before.tolist():
                    left[state] -= 1
                    if left[state] == 0:
                        found.append(state)
                layer = np.array(found, np.intp)
            else:
                before, counts = np.unique(before, return_counts=True)
                left[before] -= counts
                layer = before[left[before] == 0]
        return steps if done == self.states else None


_FEW = 32
"""Up to so many steps are followed one by one: long texts have layers of a single state."""


class _Back:
    """Steps backwards: where those into a state come from."""

    def __init__(self, sources: npt.NDArray[np.intp], targets: npt.NDArray[np.intp], size: int) -> None:
        self._sources = sources[np.argsort(targets, kind="stable")]
        self._starts = np.concatenate([[0], np.cumsum(np.bincount(targets, minlength=size))])

    def of(self, states: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
        """The sources of all steps into some states."""
        if len(states) == 1:
            state = int(states[0])
            return self._sources[self._starts[state] : self._starts[state + 1]]
        starts, counts = self._starts[states], self._starts[states + 1] - self._starts[states]
        found: npt.NDArray[np.intp] = self._sources[np.repeat(starts - (np.cumsum(counts) - counts), counts) + np.arange(counts.sum())]
        return found
