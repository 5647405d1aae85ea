"""Log-probabilities of several continuations of one prompt: each beginning that they share is judged once.

`options` are id sequences after the prompt. What follows a beginning is asked of the model once, whoever shares it: in one pass over the
tree of beginnings, each of which sees the prompt, those it begins with, and itself (Miao et al. 2024, "tree attention"); or, where a model
takes no such masks, with the longest beginnings as the rows of a batch, padded on the right, where padding changes nothing before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

Ids = tuple[int, ...]


def longest_beginnings(options: Sequence[Ids]) -> list[Ids]:
    """What a model must read of the options to judge all their tokens: all but the last, without what begins another one."""
    beginnings = sorted({option[:-1] for option in options if len(option) > 1})
    last = beginnings[-1:]
    return [one for one, after in pairwise(beginnings) if after[: len(one)] != one] + last


def tree_of(options: Sequence[Ids]) -> list[Ids]:
    """Every beginning that is to be judged, without the empty one: shorter ones before those they begin."""
    return sorted({option[:end] for option in options for end in range(1, len(option))}, key=lambda ids: (len(ids), ids))


def tree_view(tree: Sequence[Ids], before: int, new: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Positions `[1, k]` of the last `new` ids of a prompt and of a tree's nodes after it, and what each of them sees, `bool[1, k, L]`.
    before: ids of the prompt that were read."""
    whole = before + new
    place = {ids: i for i, ids in enumerate(tree)}
    seen = torch.zeros((new + len(tree), whole + len(tree)), dtype=torch.bool)
    seen[:, :whole] = True
    seen[:new, :whole].tril_(before)
    for i, ids in enumerate(tree):
        seen[new + i, [whole + place[ids[:end]] for end in range(1, len(ids) + 1)]] = True
    positions = [*range(before, whole), *(whole - 1 + len(ids) for ids in tree)]
    return torch.tensor([positions], device=device), seen[None].to(device)


class Beginnings(Protocol):
    """Who wants to know what follows beginnings of options. begins: what follows the prompt itself, too."""

    begins: bool

    def put(self, beginning: Ids, logits: torch.Tensor) -> None:
        """What follows a beginning: logits `[V]`."""
        ...


class TailLogits:
    """Next-token logits after several continuations of a prompt, filled in as they come."""

    def __init__(self, tails: Sequence[Ids]) -> None:
        self.begins = () in tails
        self._rows: dict[Ids, npt.NDArray[np.float32] | None] = dict.fromkeys(tails)

    def put(self, beginning: Ids, logits: torch.Tensor) -> None:
        """What follows a beginning, from logits `[V]`; nothing where nobody asks."""
        if beginning in self._rows:
            self._rows[beginning] = logits.to(dtype=torch.float32).cpu().numpy()

    def all(self, tails: Sequence[Ids]) -> npt.NDArray[np.float32]:
        """`float32[n, V]` after each of the tails."""
        return np.stack([row for tail in tails if (row := self._rows[tail]) is not None])


class OptionScores:
    """Natural log-probabilities of options, filled in as logits come."""

    begins = True

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
            wide = logits.float()
            chosen = wide[torch.tensor(for_it, device=logits.device)].double() - wide.logsumexp(-1).double()
            self._scores.update(zip(((beginning, token) for token in for_it), chosen.tolist(), strict=True))

    def all(self) -> list[npt.NDArray[np.float64]]:
        """`float64[len(option)]` of every option."""
        return [np.array([self._scores[option[:i], token] for i, token in enumerate(option)]) for option in self._options]


def batch_of(rows: Sequence[Ids], device: torch.device) -> torch.Tensor:
    """Ids `[n, longest]`, shorter rows padded on the right."""
    longest = max(map(len, rows))
    return torch.tensor([[*row, *row[-1:] * (longest - len(row))] for row in rows], device=device)
