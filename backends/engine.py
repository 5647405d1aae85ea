"""Forward passes of a causal transformers model with a shared prefix cache. Synchronous: one call at a time, in the model's thread.

Three ways of keeping what was computed, chosen once by what the model's own cache is made of:
- "shared": layers that only append keys and values; any prefix of any sequence is reused, and several sequences run as one batch;
- "append": layers that forget (sliding windows); a sequence is reused only as a whole, by sequences that go on from it (`ANCHOR`);
- "none": recurrent state or a cache of another kind; every call computes its sequences from the start.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from lmqlc.backends.base import DEFAULT_CACHE_BYTES, Logits
from lmqlc.backends.direct import direct_forward
from lmqlc.backends.forward import Forward, ModelForward
from lmqlc.backends.growing import GrowingLayer, Halt, growing_cache
from lmqlc.backends.option_scores import Beginnings, Ids, OptionScores, TailLogits, batch_of, longest_beginnings, tree_of, tree_view
from lmqlc.backends.prefix_cache import Branch, PrefixCache, cache_bytes, fork, gather, repeated, repeated_whole

T = TypeVar("T")
CacheKind = Literal["shared", "append", "none"]

SCORE_CHUNK = 256
"""Positions scored in one forward pass: bounds the memory for logits, which is positions × vocabulary."""

PIECE = 1024
"""Positions read in one forward pass. In a single one every position looks at every other: memory and time for long prompts would grow with
the square of their length, in layers with a sliding window too."""

ANCHOR = 64
"""Where layers forget, all but the last id of a longer text that is new stays kept when something goes on from it: what is written after a
prompt is often taken back, or asked again."""


@dataclass(slots=True)
class Cost:
    """What one call cost: forward passes, and positions computed and reused. For next-token logits these two add up to the lengths of the
    sequences asked about."""

    passes: int = 0
    computed: int = 0
    reused: int = 0


class Engine:
    """A model and the sequences it has read.

    forward: how the model is asked. width: the width of its logits. causal: whether a token's logits depend only on the tokens before it,
    as they must.
    """

    def __init__(self, model: Any, *, budget: int = DEFAULT_CACHE_BYTES) -> None:
        self._model = model
        self._device = model.device
        accepted = inspect.signature(model.forward).parameters
        self._can_batch = {"attention_mask", "position_ids"} <= set(accepted)
        self._branches = PrefixCache(budget)
        self.halt = Halt()
        self.cache_kind: CacheKind = "none"
        self._layers = 0
        self._position_bytes = 1  # memory of one position's keys and values, where the cache is shared
        self._probe("past_key_values" in accepted)

    @property
    def branches(self) -> PrefixCache:
        """The sequences kept."""
        return self._branches

    def _probe(self, takes_cache: bool) -> None:
        """Reads two short texts, to see what cache the model makes, how wide its logits are, and whether later tokens change them."""
        ids = torch.tensor([[0, 0], [0, 1]], device=self._device)
        with torch.inference_mode():
            out = self._model(input_ids=ids, use_cache=True) if takes_cache else self._model(input_ids=ids)
        cache: Any = getattr(out, "past_key_values", None)
        self.cache_kind = _cache_kind(self._model, cache)
        self._layers = 0 if self.cache_kind == "none" else len(cache.layers)
        self.forward: Forward = ModelForward(self._model, keeps=self.cache_kind != "none")
        if self.cache_kind == "shared":
            self._position_bytes = cache_bytes(cache) // ids.numel()
            with torch.inference_mode():
                self.forward = direct_forward(self._model, ids, out.logits) or self.forward
        self.width: int = out.logits.shape[-1]
        first = out.logits[:, 0].float()
        noise = 1e-4 if out.logits.dtype == torch.float32 else 2e-3
        self.causal = bool((first[0] - first[1]).abs().max() <= noise * first.abs().max())

    def goes_on(self, sequences: Sequence[list[int]]) -> bool:
        """The sequences are known, each but for its last token."""
        return self._branches.newest_are([ids[:-1] for ids in sequences]) or (self.cache_kind == "shared" and self.has_read(sequences))

    def joins(self, sequences: Sequence[list[int]]) -> bool:
        """The sequences run as one batch, once all of each but its last id has been read."""
        return self._can_batch and self.cache_kind == "shared" and all(len(ids) > 1 for ids in sequences)

    def has_read(self, sequences: Sequence[list[int]]) -> bool:
        """All of each sequence but its last id is kept."""
        return all(self._branches.find(ids, len(ids) - 1)[1] == len(ids) - 1 for ids in sequences)

    def known(self, ids: list[int]) -> int:
        """How many ids at the start of a sequence will not be read again, at most all but the last."""
        if self.cache_kind == "append":
            whole = self._branches.find_whole(ids, len(ids) - 1)
            return 0 if whole is None else len(whole.ids)
        return 0 if self.cache_kind == "none" else self._branches.find(ids, len(ids) - 1)[1]

    def read(self, sequences: Sequence[list[int]]) -> Cost:
        """Read all of each sequence but its last id, and keep it; what that cost. For sequences that `joins`."""
        cost = Cost()
        self._whole(lambda: [self._read_but_last(list(ids), cost) for ids in dict.fromkeys(map(tuple, sequences))])
        return cost

    def logits(self, sequences: Sequence[list[int]]) -> tuple[Logits, Cost]:
        """Next-token logits `float32[n, width]` after each sequence."""
        return self._whole(lambda: self._logits(sequences))

    def _whole(self, work: Callable[[], T]) -> T:
        """Runs a call; one that runs out of a GPU's memory is tried again without caches.

        A pass that fails leaves caches extended in some layers and not in others: whoever extends a branch takes it out of the kept
        ones first, and puts it back when it is whole.
        """
        try:
            with torch.inference_mode():
                return work()
        except torch.OutOfMemoryError:
            self._branches.clear()
            if self._device.type == "cuda":
                torch.cuda.empty_cache()
        with torch.inference_mode():
            return work()

    def _logits(self, sequences: Sequence[list[int]]) -> tuple[Logits, Cost]:
        cost = Cost()
        if len(sequences) == 1:
            return self._last(sequences[0], cost), cost
        distinct = list(dict.fromkeys(map(tuple, sequences)))
        cost.reused += sum(map(len, sequences)) - sum(map(len, distinct))  # those asked more than once
        if len(distinct) == 1:
            return np.repeat(self._last(sequences[0], cost), len(sequences), axis=0), cost
        if self.joins(list(map(list, distinct))):
            step = self._rows_at_once(max(map(len, distinct)))
            parts = [self._batch([list(ids) for ids in distinct[i : i + step]], cost) for i in range(0, len(distinct), step)]
            rows = parts[0] if len(parts) == 1 else np.concatenate(parts)
        else:
            rows = np.concatenate([self._last(list(ids), cost) for ids in distinct])
        if len(distinct) == len(sequences):
            return rows, cost
        place = {ids: i for i, ids in enumerate(distinct)}
        return rows[[place[tuple(ids)] for ids in sequences]], cost

    def _rows_at_once(self, longest: int) -> int:
        """How many sequences of a length may run as one batch: half of the memory for keys and values, but no fewer than two."""
        return max(2, self._branches.budget // 2 // (longest * self._position_bytes))

    def _last(self, ids: list[int], cost: Cost) -> Logits:
        """Logits `float32[1, width]` after one sequence."""
        branch = self._branch(ids, len(ids) - 1)
        cost.reused += len(branch.ids)
        return _to_numpy(self._extend(branch, ids[len(branch.ids) :], 1, cost))

    @property
    def looks_ahead(self) -> bool:
        """Reading further than was asked costs nothing later: what is not wanted is left out, not computed again."""
        return self.cache_kind != "append"

    def along(self, ids: list[int], keep: int) -> tuple[Logits, Cost]:
        """Next-token logits `float32[keep, width]` after each of the last `keep` ids of a sequence."""

        def work() -> tuple[Logits, Cost]:
            cost = Cost()
            branch = self._branch(ids, len(ids) - keep)
            cost.reused += len(branch.ids)
            return _to_numpy(self._extend(branch, ids[len(branch.ids) :], keep, cost)), cost

        return self._whole(work)

    def _branch(self, ids: list[int], limit: int) -> Branch:
        """A branch for the longest known prefix of `ids` (at most `limit` long) that nobody else extends."""
        if self.cache_kind == "none":
            return self._empty()
        if self.cache_kind == "append":
            whole = self._branches.find_whole(ids, limit)
            return self._empty() if whole is None else self._going_on(whole, len(ids) - len(whole.ids))
        found, length = self._branches.find(ids, limit)
        if found is None:
            return self._empty()
        if length == len(found.ids):
            self._branches.remove(found)  # the longer one takes its place
            if found.cache.layers[0].keys.shape[0] == 1 and found.pad == 0:
                return found
        return fork(found, length)

    def _going_on(self, whole: Branch, more: int) -> Branch:
        """A branch that goes on from a whole one by so many ids, where layers forget."""
        if whole.stays and more <= ANCHOR:
            return Branch([*whole.ids], repeated_whole(whole, 1), anchor=whole)
        self._branches.remove(whole)
        if whole.anchor is not None and more > ANCHOR:
            self._branches.remove(whole.anchor)
        whole.stays = False
        return whole

    def _empty(self) -> Branch:
        """A branch that has read nothing."""
        if self.cache_kind != "shared":
            return Branch([], None)
        return Branch([], growing_cache([GrowingLayer(self.halt) for _ in range(self._layers)]))

    def _extend(self, branch: Branch, new: list[int], keep: int, cost: Cost) -> torch.Tensor:
        """Reads `new` ids after a branch and keeps the longer branch. Logits `[keep, width]` after the last `keep` of them."""
        read, stays = 0, self.cache_kind == "append" and keep == 1 and len(new) > ANCHOR
        while self.cache_kind != "none" and len(new) - read > (1 if stays else max(PIECE, keep)):
            part = new[read : read + min(PIECE, len(new) - read - keep)]
            branch.cache = self.forward(torch.tensor([part], device=self._device), branch.cache, 1)[1]
            cost.passes += 1
            read += len(part)
        if stays:
            branch.anchor = Branch([*branch.ids, *new[:read]], branch.cache, stays=True)
            self._branches.add([branch.anchor])
            branch.cache = repeated_whole(branch.anchor, 1)
        logits, branch.cache = self.forward(torch.tensor([new[read:]], device=self._device), branch.cache, keep)
        cost.passes += 1
        cost.computed += len(new)
        if self.cache_kind != "none":
            branch.ids += new
            self._branches.add([branch])
        return logits[0]

    def _batch(self, sequences: list[list[int]], cost: Cost) -> Logits:
        """Logits `float32[n, width]` after several sequences: prefixes are read one by one, sharing what they have in common, and the
        last tokens together."""
        branches = [self._read_but_last(ids, cost) for ids in sequences]
        cache, pads = gather(branches)
        last = torch.tensor([ids[-1:] for ids in sequences], device=self._device)
        for branch in branches:
            self._branches.remove(branch)
        logits, cache = self.forward(last, cache, 1, *(self._padding(branches, pads) if any(pads) else ()))
        cost.passes += 1
        cost.computed += len(sequences)
        rows = zip(sequences, pads, strict=True)
        self._branches.add([Branch(list(ids), cache, i, pad) for i, (ids, pad) in enumerate(rows)])
        return _to_numpy(logits[:, -1])

    def _padding(self, branches: Sequence[Branch], pads: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Positions, and which ones are seen, for one more token after rows padded on the left."""
        lengths = torch.tensor([[len(branch.ids)] for branch in branches], device=self._device)
        before = torch.tensor(pads, device=self._device)[:, None]
        columns = torch.arange(int(lengths.max()) + 1, device=self._device)
        return lengths, columns >= before

    def _read_but_last(self, ids: list[int], cost: Cost) -> Branch:
        """A branch of exactly all ids but the last."""
        limit = len(ids) - 1
        found, length = self._branches.find(ids, limit)
        cost.reused += length
        if found is not None and length == limit:
            return found if len(found.ids) == limit else Branch(found.ids[:limit], found.cache, found.row, found.pad)
        branch = self._empty() if found is None else fork(found, length)
        self._extend(branch, ids[length:limit], 1, cost)
        return branch

    def score(self, ids: list[int], start: int) -> tuple[npt.NDArray[np.float64], Cost]:
        """Natural log-probabilities `float64[len(ids) - start]` of `ids[start:]`, each given all before it."""
        return self._whole(lambda: self._score(ids, start))

    def _score(self, ids: list[int], start: int) -> tuple[npt.NDArray[np.float64], Cost]:
        cost = Cost()
        scores: list[npt.NDArray[np.float64]] = []
        position = start
        while position < len(ids):
            end = min(position + SCORE_CHUNK, len(ids))
            branch = self._branch(ids[: end - 1], position - 1)
            if position == start:
                cost.reused += len(branch.ids)
            logits = self._extend(branch, ids[len(branch.ids) : end - 1], end - position, cost)
            targets = torch.tensor(ids[position:end], device=logits.device)
            chosen = torch.log_softmax(logits.double(), dim=-1).gather(1, targets[:, None])[:, 0]
            scores.append(chosen.cpu().numpy())
            position = end
        return (np.concatenate(scores) if scores else np.empty(0)), cost

    def score_options(self, prompt: list[int], options: Sequence[Ids]) -> tuple[list[npt.NDArray[np.float64]], Cost]:
        """Natural log-probabilities `float64[len(option)]` of every option after the prompt."""
        return self._whole(lambda: self._score_options(prompt, options))

    def _score_options(self, prompt: list[int], options: Sequence[Ids]) -> tuple[list[npt.NDArray[np.float64]], Cost]:
        cost = Cost()
        if not self._judges_together(options):
            return [self._scored_alone(prompt, option, cost) for option in options], cost
        scores = OptionScores(options)
        self._judge_all(prompt, options, scores, cost)
        return scores.all(), cost

    def logits_after(self, prompt: list[int], tails: Sequence[Ids]) -> tuple[Logits, Cost]:
        """Next-token logits `float32[n, width]` after the prompt with each of some tails; of the tails nothing is kept."""
        return self._whole(lambda: self._logits_after(prompt, tails))

    def _logits_after(self, prompt: list[int], tails: Sequence[Ids]) -> tuple[Logits, Cost]:
        options = [(*tail, 0) for tail in tails]
        if not self._judges_together(options):
            return self._logits([[*prompt, *tail] for tail in tails])
        cost, rows = Cost(), TailLogits(tails)
        self._judge_all(prompt, options, rows, cost)
        return rows.all(tails), cost

    def _judges_together(self, options: Sequence[Ids]) -> bool:
        """Whether options are judged in few passes, not one by one."""
        return self.cache_kind != "none" and max(map(len, options), default=0) <= SCORE_CHUNK

    def _judge_all(self, prompt: list[int], options: Sequence[Ids], scores: Beginnings, cost: Cost) -> None:
        """Tell what follows each beginning of some options after a prompt; the prompt is kept."""
        tree = tree_of(options)
        branch = self._branches.find_whole(prompt, len(prompt)) if self.cache_kind == "append" and not scores.begins else None
        if branch is None or len(branch.ids) < len(prompt):
            branch = self._branch(prompt, len(prompt) - 1)
            new = prompt[len(branch.ids) :]
            cost.reused += len(branch.ids)
            if self.forward.trees and len(tree) + len(new) <= SCORE_CHUNK:
                self._judge_tree(branch, new, tree, scores, cost)
                return
            scores.put((), self._extend(branch, new, 1, cost)[0])
        else:
            cost.reused += len(prompt)
        rows = longest_beginnings(options)
        longest = max(map(len, rows), default=1)
        step = max(1, min(self._rows_at_once(len(prompt) + longest), SCORE_CHUNK // longest))
        for first in range(0, len(rows), step):
            self._judge(branch, rows[first : first + step], scores, cost)

    def _scored_alone(self, prompt: list[int], option: Ids, cost: Cost) -> npt.NDArray[np.float64]:
        values, one = self._score([*prompt, *option], len(prompt))
        cost.passes, cost.computed, cost.reused = cost.passes + one.passes, cost.computed + one.computed, cost.reused + one.reused
        return values

    def _judge_tree(self, branch: Branch, new: list[int], tree: Sequence[Ids], scores: Beginnings, cost: Cost) -> None:
        """Read the rest of a prompt and the beginnings of options after it, in one pass; the prompt's branch is kept."""
        view = tree_view(tree, len(branch.ids), len(new), self._device) if tree else ()
        ids = torch.tensor([[*new, *(beginning[-1] for beginning in tree)]], device=self._device)
        logits, cache = self.forward(ids, branch.cache, 1 + len(tree), *view)
        cost.passes += 1
        cost.computed += ids.shape[1]
        whole = [*branch.ids, *new]
        self._branches.add([fork(Branch(whole, cache), len(whole))])
        for beginning, row in zip(((), *tree), logits[0], strict=True):
            scores.put(beginning, row)

    def _judge(self, branch: Branch, rows: Sequence[Ids], scores: Beginnings, cost: Cost) -> None:
        """Read rows after a branch, in one pass; what follows each of their beginnings goes to the scores."""
        batch = batch_of(rows, self._device)
        cache = repeated(branch, len(rows)) if self.cache_kind == "shared" else repeated_whole(branch, len(rows))
        all_logits, _ = self.forward(batch, cache, batch.shape[1])
        cost.passes += 1
        cost.computed += sum(map(len, rows))
        cost.reused += (len(rows) - 1) * len(branch.ids)
        for row, logits in zip(rows, all_logits, strict=True):
            for place in range(len(row)):
                scores.put(row[: place + 1], logits[place])


def _cache_kind(model: Any, cache: Any) -> CacheKind:
    """What can be done with the cache a model made; see the module."""
    from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

    if getattr(model, "_is_stateful", False) or type(cache) is not DynamicCache:
        return "none"
    kinds = {type(layer) for layer in cache.layers}
    if kinds == {DynamicLayer}:
        return "shared"
    return "append" if kinds <= {DynamicLayer, DynamicSlidingWindowLayer} else "none"


def _to_numpy(logits: torch.Tensor) -> Logits:
    """`float32` on the CPU; without a copy where it is that already."""
    array: Logits = logits.to(dtype=torch.float32).cpu().numpy()
    return array
