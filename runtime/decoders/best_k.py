"""`best_k`: best-first search for the k best ways through the program. Formula and source: `docs/decoders.md`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lmqlc.runtime.decoders.base import BaseDecoder
from lmqlc.runtime.decoders.candidates import best, best_results, grown, likeliest
from lmqlc.runtime.search import Branch, Search

OPEN = 1000
"""Most branches that are kept open."""


class Decoder(BaseDecoder):
    """Best-first search, k branches at a time. The program of a branch runs on only when its turn has come."""

    name = "best_k"
    takes = ("k", "width", "budget", "length_penalty")
    searches = True

    def __init__(self, arguments: Mapping[str, object]) -> None:
        super().__init__(arguments)
        self.n = self.count("k", 4, least=1)
        self.width = self.count("width", max(5, self.n), least=1)
        self.budget = self.count("budget", 256, least=1)
        self.length_penalty = self.number("length_penalty", 0.7)

    async def search(self, search: Search, live: list[Branch]) -> list[Branch]:
        done = [branch for branch in live if branch.finished]
        waiting = [branch for branch in live if not branch.finished]
        spent = 0
        while waiting and not self._is_enough(waiting, done):
            width = self.width
            if spent >= self.budget:  # from here on, the best go on with their likeliest tokens
                waiting, width = waiting[: self.n - len(done)], 1
            turn = self._turn(waiting)
            waiting = [branch for branch in waiting if branch not in turn]
            chosen = await search.settle(turn)
            done = best_results([*done, *(branch for branch in chosen if branch.finished)], self.n, self._rank)
            live = [branch for branch in chosen if not branch.finished]
            rows = await search.scores(live)
            found = [c for branch, row in zip(live, rows, strict=True) for c in likeliest([branch], [row], width)]
            children = grown(search, sorted(found, key=lambda candidate: -candidate.score))
            waiting = best([*waiting, *children], OPEN, self._rank)
            spent += len(live)
        return done[: self.n]

    def _rank(self, branch: Branch) -> float:
        return branch.rank(self.length_penalty)

    def _turn(self, waiting: Sequence[Branch]) -> list[Branch]:
        """The k best. One that has ended its hole goes on only if no better one is still inside: it might come to the same text."""
        inside = next((place for place, branch in enumerate(waiting) if not branch.ended), len(waiting))
        return [branch for place, branch in enumerate(waiting[: self.n]) if not branch.ended or place < inside]

    def _is_enough(self, waiting: Sequence[Branch], done: Sequence[Branch]) -> bool:
        """The k best are finished, and nothing open ranks above them."""
        return len(done) >= self.n and self._rank(done[self.n - 1]) >= self._rank(waiting[0])
