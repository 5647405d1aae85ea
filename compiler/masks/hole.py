"""One hole from its start to its end: what may come next, and when it is over.

A decoder asks `legal` or `masked`, chooses, and calls `push`; everything else is the same for every decoder. Nothing here calls a model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from lmqlc.backends.base import Logits, Vocabulary
from lmqlc.compiler.automata.automaton import StopPhrase
from lmqlc.compiler.masks.forms import apply
from lmqlc.compiler.masks.interface import State, TokenConstraint
from lmqlc.grammar.errors import ConstraintViolated

FinishReason = Literal["stop", "eos", "closed", "follow", "budget", "length", "distribution", "replaced", "query"]
"""How a hole ended: a stop phrase, end-of-text, no other continuation, the text that follows, its own token budget, the
query's `max_len`, a distribution, a decorator that gave the text, or a nested query that gave the value."""


@dataclass(frozen=True, slots=True)
class TokenResult:
    """One token: id, text (its bytes, lossily decoded) and natural log-probability at temperature 1, before masks.

    forced: written because the constraint left no choice; its log-probability is 0.0, since the model was not asked.
    """

    id: int
    text: str
    logprob: float
    forced: bool = False


@dataclass(frozen=True, slots=True)
class Budget:
    """How many tokens a hole may have, and what ends it there: its own bound ("budget"), or the query's or the context's ("length")."""

    tokens: int
    reason: FinishReason


@dataclass(frozen=True, slots=True)
class Written:
    """What a hole leaves in the prompt: whole tokens, then text of a token that was cut; `text` is all of it."""

    ids: tuple[int, ...]
    tail: str
    text: str


class HoleRun:
    """The decoding of one hole.

    constraint is None for an unconstrained hole, which nothing masks: it says what the model says, until end-of-text or the budget.
    `tokens` are those decoded so far; `reason` is None while decoding goes on.
    """

    def __init__(
        self,
        name: str,
        vocabulary: Vocabulary,
        constraint: TokenConstraint | None,
        budget: Budget,
        phrases: Sequence[StopPhrase] = (),
    ) -> None:
        self.name = name
        self.vocabulary = vocabulary
        self.constraint = constraint
        self.budget = budget
        self.tokens: list[TokenResult] = []
        self.reason: FinishReason | None = None
        self._ids: list[int] = []  # those that write text
        self._cut = 0  # bytes at the end of the written text that are dropped
        self._phrases = tuple(phrases)
        self._state: State = None if constraint is None else constraint.start()
        self._settle()

    @property
    def ids(self) -> list[int]:
        """The ids so far, as the model sees them after the prompt."""
        return self._ids

    def data(self) -> bytes:
        """The bytes of the final text so far, without what a stop removed."""
        written = b"".join(self.vocabulary.tokens[i] for i in self._ids)
        return written[: len(written) - self._cut]

    def legal(self, token_id: int) -> bool:
        """The token may come next."""
        if self.constraint is None:
            return True
        if token_id in self.vocabulary.eos_ids:
            return self.constraint.is_final(self._state)
        return self.constraint.advance(self._state, token_id) is not None

    def masked(self, logits: Logits) -> Logits:
        """Logits `float32[V]` with -inf for every token that may not come next; the argument is left as it is."""
        if self.constraint is None:
            return logits
        bits = self.constraint.mask(self._state)
        if not bits.any():
            raise ConstraintViolated(f"no token can follow in hole `{self.name}`, and its text is not complete")
        scores = logits.copy()
        apply(scores, bits)
        return scores

    def forced(self) -> list[int]:
        """Tokens that the constraint leaves no choice about, within the budget; often empty."""
        if self.constraint is None or self.reason is not None:
            return []
        return list(self.constraint.forced(self._state))[: self.budget.tokens - len(self._ids)]

    def push(self, token_id: int, logprob: float, *, forced: bool = False) -> TokenResult:
        """Take a legal token. Sets `reason` where it ends the hole."""
        text = self.vocabulary.tokens[token_id].decode("utf-8", "replace")
        token = TokenResult(token_id, text, logprob, forced)
        self.tokens.append(token)
        if token_id in self.vocabulary.eos_ids:
            self.reason = "eos"
            return token
        self._ids.append(token_id)
        if self.constraint is not None:
            self._state = self._advance(token_id)
        self._settle()
        return token

    def record(self, token: TokenResult) -> None:
        """Take a token that was chosen elsewhere, by whoever has the constraint."""
        self.tokens.append(token)
        if token.id not in self.vocabulary.eos_ids:
            self._ids.append(token.id)

    def conclude(self, reason: FinishReason, cut: int) -> None:
        """End the hole as it ended elsewhere, with so many bytes cut. A stop without one of the phrases was the text that follows."""
        self._cut = cut
        self.reason = "follow" if reason == "stop" and not self._by_phrase() else reason

    def written(self) -> Written:
        """What the hole leaves in the prompt once it has ended."""
        data, ids = self.data(), list(self._ids)
        sizes = [len(self.vocabulary.tokens[i]) for i in ids]
        kept = sum(sizes)
        while ids and kept > len(data):
            kept -= len(self.vocabulary.tokens[ids.pop()])
        while ids and kept < len(data) and data[kept] & 0xC0 == 0x80:  # the cut token began inside a character
            kept -= len(self.vocabulary.tokens[ids.pop()])
        return Written(tuple(ids), data[kept:].decode("utf-8", "replace"), data.decode("utf-8", "replace"))

    def _advance(self, token_id: int) -> State:
        assert self.constraint is not None
        state = self.constraint.advance(self._state, token_id)
        if state is None:
            raise ConstraintViolated(f"token {token_id} is not allowed in hole `{self.name}`")
        return state

    def _settle(self) -> None:
        """End the hole where a stop, closure or the budget ends it."""
        constraint = self.constraint
        if constraint is not None:
            cut = constraint.stopped(self._state)
            if cut is not None:
                self._cut = cut
                self.reason = "stop" if self._by_phrase() else "follow"
                return
            if constraint.is_closed(self._state):
                self.reason = "closed"
                return
        if len(self._ids) >= self.budget.tokens:
            if constraint is not None and not constraint.is_final(self._state):
                raise ConstraintViolated(f"hole `{self.name}` reached its budget of {self.budget.tokens} tokens with its text incomplete")
            self.reason = self.budget.reason

    def _by_phrase(self) -> bool:
        """A stop phrase ended the hole, not the text that follows it."""
        if not self._phrases or not self._ids or self._cut != len(self.vocabulary.tokens[self._ids[-1]]):
            return bool(self._phrases)
        kept = self.data()
        dropped = b"".join(self.vocabulary.tokens[i] for i in self._ids)[len(kept) :]
        for phrase in self._phrases:
            text = None if phrase.text is None else phrase.text.encode()
            if text is None or (kept.endswith(text) if phrase.keep else dropped.startswith(text)):
                return True
        return False


def logprob(logits: Logits, token_id: int) -> float:
    """Natural log-probability of a token under logits `float32[V]`."""
    top = logits.max()
    shares = logits - top
    np.exp(shares, out=shares)
    return float(logits[token_id]) - float(top) - math.log(float(shares.sum()))
