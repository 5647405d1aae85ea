"""Whether a valid text is closed: every legal continuation gives the same text again, since only a stop that is removed can follow.

The tokens after the text are walked with the phrases that begin at its end. The text is closed where every allowed token is a part of such
a phrase, or runs past its end, no text on the way is valid itself, and no longer phrase ends with it: one that began before the
text's end would take some of the text away, one that is kept would add to it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from lmqlc.compiler.automata.automaton import TextAutomaton
from lmqlc.compiler.masks.core import Core
from lmqlc.compiler.masks.counters import Horizon, Moment
from lmqlc.compiler.masks.cuts import Written, fixed_cut, held
from lmqlc.compiler.masks.forms import pack
from lmqlc.compiler.masks.phrases import Phrase, phrase_as_shown

MOST = 1024
"""Prefixes of tokens that are looked at for one text; past that it is taken to be open, and the model is asked once more."""
KEPT = 1 << 12
"""Answers remembered by state."""

Threads = frozenset[tuple[int, int]]
"""Phrases under way: the number of each, and the state of its automaton."""


@dataclass(frozen=True, slots=True)
class _Place:
    """A place after the text: the automaton's state, tokens, and code points left; phrases that began at the text's end, and those that
    began before it, removed and kept."""

    q: int
    count: int
    room: int
    fresh: Threads
    older: Threads
    kept: Threads


class Closing:
    """Closure of the texts of one core. horizons: without a budget, and with that of the hole."""

    def __init__(self, core: Core, budget: int | None) -> None:
        self.core = core
        self._automaton = core.automaton
        self._table = core.masks("")
        unlimited = Horizon(core.steps, core.costs, None)
        self._horizon = unlimited if budget is None else Horizon(core.steps, core.costs, budget)
        self._horizons = [unlimited] if budget is None else [unlimited, self._horizon]
        self._known: dict[tuple[int, int, int, Written | None], bool] = {}
        self._open: dict[tuple[int, int, int], bool] = {}
        self._steps: dict[tuple[Threads, int], Threads] = {}
        self._nexts: dict[Threads, list[int]] = {}

    def closed(self, q: int, count: int, room: int, written: Written | None) -> bool:
        """A valid text at a state, which some tokens may follow, is closed. written: its tokens, where cuts depend on them."""
        if self._leads_to_a_text(q, count, room):
            return False
        key = (q, count, room, written)
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= KEPT:
                self._known.clear()
            found = self._known[key] = self._decide(q, count, room, written)
        return found

    def _leads_to_a_text(self, q: int, count: int, room: int) -> bool:
        """Some token makes another valid text: nearly always so where a text may end, and cheap to see."""
        moment, block = self._horizon.moment(count, q), self.core.classes.block(q)
        need, most = self._table.need(q, moment)
        key = (q, moment.number, min(room, max(most, self.core.index.max_chars)) if self.core.steps.counts_chars else 0)
        found = self._open.get(key)
        if found is None:
            if len(self._open) >= KEPT:
                self._open.clear()
            ends = self._accepting[self.core.steps.region(count + 1)][block.table[moment.pair, q - block.first]]
            found = self._open[key] = bool((ends & (need <= room) & (block.chars <= room)).any())
        return found

    @cached_property
    def _accepting(self) -> list[npt.NDArray[np.bool_]]:
        """By region: bool[width], the text may end at a value."""
        steps = self.core.steps
        rest = np.zeros(steps.width - steps.states, np.bool_)
        return [np.concatenate([row, rest]) for row in self._automaton.accepts]

    @cached_property
    def _phrases(self) -> list[Phrase]:
        found = map(phrase_as_shown, self._automaton.phrases)
        return [phrase for phrase in found if phrase is not None]

    def _decide(self, q: int, count: int, room: int, written: Written | None) -> bool:
        place = _Place(q, count, room, self._fresh, *self._begun(written))
        return any(self._only_removed(horizon, place) for horizon in self._horizons)

    def _begun(self, written: Written | None) -> tuple[Threads, Threads]:
        """Phrases that began before the end of the text: removed ones, where the formula holds before them, and kept ones. Where every stop
        cuts off equally many bytes, none of them matters."""
        older, kept = Threads(), Threads()
        if written is None or fixed_cut(self._automaton.phrases) is not None:
            return older, kept
        tokens = written.texts(self.core.vocabulary)
        text = b"".join(tokens)
        for byte, holds in zip(text, held(self._automaton, tokens, len(text)), strict=False):
            older = self.step(older | self._fresh if holds else older, byte)
            kept = self.step(kept | self._fresh_kept, byte)
        return older, kept

    @cached_property
    def _fresh(self) -> Threads:
        """Removed phrases at their beginnings."""
        return frozenset((number, phrase.start) for number, phrase in enumerate(self._phrases) if not phrase.keep)

    @cached_property
    def _fresh_kept(self) -> Threads:
        return frozenset((number, phrase.start) for number, phrase in enumerate(self._phrases) if phrase.keep)

    def step(self, threads: Threads, byte: int) -> Threads:
        """The phrases that go on with a byte."""
        key = (threads, byte)
        found = self._steps.get(key)
        if found is None:
            if len(self._steps) >= KEPT:
                self._steps.clear()
            after = ((number, self._phrases[number].steps[state][byte]) for number, state in threads)
            found = self._steps[key] = frozenset(thread for thread in after if thread[1])
        return found

    def next_bytes(self, threads: Threads) -> list[int]:
        """The bytes with which some phrase goes on."""
        found = self._nexts.get(threads)
        if found is None:
            if len(self._nexts) >= KEPT:
                self._nexts.clear()
            found = self._nexts[threads] = [byte for byte in range(256) if self.step(threads, byte)]
        return found

    def ends(self, threads: Threads) -> bool:
        return any(self._phrases[number].ends[state] for number, state in threads)

    def _only_removed(self, horizon: Horizon, start: _Place) -> bool:
        """Every way on from a place ends with a phrase that began at the text's end and is removed."""
        pending, seen, looked = [start], {start}, 0
        while pending:
            place = pending.pop()
            moment = horizon.moment(place.count, place.q)
            if moment.finish is None:
                continue
            walk = _Walk(self, place, moment)
            looked += walk.looked
            allowed = self._table.get(place.q, place.room, moment, False)[0].bits
            if looked > MOST or (allowed & ~pack(walk.covered)).any():
                return False
            for token_id, after in walk.parts:
                if not allowed[token_id >> 5] >> np.uint32(token_id & 31) & 1:
                    continue
                after = self._moved(after, token_id, horizon)
                if after.room >= 0 and self._automaton.accepts[self.core.steps.region(after.count), after.q]:
                    return False
                if after not in seen:
                    seen.add(after)
                    pending.append(after)
        return True

    def _moved(self, place: _Place, token_id: int, horizon: Horizon) -> _Place:
        """A place after a token, with what it counts."""
        chars = int(self.core.index.chars[token_id]) if self.core.steps.counts_chars else 0
        count = min(place.count + 1, horizon.last)
        return _Place(place.q, count, place.room - chars, place.fresh, place.older, place.kept)


