"""`beam`: the n likeliest ways through the whole program, pruned at every token. Formula and source: `docs/decoders.md`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

from lmqlc.backends.base import Logits
from lmqlc.runtime.decoders.base import BaseDecoder
from lmqlc.runtime.decoders.candidates import Candidate, best_results, grown, likeliest
from lmqlc.runtime.search import Branch, Search


class Decoder(BaseDecoder):
    """Beam search."""

    name = "beam"
    takes: tuple[str, ...] = ("n", "length_penalty")
    default_n = 4
    searches = True

    def __init__(self, arguments: Mapping[str, object]) -> None:
        super().__init__(arguments)
        self.length_penalty = self.number("length_penalty", 0.0)

    async def search(self, search: Search, live: list[Branch]) -> list[Branch]:
        done = [branch for branch in live if branch.finished]
        live = [branch for branch in live if not branch.finished]
        step = 0
        while live and len(done) < self.n:
            rows = await search.scores(live)
            count = self.n * max(2, 1 + search.ends)
            live, finished = await self._next(search, grown(search, self.candidates(search, live, rows, count, step)))
            done = best_results([*done, *finished], self.n, lambda branch: branch.rank(self.length_penalty))
            step += 1
        return done

    def candidates(self, search: Search, live: Sequence[Branch], rows: Sequence[Logits], count: int, step: int) -> Iterable[Candidate]:
        """At most `count` continuations, in the order in which they are looked at."""
        return likeliest(live, rows, count)

    async def _next(self, search: Search, children: Iterator[Branch]) -> tuple[list[Branch], list[Branch]]:
        """The branches that go on, and those that finish: the n best children. The places of those that finish are taken by further
        children that stay in their hole; programs of others are not run on, since what they do could not be taken back."""
        first = await search.settle(list(islice(children, self.n)))
        live = [branch for branch in first if not branch.finished]
        if len(live) < self.n:
            live += islice((child for child in children if not child.ended), self.n - len(live))
        return live, [branch for branch in first if branch.finished]
