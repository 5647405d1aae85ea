"""How the next token is chosen from a model's logits: penalties, temperature, cuts. The same wherever it runs, in a query's process or at a
server, so that the same seed gives the same tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from lmqlc.backends.base import Logits

Weights = npt.NDArray[np.float32]
Ids = npt.NDArray[np.intp]

_BLOCK = 64
_LEAST = (1e-2, 1e-4, 1e-6, 0.0)
"""Weights, as shares of the largest, above which tokens are looked at first when few are to be kept."""


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
        weights = self._weights(hole.masked(logits))
        if self.top_k == 0 and self.top_p == 1.0 and self.min_p == 0.0:
            return _drawn(weights, random)
        ids = self._cut(weights)
        return int(ids[_drawn(weights[ids], random)])

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

    def _weights(self, logits: Logits) -> Weights:
        """Probabilities over that of the likeliest token."""
        weights: Weights = logits - logits.max()
        weights /= np.float32(self.temperature)
        np.exp(weights, out=weights)
        return weights

    def _cut(self, weights: Weights) -> Ids:
        """The ids that stay, likeliest first, smaller ones first where they are equal."""
        ids = self._likeliest(weights)
        ids = ids[: self.top_k] if self.top_k else ids
        kept = weights[ids].astype(np.float64)
        if self.top_p < 1.0:
            whole = kept.sum() if self.top_k else weights.sum(dtype=np.float64)
            ids = ids[: int(np.searchsorted(np.cumsum(kept), self.top_p * whole, side="left")) + 1]
        stay = weights[ids] >= self.min_p  # the likeliest one's weight is 1
        return ids[stay]

    def _likeliest(self, weights: Weights) -> Ids:
        """The likeliest ids, in order: as many as the cuts can keep. Most tokens are far less likely than the likeliest, and are not
        sorted."""
        ids: Ids = np.empty(0, np.intp)
        for least in _LEAST:
            ids = np.flatnonzero(weights > least)
            if self._enough(weights, ids, least):
                break
        return ids[np.argsort(-weights[ids], kind="stable")]

    def _enough(self, weights: Weights, ids: Ids, least: float) -> bool:
        if self.top_k:
            return len(ids) >= self.top_k
        if self.top_p < 1.0:
            return bool(weights[ids].sum(dtype=np.float64) >= self.top_p * weights.sum(dtype=np.float64))
        return least < self.min_p


def _drawn(weights: Weights, random: np.random.Generator) -> int:
    """A place at random, in proportion to the weights, at least one of which is above zero. Sums of blocks say in which block it lies."""
    sums = np.cumsum(np.add.reduceat(weights, np.arange(0, len(weights), _BLOCK), dtype=np.float64))
    point = random.random() * sums[-1]
    block = min(int(np.searchsorted(sums, point, side="right")), int(np.searchsorted(sums, sums[-1], side="left")))
    inside = weights[block * _BLOCK : (block + 1) * _BLOCK]
    within = np.cumsum(inside, dtype=np.float64)
    place = int(np.searchsorted(within, point - (sums[block - 1] if block else 0.0), side="right"))
    return block * _BLOCK + (place if place < len(inside) else int(np.flatnonzero(inside)[-1]))  # sums are rounded
