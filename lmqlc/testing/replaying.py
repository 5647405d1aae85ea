"""A model that says again what was recorded, to the questions that were recorded, and nothing else."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from lmqlc.backends.base import Level, Logits, Session, SessionUsage, Tokenizer, Vocabulary
from lmqlc.compiler.masks.likeliest import Likeliest, Step, TextTree
from lmqlc.testing.cassettes import CassetteMismatch, Piece, RecordedHole, Recording
from lmqlc.testing.recording import chat_key, written

END, SPECIAL, ELSEWHERE = 0, 1, 2
"""End-of-text; any other special token of a prompt; where the probability goes that no recorded token has (never allowed in a hole)."""
_BYTES = 3
_NEVER = -10_000.0
_SHOWN = 60


class ReplayTokenizer:
    """Cuts texts as the recorded tokenizer did: those that were recorded by their record, others by the longest recorded token."""

    bos_id: int | None = SPECIAL

    def __init__(self, recording: Recording) -> None:
        spoken = sorted({piece for piece in _all_pieces(recording) if piece and len(piece) > 1})
        tokens = [b"", b"", b"", *(bytes([value]) for value in range(256)), *spoken]
        self.vocabulary = Vocabulary.build(tokens, [END], [SPECIAL, ELSEWHERE])
        self._ids = {token: number for number, token in enumerate(tokens) if token}
        self._longest = max(map(len, tokens))
        self._recording = recording

    def prefix(self) -> list[int]:
        return [SPECIAL] * self._recording.prefix

    def encode(self, text: str, *, first: bool) -> list[int]:
        pieces = self._recording.encoded.get((text, first))
        return self.ids(pieces) if pieces is not None else self.cut(text.encode("utf-8", "replace"))

    def decode(self, ids: Sequence[int]) -> str:
        return written(self.vocabulary, ids).decode("utf-8", "replace")

    def chat(self, messages: Sequence[dict[str, str]], *, generation_prompt: bool) -> list[int] | None:
        key = chat_key(messages, generation_prompt)
        if key in self._recording.chat:
            pieces = self._recording.chat[key]
            return None if pieces is None else self.ids(pieces)
        said = " ".join(f"{{:{message['role']}}}{message['content']}" for message in messages)
        raise CassetteMismatch(f"the program holds another conversation than the recorded one: …{said[-_SHOWN:]!r}")

    def ids(self, pieces: Iterable[Piece]) -> list[int]:
        """Ids of recorded pieces."""
        return [SPECIAL if piece is None else self._ids[piece] for piece in pieces]

    def id_of(self, piece: Piece) -> int:
        """The id of a token of a hole: one without text ended it."""
        return self._ids[piece] if piece else END

    def cut(self, data: bytes) -> list[int]:
        """Ids of any bytes by the longest token."""
        found: list[int] = []
        at = 0
        while at < len(data):
            length = next(n for n in range(min(self._longest, len(data) - at), 0, -1) if data[at : at + n] in self._ids)
            found.append(self._ids[data[at : at + length]])
            at += length
        return found


class ReplaySession:
    """Answers by the text of a question. Where several recorded holes go on differently from the same text, the branches that ask are given
    one after the other."""

    def __init__(self, recording: Recording, tokenizer: ReplayTokenizer) -> None:
        self._recording = recording
        self._tokenizer = tokenizer
        self._usage = SessionUsage()
        self._given: Counter[tuple[bytes, tuple[tuple[int, float], ...]]] = Counter()

    @property
    def usage(self) -> SessionUsage:
        return self._usage

    def begin_hole(self, name: str, prompt: Sequence[int], kept: int) -> None:
        """A hole begins: one that was recorded, after the same text."""
        text = written(self._tokenizer.vocabulary, prompt)
        known = [hole.prompt + hole.healed for hole in self._recording.holes if hole.name == name]
        if text not in known:
            raise CassetteMismatch(_other_prompt(name, text, known))

    async def logits(self, sequences: Sequence[Sequence[int]]) -> Logits:
        self._usage.forward_passes += 1
        rows = [self._row(tuple(ids)) for ids in sequences]
        return np.stack(rows) if rows else np.empty((0, len(self._tokenizer.vocabulary)), dtype=np.float32)

    async def score(self, sequence: Sequence[int], start: int) -> npt.NDArray[np.float64]:
        vocabulary = self._tokenizer.vocabulary
        key = written(vocabulary, sequence[:start]), written(vocabulary, sequence[start:])
        row = self._recording.scores.get(key)
        if row is None or len(row) != len(sequence) - start:
            raise CassetteMismatch(f"the program asks how likely {_tail(key[1])} is after {_tail(key[0])}, which was not recorded")
        return np.array(row, dtype=np.float64)

    def recalled(self, prompt: Sequence[int], tree: TextTree) -> Likeliest:
        """The text that a hole had which may have few. Raises CassetteMismatch where it may have it no more."""
        before = written(self._tokenizer.vocabulary, prompt) + tree.heal
        for hole in self._recording.holes:
            steps = self._steps(hole, tree) if hole.prompt + hole.healed == before else None
            if steps is not None:
                return Likeliest(steps, math.fsum(step.logprob for step in steps))
        raise CassetteMismatch(f"the recorded answer is not allowed any more after {_tail(before)}")

    def _steps(self, hole: RecordedHole, tree: TextTree) -> tuple[Step, ...] | None:
        """The tokens of a hole with the one that ended it; None where its text is none of a tree.

        Where a recorded first token covers more of the prompt than one does here, the text is cut afresh."""
        for end in range(len(hole.tokens), -1, -1):
            text = b"".join(piece or b"" for piece, _ in hole.tokens[:end])[len(hole.healed) :]
            found = tree.spelled.get(tree.heal + text)
            if found is None or text.decode().removeprefix(" ") != hole.text.removeprefix(" "):
                continue
            if tree.heal == hole.healed:
                said = [(self._tokenizer.id_of(piece), logprob) for piece, logprob in hole.tokens[:end]]
            else:
                whole = math.fsum(logprob for _, logprob in hole.tokens[:end])
                said = [(token, 0.0 if place else whole) for place, token in enumerate(found.ids)]
            said += [(self._tokenizer.id_of(piece), logprob) for piece, logprob in hole.tokens[end : end + 1]]
            return tuple(Step(token, logprob, logprob == 0.0) for token, logprob in said)
        return None

    async def close(self) -> None:
        return None

    def _row(self, asked: tuple[int, ...]) -> npt.NDArray[np.float32]:
        """Logits after a sequence that give recorded tokens their recorded log-probabilities."""
        following = self._following(asked)
        if not following:
            text = _tail(written(self._tokenizer.vocabulary, asked))
            raise CassetteMismatch(f"the recorded answer is not allowed any more, or the program asks something else after {text}")
        place = written(self._tokenizer.vocabulary, asked), tuple(following)
        token, logprob = following[self._given[place] % len(following)]
        self._given[place] += 1
        row = np.full(len(self._tokenizer.vocabulary), _NEVER, dtype=np.float32)
        row[token] = logprob
        left = 1.0 - math.exp(logprob)
        row[ELSEWHERE] = math.log(left) if left > 0 else _NEVER
        return row

    def _following(self, asked: tuple[int, ...]) -> list[tuple[int, float]]:
        """The token that comes next, for each recorded hole that passes here: by the same tokens; else by the same text, between tokens;
        else by the same text within a token, which was written, and cut otherwise."""
        text = written(self._tokenizer.vocabulary, asked)
        passing = [hole for hole in self._recording.holes if text.startswith(hole.prompt)]
        by_tokens = [step for hole in passing if (step := self._after_tokens(hole, asked, text)) is not None]
        if by_tokens:
            return by_tokens
        by_text = [found for hole in passing if (found := self._after_text(hole, text)) is not None]
        return [found[:2] for found in by_text if not found[2]] or [found[:2] for found in by_text]

    def _after_tokens(self, hole: RecordedHole, asked: tuple[int, ...], text: bytes) -> tuple[int, float] | None:
        """The next token, where what was asked about ends with the hole's first tokens, and the hole's prompt is before them."""
        size = len(hole.prompt)
        for at, (piece, logprob) in enumerate(hole.tokens):
            if size == len(text):
                ids = tuple(self._tokenizer.id_of(one) for one, _ in hole.tokens[:at])
                return (self._tokenizer.id_of(piece), logprob) if asked[len(asked) - at :] == ids else None
            size += len(piece or b"")
        return None

    def _after_text(self, hole: RecordedHole, text: bytes) -> tuple[int, float, bool] | None:
        """The next token after a text in a hole, its log-probability, and whether the text ends within a recorded token."""
        at = hole.prompt
        for piece, logprob in hole.tokens:
            if at == text:
                return self._tokenizer.id_of(piece), logprob, False
            after = at + (piece or b"")
            if len(after) > len(text) and after.startswith(text):
                return self._tokenizer.cut(after[len(text) :])[0], 0.0, True
            at = after
        return None


class ReplayBackend:
    """A model made of one recording."""

    level: Level = "exact"

    def __init__(self, recording: Recording) -> None:
        self.name = f"replay of {recording.model}"
        self.context_length = recording.context
        self._recording = recording
        self._tokenizer = ReplayTokenizer(recording)
        self.tokenizer: Tokenizer = self._tokenizer

    async def open(self) -> Session:
        return ReplaySession(self._recording, self._tokenizer)

    async def close(self) -> None:
        return None


def _all_pieces(recording: Recording) -> Iterable[Piece]:
    for pieces in recording.encoded.values():
        yield from pieces
    for conversation in recording.chat.values():
        yield from conversation or ()
    for hole in recording.holes:
        yield from (piece for piece, _ in hole.tokens)


def _tail(text: bytes) -> str:
    shown = text.decode("utf-8", "replace")
    return repr(shown if len(shown) <= _SHOWN else f"…{shown[-_SHOWN:]}")


def _other_prompt(name: str, text: bytes, known: Sequence[bytes]) -> str:
    """Where a prompt differs from the recorded one that it is most like."""
    if not known:
        return f"the program fills a hole {name}, which was not recorded"
    best = max(known, key=lambda other: _common(text, other))
    at = max(0, _common(text, best) - 20)
    now, then = (other[at : at + _SHOWN].decode("utf-8", "replace") for other in (text, best))
    more = "…" if at else ""
    return f"before hole {name} the prompt is now {more}{now!r}, but {more}{then!r} was recorded"


def _common(a: bytes, b: bytes) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
