"""Exact log-probabilities of whole texts under a model, and their shares among the options given."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from lmqlc.backends.base import ScoresOptions, Session, Tokenizer
from lmqlc.backends.text import ScoresTexts, TextPrompt, TextSession
from lmqlc.grammar.errors import LmqlError, UnsupportedConstraint
from lmqlc.runtime.results import TokenResult


@dataclass(frozen=True, slots=True)
class Ranked:
    """One option: its ids, its tokens with log-probabilities, and its share among all options (they sum to 1)."""

    ids: tuple[int, ...]
    tokens: tuple[TokenResult, ...]
    probability: float

    @property
    def logprob(self) -> float:
        """Natural log-probability of the whole text after the prompt."""
        return sum(token.logprob for token in self.tokens)


@dataclass(frozen=True, slots=True)
class Scores:
    """Texts after a prompt, with their tokens and log-probabilities."""

    prompt: str
    values: tuple[str, ...]
    tokens: tuple[tuple[TokenResult, ...], ...]

    def scores(self, by: Literal["sum", "mean"] = "sum") -> list[float]:
        """Every text's natural log-probability, or the mean of its tokens' (0.0 for a text without tokens)."""
        totals = [sum(token.logprob for token in row) for row in self.tokens]
        return totals if by == "sum" else [total / max(len(row), 1) for total, row in zip(totals, self.tokens, strict=True)]

    def probs(self, by: Literal["sum", "mean"] = "sum") -> list[float]:
        """The scores as shares that sum to 1."""
        return _shares(self.scores(by))

    def argmax(self, by: Literal["sum", "mean"] = "sum") -> str:
        """The text with the highest score; the first one where several are equal."""
        scores = self.scores(by)
        return self.values[scores.index(max(scores))]


async def score_texts(session: Session, tokenizer: Tokenizer, prompt: Sequence[int], texts: Sequence[str]) -> list[tuple[TokenResult, ...]]:
    """The tokens of every text, each tokenised on its own, with their log-probabilities after the ids of the prompt (not empty)."""
    encoded = [tokenizer.encode(text, first=False) for text in texts]
    rows = await _score_all(session, prompt, encoded)
    pieces = tokenizer.vocabulary.tokens
    return [
        tuple(TokenResult(i, pieces[i].decode("utf-8", "replace"), lp) for i, lp in zip(ids, row, strict=True))
        for ids, row in zip(encoded, rows, strict=True)
    ]


async def rank(session: Session, tokenizer: Tokenizer, prompt: Sequence[int], options: Sequence[object]) -> list[Ranked]:
    """Every option's log-probability and its share; raises LmqlError where there is no option."""
    if not options:
        raise LmqlError("a distribution needs at least one option")
    scored = await score_texts(session, tokenizer, prompt, [str(option) for option in options])
    totals = [sum(token.logprob for token in tokens) for tokens in scored]
    return [Ranked(tuple(token.id for token in tokens), tokens, share) for tokens, share in zip(scored, _shares(totals), strict=True)]


async def rank_texts(session: TextSession, name: str, prompt: TextPrompt, options: Sequence[object]) -> list[Ranked]:
    """`rank` at a server that scores texts; raises UnsupportedConstraint where it does not."""
    if not options:
        raise LmqlError("a distribution needs at least one option")
    rows = await score_prompted(session, name, prompt, [str(option) for option in options])
    totals = [sum(token.logprob for token in row) for row in rows]
    return [Ranked(tuple(token.id for token in row), row, share) for row, share in zip(rows, _shares(totals), strict=True)]


async def score_prompted(session: TextSession, name: str, prompt: TextPrompt, texts: Sequence[str]) -> list[tuple[TokenResult, ...]]:
    """`score_texts` at a server that scores texts."""
    if not isinstance(session, ScoresTexts):
        raise UnsupportedConstraint(
            f"`{name}` does not score given texts; use a model in this process (local:NAME), vllm/NAME or sglang/NAME"
        )
    return [
        tuple(TokenResult(-1 if token.id is None else token.id, token.text, token.logprob or 0.0) for token in row)
        for row in await session.score_texts(prompt, texts)
    ]


def _shares(logprobs: Sequence[float]) -> list[float]:
    """`softmax` of natural log-probabilities; equal shares where none of them is possible."""
    top = max(logprobs)
    if math.isinf(top):
        return [1.0 / len(logprobs)] * len(logprobs)
    weights = [math.exp(value - top) for value in logprobs]
    total = math.fsum(weights)
    return [weight / total for weight in weights]


async def _score_all(session: Session, prompt: Sequence[int], options: Sequence[Sequence[int]]) -> list[list[float]]:
    """The log-probabilities of options: together where the session can, else one by one."""
    if isinstance(session, ScoresOptions):
        return [row.tolist() for row in await session.score_options(prompt, options)]
    return list(await asyncio.gather(*(_score_ids(session, prompt, ids) for ids in options)))


async def _score_ids(session: Session, prompt: Sequence[int], ids: Sequence[int]) -> list[float]:
    if not ids:
        return []
    return [float(value) for value in await session.score([*prompt, *ids], len(prompt))]
