"""What decoders share: their arguments, and how a hole is filled one token at a time."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Protocol

import numpy as np

from lmqlc.backends.base import Logits
from lmqlc.backends.choice import Sampling
from lmqlc.compiler.masks.hole import HoleRun, logprob
from lmqlc.grammar.errors import LmqlCompileError
from lmqlc.runtime.distribution import By, checked_by
from lmqlc.runtime.results import TokenResult

if TYPE_CHECKING:
    from lmqlc.compiler.masks.likeliest import Likeliest, TextTree
    from lmqlc.runtime.search import Branch, Search


class Ask(Protocol):
    """How a decoder asks the model."""

    async def __call__(self, sequence: Sequence[int]) -> Logits:
        """Next-token logits `float32[V]` after an id sequence."""
        ...

    async def after(self, prompt: Sequence[int], tails: Sequence[Sequence[int]]) -> Logits:
        """Next-token logits `float32[n, V]` after a prompt with each of some tails."""
        ...

    def recalled(self, prompt: Sequence[int], tree: TextTree) -> Likeliest | None:
        """The text of a hole where it is known already; None where the model is to be asked."""
        ...


Told = Callable[[TokenResult], Awaitable[None]]
"""Told about every token as soon as it is decoded."""

COMMON = (
    "max_len", "max_tokens", "chunksize", "chunk_timeout", "backend", "repetition_penalty", "frequency_penalty",
    "presence_penalty", "cache", "verbose", "token_healing", "score_by", "max_total_tokens", "timeout", "fast_forward",
)  # fmt: skip
"""Arguments that every decoder takes."""


class BaseDecoder:
    """A decoder of one run. `n` branches decode side by side; every hole of a branch has a random generator of its own, seeded by `seed`.

    Subclasses name their further arguments in `takes`, and set `sampling`, or say in `choose` which token comes next.
    """

    name = ""
    takes: tuple[str, ...] = ()
    default_n = 1
    exact = False
    """Holes that few texts may fill get the likeliest of them (`lmqlc.compiler.masks.likeliest`)."""
    searches = False
    """It grows a tree of branches in `search`, and fills no hole by itself."""

    def __init__(self, arguments: Mapping[str, object]) -> None:
        for key in arguments:
            self._check_known(key)
        self.arguments = dict(arguments)
        self.n = self.count("n", self.default_n, least=1)
        self.seed: int | None = None
        self.max_len = None if arguments.get("max_len") is None else self.count("max_len", 0, least=1)
        self.max_tokens = None if arguments.get("max_tokens") is None else self.count("max_tokens", 0, least=1)
        self.max_total_tokens = None if arguments.get("max_total_tokens") is None else self.count("max_total_tokens", 0, least=1)
        self.timeout = None if arguments.get("timeout") is None else self.number("timeout", 0.0, above=0.0)
        self.patience = None if arguments.get("chunk_timeout") is None else self.number("chunk_timeout", 0.0, above=0.0)
        self.chunk = self.count("chunksize", 1, least=1)
        self.chunksize = None if arguments.get("chunksize") is None else self.count("chunksize", 0, least=1)
        self.chunk_timeout = None if arguments.get("chunk_timeout") is None else self.number("chunk_timeout", 0.0, above=0.0)
        self.token_healing = self.switch("token_healing", default=True)
        self.verbose = self.switch("verbose", default=False)
        self.cache = arguments.get("cache") is not False
        self.fast_forward = self.switch("fast_forward", default=True)
        self.score_by = self._score_by()
        self.sampling = Sampling(
            repetition_penalty=self.number("repetition_penalty", 1.0, above=0.0),
            frequency_penalty=self.number("frequency_penalty", 0.0),
            presence_penalty=self.number("presence_penalty", 0.0),
        )

    @property
    def only_samples(self) -> bool:
        """`sampling` says all about how tokens are chosen, so that a session may decode whole holes."""
        plain = type(self).choose is BaseDecoder.choose and type(self).fill is BaseDecoder.fill
        return plain and self.fast_forward and not self.searches

    def choose(self, hole: HoleRun, logits: Logits, random: np.random.Generator) -> int:
        """The next token of a hole, a legal one, from penalised logits `float32[V]` before masks."""
        return self.sampling.choose(hole, logits, random)

    async def fill(self, hole: HoleRun, prompt: Sequence[int], ask: Ask, told: Told, random: np.random.Generator) -> None:
        """Decode a hole to its end after the ids of the prompt."""
        if self.exact and await self._fill_likeliest(hole, prompt, ask, told):
            return
        while hole.reason is None:
            forced = hole.forced()
            if forced:
                await self._write(hole, prompt, forced, ask, told)
                continue
            sequence = [*prompt, *hole.ids]
            logits = await ask(sequence)
            token = self.choose(hole, self.sampling.penalised(logits, sequence), random)
            await told(hole.push(token, logprob(logits, token)))

    async def _fill_likeliest(self, hole: HoleRun, prompt: Sequence[int], ask: Ask, told: Told) -> bool:
        """Fill a hole with the likeliest of its texts; False where they are not few, or the search for it was given up."""
        from lmqlc.compiler.masks.likeliest import Search, text_tree, write

        tree = text_tree(hole)
        if tree is None:
            return False
        found = ask.recalled(prompt, tree)
        search = Search(hole, tree, prompt, self.sampling, fast_forward=self.fast_forward).run()
        try:
            tails = next(search) if found is None else []
            while found is None:
                tails = search.send(await ask.after(prompt, tails))
        except StopIteration as end:
            found = end.value
        for token in write(hole, found) if found is not None else ():
            await told(token)
        return found is not None

    async def search(self, search: Search, live: list[Branch]) -> list[Branch]:
        """The branches that are the run's results, best first, all of them finished; `live` is the first branch, at its first hole or
        finished. For decoders that set `searches`."""
        return live

    async def _write(self, hole: HoleRun, prompt: Sequence[int], forced: Sequence[int], ask: Ask, told: Told) -> None:
        """Write text that the constraint leaves no choice about; with `fast_forward=False` the model is asked what it thinks of it."""
        for token in forced:
            value = 0.0 if self.fast_forward else logprob(await ask([*prompt, *hole.ids]), token)
            await told(hole.push(token, value, forced=True))
            if hole.reason is not None:
                return

    def number(self, key: str, default: float, *, above: float = -math.inf) -> float:
        """A float argument."""
        value = self.arguments.get(key, default)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or not value > above or math.isinf(value):
            raise self._bad(key, value, "a number" if above == -math.inf else f"a number above {above:g}")
        return float(value)

    def count(self, key: str, default: int, *, least: int) -> int:
        """An integer argument."""
        value = self.arguments.get(key, default)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise self._bad(key, value, f"an integer of at least {least}")
        return value

    def switch(self, key: str, *, default: bool) -> bool:
        """An argument that is True or False."""
        value = self.arguments.get(key, default)
        if not isinstance(value, bool):
            raise self._bad(key, value, "True or False")
        return value

    def _score_by(self) -> By:
        value = self.arguments.get("score_by", "sum")
        if value not in ("sum", "mean"):
            raise self._bad("score_by", value, '"sum" or "mean"')
        return checked_by(value)

    def _bad(self, key: str, value: object, wanted: str) -> LmqlCompileError:
        return LmqlCompileError(f"`{key}` of the decoder `{self.name}` must be {wanted}, not {value!r}")

    def _check_known(self, key: str) -> None:
        known = (*self.takes, *COMMON)
        if key not in known:
            close = get_close_matches(key, known, 1)
            hint = f"did you mean `{close[0]}`?" if close else f"it takes: {', '.join(known)}"
            raise LmqlCompileError(f"the decoder `{self.name}` takes no argument `{key}`; {hint}")
