"""Counters beside the automaton: what it costs to finish a text, in characters, with a bounded number of tokens.

The *finish* array of a moment gives, for every value (`steps`) that a token may lead to, the fewest code points with which the text can
still become valid: 0 where it may end there; `FOREVER` where no tokens of this vocabulary, within the budget, make it valid. A
token is allowed exactly where the code points that it begins, and those needed after it, fit in what is left of the text's limit.
Code points past a stop, and those of a removed stop phrase, do not count, so values past a stop cost less than nothing.

Finish arrays are found backwards: with no token left a text must end; with one more token it costs the least over all classes of
tokens. Three things make this cheap. Where every byte that the automaton reads is a token of its own, any text can be
written, and shortest paths over bytes give the answer for large budgets without looking at classes. Where characters are not counted, the
fewest tokens that finish a text from a state say all about budgets. And each array follows from the one before, so that a sequence
which comes back to an array seen before repeats from there on.
"""

from __future__ import annotations

import heapq
import itertools
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from lmqlc.compiler.automata.problems import TOO_LARGE, error
from lmqlc.compiler.masks.classes import ONE_BLOCK, TokenClasses
from lmqlc.compiler.masks.steps import Steps, Values
from lmqlc.compiler.masks.token_edges import Ints, TokenEdges, edges_of, walked_edges

Finish = npt.NDArray[np.int32]

FOREVER = 1 << 29
"""The cost where a text cannot be finished; sums of it with character counts stay within int32."""


@dataclass(frozen=True, eq=False)
class KnownCosts:
    """Finish arrays that were found when an automaton was linked before.

    limit, bytes_needed: of `Costs`. early: distinct arrays without a budget at the first counts of tokens. early_at: their runs, a pair of
    the count that a run ends before and the place of its array in `early`.
    """

    limit: Finish
    bytes_needed: int | None
    early: tuple[Finish, ...] = ()
    early_at: tuple[tuple[int, int], ...] = ()

    def at(self, count: int) -> Finish | None:
        """The array at a count, None where it is not kept."""
        run = bisect_right(self.early_at, (count, len(self.early)))
        return self.early[self.early_at[run][1]] if run < len(self.early_at) else None


@dataclass(frozen=True, eq=False)
class Moment:
    """What is special about a count of tokens: how the next token is read, and what finishing costs after it.

    number: unique within one automaton; equal moments have equal numbers. region: of the count. pair: of the next token.
    finish: int32[width] after the next token; None where no token may follow.
    costs: `finish` for reading single entries fast.
    """

    number: int
    region: int
    pair: int
    finish: Finish | None
    costs: memoryview


