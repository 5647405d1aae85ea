"""A model that is listened to: everything that a test asks goes to the model itself, and what it says is kept."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from lmqlc.backends.base import Backend, Logits, ScoresOptions, Session, SessionUsage, Tokenizer, Vocabulary
from lmqlc.compiler.masks.request import DecodesHoles, HoleRequest, Language, Step
from lmqlc.runtime.results import Result
from lmqlc.testing.cassettes import Piece, RecordedHole, Recording


def chat_key(messages: Sequence[dict[str, str]], generation_prompt: bool) -> str:
    """A conversation as the key under which its text is kept."""
    return json.dumps([list(messages), generation_prompt], ensure_ascii=False)


@dataclass
class Tape:
    """What was heard so far."""

    encoded: dict[tuple[str, bool], tuple[Piece, ...]] = field(default_factory=dict)
    chat: dict[str, tuple[Piece, ...] | None] = field(default_factory=dict)
    scores: dict[tuple[bytes, bytes], tuple[float, ...]] = field(default_factory=dict)


class _Heard:
    """A tokenizer whose answers are kept."""

    def __init__(self, inner: Tokenizer, tape: Tape) -> None:
        self._inner = inner
        self._tape = tape

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    @property
    def vocabulary(self) -> Vocabulary:
        return self._inner.vocabulary

    @property
    def unheard(self) -> Tokenizer:
        """The tokenizer, for answers that need not be kept."""
        return self._inner

    def pieces(self, ids: Sequence[int]) -> tuple[Piece, ...]:
        """What ids write, None for special ones."""
        return tuple(None if i in self.vocabulary.special else self.vocabulary.tokens[i] for i in ids)

    def encode(self, text: str, *, first: bool) -> list[int]:
        ids = self._inner.encode(text, first=first)
        self._tape.encoded[text, first] = self.pieces(ids)
        return ids

    def chat(self, messages: Sequence[dict[str, str]], *, generation_prompt: bool) -> list[int] | None:
        ids = self._inner.chat(messages, generation_prompt=generation_prompt)
        self._tape.chat[chat_key(messages, generation_prompt)] = None if ids is None else self.pieces(ids)
        return ids


class _HeardSession:
    """A session whose questions and scores are kept."""

    def __init__(self, inner: Session, tape: Tape, vocabulary: Vocabulary) -> None:
        self._inner = inner
        self._tape = tape
        self._vocabulary = vocabulary

    @property
    def usage(self) -> SessionUsage:
        return self._inner.usage

    def begin_hole(self, *told: Any) -> None:
        """A hole begins."""
        begin = getattr(self._inner, "begin_hole", None)
        if begin is not None:
            begin(*told)

    async def logits(self, sequences: Sequence[Sequence[int]]) -> Logits:
        return await self._inner.logits(sequences)

    async def score(self, sequence: Sequence[int], start: int) -> npt.NDArray[np.float64]:
        scores = await self._inner.score(sequence, start)
        self._keep(sequence[:start], sequence[start:], scores)
        return scores

    async def score_options(self, prompt: Sequence[int], options: Sequence[Sequence[int]]) -> list[npt.NDArray[np.float64]]:
        if isinstance(self._inner, ScoresOptions):
            rows = await self._inner.score_options(prompt, options)
        else:
            rows = [await self._inner.score([*prompt, *option], len(prompt)) if option else np.empty(0) for option in options]
        for option, row in zip(options, rows, strict=True):
            self._keep(prompt, option, row)
        return rows

    def _keep(self, prompt: Sequence[int], text: Sequence[int], scores: Sequence[float] | npt.NDArray[np.float64]) -> None:
        key = written(self._vocabulary, prompt), written(self._vocabulary, text)
        self._tape.scores[key] = tuple(float(value) for value in scores)

    async def close(self) -> None:
        await self._inner.close()


class _HeardHoles(_HeardSession):
    """A session that decodes whole holes, and is listened to."""

    def __init__(self, inner: Session, tape: Tape, vocabulary: Vocabulary) -> None:
        super().__init__(inner, tape, vocabulary)
        assert isinstance(inner, DecodesHoles)
        self._holes: DecodesHoles = inner

    def takes(self, language: Language | None) -> bool:
        return self._holes.takes(language)

    def decode(self, request: HoleRequest) -> AsyncGenerator[Step, None]:
        return self._holes.decode(request)


class RecordingBackend:
    """A backend that is listened to; `tape` holds what was heard."""

    def __init__(self, inner: Backend) -> None:
        self._inner = inner
        self.tape = Tape()
        self._tokenizer = _Heard(inner.tokenizer, self.tape)
        self.tokenizer: Tokenizer = self._tokenizer
        self.name, self.level, self.context_length = inner.name, inner.level, inner.context_length

    async def open(self) -> Session:
        inner = await self._inner.open()
        heard = _HeardHoles if isinstance(inner, DecodesHoles) else _HeardSession
        return heard(inner, self.tape, self.tokenizer.vocabulary)

    async def close(self) -> None:
        return None

    def recording(self, results: Sequence[Result], decoder: str) -> Recording:
        """What was heard, once the run has ended."""
        found = [hole for result in results for hole in self._holes(result)]
        outcome = tuple(tuple((hole.name, hole.text) for hole in result.holes) for result in results)
        tape = self.tape
        prefix = len(self.tokenizer.prefix())
        return Recording(
            self.name,
            decoder,
            self.context_length,
            prefix,
            tape.encoded,
            tape.chat,
            tuple(found),
            dict(sorted(tape.scores.items())),
            outcome,
        )

    def _holes(self, result: Result) -> Iterator[RecordedHole]:
        """The decoded holes of a branch."""
        for hole in result.holes:
            if hole.finish_reason in ("replaced", "query", "distribution"):
                continue
            pieces = self._tokenizer.pieces([token.id for token in hole.tokens])
            tokens = tuple(zip(pieces, (token.logprob for token in hole.tokens), strict=True))
            yield RecordedHole(hole.name, written(self.tokenizer.vocabulary, hole.prompt_ids), hole.healed.encode(), tokens, hole.text)


def written(vocabulary: Vocabulary, ids: Sequence[int]) -> bytes:
    """The bytes that ids write."""
    return b"".join([vocabulary.tokens[i] for i in ids])
