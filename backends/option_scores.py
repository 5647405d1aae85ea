"""Log-probabilities of several continuations of one prompt: each beginning that they share is judged once.

`options` are id sequences after the prompt. What follows a beginning is asked of the model once, whoever shares it; the longest beginnings
are the rows of one batch, padded on the right, where padding changes nothing before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch

Ids = tuple[int, ...]


def longest_beginnings(options: Sequence[Ids]) -> list[Ids]:
    """What a model must read of the options to judge all their tokens: all but the last, without what begins another one."""
    beginnings = sorted({option[:-1] for option in options if len(option) > 1})
    last = beginnings[-1:]
    return [one for one, after in pairwise(beginnings) if after[: len(one)] != one] + last


class OptionScores:
    """Natural log-probabilities of options, filled in as logits come."""

    def __init__(self, options: Sequence[Ids]) -> None:
        self._options = options
        self._next: dict[Ids, list[int]] = {}
        for option in dict.fromkeys(options):
            for place, token in enumerate(option):
                self._next.setdefault(option[:place], []).append(token)
        self._scores: dict[tuple[Ids, int], float] = {}

    def put(self, beginning: Ids, logits: torch.Tensor) -> None:
        """What follows a beginning, from logits `[V]`; nothing where that is known, or nobody asks."""
        for_it = self._next.pop(beginning, None)
        if for_it is not None:
            chosen = torch.log_softmax(logits.double(), dim=-1)[torch.tensor(for_it, device=logits.device)]
            self._scores.update(zip(((beginning, token) for token in for_it), chosen.tolist(), strict=True))

    def all(self) -> list[npt.NDArray[np.float64]]:
        """`float64[len(option)]` of every option."""
        return [np.array([self._scores[option[:i], token] for i, token in enumerate(option)]) for option in self._options]


def batch_of(rows: Sequence[Ids], device: torch.device) -> torch.Tensor:
    """Ids `[n, longest]`, shorter rows padded on the right."""
    longest = max(map(len, rows))
    return torch.tensor([[*row, *row[-1:] * (longest - len(row))] for row in rows], device=device)
