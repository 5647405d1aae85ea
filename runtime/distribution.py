"""Exact log-probabilities of whole texts under a model, and their shares among the options given.

A text's log-probability is the sum over its tokens, as the model's tokenizer writes the text after the prompt, each given the prompt and
the tokens before it. It says how likely the model goes on with the text, not that it ends there: the empty text has 0.0, and a text never
less than a longer one that its tokens begin.

Where a text would begin inside the prompt's last token, it is healed: its first token covers the prompt's end too, and what the model gives
that end as it stands is taken off. So a text's score is that of prompt and text as the tokenizer writes them, less that of the prompt,
whatever other texts it is compared with. (It lies above 0 where the prompt ends as the model would not have written it.)
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from lmqlc.backends.base import ScoresOptions, Session, Tokenizer
from lmqlc.backends.text import ScoresTexts, TextPrompt, TextSession, TextToken
from lmqlc.compiler.masks.canonical import InText, encoded_behind
from lmqlc.grammar.errors import ContextOverflow, LmqlError, UnsupportedConstraint
from lmqlc.runtime.results import TokenResult

By = Literal["sum", "mean"]
"""How texts are compared: by the sum of their tokens' log-probabilities, or by the mean, which does not favour short ones."""


@dataclass(frozen=True, slots=True)
class Start:
    """Where texts begin: after the ids of a prompt (not empty), of which the last `taken` may be taken back; `heal` is their text."""

    ids: Sequence[int]
    taken: int = 0
    heal: bytes = b""


@dataclass(frozen=True, slots=True)
class Scored:
    """A text after a start: its tokens with their log-probabilities.

    healed: the text of the prompt that the first token begins with, taken back for it; tail: the log-probability of that end as it stood.
    """

    tokens: tuple[TokenResult, ...]
    healed: str = ""
    tail: float = 0.0

    def score(self, by: By) -> float:
        """The natural log-probability, or its mean over the tokens (0.0 for a text without tokens)."""
        total = math.fsum(token.logprob for token in self.tokens) - self.tail
        return total if checked_by(by) == "sum" else total / max(len(self.tokens), 1)


@dataclass(frozen=True, slots=True)
class Ranked:
    """One option with its log-probabilities, and its share among all options (they sum to 1). meets: it meets the hole's constraint; the
    others are not scored."""

    scored: Scored
    probability: float
    meets: bool = True

    @property
    def tokens(self) -> tuple[TokenResult, ...]:
        return self.scored.tokens

    @property
    def healed(self) -> str:
        return self.scored.healed

    @property
    def ids(self) -> tuple[int, ...]:
        """The option's ids; the first one stands for what was taken back from the prompt too."""
        return tuple(token.id for token in self.tokens)


@dataclass(frozen=True, slots=True)
class Scores:
    """Texts after a prompt, with their log-probabilities. by: how they are compared where a method is not told."""

    prompt: str
    values: tuple[str, ...]
    texts: tuple[Scored, ...]
    by: By = "sum"

    @property
    def tokens(self) -> tuple[tuple[TokenResult, ...], ...]:
        """Every text's tokens. The first one of a healed text begins with the end of the prompt."""
        return tuple(text.tokens for text in self.texts)

    @property
    def healed(self) -> str:
        """Text at the end of the prompt that was taken back for a text that begins inside its last token; empty where none does."""
        return max((text.healed for text in self.texts), key=len, default="")

    def logprobs(self) -> list[list[float]]:
        """Natural log-probabilities of every text's tokens."""
        return [[token.logprob for token in row] for row in self.tokens]

    def scores(self, by: By | None = None) -> list[float]:
        """Every text's natural log-probability, or the mean of its tokens' (0.0 for a text without tokens). A healed text has less by
        what the prompt's end had as it stood."""
        return [text.score(by or self.by) for text in self.texts]

    def probs(self, by: By | None = None) -> list[float]:
        """The scores as shares that sum to 1."""
        return _shares(self.scores(by))

    def argmax(self, by: By | None = None) -> str:
        """The text with the highest score; the first one where several are equal."""
        scores = self.scores(by)
        return self.values[scores.index(max(scores))]


def checked_by(by: object) -> By:
    """A way to compare texts; raises LmqlError for anything else."""
    if by not in ("sum", "mean"):
        raise LmqlError(f'texts are compared by "sum" or by "mean", not by {by!r}')
    return by


async def score_texts(
    session: Session, tokenizer: Tokenizer, start: Start, texts: Sequence[str], *, context: int | None = None
) -> list[Scored]:
    """The tokens of every text with their log-probabilities. Raises ContextOverflow, before the model is asked, where one does not fit
    the context window."""
    plain = [tokenizer.encode(text, first=False) for text in texts]
    healed = _healed(tokenizer, start, texts)
    longest = max(range(len(texts)), key=lambda i: len(healed[i] or plain[i]), default=None)
    if longest is not None and context is not None and len(start.ids) + len(healed[longest] or plain[longest]) > context:
        raise ContextOverflow(
            f"the prompt is {len(start.ids)} tokens long, the longest text to score ({texts[longest][:40]!r}) {len(plain[longest])}, and "
            f"the model's context window holds {context}"
        )
    if not any(healed):
        rows = await _score_all(session, start.ids, plain)
        return [Scored(_tokens(tokenizer, ids, row)) for ids, row in zip(plain, rows, strict=True)]
    kept, tail = start.ids[: len(start.ids) - start.taken], list(start.ids[len(start.ids) - start.taken :])
    encoded = [ids or [*tail, *alone] for ids, alone in zip(healed, plain, strict=True)]
    *rows, behind = await _score_all(session, kept, [*encoded, tail])
    text, own = start.heal.decode("utf-8", "replace"), math.fsum(behind)
    return [
        Scored(_tokens(tokenizer, ids, row), text, own) if runs_on else Scored(_tokens(tokenizer, ids[len(tail) :], row[len(tail) :]))
        for ids, row, runs_on in zip(encoded, rows, healed, strict=True)
    ]


