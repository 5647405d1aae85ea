"""One hole from its start to its end: what may come next, and when it is over.

A decoder asks `legal` or `masked`, chooses, and calls `push`; everything else is the same for every decoder. Nothing here calls a model.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from lmqlc.backends.base import Logits, Vocabulary
from lmqlc.compiler.automata.automaton import StopPhrase
from lmqlc.compiler.masks.forms import apply, unpack
from lmqlc.compiler.masks.heal import Healing, healing
from lmqlc.compiler.masks.interface import Before, Ids, State, TokenConstraint
from lmqlc.grammar.errors import ConstraintViolated

_BEHIND = 4
"""Tokens that a forced text is tokenised with."""

FinishReason = Literal["stop", "eos", "closed", "follow", "budget", "length", "cut", "distribution", "replaced", "query"]
"""How a hole ended: a stop phrase (or white space that ends it), end-of-text, no other continuation, the text that follows, its own
`max_tokens`, the tokens that it has where nothing bounds it or those of the run ("length"), text that is not allowed where the text was
complete (at a server whose text is only checked), a distribution, a decorator that gave the text, or a nested query that gave the value."""


Bound = Literal["", "text", "max_tokens", "default", "window", "max_len", "max_total_tokens"]
"""What bounds the tokens of a hole: nobody says, its own texts, its `max_tokens`, what a hole has that nothing bounds, the model's context
window, or the run's `max_len` or `max_total_tokens`."""


@dataclass(frozen=True, slots=True)
class TokenResult:
    """One token: id, text (its bytes, lossily decoded) and natural log-probability at temperature 1, before masks.

    forced: written because the constraint left no choice; its log-probability is 0.0 where the model was not asked.
    Servers of other people may name no tokens: then a token is a piece of text with the id -1, and its log-probability may be NaN.
    """

    id: int
    text: str
    logprob: float
    forced: bool = False


@dataclass(frozen=True, slots=True)
class Budget:
    """How many tokens a hole may have, and its finish reason there: "budget" for its `max_tokens`, else "length"; bound: which it is."""

    tokens: int
    reason: FinishReason
    bound: Bound = ""

    @property
    def ends_run(self) -> bool:
        """Reaching it ends the run too."""
        return self.bound in ("window", "max_len", "max_total_tokens")


@dataclass(frozen=True, slots=True)
class Written:
    """What a hole leaves in the prompt: whole tokens, then text of a token that was cut; `text` is all of it.

    healed: the first id stands for what was taken back from the prompt too. Where it does not, that goes back to where it was.
    """

    ids: tuple[int, ...]
    tail: str
    text: str
    healed: bool = False


