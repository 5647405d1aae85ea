"""`beam_var`: beam search in pools, one for each hole that branches are in, by length-normalised scores. Formula and source:
`docs/decoders.md`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import islice

from lmqlc.backends.base import Logits
from lmqlc.runtime.decoders.base import BaseDecoder
from lmqlc.runtime.decoders.candidates import Candidate, best, best_results, grown, likeliest
from lmqlc.runtime.search import Branch, Search


class Decoder(BaseDecoder):
    """Beam search that compares branches with those in the same hole."""

    name = "beam_var"
    takes = ("n", "length_penalty")
    default_n = 4
    searches = True

    def __init__(self, arguments: Mapping[str, object]) -> None:
        super().__init__(arguments)
        self.length_penalty = self.number("length_penalty", 0.7)

    async def search(self, search: Search, live: list[Branch]) -> list[Branch]:
        done = [branch for branch in live if branch.finished]
        live = [branch for branch in live if not branch.finished]
        while live and not self._is_enough(live, done):
            rows = await search.scores(live)
            settled = await search.settle(self._children(search, live, rows))
            done = best_results([*done, *(branch for branch in settled if branch.finished)], 2 * self.n, self._rank)
            live = self._pooled([branch for branch in settled if not branch.finished])
        return done[: self.n]

    def _rank(self, branch: Branch) -> float:
        return branch.rank(self.length_penalty)

    def _is_enough(self, live: Sequence[Branch], done: Sequence[Branch]) -> bool:
        """Twice as many as asked for are finished, or as many, and better than all that are not."""
        if len(done) < self.n:
            return False
        return len(done) >= 2 * self.n or max(map(self._rank, live)) < self._rank(done[self.n - 1])

    def _children(self, search: Search, live: Sequence[Branch], rows: Sequence[Logits]) -> list[Branch]:
        """The n best continuations of the branches in each hole."""
        made: list[Branch] = []
        for name in dict.fromkeys(branch.variable for branch in live):
            places = [place for place, branch in enumerate(live) if branch.variable == name]
            found: list[Candidate] = []
            for place in places:
                found += likeliest([live[place]], [rows[place]], self.n)
            made += islice(grown(search, sorted(found, key=self._of_candidate)), self.n)
        return made

    def _of_candidate(self, candidate: Candidate) -> float:
        length = candidate.branch.length + 1
        return -candidate.score / float(length**self.length_penalty)

    def _pooled(self, live: Sequence[Branch]) -> list[Branch]:
        """The n best branches of each hole."""
        pools: dict[str | None, list[Branch]] = {}
        for branch in live:
            pools.setdefault(branch.variable, []).append(branch)
        rank: Callable[[Branch], float] = self._rank
        return [branch for pool in pools.values() for branch in best(pool, self.n, rank)]