class _Sequence:
    """Finish arrays that each follow from the one before; what repeats is found and folded.

    growing: so many values of an array follow from those before by costs alone, because no text may end in between, and the others
    are never met. Then an array that is an earlier one plus a number says all that come after: they grow by that number again and
    again, until they are past `most`, the greatest cost that can be met.
    """

    def __init__(self, first: Finish, step: Callable[[Finish], Finish], *, growing: int = 0, most: int = 0) -> None:
        self._step = step
        self._lock = threading.Lock()
        self._arrays = [first]
        self._places = {first.tobytes(): 0}
        self._loop: int | None = None
        self._growing = growing
        self._most = most
        self._grows: tuple[int, int] | None = None
        """The period, in places, and the growth of the last arrays that were found."""
        self._grown: dict[int, Finish] = {}

    def at(self, place: int) -> Finish:
        with self._lock:
            return self._at(place)

    def _at(self, place: int) -> Finish:
        while place >= len(self._arrays) and self._loop is None and self._grows is None:
            array = self._step(self._arrays[-1])
            known = self._places.setdefault(array.tobytes(), len(self._arrays))
            if known < len(self._arrays):
                self._loop = known
                break
            self._arrays.append(array)
            if self._growing:
                self._grows = self._find_growth()
        if self._loop is not None and place >= len(self._arrays):
            place = self._loop + (place - self._loop) % (len(self._arrays) - self._loop)
        return self._arrays[place] if place < len(self._arrays) else self._extended(place)

    def _find_growth(self) -> tuple[int, int] | None:
        """The period and the growth with which the last array follows from an earlier one."""
        last = self._arrays[-1][: self._growing]
        met = last < FOREVER
        for period in range(1, min(_PERIODS, len(self._arrays) - 1) + 1):
            before = self._arrays[-1 - period][: self._growing]
            if np.array_equal(before < FOREVER, met):
                growth = np.unique(last[met] - before[met])
                if len(growth) == 1 and growth[0] > 0:
                    return period, int(growth[0])
        return None

    def _extended(self, place: int) -> Finish:
        """An array beyond those that were found, as they grow."""
        assert self._grows is not None
        period, growth = self._grows
        place = min(place, self._spent)
        array = self._grown.get(place)
        if array is None:
            last = len(self._arrays) - 1
            turns = -(-(place - last) // period)
            base = self._arrays[place - turns * period]
            array = np.where(base + turns * growth <= self._most, base + turns * growth, FOREVER).astype(np.int32)
            if len(self._grown) >= _KEPT_GROWN:
                self._grown.clear()
            self._grown[place] = array
        return array

    @property
    def _spent(self) -> int:
        """A place from which on nothing can be met."""
        assert self._grows is not None
        period, growth = self._grows
        return len(self._arrays) + period * (self._most // growth + 2)

    def alike_from(self, place: int) -> int:
        """The first place from which on all arrays up to one of them, and all after it, are the same; the place itself where that cannot be
        told."""
        with self._lock:
            self._at(place)
            if self._loop is not None and self._loop == len(self._arrays) - 1:
                return min(place, self._loop)
            return place if self._grows is None else min(place, self._spent)

    def settles(self) -> Finish:
        """The array that the sequence comes to a rest at. Only for sequences that do: those within one region."""
        with self._lock:
            while self._loop is None:
                self._at(len(self._arrays))
            return self._arrays[-1]


_PERIODS = 12
"""The longest period of growth that is looked for. Where characters cost, they come in turns of the tokens that spell one: up to 4."""
_KEPT_GROWN = 1 << 10


_MOMENTS, _MOMENT_BYTES = 64, 1 << 25
"""Moments that are kept at least, and bytes of their arrays past which no more are."""
MOST_WORK = 1 << 32
"""Entries of tables that may be looked at to find what budgets cost, for one automaton: some ten seconds."""
_KEPT = 256
"""Sequences kept for regions before the last one: each budget that is asked for has its own."""


class Costs:
    """Finish arrays of one automaton over one vocabulary, computed when first needed.

    removed: code points of the stop phrase that is cut off at a stop; 0 where stops keep theirs.
    spelled: every byte that a live transition reads is a token of its own. known: what was found before.
    """

    def __init__(self, steps: Steps, classes: TokenClasses, *, removed: int, spelled: bool, known: KnownCosts | None = None) -> None:
        self._steps = steps
        self._classes = classes
        self._known = known
        self._removed = removed
        self._most = steps.automaton.char_limit or 0
        self.top = steps.bounds[-1]
        self._last = len(steps.bounds) - 1
        self._early: dict[tuple[int, int | None], _Sequence] = {}
        self._late: _Sequence | None = None
        self._moments: OrderedDict[tuple[int, int, int], Moment] = OrderedDict()
        self._numbers = itertools.count()
        self._within: OrderedDict[int, Finish] = OrderedDict()
        self._known_edges: dict[int, TokenEdges | None] = {}
        self._work = MOST_WORK
        self._limit: Finish | None = None
        self.bytes_needed: int | None = None
        """Tokens with which every text that can be finished is, at its lowest cost; None where that is not known in advance."""
        if known is not None:
            self._limit, self.bytes_needed = known.limit, known.bytes_needed
        elif spelled:
            self._limit, self.bytes_needed = self._spell()

    def terminal(self, region: int) -> Finish:
        """int32[width], cost where no further token may follow."""
        steps = self._steps
        finish = np.full(steps.width, FOREVER, np.int32)
        finish[: steps.states][steps.automaton.accepts[region]] = 0
        finish[steps.states :] = -np.arange(steps.width - steps.states) - self._removed
        return finish

    def step(self, finish: Finish, region: int, pair: int) -> Finish:
        """The costs at counts of a region, from those with one token more, which is read in a pair."""
        before = self.terminal(region)
        edges = self._edges(pair) if self._classes.whole is None else None
        if edges is None:
            self._step_by_blocks(finish, pair, before)
        elif len(edges.sources):
            starts = np.flatnonzero(np.append(True, edges.sources[1:] != edges.sources[:-1]))
            through = np.minimum.reduceat(finish.take(edges.targets) + edges.chars, starts)
            sources = edges.sources[starts]
            before[sources] = np.minimum(before[sources], through)
        before[before > self._most] = FOREVER  # no text has room for it
        before[0] = FOREVER
        return before

    def _step_by_blocks(self, finish: Finish, pair: int, before: Finish) -> None:
        for block in self._classes.all():
            table = block.table[pair]
            self._work -= table.size
            if self._work < 0:
                hint = "drop the bound on tokens, or make the constraint smaller"
                raise error(TOO_LARGE, "the constraint is too large to be held within a number of tokens", None, hint)
            through = (finish.take(table) + block.chars).min(axis=1)
            part = before[block.first : block.first + len(table)]
            np.minimum(part, through, out=part)

    def _edges(self, pair: int, sources: Ints | None = None) -> TokenEdges | None:
        """The edges of a pair, from some states or all; None where they are too many. Those from all states are kept."""
        if pair not in self._known_edges:
            whole = self._classes.whole
            if whole is None and sources is not None:
                return walked_edges(self._steps, self._classes.index, pair, sources)
            self._known_edges[pair] = (
                edges_of(whole, pair, self._steps.width)
                if whole is not None
                else walked_edges(self._steps, self._classes.index, pair, np.arange(1, self._steps.states))
            )
        return self._known_edges[pair]

    def unlimited(self) -> Finish:
        """Costs in the last region without a budget: what is `FOREVER` here can never be finished."""
        if self._limit is None:
            self._limit = self._sequence().settles()
        return self._limit

    def within(self, left: int | None) -> Finish:
        """Costs in the last region with at most `left` further tokens (None: any number)."""
        if left is None or (self.bytes_needed is not None and left >= self.bytes_needed):
            return self.unlimited()
        if self.rough:
            chars, count = self.by_bytes
            return self._kept(left, lambda: np.where(count <= left, chars, FOREVER).astype(np.int32))
        if self._steps.counts_chars:
            return self._sequence().at(left)
        needed = self._tokens_needed
        assert needed is not None
        return self._kept(left, lambda: np.where(needed <= left, 0, FOREVER).astype(np.int32))

    def _kept(self, left: int, make: Callable[[], Finish]) -> Finish:
        """The costs with so many tokens left; those asked for last are kept."""
        finish = self._within.get(left)
        if finish is None:
            finish = self._within[left] = make()
            while len(self._within) > max(_MOMENTS, _MOMENT_BYTES // (4 * self._steps.width)):
                self._within.popitem(last=False)
        return finish

    @cached_property
    def rough(self) -> bool:
        """Whether the tokens of a text cannot be told: costs within a budget are those of spelling it byte by byte. So it is for automata
        with too many states for one block from most of which most tokens lead on."""
        if self.bytes_needed is None or self._classes.whole is not None or self._steps.states * self._steps.pairs <= ONE_BLOCK:
            return False
        return (self._edges(self._late_pair) if self._steps.counts_chars else self._tokens_needed) is None

    @cached_property
    def _tokens_needed(self) -> Finish | None:
        """int32[width], the fewest tokens that finish a text from a value in the last region, where characters are not counted; None where
        that takes too long to find."""
        steps, terminal = self._steps, self.terminal(self._last)
        needed = np.full(steps.width, FOREVER, np.int32)
        needed[terminal < FOREVER] = 0
        sources: Ints | None = None
        if self.bytes_needed is not None:  # one byte is one token; only what needs more may need fewer tokens than bytes
            chars, count = self.by_bytes
            needed[(chars < FOREVER) & (count == 1)] = 1
            sources = np.flatnonzero((chars < FOREVER) & (count > 1))
        edges = self._edges(self._late_pair, sources)
        if edges is None:
            many = self._steps.states * self._steps.pairs > ONE_BLOCK
            return None if many and self.bytes_needed is not None else self._needed_by_steps()
        back = _Edges(edges.sources.astype(np.intp), edges.targets.astype(np.intp), steps.width)
        one, frontier, level = np.flatnonzero(needed == 1), np.flatnonzero(needed == 0), 0
        while len(frontier) or level == 0:
            level += 1
            before = back.into(frontier)
            before = np.unique(before[needed[before] == FOREVER])
            needed[before] = level
            frontier = np.concatenate([before, one]) if level == 1 else before
        return needed

    def _needed_by_steps(self) -> Finish:
        """`_tokens_needed` by costs of one token more at a time."""
        needed, finish = np.full(self._steps.width, FOREVER, np.int32), self.terminal(self._last)
        level = 0
        while True:
            needed[(finish < FOREVER) & (needed == FOREVER)] = level
            after = self.step(finish, self._last, self._late_pair)
            if np.array_equal(after, finish):
                return needed
            finish, level = after, level + 1

    @property
    def _late_pair(self) -> int:
        return 2 * self._last if self._steps.pairs > 1 else 0

    def _sequence(self) -> _Sequence:
        if self._late is None:
            last, pair = self._last, self._late_pair
            self._late = _Sequence(self.terminal(last), lambda finish: self.step(finish, last, pair))
        return self._late

    def after(self, count: int, budget: int | None) -> Finish | None:
        """Costs after the token that brings the count to `count`; None where the budget has no such token."""
        if budget is not None and count > budget:
            return None
        if count >= self.top:
            return self.within(None if budget is None else budget - count)
        if budget is not None and self.bytes_needed is not None and budget - self.top >= self.bytes_needed:
            budget = None  # it never binds
        if budget is None and self._known is not None:
            known = self._known.at(count)
            if known is not None:
                return known
        region = self._steps.region(count)
        end = self._steps.bounds[region + 1]
        if budget is not None and budget < end:
            return self._before(region, budget, budget).at(budget - count)
        return self._before(region, end - 1, budget).at(end - 1 - count)

    def early(self) -> Iterator[tuple[int, Finish]]:
        """Runs of counts below `top` with one array, without a budget: the count that a run ends before, and the array."""
        count = 0
        while count < self.top:
            region = self._steps.region(count)
            end = self._steps.bounds[region + 1]
            finish = self.after(count, None)
            assert finish is not None
            count = end - self._before(region, end - 1, None).alike_from(end - 1 - count)
            yield count, finish

    def _before(self, region: int, latest: int, budget: int | None) -> _Sequence:
        """The arrays of a region's counts, from its latest possible one backwards."""
        sequence = self._early.get((region, budget))
        if sequence is None:
            if len(self._early) >= _KEPT:
                self._early.clear()
            if budget == latest:
                first = self.terminal(region)
            else:
                following = self.after(latest + 1, budget)
                assert following is not None
                first = self.step(following, region, self._steps.pair(latest))
            pair = 2 * region if self._steps.pairs > 1 else 0
            automaton = self._steps.automaton
            ends = automaton.accepts[region].any() or automaton.stops[region].any()
            states = 0 if ends else self._steps.states
            sequence = _Sequence(first, lambda finish: self.step(finish, region, pair), growing=states, most=self._most)
            self._early[region, budget] = sequence
        return sequence

    def moment(self, region: int, pair: int, finish: Finish | None) -> Moment:
        """The one moment of these properties. Moments hold their arrays, so the identity of an array stays its own."""
        key = (region, pair, id(finish))
        moment = self._moments.get(key)
        if moment is None:
            costs = (np.zeros(0, np.int32) if finish is None else finish).data
            moment = self._moments[key] = Moment(next(self._numbers), region, pair, finish, costs)
            while len(self._moments) > max(_MOMENTS, _MOMENT_BYTES // (4 * self._steps.width)):
                self._moments.popitem(last=False)
        return moment

    def _spell(self) -> tuple[Finish, int]:
        """Costs in the last region by shortest paths over bytes, and the most bytes that the shortest of them take."""
        chars, count = self.by_bytes
        return chars, int(count.max())

    @cached_property
    def by_bytes(self) -> tuple[Finish, Finish]:
        """Code points and bytes (int32[width] each) of the cheapest way to finish in the last region, whatever the tokens."""
        return byte_costs(self._steps, self._last, self.terminal(self._last))

    @cached_property
    def farthest(self) -> Finish:
        """int32[width], the most bytes that the cheapest way to finish takes from a value, or from any that can be reached from it; in the
        last region."""
        chars, count = self.by_bytes
        return _most_ahead(_edges_back(self._steps, self._last), count, chars < FOREVER)


def _most_ahead(back: tuple[_Edges, _Edges], numbers: Finish, live: npt.NDArray[np.bool_]) -> Finish:
    """int32[width], the greatest number of all live places that can be reached from a place, itself among them; -1 where there is none."""
    found = np.full(len(numbers), -1, np.int32)
    order = np.flatnonzero(live)[np.argsort(-numbers[live], kind="stable")]
    cuts = np.flatnonzero(np.diff(numbers[order])) + 1
    for places in np.split(order, cuts):
        number, places = numbers[places[0]] if len(places) else 0, places[found[places] < 0]
        while len(places):
            found[places] = number
            before = np.concatenate([edges.into(places) for edges in back])
            before = before[found[before] < 0]
            places = np.unique(before) if len(before) > 1 else before
    return found


def byte_costs(steps: Steps, region: int, terminal: Finish) -> tuple[Finish, Finish]:
    """Code points, and bytes, of the cheapest way to finish from every value, reading bytes within one region of token counts.

    Places are settled in the order of their costs, all of one cost at once. Where there is no way: `FOREVER`, and 0 bytes.
    """
    found = _Backwards(_edges_back(steps, region), steps.width)
    for cost in np.unique(terminal[terminal < FOREVER]).tolist():
        found.reach((cost, 0), np.flatnonzero(terminal == cost))
    found.settle()
    return found.chars, found.count


_ONE_BY_ONE = 16
"""Up to this many places, or edges into one, are followed without NumPy: long chains have one place of every cost."""


class _Backwards:
    """Places, with the fewest code points and bytes (`chars`, `count`, by value) from which an end was reached, and those still pending."""

    def __init__(self, back: tuple[_Edges, _Edges], width: int) -> None:
        self.chars = np.full(width, FOREVER, np.int32)
        self.count = np.zeros(width, np.int32)
        self._back = back
        self._single: dict[tuple[int, int], list[int]] = {}
        self._many: dict[tuple[int, int], list[Values]] = {}
        self._queue: list[tuple[int, int]] = []

    def reach(self, cost: tuple[int, int], places: Values) -> None:
        """Some places have a way of a cost."""
        if cost not in self._many:
            self._many[cost] = []
            heapq.heappush(self._queue, cost)
        self._many[cost].append(places)

    def settle(self) -> None:
        """Settle everything, cheapest first."""
        while self._queue:
            cost = heapq.heappop(self._queue)
            single, many = self._single.pop(cost, []), self._many.pop(cost, [])
            if many or len(single) > _ONE_BY_ONE:
                self._settle_all(cost, np.unique(np.concatenate([*many, np.array(single, np.intp)])))
            else:
                for place in single:
                    self._settle_one(cost, place)

    def _settle_all(self, cost: tuple[int, int], places: Values) -> None:
        places = places[self.chars[places] == FOREVER]
        self.chars[places], self.count[places] = cost
        for lead, edges in enumerate(self._back):
            before = edges.into(places)
            before = before[self.chars[before] == FOREVER]
            then = (cost[0] + lead, cost[1] + 1)
            if len(before) > _ONE_BY_ONE:
                self.reach(then, before)
            elif len(before):
                self._reach_single(then, before.tolist())

    def _settle_one(self, cost: tuple[int, int], place: int) -> None:
        if self.chars[place] != FOREVER:
            return
        self.chars[place], self.count[place] = cost
        for lead, edges in enumerate(self._back):
            start, end = edges.range(place)
            then = (cost[0] + lead, cost[1] + 1)
            if end - start > _ONE_BY_ONE:
                self.reach(then, edges.sources[start:end])
            elif end > start:
                self._reach_single(then, edges.sources[start:end].tolist())

    def _reach_single(self, cost: tuple[int, int], places: list[int]) -> None:
        if cost in self._single:
            self._single[cost] += places
        else:
            self._single[cost] = places
            heapq.heappush(self._queue, cost)


class _Edges:
    """Edges between values, grouped by where they lead. sources: of the edges, in that order."""

    def __init__(self, sources: Values, targets: Values, width: int) -> None:
        self.sources = sources[np.argsort(targets, kind="stable")]
        self._starts = np.concatenate([[0], np.cumsum(np.bincount(targets, minlength=width))])

    def range(self, target: int) -> tuple[int, int]:
        """Where in `sources` the edges into a value stand."""
        return int(self._starts[target]), int(self._starts[target + 1])

    def into(self, targets: Values) -> Values:
        """The sources of all edges into some values."""
        starts, counts = self._starts[targets], self._starts[targets + 1] - self._starts[targets]
        offsets = np.cumsum(counts) - counts
        found: Values = self.sources[np.repeat(starts - offsets, counts) + np.arange(counts.sum())]
        return found


def _edges_back(steps: Steps, region: int) -> tuple[_Edges, _Edges]:
    """Steps by one byte: those that begin no code point (all, where characters are not counted), and those that begin one."""
    first = steps.first[2 * region if steps.pairs > 1 else 0]
    leads = steps.leads.astype(np.bool_)
    live = first != 0
    live[:, 1:] &= (first[:, 1:] != first[:, :-1]) | (leads[1:] != leads[:-1])
    states, classes = np.nonzero(live)
    values, begins = (first[states, classes] % steps.width).astype(np.intp), leads[classes]
    return _Edges(states[~begins], values[~begins], steps.width), _Edges(states[begins], values[begins], steps.width)


class Horizon:
    """The moments of one hole: the costs of one automaton under one token budget (None: none)."""

    def __init__(self, steps: Steps, costs: Costs, budget: int | None) -> None:
        self._steps = steps
        self._costs = costs
        self._budget = budget
        self.last = costs.top if budget is None else max(budget, 0)
        """Counts are kept up to this; with no budget, all beyond are the same moment."""
        self._moments: OrderedDict[int, Moment] = OrderedDict()

    def moment(self, count: int, q: int) -> Moment:
        """The moment after `count` tokens, for a state that was reached with them."""
        moment = self._moments.get(count)
        if moment is None:
            if self._plenty(count, q):
                return self._free
            finish = self._costs.after(count + 1, self._budget)
            moment = self._moments[count] = self._costs.moment(self._steps.region(count), self._steps.pair(count), finish)
            while len(self._moments) > max(_MOMENTS, _MOMENT_BYTES // (4 * self._steps.width)):
                self._moments.popitem(last=False)
        return moment

    @cached_property
    def _free(self) -> Moment:
        """The moment without a bound on tokens."""
        top = self._costs.top
        return self._costs.moment(self._steps.region(top), self._steps.pair(top), self._costs.unlimited())

    @property
    def settled(self) -> int:
        """The count of tokens from which on it restricts nothing."""
        return self._costs.top

    def _plenty(self, count: int, q: int) -> bool:
        """Whether the budget is a bound, but none that matters after a state: every text that can come fits byte by byte."""
        costs = self._costs
        if self._budget is None or count < costs.top or costs.bytes_needed is None:
            return False
        left = self._budget - count - 1
        return 0 <= left < costs.bytes_needed and left >= int(costs.farthest[q])

    def binds(self, count: int, q: int) -> bool:
        """Whether it must be found out, token by token, what fits in the budget after a state."""
        costs = self._costs
        if self._budget is None or costs.bytes_needed is None or count < costs.top:
            return False
        return self._budget - count - 1 < costs.bytes_needed and count not in self._moments and not self._plenty(count, q)

    def indifferent(self, count: int, q: int) -> bool:
        """Whether neither the count of tokens nor the budget restricts what may follow a state."""
        if count < self._costs.top or (self._budget is not None and count >= self._budget):
            return False
        return self._plenty(count, q) or self._costs.after(count + 1, self._budget) is self._costs.unlimited()

    def now(self, count: int) -> Finish | None:
        """Costs at a count that has been reached; None past the budget."""
        return self._costs.after(count, self._budget)
