"""`beam_sample`: beam search over continuations that are drawn at random. Formula and source: `docs/decoders.md`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from lmqlc.backends.base import Logits
from lmqlc.runtime.decoders import beam
from lmqlc.runtime.decoders.candidates import Candidate
from lmqlc.runtime.search import Branch, Search


class Decoder(beam.Decoder):
    """Beam search with sampled candidates."""

    name = "beam_sample"
    takes = ("n", "temperature", "length_penalty", "seed")

    def __init__(self, arguments: Mapping[str, object]) -> None:
        super().__init__(arguments)
        self.temperature = self.number("temperature", 1.0)
        self.seed = None if arguments.get("seed") is None else self.count("seed", 0, least=0)
        if self.temperature < 0:
            raise self._bad("temperature", self.temperature, "a number of at least 0")

    def candidates(self, search: Search, live: Sequence[Branch], rows: Sequence[Logits], count: int, step: int) -> Iterable[Candidate]:
        """Continuations drawn without replacement, in the order they were drawn."""
        if self.temperature == 0:
            return super().candidates(search, live, rows, count, step)
        return draw(live, rows, count, self.temperature, search.random(step))


def draw(
    branches: Sequence[Branch], rows: Sequence[Logits], count: int, temperature: float, random: np.random.Generator
) -> Iterator[Candidate]:
    """`count` different continuations, one after the other, each with a probability in proportion to exp(score / temperature) among those
    not drawn yet; fewer where there are no more.

    What was drawn before is drawn again, and passed over, until it makes up half of the probability; then it is left out.
    """
    top = max(branch.score + float(row.max()) for branch, row in zip(branches, rows, strict=True))
    wheels = [
        _Wheel(np.exp((row + np.float32(branch.score - top)) / np.float32(temperature))) for branch, row in zip(branches, rows, strict=True)
    ]
    seen: set[tuple[int, int]] = set()
    drawn = 0.0
    while len(seen) < count:
        totals = np.cumsum([wheel.total for wheel in wheels])
        if not totals[-1] > 0:
            return
        at = random.random() * totals[-1]
        place = min(int(np.searchsorted(totals, at, side="right")), len(totals) - 1)
        token, weight = wheels[place].at(at - (totals[place] - wheels[place].total))
        if (place, token) not in seen and weight > 0:
            seen.add((place, token))
            drawn += weight
            yield Candidate(branches[place], token, branches[place].score + float(rows[place][token]))
        if drawn > totals[-1] / 2:
            drawn = 0.0
            for number, wheel in enumerate(wheels):
                wheel.leave_out([token for place, token in seen if place == number])


class _Wheel:
    """Tokens on a wheel, each as wide as its weight `float32[V]`: in blocks of 64, so that no running sum over all of them is needed."""

    def __init__(self, weights: Logits) -> None:
        self._weights = np.zeros((-(-len(weights) // 64), 64), np.float32)
        self._weights.ravel()[: len(weights)] = weights
        self._sum()

    def _sum(self) -> None:
        self._blocks = self._weights.sum(axis=1, dtype=np.float64)
        self._ends = np.cumsum(self._blocks)
        self.total = float(self._ends[-1])

    def at(self, position: float) -> tuple[int, float]:
        """The token at a position below the total, and its weight; one without weight only where rounding hits a border."""
        block = min(int(np.searchsorted(self._ends, position, side="right")), len(self._ends) - 1)
        sums = np.cumsum(self._weights[block], dtype=np.float64)
        inside = position - float(self._ends[block] - self._blocks[block])
        place = min(int(np.searchsorted(sums, inside, side="right")), 63)
        return block * 64 + place, float(self._weights[block, place])

    def leave_out(self, tokens: Sequence[int]) -> None:
        """Take tokens off the wheel."""
        self._weights.ravel()[list(tokens)] = 0.0
        self._sum()