def _healed(tokenizer: Tokenizer, start: Start, texts: Sequence[str]) -> list[list[int]]:
    """The ids of each text together with the prompt's end, where its first token covers both; else none."""
    if not start.taken:
        return [[] for _ in texts]

    encode, whole = InText(tokenizer), tokenizer.vocabulary.tokens
    joined = (encoded_behind(encode, tokenizer.vocabulary, start.heal, text.encode()) for text in texts)
    return [ids if ids and len(whole[ids[0]]) > len(start.heal) else [] for ids in joined]


def _tokens(tokenizer: Tokenizer, ids: Sequence[int], logprobs: Sequence[float]) -> tuple[TokenResult, ...]:
    pieces = tokenizer.vocabulary.tokens
    return tuple(TokenResult(i, pieces[i].decode("utf-8", "replace"), lp) for i, lp in zip(ids, logprobs, strict=True))


async def rank(
    session: Session,
    tokenizer: Tokenizer,
    start: Start,
    options: Sequence[object],
    meets: Callable[[str, int], bool],
    *,
    by: By = "sum",
    context: int | None = None,
) -> list[Ranked]:
    """Every option's share; raises LmqlError where there is no option. meets: whether an option's text of some tokens may be chosen."""
    texts = _texts(options)
    healed = _healed(tokenizer, start, texts)
    fits = [meets(text, len(ids or tokenizer.encode(text, first=False))) for text, ids in zip(texts, healed, strict=True)]
    scored = await score_texts(session, tokenizer, start, [text for text, fit in zip(texts, fits, strict=True) if fit], context=context)
    return _ranked(scored, fits, by)


async def rank_texts(
    session: TextSession, name: str, prompt: TextPrompt, options: Sequence[object], meets: Callable[[str, int], bool], *, by: By = "sum"
) -> list[Ranked]:
    """`rank` at a server that scores texts; raises UnsupportedConstraint where it does not."""
    texts = _texts(options)
    scored = await score_prompted(session, name, prompt, texts)
    fits = [meets(text, len(found.tokens)) for text, found in zip(texts, scored, strict=True)]
    return _ranked([found for found, fit in zip(scored, fits, strict=True) if fit], fits, by)


def _texts(options: Sequence[object]) -> list[str]:
    if not options:
        raise LmqlError("a distribution needs at least one option")
    return [str(option) for option in options]


def _ranked(scored: Sequence[Scored], fits: Sequence[bool], by: By) -> list[Ranked]:
    """Every option's share among those that fit, whose scores are given."""
    rows = iter(zip(scored, _shares([found.score(by) for found in scored]), strict=True))
    return [Ranked(*next(rows)) if fit else Ranked(Scored(()), 0.0, False) for fit in fits]


async def score_prompted(session: TextSession, name: str, prompt: TextPrompt, texts: Sequence[str]) -> list[Scored]:
    """`score_texts` at a server that scores texts."""
    if not isinstance(session, ScoresTexts):
        raise UnsupportedConstraint(
            f"`{name}` does not score given texts; use a model in this process (local:NAME), vllm/NAME, sglang/NAME or llama.cpp/NAME"
        )
    return [Scored(tuple(map(_told, found.tokens)), found.healed, found.tail) for found in await session.score_texts(prompt, texts)]


def _told(token: TextToken) -> TokenResult:
    return TokenResult(-1 if token.id is None else token.id, token.text, math.nan if token.logprob is None else token.logprob)


def _shares(logprobs: Sequence[float]) -> list[float]:
    """`softmax` of natural log-probabilities; equal shares where none of them is possible."""
    if not logprobs:
        return []
    top = max(logprobs)
    if math.isinf(top):
        return [1.0 / len(logprobs)] * len(logprobs)
    weights = [math.exp(value - top) for value in logprobs]
    total = math.fsum(weights)
    return [weight / total for weight in weights]


async def _score_all(session: Session, prompt: Sequence[int], options: Sequence[Sequence[int]]) -> list[list[float]]:
    """The log-probabilities of options: together where the session can, else one by one."""
    if not any(options):
        return [[] for _ in options]
    if isinstance(session, ScoresOptions):
        return [row.tolist() for row in await session.score_options(prompt, options)]
    return list(await asyncio.gather(*(_score_ids(session, prompt, ids) for ids in options)))


async def _score_ids(session: Session, prompt: Sequence[int], ids: Sequence[int]) -> list[float]:
    if not ids:
        return []
    return [float(value) for value in await session.score([*prompt, *ids], len(prompt))]