class HoleRun:
    """The decoding of one hole.

    constraint is None for an unconstrained hole, which nothing masks: it says what the model says, until end-of-text or the budget.
    `tokens` are those decoded so far; `reason` is None while decoding goes on.

    heal: the text of tokens at the end of the prompt that may be taken back (see `heal`). Where `heals` says so at the start, the model is
    asked without them, and the first token must begin with that text; else they stay in the prompt, and nothing is different. A first
    token that is that text and no more is the prompt's own: it counts neither for the budget nor for the constraint.

    partial: a text that is incomplete at the budget is the result, and no error. `squeezed`: the budget alone made the text what it is: at
    some step it forbade a token that the model found likelier than the one that was taken, or it ended the text where another could follow.
    """

    def __init__(
        self,
        name: str,
        vocabulary: Vocabulary,
        constraint: TokenConstraint | None,
        budget: Budget,
        phrases: Sequence[StopPhrase] = (),
        heal: bytes = b"",
        *,
        partial: bool = False,
    ) -> None:
        self.name = name
        self.vocabulary = vocabulary
        self.constraint = constraint
        self.budget = budget
        self.tokens: list[TokenResult] = []
        self.reason: FinishReason | None = None
        self.exact = False  # its text is the likeliest of all that it may have
        self.squeezed = False
        self._partial = partial
        self._forbidden: tuple[Logits, float] | None = None  # scores of this step, and the best of what the budget alone forbids
        self._ids: list[int] = []  # those that write text
        self._cut = 0  # bytes at the end of the written text that are dropped
        self._phrases = tuple(phrases)
        self._state: State = None if constraint is None else constraint.start()
        self._own = 0  # bytes at the start of the written text that are the prompt's
        self._put_back = 0  # tokens that are nothing but those
        self._healing: Healing | None = None
        self._planned: list[int] = []  # forced tokens; those from `_next` on are still to be written
        self._next = 0
        self._settle()
        if heal and self.reason is None:
            self._healing = healing(vocabulary, constraint, self._state, heal)

    def fork(self) -> HoleRun:
        """A copy that goes its own way; what never changes is shared."""
        other = copy.copy(self)
        other.tokens = list(self.tokens)
        other._ids = list(self._ids)
        return other

    @property
    def heals(self) -> bool:
        """The next token, the hole's first, must begin with what was taken back from the prompt."""
        return self._healing is not None

    @property
    def taken_back(self) -> bytes:
        """The text of the prompt that the next token must begin with; empty where there is none."""
        return b"" if self._healing is None else self._healing.text

    @property
    def ids(self) -> list[int]:
        """The ids so far, as the model sees them after the prompt."""
        return self._ids

    @property
    def cut(self) -> int:
        """Bytes at the end of what was written that are no part of the text."""
        return self._cut

    @property
    def count(self) -> int:
        """The tokens that write the text, as `len(TOKENS(X))` counts them: those that reach into it. Neither one that only puts back what
        was taken from the prompt does, nor one that is wholly in what was cut."""
        sizes = [len(self.vocabulary.tokens[i]) for i in self._ids]
        return reaching(sizes, self._own, sum(sizes) - self._own - self._cut)

    def data(self) -> bytes:
        """The bytes of the final text so far, without what a stop removed."""
        written = b"".join(self.vocabulary.tokens[i] for i in self._ids)
        return written[self._own : len(written) - self._cut]

    @property
    def healed(self) -> str:
        """The text of the prompt that the first token covers; empty where none was taken back, or no token came yet."""
        return self.vocabulary.tokens[self._ids[0]][: self._own].decode("utf-8", "replace") if self._own else ""

    def last_bytes(self) -> bytes:
        """What the last token added to the text, before any cut."""
        data = self.vocabulary.tokens[self.tokens[-1].id]
        return data[self._own :] if len(self._ids) == 1 else data

    def history(self) -> Iterator[tuple[TokenResult, bytes, bytes]]:
        """Every token, what it added to the text before any cut, and the text after it."""
        text = b""
        for number, token in enumerate(self.tokens):
            piece = b"" if token.id in self.vocabulary.eos_ids else self.vocabulary.tokens[token.id]
            added = piece[self._own :] if number == 0 else piece
            text += added
            yield token, added, text if number + 1 < len(self.tokens) else self.data()

    def legal(self, token_id: int) -> bool:
        """The token may come next."""
        if self._healing is not None:
            return self._healing.allows(token_id)
        if self.constraint is None:
            return True
        if token_id in self.vocabulary.eos_ids:
            return self.constraint.is_final(self._state)
        return self.constraint.advance(self._state, token_id) is not None

    def masked(self, logits: Logits) -> Logits:
        """Logits `float32[V]` with -inf for every token that may not come next; the argument is left as it is."""
        if self.constraint is None:
            return logits if self._healing is None else self._healing.masked(logits)
        free = self.constraint.within(None)
        if self._healing is not None:
            if free is not self.constraint:
                self._weigh(logits, self._healing.others(healing(self.vocabulary, free, self._state, self._healing.text)))
            return self._healing.masked(logits)
        bits = self.constraint.mask(self._state)
        if not bits.any():
            raise ConstraintViolated(f"no token can follow in hole `{self.name}`, and its text is not complete")
        if free is not self.constraint:
            allowed = free.mask(self._state)
            self._weigh(logits, () if allowed is bits else np.flatnonzero(unpack(allowed & ~bits, len(logits))))
        scores = logits.copy()
        apply(scores, bits)
        return scores

    def _weigh(self, logits: Logits, forbidden: Ids | tuple[()]) -> None:
        """Remember how likely the best of the tokens is that the budget alone forbids."""
        self._forbidden = (logits, float(logits[forbidden].max())) if len(forbidden) else None

    def forced(self) -> list[int]:
        """Tokens that the constraint leaves no choice about, within the budget; often empty. They stay the same until all of them are
        taken, at once or one by one, so that a text is written as the tokenizer writes it whole."""
        if self.constraint is None or self.reason is not None:
            return []
        if self._next == len(self._planned):
            self._planned, self._next = self.constraint.forced(self._state, self._before())[: self.left], 0
            if self._healing is not None and not all(map(self._healing.allows, self._planned[:1])):
                self._planned = []
        return self._planned[self._next :]

    def _before(self) -> Before:
        """What a forced text stands behind."""
        if self._healing is not None:
            return Before(self._healing.text, healed=True)
        return Before(b"".join(self.vocabulary.tokens[i] for i in self._ids[-_BEHIND:]))

    def push(self, token_id: int, logprob: float, *, forced: bool = False) -> TokenResult:
        """Take a legal token. Sets `reason` where it ends the hole."""
        text = self.vocabulary.tokens[token_id].decode("utf-8", "replace")
        token = TokenResult(token_id, text, logprob, forced)
        self.tokens.append(token)
        if self._forbidden is not None:
            scores, best = self._forbidden
            self.squeezed |= float(scores[token_id]) < best
            self._forbidden = None
        if self._next < len(self._planned) and self._planned[self._next] == token_id:
            self._next += 1
        else:
            self._planned, self._next = [], 0
        if token_id in self.vocabulary.eos_ids:
            self.reason = "eos"
            return token
        if self._is_special_stop(token_id):
            self.reason = "stop"
            return token
        self._ids.append(token_id)
        if self._healing is not None:
            self._heal(self._healing, token_id)
        elif self.constraint is not None:
            self._state = self._taken(self.constraint.advance(self._state, token_id), token_id)
        self._settle()
        return token

    def record(self, token: TokenResult, healed: bytes = b"") -> None:
        """Take a token that was chosen elsewhere, by whoever has the constraint. healed: what was taken back, for the first one."""
        self.tokens.append(token)
        if token.id not in self.vocabulary.eos_ids and not self._is_special_stop(token.id):
            if not self._ids:
                self._own = len(healed)
            self._ids.append(token.id)

    def conclude(self, reason: FinishReason, cut: int, *, squeezed: bool = False) -> None:
        """End the hole as it ended elsewhere, with so many bytes cut."""
        self._cut, self.reason, self.squeezed = cut, reason, squeezed

    def _heal(self, first: Healing, token_id: int) -> None:
        """Take the first token, which covers the prompt's end."""
        if not first.allows(token_id):
            self._ids.pop()
            self._taken(None, token_id)
        self._healing, self._own = None, len(first.text)
        if len(self.vocabulary.tokens[token_id]) == self._own:
            self._put_back = 1
        elif self.constraint is not None:
            self._state = self._taken(self.constraint.enter(self._state, token_id, self._own), token_id)

    @property
    def left(self) -> int:
        """How many more tokens the budget allows; a first token that only puts back what was taken from the prompt is not one of them."""
        return self.budget.tokens - len(self._ids) + self._put_back

    def written(self) -> Written:
        """What the hole leaves in the prompt once it has ended."""
        data, ids = self.data(), list(self._ids)
        kept = sum(len(self.vocabulary.tokens[i]) for i in ids) - self._own  # bytes of the text, so that it is below 0 without the first id
        while ids and kept > len(data):
            kept -= len(self.vocabulary.tokens[ids.pop()])
        while ids and kept < len(data) and data[kept] & 0xC0 == 0x80:  # the cut token began inside a character
            kept -= len(self.vocabulary.tokens[ids.pop()])
        tail = data[max(kept, 0) :]
        return Written(tuple(ids), tail.decode("utf-8", "replace"), data.decode("utf-8", "replace"), bool(ids and self._own))

    def _is_special_stop(self, token_id: int) -> bool:
        """A special token that a stop names: where phrases constrain a hole, no other is allowed. It is no part of what was written."""
        return bool(self._phrases) and token_id in self.vocabulary.special

    def _taken(self, state: State | None, token_id: int) -> State:
        if state is None:
            raise ConstraintViolated(f"token {token_id} is not allowed in hole `{self.name}`")
        return state

    def _settle(self) -> None:
        """End the hole where a stop, closure or the budget ends it."""
        constraint = self.constraint
        if constraint is None:
            self.reason = self.budget.reason if self.left <= 0 else None
            return
        cut = constraint.stopped(self._state)
        if cut is not None:
            self._cut = cut
            self.reason = "follow" if constraint.followed(self._state) else "stop"
        elif constraint.is_closed(self._state):
            more = not constraint.within(None).is_closed(self._state)  # would follow, were there more tokens
            self.squeezed |= more
            self.reason = self.budget.reason if more and self.left <= 0 else "closed"
        elif self.left <= 0:
            final = constraint.is_final(self._state)
            if not final and not self._partial:
                raise ConstraintViolated(f"hole `{self.name}` reached its budget of {self.budget.tokens} tokens with its text incomplete")
            self.squeezed |= final
            self.reason = self.budget.reason
        elif self._partial and not constraint.exact and not constraint.mask(self._state).any():
            self.constraint = constraint.within(None)  # no whole text fits, as shows only now: as much of one as does


def reaching(sizes: Sequence[int], skip: int, end: int) -> int:
    """How many tokens of some sizes reach into the first `end` bytes (or characters) of their text behind `skip`."""
    at, found = -skip, 0
    for size in sizes:
        found += max(at, 0) < min(at + size, end)
        at += size
    return found


def logprob(logits: Logits, token_id: int) -> float:
    """Natural log-probability of a token under logits `float32[V]`."""
    top = logits.max()
    shares = logits - top
    np.exp(shares, out=shares)
    return float(logits[token_id]) - float(top) - math.log(float(shares.sum()))
