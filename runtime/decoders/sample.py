"""`sample`: tokens at random, in proportion to the model's probabilities among the legal tokens.

With logits z, p = softmax(z / temperature) over legal tokens, then cut to the `top_k` likeliest, to the smallest set of likeliest tokens
whose probabilities reach `top_p` (Holtzman et al. 2020), and to those with at least `min_p` of the likeliest one's probability
(Nguyen et al. 2024), each of them renormalised. `temperature=0` is argmax.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from lmqlc.backends.base import Logits
from lmqlc.runtime.decoders.base import BaseDecoder
from lmqlc.runtime.holes import HoleRun

Probabilities = npt.NDArray[np.float64]


class Decoder(BaseDecoder):
    """Sampling with temperature and the usual cuts."""

    name = "sample"
    takes = ("n", "temperature", "top_k", "top_p", "min_p", "seed")

    def __init__(self, arguments: Mapping[str, object]) -> None:
        super().__init__(arguments)
        self.temperature = self.number("temperature", 1.0)
        self.top_k = self.count("top_k", 0, least=0)
        self.top_p = self.number("top_p", 1.0, above=0.0)
        self.min_p = self.number("min_p", 0.0)
        self.seed = None if arguments.get("seed") is None else self.count("seed", 0, least=0)
        if self.temperature < 0:
            raise self._bad("temperature", self.temperature, "a number of at least 0")
        for key, value in (("top_p", self.top_p), ("min_p", self.min_p)):
            if not 0 <= value <= 1:
                raise self._bad(key, value, "a number between 0 and 1")

    def choose(self, hole: HoleRun, logits: Logits, random: np.random.Generator) -> int:
        masked = hole.masked(logits)
        if self.temperature == 0:
            return int(masked.argmax())
        ids, shares = self._cut(self._softmax(masked))
        return int(ids[min(int(np.searchsorted(np.cumsum(shares), random.random() * shares.sum(), side="right")), len(ids) - 1)])

    def _softmax(self, logits: Logits) -> Probabilities:
        scaled = (logits.astype(np.float64) - float(logits.max())) / self.temperature
        weights = np.exp(scaled)
        return np.asarray(weights / weights.sum())

    def _cut(self, shares: Probabilities) -> tuple[npt.NDArray[np.int64], Probabilities]:
        """Ids that stay, and their shares; in order of ids where nothing is cut, else likeliest first."""
        if self.top_k == 0 and self.top_p == 1.0 and self.min_p == 0.0:
            ids = np.flatnonzero(shares)
            return ids, shares[ids]
        ids = np.argsort(-shares, kind="stable")
        ids = ids[: self.top_k] if self.top_k else ids
        kept = shares[ids] / shares[ids].sum()
        if self.top_p < 1.0:
            size = int(np.searchsorted(np.cumsum(kept), self.top_p, side="left")) + 1
            ids, kept = ids[:size], kept[:size]
        stay = (kept >= self.min_p * kept[0]) & (kept > 0)
        return ids[stay], kept[stay]
