"""Exact log-probabilities of whole texts under a model, and their shares among the options given.

A text's log-probability is the sum over its tokens, as the model's tokenizer writes the text after the prompt, each given the prompt and
the tokens before it. It says how likely the model goes on with the text, not that it ends there: the empty text has 0.0, and a text never
less than a longer one that its tokens begin.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from lmqlc.backends.base import ScoresOptions, Session, Tokenizer
from lmqlc.backends.text import ScoresTexts, TextPrompt, TextSession
from lmqlc.compiler.masks.heal import covering
from lmqlc.compiler.masks.token_automaton import encoded_behind
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
    """Texts after a start: the tokens of each with their log-probabilities. healed: the text of the prompt that was taken back, for all of
    them; their first tokens begin with it."""

    tokens: list[tuple[TokenResult, ...]]
    healed: str = ""


@dataclass(frozen=True, slots=True)
class Ranked:
    """One option: its tokens with log-probabilities, and its share among all options (they sum to 1).

    meets: it meets the hole's constraint; the others are not scored. healed: see `Scored`.
    """

    tokens: tuple[TokenResult, ...]
    probability: float
    meets: bool = True
    healed: str = ""

    @property
    def ids(self) -> tuple[int, ...]:
        """The option's ids, and those of the prompt that were taken back."""
        return tuple(token.id for token in self.tokens)


@dataclass(frozen=True, slots=True)
class Scores:
    """Texts after a prompt, with their tokens and log-probabilities. by: how they are compared where a method is not told.

    healed: text at the end of the prompt that was taken back; every first token begins with it (see `token_healing`).
    """

    prompt: str
    values: tuple[str, ...]
    tokens: tuple[tuple[TokenResult, ...], ...]
    by: By = "sum"
    healed: str = ""

    def logprobs(self) -> list[list[float]]:
        """Natural log-probabilities of every text's tokens."""
        return [[token.logprob for token in row] for row in self.tokens]

    def scores(self, by: By | None = None) -> list[float]:
        """Every text's natural log-probability, or the mean of its tokens' (0.0 for a text without tokens)."""
        return [_total(row, by or self.by) for row in self.tokens]

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


async def score_texts(session: Session, tokenizer: Tokenizer, start: Start, texts: Sequence[str], *, context: int | None = None) -> Scored:
    """The tokens of every text with their log-probabilities. Raises ContextOverflow, before the model is asked, where one does not fit
    the context window."""
    ids, encoded, healed = _encoded(tokenizer, start, texts)
    longest = max(range(len(texts)), key=lambda i: len(encoded[i]), default=None)
    if longest is not None and context is not None and len(ids) + len(encoded[longest]) > context:
        raise ContextOverflow(
            f"the prompt is {len(ids)} tokens long, the longest text to score ({texts[longest][:40]!r}) {len(encoded[longest])}, and the "
            f"model's context window holds {context}"
        )
    rows = await _score_all(session, ids, encoded)
    pieces = tokenizer.vocabulary.tokens
    tokens = [
        tuple(TokenResult(i, pieces[i].decode("utf-8", "replace"), lp) for i, lp in zip(text, row, strict=True))
        for text, row in zip(encoded, rows, strict=True)
    ]
    return Scored(tokens, healed)


def _encoded(tokenizer: Tokenizer, start: Start, texts: Sequence[str]) -> tuple[Sequence[int], list[list[int]], str]:
    """The prompt's ids that stay, every text's, and what was taken back: nothing where no text begins inside a token with it."""
    plain = [tokenizer.encode(text, first=False) for text in texts]
    if not start.taken:
        return start.ids, plain, ""
    kept, whole = start.ids[: len(start.ids) - start.taken], tokenizer.vocabulary.tokens
    back = int(covering(tokenizer.vocabulary, start.heal)[0][0]) if start.taken > 1 else start.ids[-1]

    def encode(text: str) -> list[int]:
        return tokenizer.encode(text, first=False)

    joined = [encoded_behind(encode, tokenizer.vocabulary, start.heal, text.encode()) for text in texts]
    runs_on = [bool(ids) and len(whole[ids[0]]) > len(start.heal) for ids in joined]
    if not any(runs_on):
        return start.ids, plain, ""
    healed = [ids if on else [back, *alone] for ids, alone, on in zip(joined, plain, runs_on, strict=True)]
    return kept, healed, start.heal.decode("utf-8", "replace")


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
    if not options:
        raise LmqlError("a distribution needs at least one option")
    texts = [str(option) for option in options]
    fits = [meets(text, len(tokenizer.encode(text, first=False))) for text in texts]
    scored = await score_texts(session, tokenizer, start, [text for text, fit in zip(texts, fits, strict=True) if fit], context=context)
    shares = iter(_shares([_total(tokens, by) for tokens in scored.tokens]))
    rows = iter(scored.tokens)
    return [Ranked(next(rows), next(shares), True, scored.healed) if fit else Ranked((), 0.0, False) for fit in fits]


def _total(tokens: Sequence[TokenResult], by: By) -> float:
    total = math.fsum(token.logprob for token in tokens)
    return total if checked_by(by) == "sum" else total / max(len(tokens), 1)


async def rank_texts(
    session: TextSession, name: str, prompt: TextPrompt, options: Sequence[object], meets: Callable[[str, int], bool], *, by: By = "sum"
) -> list[Ranked]:
    """`rank` at a server that scores texts; raises UnsupportedConstraint where it does not."""
    if not options:
        raise LmqlError("a distribution needs at least one option")
    texts = [str(option) for option in options]
    rows = await score_prompted(session, name, prompt, texts)
    fits = [meets(text, len(row)) for text, row in zip(texts, rows, strict=True)]
    shares = iter(_shares([_total(row, by) for row, fit in zip(rows, fits, strict=True) if fit]))
    return [Ranked(row, next(shares)) if fit else Ranked((), 0.0, False) for row, fit in zip(rows, fits, strict=True)]


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
