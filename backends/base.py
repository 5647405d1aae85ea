"""What a model is to the rest of the project: a vocabulary, a tokenizer, and log-scores of next tokens.

Backends register a factory (`lmqlc.backends.registry`); everything above this floor sees only these protocols.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

Level = Literal["exact", "delegated", "checked"]
"""How a backend enforces constraints: our masks at every step, the server's own grammar, or after the fact."""

Logits = npt.NDArray[np.float32]


def fingerprint_of(tokens: Sequence[bytes], eos_ids: Sequence[int], special: Iterable[int]) -> str:
    """SHA-256 (hex) of a vocabulary. Every part is preceded by its length, so that no two vocabularies are framed alike."""
    digest = hashlib.sha256(b"lmqlc vocabulary 1\n")
    lengths = np.fromiter(map(len, tokens), dtype="<u4", count=len(tokens))
    for ids in (lengths, np.array(eos_ids, dtype="<i8"), np.array(sorted(special), dtype="<i8")):
        digest.update(len(ids).to_bytes(8, "little"))
        digest.update(ids.tobytes())
    digest.update(b"".join(tokens))
    return digest.hexdigest()


DEFAULT_CACHE_BYTES = 2 << 30
"""Most memory for keys and values that a model in process keeps of sequences nobody is working on; the option `cache_bytes`."""


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """The tokens of a model, each as the bytes it writes.

    tokens: entry `i` is what token id `i` writes; b"" for special, unused and padding ids. `len(tokens)` is the width
        of the model's logits, which may exceed the tokenizer's own size.
    eos_ids: every id that ends a text (tokenizer's and generation config's).
    special: ids that write no text and are never allowed in a hole (end-of-text ids included).
    fingerprint: SHA-256 (hex) over all of the above, with lengths, so that two vocabularies never share one.
    named: special ids by their names (`<|im_end|>`), which a stop phrase may be. No part of the fingerprint.
    """

    tokens: tuple[bytes, ...]
    eos_ids: tuple[int, ...]
    special: frozenset[int]
    fingerprint: str
    named: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def build(
        cls,
        tokens: Sequence[bytes],
        eos_ids: Iterable[int] = (),
        special: Iterable[int] = (),
        named: Mapping[str, int] | None = None,
    ) -> Vocabulary:
        """A vocabulary from its parts, made consistent: end-of-text ids and ids without text count as special, special ids write
        nothing, ids are sorted; names of ids that are not special are dropped. Raises ValueError for an id outside of the vocabulary."""
        ends = sorted(set(eos_ids))
        quiet = frozenset(special) | frozenset(ends) | {i for i, token in enumerate(tokens) if not token}
        if quiet and not 0 <= min(quiet) <= max(quiet) < len(tokens):
            raise ValueError(f"token ids must lie between 0 and {len(tokens) - 1}, not {min(quiet)} … {max(quiet)}")
        texts = list(tokens)
        for i in quiet:
            texts[i] = b""
        names = {name: i for name, i in (named or {}).items() if name and i in quiet}
        return cls(tuple(texts), tuple(ends), quiet, fingerprint_of(texts, ends, quiet), names)

    def __len__(self) -> int:
        return len(self.tokens)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)


class Tokenizer(Protocol):
    """Text to token ids and back, as the model's own tokenizer does it."""

    @property
    def vocabulary(self) -> Vocabulary: ...

    def prefix(self) -> list[int]:
        """The ids the tokenizer puts before every text (often a BOS token); may be empty."""
        ...

    @property
    def bos_id(self) -> int | None:
        """The id that begins a text, for prompts that are empty otherwise; None where the tokenizer has none."""
        ...

    def encode(self, text: str, *, first: bool) -> list[int]:
        """Ids of `text`; no special token ever comes from the text itself. `first`: the text starts the prompt (a
        tokenizer that marks word starts, as SentencePiece does, adds its dummy space only there)."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids`; bytes that are no complete character become U+FFFD."""
        ...

    def chat(self, messages: Sequence[dict[str, str]], *, generation_prompt: bool) -> list[int] | None:
        """Ids of a conversation by the model's own chat template; None where it has none."""
        ...


@runtime_checkable
class Session(Protocol):
    """One query's use of a model. Keeps what it has computed, so that a prefix is computed once."""

    async def logits(self, sequences: Sequence[Sequence[int]]) -> Logits:
        """Next-token logits `float32[n, len(vocabulary)]` after each of `n` id sequences (none empty)."""
        ...

    async def score(self, sequence: Sequence[int], start: int) -> npt.NDArray[np.float64]:
        """Natural log-probabilities `float64[len(sequence) - start]` of `sequence[start:]`, each given all before it.
        `start` is at least 1."""
        ...

    @property
    def usage(self) -> SessionUsage: ...

    async def close(self) -> None: ...


@runtime_checkable
class AnswersTails(Protocol):
    """A session that is asked about several continuations of one prompt together. What it reads of them is not kept."""

    async def logits_after(self, prompt: Sequence[int], tails: Sequence[Sequence[int]]) -> Logits:
        """Next-token logits `float32[n, len(vocabulary)]` after the prompt (not empty) with each of `n` tails (which may be empty)."""
        ...


@runtime_checkable
class KnowsPrefixes(Protocol):
    """A session that says what it has kept."""

    async def known(self, sequence: Sequence[int]) -> int:
        """How many ids at the start of a sequence (not empty) were read before and are not read again for it; fewer than all of them."""
        ...


@runtime_checkable
class ScoresOptions(Protocol):
    """A session that scores several continuations of one prompt together."""

    async def score_options(self, prompt: Sequence[int], options: Sequence[Sequence[int]]) -> list[npt.NDArray[np.float64]]:
        """Natural log-probabilities `float64[len(option)]` of every option after the prompt (not empty)."""
        ...


@dataclass(slots=True)
class SessionUsage:
    """Counts of one session: model calls (forward passes), and the prompt positions computed and reused."""

    forward_passes: int = 0
    tokens_computed: int = 0
    tokens_reused: int = 0


class Backend(Protocol):
    """A loaded (or reachable) model. Safe to share between queries; each query opens its own session."""

    @property
    def name(self) -> str: ...

    @property
    def level(self) -> Level: ...

    @property
    def tokenizer(self) -> Tokenizer: ...

    @property
    def context_length(self) -> int | None:
        """Longest sequence the model takes, in tokens; None where unlimited or unknown."""
        ...

    async def open(self) -> Session: ...

    async def close(self) -> None: ...


@dataclass(frozen=True)
class ModelSpec:
    """A model as a program names it, before it is loaded: `lmql.model(…)`, `lmql.inprocess(…)`, a `--model` string.

    kind: the registry's key ("local", "demo", "scripted", "random", …). `options` reach the factory as keywords.
    """

    kind: str
    name: str
    options: tuple[tuple[str, object], ...] = ()

    def shown(self) -> tuple[tuple[str, object], ...]:
        """The options, with "…" for those that may be secret, such as keys."""
        return tuple((name, "…" if _may_be_secret(name) else value) for name, value in self.options)

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self.shown())
        return f"ModelSpec({self.kind!r}, {self.name!r}{', ' if shown else ''}{shown})"


def _may_be_secret(option: str) -> bool:
    return any(word in option for word in ("key", "token", "secret", "password", "headers")) and "tokenizer" not in option


Progress = Callable[[str, float | None], None]
"""Told about long work: a short text, and how much of it is done (0 to 1, None where unknown)."""