class _Walk:
    """The tokens that go on with a phrase from a place.

    covered: bool[V], tokens that are a part of one, or reach its end, where the text is cut to what it was. parts: the former, with their
    places, whose counts are still those before. looked: prefixes looked at.
    """

    def __init__(self, closing: Closing, place: _Place, moment: Moment) -> None:
        core = closing.core
        self._closing = closing
        self._automaton: TextAutomaton = core.automaton
        self._order: Sequence[int] = core.index.by_bytes
        self._tokens = core.vocabulary.tokens
        self._start = place
        self._after = core.steps.region(place.count + 1)
        self._regions = (moment.region % len(self._automaton.delta), self._after % len(self._automaton.delta))
        self.covered = np.zeros(len(core.vocabulary), np.bool_)
        self.parts: list[tuple[int, _Place]] = []
        self.looked = 0
        self._below(0, len(self._order), 0, place)

    def _below(self, low: int, high: int, depth: int, place: _Place) -> None:
        """Tokens `low` to `high` in order of their bytes, alike in the first `depth` of them, which lead to a place."""
        order, tokens = self._order, self._tokens
        while depth and low < high and len(tokens[order[low]]) == depth:
            self.covered[order[low]] = True
            self.parts.append((order[low], place))
            low += 1

        def byte_at(token_id: int) -> int:
            return tokens[token_id][depth]

        while low < high and self.looked <= MOST:
            self.looked += 1
            byte = byte_at(order[low])
            end = bisect_right(order, byte, low, high, key=byte_at)
            self._read(low, end, depth, place, byte)
            fresh = self._closing.next_bytes(place.fresh)
            following = fresh[bisect_right(fresh, byte) :]
            low = bisect_left(order, following[0], end, high, key=byte_at) if following else high

    def _read(self, low: int, high: int, depth: int, place: _Place, byte: int) -> None:
        """Read one more byte of some tokens."""
        automaton, step = self._automaton, self._closing.step
        q = int(automaton.delta[self._regions[depth > 0], place.q, automaton.byte_class[byte]])
        fresh = step(place.fresh, byte)
        if not q or not fresh:
            return
        after = _Place(q, place.count, place.room, fresh, step(place.older, byte), step(place.kept, byte))
        if not automaton.stops[self._after, q]:
            self._below(low, high, depth + 1, after)
        elif self._leaves_the_text(after):
            self.covered[self._order[low:high]] = True

    def _leaves_the_text(self, place: _Place) -> bool:
        """The stop at a place removes what came after the text, and no more."""
        ends, automaton = self._closing.ends, self._automaton
        good = automaton.accepts if automaton.holds is None else automaton.holds
        longer = ends(place.older) or (ends(place.kept) and bool(good[self._after, place.q]))
        return ends(place.fresh) and not longer
