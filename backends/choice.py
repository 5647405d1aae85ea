"""How the next token is chosen from a model's logits: penalties, temperature, cuts. The same wherever it runs, in a query's process or at a
server, so that the same seed gives the same tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from lmqlc.backends.base import Logits

Probabilities = npt.NDArray[np.float64]


class Masked(Protocol):
    """What a choice asks of the hole that it is made for."""

    def legal(self, token_id: int) -> bool:
        """The token may come next."""
        ...

    def masked(self, logits: Logits) -> Logits:
        """Logits `float32[V]` with -inf for every token that may not come next."""
        ...


@dataclass(frozen=True, slots=True)
class Sampling:
    """A way to choose tokens.

    With logits z after penalties, p = softmax(z / temperature) over legal tokens, then cut to the `top_k` likeliest (0: all), to the
    smallest set of likeliest tokens whose probabilities reach `top_p` (Holtzman et al. 2020), and to those with at least `min_p` of the
    likeliest one's probability (Nguyen et al. 2024), each of them renormalised. `temperature=0` is argmax, the smallest id where several
    are equal.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0

    @property
    def has_penalties(self) -> bool:
        """Tokens that stand in the sequence already are judged otherwise."""
        return self.repetition_penalty != 1.0 or self.frequency_penalty != 0.0 or self.presence_penalty != 0.0

    def choose(self, hole: Masked, logits: Logits, random: np.random.Generator) -> int:
        """The next token of a hole, a legal one, from penalised logits `float32[V]` before masks. Greedy choices build the mask only where
        the model's own choice is not legal."""
        if self.temperature == 0:
            best = int(logits.argmax())
            return best if hole.legal(best) else int(hole.masked(logits).argmax())
        ids, shares = self._cut(self._softmax(hole.masked(logits)))
        return int(ids[min(int(np.searchsorted(np.cumsum(shares), random.random() * shares.sum(), side="right")), len(ids) - 1)])

    def penalised(self, logits: Logits, sequence: Sequence[int]) -> Logits:
        """Logits after the penalties for tokens that stand in the sequence already; the same array where there are none.

        Repetition: positive logits are divided by the penalty, others multiplied (Keskar et al. 2019, as `transformers` does it).
        Frequency and presence: `penalty * count` and `penalty` are taken off (as in OpenAI's API).
        """
        if not self.has_penalties:
            return logits
        ids, counts = np.unique(np.asarray(sequence, dtype=np.int64), return_counts=True)
        changed = logits.copy()
        seen = changed[ids]
        seen = np.where(seen > 0, seen / self.repetition_penalty, seen * self.repetition_penalty)
        changed[ids] = seen - self.frequency_penalty * counts - self.presence_penalty
        return changed

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
