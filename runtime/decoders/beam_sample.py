"""`beam_sample`: beam search over continuations that are drawn at random. Formula and source: `docs/decoders.md`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

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

    def candidates(self, search: Search, live: Sequence[Branch], rows: Sequence[Logits], count: int, step: int) -> list[Candidate]:
        """Continuations drawn without replacement, in the order they were drawn."""
        if self.temperature == 0:
            return super().candidates(search, live, rows, count, step)
        return draw(live, rows, count, self.temperature, search.random(step))


def draw(
    branches: Sequence[Branch], rows: Sequence[Logits], count: int, temperature: float, random: np.random.Generator
) -> list[Candidate]:
    """`count` different continuations, one after the other, each with a probability in proportion to exp(score / temperature) among those
    not drawn yet; fewer where there are no more."""
    top = max(branch.score + float(row.max()) for branch, row in zip(branches, rows, strict=True))
    weights = [_weights((row + np.float32(branch.score - top)) / temperature) for branch, row in zip(branches, rows, strict=True)]
    sums = [np.cumsum(row) for row in weights]
    found: list[Candidate] = []
    for _ in range(count):
        totals = np.cumsum([row[-1] for row in sums])
        if not totals[-1] > 0:
            break
        at = random.random() * totals[-1]
        place = min(int(np.searchsorted(totals, at, side="right")), len(totals) - 1)
        token = _token(sums[place], at - (totals[place] - sums[place][-1]), weights[place])
        found.append(Candidate(branches[place], token, branches[place].score + float(rows[place][token])))
        weights[place][token] = 0.0
        sums[place][token:] = np.cumsum(weights[place][token:]) + (sums[place][token - 1] if token else 0.0)
    return found


def _weights(scaled: Logits) -> npt.NDArray[np.float64]:
    return np.exp(scaled.astype(np.float64))


def _token(sums: npt.NDArray[np.float64], at: float, weights: npt.NDArray[np.float64]) -> int:
    """The token that a position in the running sums falls to; one with a weight, also where rounding hits a border."""
    token = min(int(np.searchsorted(sums, at, side="right")), len(sums) - 1)
    return token if weights[token] > 0 else int(weights.argmax())
