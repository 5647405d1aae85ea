"""How a model is asked: one forward pass over some ids after what its cache holds.

`ModelForward` calls the model as transformers does. Where `lmqlc.backends.direct` knows a model's architecture, its pass does the same
arithmetic without what transformers does around it in Python, which takes as long as the arithmetic in small models.
"""

from __future__ import annotations

import inspect
from typing import Any, Protocol

import torch


class Forward(Protocol):
    """One forward pass. `trees`: whether `seen` may have three dimensions."""

    trees: bool

    def __call__(
        self, ids: torch.Tensor, cache: Any, keep: int, positions: torch.Tensor | None = None, seen: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, Any]:
        """Logits `[n, keep, width]` after the last `keep` of the ids `[n, k]`, and the cache, which holds them then too.

        positions: `int64[n or 1, k]`; None where they go on from the cache's. seen: which of the cache's positions and the new ones may be
        looked at: `bool[n, L]` by every id of a row, if it comes after them, `bool[n or 1, k, L]` by each id; None: all before it.
        """
        ...


class ModelForward:
    """The model itself. A cache of None stands for nothing read yet, or for a model that keeps nothing (`keeps`)."""

    trees = False

    def __init__(self, model: Any, *, keeps: bool) -> None:
        accepted = inspect.signature(model.forward).parameters
        self._model = model
        self._keeps = keeps
        self._no_cache = {"use_cache": False} if "use_cache" in accepted else {}
        self._can_keep = "logits_to_keep" in accepted

    def __call__(
        self, ids: torch.Tensor, cache: Any, keep: int, positions: torch.Tensor | None = None, seen: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, Any]:
        options: dict[str, Any] = {"past_key_values": cache, "use_cache": True} if self._keeps else dict(self._no_cache)
        if self._can_keep:
            options["logits_to_keep"] = keep
        if positions is not None:
            options["position_ids"] = positions
        if seen is not None:
            options["attention_mask"] = seen.long()
        out = self._model(input_ids=ids, **options)
        logits: torch.Tensor = out.logits[:, -keep:]
        if not self._can_keep and ids.shape[1] > keep:
            logits = logits.clone()  # do not hold on to the rest
        return logits, out.past_key_values if self._keeps else None
