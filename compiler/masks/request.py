"""A hole as a session that decodes whole holes is asked for it, and what it answers: one request for each hole, not for each token.

Where the other side lies, in another process or on another machine, is the session's business. It chooses tokens with `Sampling` and
`HoleRun`, as the runtime does, so that text, tokens and log-probabilities are those of a model in this process.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from lmqlc.backends.choice import Sampling
from lmqlc.compiler.automata.automaton import TextAutomaton
from lmqlc.compiler.constraints import Constraint
from lmqlc.compiler.masks.hole import Budget, FinishReason, TokenResult


@dataclass(frozen=True, slots=True)
class Formula:
    """A constraint without slots that is no regular language. leading_space: one space may stand before the text."""

    constraint: Constraint
    leading_space: bool = False


Language = TextAutomaton | Formula
"""What may stand in a hole, whatever the vocabulary."""


@dataclass(frozen=True, slots=True)
class HoleRequest:
    """One hole.

    prompt: the ids before it. language: None where it is unconstrained. follow: the literal after it. seed: of its random generator.
    healable: how many ids at the end of the prompt may be taken back (see `heal`). patience: seconds without a token after which the
    request is made again (None: the session's own). chunk: tokens to send together. exact: the likeliest text is wanted where few may fill
    the hole (see `likeliest`); a session that cannot find it chooses token by token.
    """

    name: str
    prompt: Sequence[int]
    budget: Budget
    sampling: Sampling
    seed: tuple[int, ...]
    language: Language | None = None
    follow: str | None = None
    healable: int = 0
    patience: float | None = None
    chunk: int = 1
    exact: bool = False


@dataclass(frozen=True, slots=True)
class Healed:
    """So many ids of the prompt were taken back, and the first token begins with their text. Said before it."""

    count: int
    text: bytes


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of a hole: why, and how many of the bytes written are cut. exact: the text is the likeliest of all that the hole may have.
    squeezed: the budget narrowed the hole's choices."""

    reason: FinishReason
    cut: int = 0
    exact: bool = False
    squeezed: bool = False


Step = Healed | TokenResult | Ended


@runtime_checkable
class DecodesHoles(Protocol):
    """A session that decodes whole holes."""

    def takes(self, language: Language | None) -> bool:
        """The language can be handed over. Where it cannot, the hole is decoded here, from logits."""
        ...

    def decode(self, request: HoleRequest) -> AsyncGenerator[Step, None]:
        """The tokens of a hole as they come, then its end, once. Raises as linking and decoding a hole do."""
        ...
