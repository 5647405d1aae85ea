"""Models that are not learned: one replays given texts, one answers at random. For tests, documents and trying things out.

A scripted model says, for every prompt, what its script says next: the script's next token is the likeliest, shorter tokens that also
agree with the script come next (longest first), then end-of-text, then all others in the order of their ids. Where the script has
nothing more to say, or does not know the prompt, end-of-text is the likeliest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from lmqlc.backends.base import Level, Logits, ModelSpec, Progress, SessionUsage, Tokenizer, Vocabulary
from lmqlc.backends.byte_tokenizer import ByteTokenizer
from lmqlc.backends.prefix_tree import Node, PrefixTree
from lmqlc.backends.script import ScriptPosition
from lmqlc.grammar.errors import LmqlError

_SCRIPTED, _AGREEING, _END, _REST = 20.0, 10.0, 5.0, 0.0


@dataclass(frozen=True)
class Call:
    """One call of a session: what was asked, for which id sequences, and where scoring started."""

    kind: Literal["logits", "score"]
    sequences: tuple[tuple[int, ...], ...]
    start: int | None = None


@dataclass
class Script:
    """What to say. Either `in_order`, one text per hole, or `after`: for prompts that end with a key, its text.

    How a session follows a script in order: `lmqlc.backends.script`.
    """

    in_order: tuple[str, ...] = ()
    after: Mapping[str, str] = field(default_factory=dict)


class ScriptedSession:
    """A session of a `ScriptedBackend`. Reuse of prefixes is counted as a model that forgets nothing would."""

    def __init__(self, backend: _UnlearnedBackend) -> None:
        self._backend = backend
        self._usage = SessionUsage()
        self._seen: PrefixTree[list[Node[Any]]] = PrefixTree()
        self._position = backend.position()
        self._taken: dict[tuple[int, ...], bytes] = {}  # what was taken back from prompts, by what is left of them

    @property
    def usage(self) -> SessionUsage:
        return self._usage

    def begin_hole(self, name: str, prompt: Sequence[int] | None = None, kept: int | None = None) -> None:
        """Says that the hole `name` begins: after the ids of `prompt`, else with the next call. kept: how many of the ids will be asked
        about; the text of the others is taken back, and comes first in what the script says."""
        if prompt is not None and kept is not None:
            self._taken[tuple(prompt[:kept])] = self._backend.text(prompt[kept:])
        if self._position is not None:
            self._position.begin(None if prompt is None else self._backend.text(prompt))

    async def logits(self, sequences: Sequence[Sequence[int]]) -> Logits:
        asked = self._record("logits", sequences, None)
        if not asked:
            return np.empty((0, len(self._backend.vocabulary)), dtype=np.float32)
        taken = [self._taken.get(ids, b"") for ids in asked]
        rests = [b""] * len(asked)
        if self._position is not None:
            rests = self._position.rests(asked, [self._backend.text(ids) + text for ids, text in zip(asked, taken, strict=True)])
        return np.stack([self._backend.row(*each) for each in zip(asked, rests, taken, strict=True)])

    async def known(self, sequence: Sequence[int]) -> int:
        return self._seen.longest([*sequence], len(sequence) - 1)[1]

    async def score(self, sequence: Sequence[int], start: int) -> npt.NDArray[np.float64]:
        (asked,) = self._record("score", [sequence], start)
        scores = [log_softmax(self._backend.row(asked[:end]))[asked[end]] for end in range(start, len(asked))]
        return np.array(scores, dtype=np.float64)

    def _record(self, kind: Literal["logits", "score"], sequences: Sequence[Sequence[int]], start: int | None) -> list[tuple[int, ...]]:
        asked = [tuple(sequence) for sequence in sequences]
        self._backend.calls.append(Call(kind, tuple(asked), start))
        self._usage.forward_passes += 1
        for sequence in asked:
            reused = self._reused([*sequence])
            self._usage.tokens_reused += reused
            self._usage.tokens_computed += len(sequence) - reused
        return asked

    def _reused(self, sequence: list[int]) -> int:
        """How many ids of a sequence some earlier one began with; it is one of those from now on."""
        before = max(0, len(sequence) - 1)
        reused, shorter = self._seen.longest(sequence, before)[1], self._seen.whole(sequence, before)
        place: list[Node[Any]] = []
        place.append(self._seen.put(sequence, place)[0])
        if shorter is not None:
            self._seen.drop(shorter[0])  # all of it is in this one
        return reused

    async def close(self) -> None:
        self._seen = PrefixTree()


class _UnlearnedBackend:
    """What the scripted and the random model share. `calls` lists every call of every session."""

    name = "unlearned"
    level: Level = "exact"

    def __init__(self, tokenizer: Tokenizer | None, context_length: int | None) -> None:
        self.tokenizer: Tokenizer = tokenizer or ByteTokenizer()
        self.context_length = context_length
        self.calls: list[Call] = []

    @property
    def vocabulary(self) -> Vocabulary:
        return self.tokenizer.vocabulary

    def text(self, sequence: Sequence[int]) -> bytes:
        """What a sequence writes."""
        tokens = self.vocabulary.tokens
        return b"".join([tokens[i] for i in sequence])

    def position(self) -> ScriptPosition | None:
        """A new session's place in a script in order; None where there is none."""
        return None

    def row(self, sequence: tuple[int, ...], rest: bytes = b"", taken: bytes = b"") -> npt.NDArray[np.float32]:
        """Logits `float32[V]` after a sequence. taken: what was taken back from its end. rest: what the script in order says after that."""
        raise NotImplementedError

    async def open(self) -> ScriptedSession:
        return ScriptedSession(self)

    async def close(self) -> None:
        return None


