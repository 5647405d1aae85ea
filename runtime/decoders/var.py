"""`var`: beam search over the values of holes instead of tokens. Formula and source: `docs/decoders.md`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lmqlc.runtime.decoders.base import BaseDecoder
from lmqlc.runtime.decoders.candidates import best, grown, likeliest
from lmqlc.runtime.search import Branch, Search


class Decoder(BaseDecoder):
    """Variable-level beam search: `b` values of each hole, `n` branches from hole to hole."""

    name = "var"
    takes = ("b", "n")
    searches = True

    def __init__(self, arguments: Mapping[str, object]) -> None:
        super().__init__(arguments)
        self.b = self.count("b", 2, least=1)
        self.n = self.count("n", self.b, least=1)

    async def search(self, search: Search, live: list[Branch]) -> list[Branch]:
        done = [branch for branch in live if branch.finished]
        live = [branch for branch in live if not branch.finished]
        while live:
            values = await self._values(search, live)
            settled = await search.settle(best(values, self.n, lambda branch: branch.score))
            done += [branch for branch in settled if branch.finished]
            live = [branch for branch in settled if not branch.finished]
        return best(done, self.n, lambda branch: branch.score)

    async def _values(self, search: Search, live: Sequence[Branch]) -> list[Branch]:
        """The `b` values that a beam search of that width finds for the hole of each branch."""
        pools = [[branch] for branch in live]
        ended: list[list[Branch]] = [[] for _ in live]
        while any(pools):
            asked = [branch for pool in pools for branch in pool]
            rows = dict(zip(map(id, asked), await search.scores(asked), strict=True))
            for number, pool in enumerate(pools):
                if pool:
                    found = likeliest(pool, [rows[id(branch)] for branch in pool], self.b * max(2, 1 + search.ends))
                    pools[number], finished = self._split(list(grown(search, found)))
                    ended[number] = distinct([*ended[number], *finished])[: self.b]
                    if len(ended[number]) == self.b:
                        pools[number] = []
        return [branch for values in ended for branch in values]

    def _split(self, children: Sequence[Branch]) -> tuple[list[Branch], list[Branch]]:
        """Branches that stay in the hole, and those that end it, which must be among the `b` best."""
        return [child for child in children if not child.ended][: self.b], [child for child in children[: self.b] if child.ended]


def distinct(ended: Sequence[Branch]) -> list[Branch]:
    """Branches of one hole that have ended it, best first, one for each text where the hole is constrained."""
    kept: dict[object, Branch] = {}
    for branch in sorted(ended, key=lambda branch: -branch.score):
        hole = branch.hole
        assert hole is not None
        kept.setdefault(branch if hole.constraint is None else hole.data(), branch)
    return list(kept.values())
