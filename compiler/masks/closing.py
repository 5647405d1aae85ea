"""What may follow a valid text: whether it is closed, since every legal continuation gives the same text again; and, where words or
sentences are counted, whether white space ends it.

The tokens after the text are walked with the phrases that begin at its end. The text is closed where every allowed token is a part of such
a phrase, or runs past its end, no text on the way is valid itself, and no longer phrase ends with it: one that began before the
text's end would take some of the text away, one that is kept would add to it.

White space ends a text where some may follow, and whatever follows it only adds more: then no further word can come, and a token that
begins with white space says that the model wants one. It is discarded. Removed phrases may then begin behind the white space too.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from lmqlc.compiler.automata.automaton import TextAutomaton
from lmqlc.compiler.masks.classes import ClassBlock
from lmqlc.compiler.masks.core import Core
from lmqlc.compiler.masks.counters import Horizon, Moment
from lmqlc.compiler.masks.cuts import Written, fixed_cut, held
from lmqlc.compiler.masks.forms import allows, pack, unpack
from lmqlc.compiler.masks.interface import Ids
from lmqlc.compiler.masks.phrases import Phrase, phrase_as_shown
from lmqlc.compiler.masks.spaces import space_steps, space_tokens

MOST = 1024
"""Prefixes of tokens that are looked at for one text; past that it is taken to be open, and the model is asked once more."""
MOST_SPACES = 8192
"""The same where white space is looked at, of which vocabularies have many kinds."""
KEPT = 1 << 12
"""Answers remembered by state."""

Threads = frozenset[tuple[int, int]]
"""Phrases under way: the number of each, and the state of its automaton."""


@dataclass(frozen=True, slots=True)
class _Place:
    """A place after the text: the automaton's state, tokens, and code points left; phrases that began at the text's end (or in white space
    after it), and those that began before it, removed and kept.

    space: the state of the white space that follows the text (see `space_steps`), None where something else does, or none may. first: no
    whole character of it has come yet.
    """

    q: int
    count: int
    room: int
    fresh: Threads
    older: Threads
    kept: Threads
    space: int | None = None
    first: bool = False


class Closing:
    """What may follow the texts of one core within a budget. spaces: white space may end texts. whole: the same without the budget, where
    there is one."""

    def __init__(self, core: Core, budget: int | None = None, *, spaces: bool, whole: Closing | None = None) -> None:
        self.core = core
        self._automaton = core.automaton
        self._table = core.masks("")
        self._horizon = Horizon(core.steps, core.costs, budget)
        self._whole = whole
        self._known: dict[tuple[int, int, int, Written | None, bool], bool] = {}
        self._open: dict[tuple[int, int, int, bool], bool] = {}
        self._steps: dict[tuple[Threads, int], Threads] = {}
        self._nexts: dict[tuple[Threads, int | None], list[int]] = {}
        self._ids: Ids = np.zeros(0, np.intp)
        self._more: npt.NDArray[np.bool_] | None = None
        if spaces:
            self._ids, self._more = space_tokens(core.vocabulary)

    def closed(self, q: int, count: int, room: int, written: Written | None) -> bool:
        """A valid text at a state, which some tokens may follow, is closed. written: its tokens, where cuts depend on them."""
        count = min(count, self._horizon.last)
        if self._leads_to_a_text(q, count, room, spaces=False):
            return False
        closed = self._whole is not None and self._whole.closed(q, count, room, written)
        return closed or self._remembered(q, count, room, written, spaces=False)

    def ends_by_space(self, q: int, count: int, room: int, written: Written | None) -> bool:
        """White space ends a valid text at a state: whatever its budget, some may follow, and nothing else behind it."""
        if self._whole is not None:
            return self._whole.ends_by_space(q, count, room, written)
        count = min(count, self._horizon.last)
        return not self._leads_to_a_text(q, count, room, spaces=True) and self._remembered(q, count, room, written, spaces=True)

    def _remembered(self, q: int, count: int, room: int, written: Written | None, *, spaces: bool) -> bool:
        key = (q, count, room, written, spaces)
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= KEPT:
                self._known.clear()
            found = self._known[key] = self._decide(q, count, room, written, spaces)
        return found

    def _leads_to_a_text(self, q: int, count: int, room: int, *, spaces: bool) -> bool:
        """Some token makes another valid text: nearly always so where a text may end, and cheap to see. spaces: one that begins with white
        space and goes on; else any, but where white space may end texts one that does not begin with it."""
        moment, block = self._horizon.moment(count, q), self.core.classes.block(q)
        need, most = self._table.need(q, moment)
        key = (q, moment.number, min(room, max(most, self.core.index.max_chars)) if self.core.steps.counts_chars else 0, spaces)
        found = self._open.get(key)
        if found is None:
            if len(self._open) >= KEPT:
                self._open.clear()
            ends = self._accepting[self.core.steps.region(count + 1)][block.table[moment.pair, q - block.first]]
            found = bool((ends & (need <= room) & (block.chars <= room) & self._kinds(block)[spaces]).any())
            self._open[key] = found
        return found

    def _kinds(self, block: ClassBlock) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """bool[K] each: some token of a class does not begin with white space (any, where that ends no text), and some begins with it and
        goes on with something else."""
        found = self._by_block.get(block.first)
        if found is None:
            others, more = np.ones(len(self.core.vocabulary), np.bool_), self._more
            others[self._ids] = False
            kinds = [
                np.bincount(block.class_of[flags], minlength=block.classes) > 0 for flags in (others, others if more is None else more)
            ]
            found = self._by_block[block.first] = kinds[0], kinds[1]
        return found

    @cached_property
    def _by_block(self) -> dict[int, tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]]:
        return {}

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

    def _decide(self, q: int, count: int, room: int, written: Written | None, spaces: bool) -> bool:
        place = _Place(q, count, room, self.fresh, *self._begun(written), 0 if spaces else None, spaces)
        if not spaces:
            ended = self._ids if len(self._ids) and self.ends_by_space(q, count, room, written) else self._ids[:0]
            return self._only_the_text(place, self._ending(place, ended))
        allowed = self._table.get(q, room, self._horizon.moment(count, q), False)[0]
        return bool(unpack(allowed.bits, allowed.width)[self._ids].any()) and self._only_the_text(place, None)

    def _ending(self, place: _Place, ids: Ids) -> npt.NDArray[np.bool_] | None:
        """bool[V]: those of some tokens that begin with white space which meet no stop; None where there are none."""
        if not len(ids):
            return None
        block, pair = self.core.classes.block(place.q), self._horizon.moment(place.count, place.q).pair
        stopping = block.table[pair, place.q - block.first] >= self.core.steps.states
        found = np.zeros(len(self.core.vocabulary), np.bool_)
        found[ids] = ~stopping[block.class_of[ids]]
        return found

    def _begun(self, written: Written | None) -> tuple[Threads, Threads]:
        """Phrases that began before the end of the text: removed ones, where the formula holds before them, and kept ones. Where every stop
        cuts off equally many bytes, none of them matters."""
        older, kept = Threads(), Threads()
        if written is None or fixed_cut(self._automaton.phrases) is not None:
            return older, kept
        tokens = written.texts(self.core.vocabulary)
        text = b"".join(tokens)
        for byte, holds in zip(text, held(self._automaton, tokens, len(text)), strict=False):
            older = self.step(older | self.fresh if holds else older, byte)
            kept = self.step(kept | self.fresh_kept, byte)
        return older, kept

    @cached_property
    def fresh(self) -> Threads:
        """Removed phrases at their beginnings."""
        return frozenset((number, phrase.start) for number, phrase in enumerate(self._phrases) if not phrase.keep)

    @cached_property
    def fresh_kept(self) -> Threads:
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

    def next_bytes(self, threads: Threads, space: int | None) -> list[int]:
        """The bytes with which some phrase, or white space, goes on."""
        key = (threads, space)
        found = self._nexts.get(key)
        if found is None:
            if len(self._nexts) >= KEPT:
                self._nexts.clear()
            spaces = () if space is None else space_steps()[space]
            found = self._nexts[key] = [byte for byte in range(256) if byte in spaces or self.step(threads, byte)]
        return found

    def ends(self, threads: Threads) -> bool:
        return any(self._phrases[number].ends[state] for number, state in threads)

    def _only_the_text(self, start: _Place, ending: npt.NDArray[np.bool_] | None) -> bool:
        """Every way on from a place leaves the text as it is: it ends with a phrase that is removed, or only adds white space, where that
        may follow. ending: bool[V], tokens that end the text at once."""
        pending, seen, looked = [start], {start}, 0
        while pending:
            place = pending.pop()
            moment = self._horizon.moment(place.count, place.q)
            if moment.finish is None:
                continue
            walk = _Walk(self, place, moment)
            looked += walk.looked
            covered = walk.covered if ending is None or place is not start else walk.covered | ending
            allowed = self._table.get(place.q, place.room, moment, False)[0].bits
            if looked > self.most or (allowed & ~pack(covered)).any():
                return False
            for token_id, after in walk.parts:
                if not allows(allowed, token_id) or (ending is not None and place is start and ending[token_id]):
                    continue
                after = self._moved(after, token_id)
                final = after.room >= 0 and self._automaton.accepts[self.core.steps.region(after.count), after.q]
                if final and after.space != 0:
                    return False
                if after not in seen:
                    seen.add(after)
                    pending.append(after)
        return True

    @cached_property
    def keeps(self) -> bool:
        """Some stop phrase stays in the text."""
        return any(phrase.keep for phrase in self._automaton.phrases)

    @property
    def most(self) -> int:
        """How many prefixes are looked at."""
        return MOST if self._more is None else MOST_SPACES

    def _moved(self, place: _Place, token_id: int) -> _Place:
        """A place after a token, with what it counts."""
        chars = int(self.core.index.chars[token_id]) if self.core.steps.counts_chars else 0
        count = min(place.count + 1, self._horizon.last)
        return replace(place, count=count, room=place.room - chars)


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
        self._ids = core.index.order
        self._tokens = core.vocabulary.tokens
        self._start = place
        self._after = core.steps.region(place.count + 1)
        self._regions = (moment.region % len(self._automaton.delta), self._after % len(self._automaton.delta))
        self._good = self._automaton.accepts if self._automaton.holds is None else self._automaton.holds
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

        while low < high and self.looked <= self._closing.most:
            self.looked += 1
            byte = byte_at(order[low])
            end = bisect_right(order, byte, low, high, key=byte_at)
            self._read(low, end, depth, place, byte)
            following = self._closing.next_bytes(place.fresh, place.space)
            following = following[bisect_right(following, byte) :]
            low = bisect_left(order, following[0], end, high, key=byte_at) if following else high
            if place.first:
                self.covered[self._ids[end:low]] = True  # they do not begin with white space

    def _read(self, low: int, high: int, depth: int, place: _Place, byte: int) -> None:
        """Read one more byte of some tokens."""
        automaton, closing = self._automaton, self._closing
        space = None if place.space is None else space_steps()[place.space].get(byte)
        if place.first and space is None:
            self.covered[self._ids[low:high]] = True
            return
        q = int(automaton.delta[self._regions[depth > 0], place.q, automaton.byte_class[byte]])
        fresh = closing.step(place.fresh, byte)
        if not q or (space is None and not fresh):
            return
        after = _Place(
            q,
            place.count,
            place.room,
            fresh,
            closing.step(place.older, byte),
            closing.step(place.kept, byte),
            space,
            place.first and space != 0,
        )
        if not automaton.stops[self._after, q]:
            begins = space == 0 and bool(self._good[self._after, q])
            self._below(low, high, depth + 1, replace(after, fresh=fresh | closing.fresh) if begins else after)
        elif self._leaves_the_text(after):
            self.covered[self._ids[low:high]] = True

    def _leaves_the_text(self, place: _Place) -> bool:
        """The stop at a place leaves the text, with nothing but white space after it."""
        ends, spaces = self._closing.ends, place.space == 0 and self._closing.keeps
        longer = ends(place.older) or (not spaces and ends(place.kept) and bool(self._good[self._after, place.q]))
        return (spaces or ends(place.fresh)) and not longer
