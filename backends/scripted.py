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

    In order: a hole goes on while the text of the prompt goes on as the script says, or by one token; any other prompt begins the next
    hole. A runtime that tells a session of its holes (`begin_hole`) takes the guess out.
    """

    in_order: tuple[str, ...] = ()
    after: Mapping[str, str] = field(default_factory=dict)


class _Position:
    """Where a session stands in a script told in order: the hole, the prompts it began with, and the last sequences seen."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = [text.encode() for text in texts]
        self._hole = -1
        self._starts: list[bytes] = []
        self._last: set[tuple[int, ...]] = set()
        self._ended: set[bytes] = set()
        self._announced = False

    def begin(self) -> None:
        """The next call begins a hole."""
        self._announced = True
        self._hole += 1
        self._starts = []

    def rest(self, sequence: tuple[int, ...], text: bytes) -> bytes:
        """What the script says after a prompt: b"" where nothing."""
        if self._announced:
            if not any(text.startswith(start) for start in self._starts):
                self._starts.append(text)
        elif not self._goes_on(sequence, text):
            self._hole += 1
            self._starts = [text]
            self._ended = set()
        said = text[len(max((s for s in self._starts if text.startswith(s)), key=len)) :]
        script = self._texts[self._hole] if self._hole < len(self._texts) else b""
        rest = script[len(said) :] if script.startswith(said) else b""
        if not rest:
            self._ended.add(text)
        return rest

    def seen(self, sequences: Sequence[tuple[int, ...]]) -> None:
        self._last = set(sequences)

    def _goes_on(self, sequence: tuple[int, ...], text: bytes) -> bool:
        if text in self._ended:
            return False
        for start in self._starts:
            if text.startswith(start) and self._texts[self._hole : self._hole + 1]:
                said = text[len(start) :]
                if self._texts[self._hole].startswith(said):
                    return True
                if sequence[:-1] in self._last and not said.startswith(self._texts[self._hole]):
                    return True
        return False


class ScriptedSession:
    """A session of a `ScriptedBackend`. Reuse of prefixes is counted as a model that forgets nothing would."""

    def __init__(self, backend: _UnlearnedBackend) -> None:
        self._backend = backend
        self._usage = SessionUsage()
        self._seen: list[tuple[int, ...]] = []
        self._position = backend.position()

    @property
    def usage(self) -> SessionUsage:
        return self._usage

    def begin_hole(self, name: str) -> None:
        """Says that the next call begins the hole `name`."""
        if self._position is not None:
            self._position.begin()

    async def logits(self, sequences: Sequence[Sequence[int]]) -> Logits:
        asked = self._record("logits", sequences, None)
        rows = [self._backend.row(sequence, self._position) for sequence in asked]
        if self._position is not None:
            self._position.seen(asked)
        return np.stack(rows)

    async def score(self, sequence: Sequence[int], start: int) -> npt.NDArray[np.float64]:
        (asked,) = self._record("score", [sequence], start)
        scores = [log_softmax(self._backend.row(asked[:end], None))[asked[end]] for end in range(start, len(asked))]
        return np.array(scores, dtype=np.float64)

    def _record(self, kind: Literal["logits", "score"], sequences: Sequence[Sequence[int]], start: int | None) -> list[tuple[int, ...]]:
        asked = [tuple(sequence) for sequence in sequences]
        self._backend.calls.append(Call(kind, tuple(asked), start))
        self._usage.forward_passes += 1
        for sequence in asked:
            reused = min(max((common_prefix(sequence, old) for old in self._seen), default=0), len(sequence) - 1)
            self._usage.tokens_reused += reused
            self._usage.tokens_computed += len(sequence) - reused
            self._seen.append(sequence)
        return asked

    async def close(self) -> None:
        self._seen.clear()


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

    def position(self) -> _Position | None:
        return None

    def row(self, sequence: tuple[int, ...], position: _Position | None) -> npt.NDArray[np.float32]:
        """Logits `float32[V]` after a sequence."""
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

    def position(self) -> _Position | None:
        return _Position(self._script.in_order) if self._script.in_order else None

    def row(self, sequence: tuple[int, ...], position: _Position | None) -> npt.NDArray[np.float32]:
        text = b"".join([self.vocabulary.tokens[i] for i in sequence])
        rest = self._rest_after(text)
        if not rest and position is not None:
            rest = position.rest(sequence, text)
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

    def row(self, sequence: tuple[int, ...], position: _Position | None) -> npt.NDArray[np.float32]:
        digest = hashlib.sha256(self._seed.to_bytes(16, "little", signed=True) + np.array(sequence, dtype="<i8").tobytes()).digest()
        generator = np.random.Generator(np.random.Philox(int.from_bytes(digest[:16], "little")))
        return np.array(generator.normal(scale=2.0, size=len(self.vocabulary)), dtype=np.float32)


def common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """How many ids two sequences of one type begin with in common."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


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