class ScriptedBackend(_UnlearnedBackend):
    """A model that says what a script says. See the module."""

    name = "scripted"

    def __init__(self, script: Script, *, tokenizer: Tokenizer | None = None, context_length: int | None = None) -> None:
        super().__init__(tokenizer, context_length)
        self._script = script
        self._after = {key.encode(): text.encode() for key, text in script.after.items()}
        width = len(self.vocabulary)
        self._base: npt.NDArray[np.float32] = np.linspace(_REST, _REST - 1, width, dtype=np.float32)
        self._base[list(self.vocabulary.special)] = -20.0
        self._longest = max(map(len, self.vocabulary.tokens))
        self._by_text: dict[bytes, int] = {}
        for i, token in enumerate(self.vocabulary.tokens):
            self._by_text.setdefault(token, i)

    def position(self) -> ScriptPosition | None:
        return ScriptPosition(self._script.in_order) if self._script.in_order else None

    def row(self, sequence: tuple[int, ...], rest: bytes = b"", taken: bytes = b"") -> npt.NDArray[np.float32]:
        rest = taken + (self._rest_after(self.text(sequence) + taken) or rest)
        row = self._base.copy()
        row[list(self.vocabulary.eos_ids)] = _END if rest else _SCRIPTED
        for length in range(1, min(len(rest), self._longest) + 1):
            token_id = self._by_text.get(rest[:length])
            if token_id is not None:
                row[token_id] = _AGREEING + min(length, 900) / 100
        if rest:
            row[self._next_token(rest)] = _SCRIPTED
        return row

    def _rest_after(self, text: bytes) -> bytes:
        """What the text of the key that occurs last in the prompt says next, where the prompt has kept to it."""
        best, rest = -1, b""
        for key, script in self._after.items():
            at = text.rfind(key)
            said = text[at + len(key) :]
            if at > best and script.startswith(said):
                best, rest = at, script[len(said) :]
        return rest

    def _next_token(self, rest: bytes) -> int:
        """The token that the tokenizer itself would go on with; the longest agreeing one where it does not agree with the text."""
        try:
            ids = self.tokenizer.encode(rest.decode(), first=False)
        except UnicodeDecodeError:
            ids = []
        if ids and rest.startswith(self.vocabulary.tokens[ids[0]] or b"\xff"):
            return ids[0]
        for length in range(self._longest, 0, -1):
            if rest[:length] in self._by_text:
                return self._by_text[rest[:length]]
        raise LmqlError(f"the tokenizer has no token for the scripted text {rest[:20]!r}")


class RandomBackend(_UnlearnedBackend):
    """A model whose logits are normally distributed and depend only on the seed and the sequence."""

    name = "random"

    def __init__(self, seed: int = 0, *, tokenizer: Tokenizer | None = None, context_length: int | None = None) -> None:
        super().__init__(tokenizer, context_length)
        self._seed = seed

    def row(self, sequence: tuple[int, ...], rest: bytes = b"", taken: bytes = b"") -> npt.NDArray[np.float32]:
        digest = hashlib.sha256(self._seed.to_bytes(16, "little", signed=True) + np.array(sequence, dtype="<i8").tobytes()).digest()
        generator = np.random.Generator(np.random.Philox(int.from_bytes(digest[:16], "little")))
        return np.array(generator.normal(scale=2.0, size=len(self.vocabulary)), dtype=np.float32)


def log_softmax(row: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Natural log-probabilities `float64[V]` of logits."""
    wide = row.astype(np.float64)
    wide -= wide.max()
    return np.asarray(wide - np.log(np.exp(wide).sum()), dtype=np.float64)


def scripted(
    *completions: str,
    after: Mapping[str, str] | None = None,
    tokenizer: Tokenizer | None = None,
    chat: bool = False,
    context_length: int | None = None,
) -> ScriptedBackend:
    """A model that says `completions`, one per hole in order, and after a prompt that ends with a key of `after`, its text."""
    script = Script(completions, after or {})
    return ScriptedBackend(script, tokenizer=tokenizer or ByteTokenizer(chat=chat), context_length=context_length)


def load_scripted(spec: ModelSpec, *, progress: Progress | None = None) -> ScriptedBackend:
    """`scripted:TEXT`, or options `completions` (texts), `after` (a mapping or pairs), `tokenizer`, `chat`, `context_length`."""
    options = _options(spec, "completions", "after", "tokenizer", "chat", "context_length")
    texts = options.pop("completions", (spec.name,) if spec.name else ())
    return scripted(*texts, after=dict(options.pop("after", ())), **options)


def load_random(spec: ModelSpec, *, progress: Progress | None = None) -> RandomBackend:
    """`random` or `random:SEED`, or options `seed`, `tokenizer`, `context_length`."""
    options = _options(spec, "seed", "tokenizer", "context_length")
    seed = options.pop("seed", spec.name or 0)
    try:
        return RandomBackend(int(seed), **options)
    except ValueError:
        raise LmqlError(f"the seed of a random model is a whole number, not {seed!r}") from None


def _options(spec: ModelSpec, *known: str) -> dict[str, Any]:
    """A spec's options; a tokenizer given by its place is loaded. Raises LmqlError for an option that is none of `known`."""
    options = dict(spec.options)
    for name in options:
        if name not in known:
            raise LmqlError(f"a {spec.kind} model has no option {name!r}; it has {', '.join(known)}")
    if isinstance(options.get("tokenizer"), (str, Path)):
        from lmqlc.backends.tokenizer import load_tokenizer

        options["tokenizer"] = load_tokenizer(options["tokenizer"])
    return options
