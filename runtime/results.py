"""What a run gives back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from lmqlc.compiler.masks.hole import FinishReason, TokenResult

__all__ = ["FinishReason", "HoleResult", "Result", "TokenResult", "Usage"]


@dataclass(frozen=True, slots=True)
class HoleResult:
    """One decoded hole.

    text: the final text. In the prompt one space may stand before it, where the hole is a number or of a plain-text type.
    value: what the program sees. tokens: as decoded, with the token that ended the hole (end-of-text, the following text) and the
    parts of tokens that a stop cut off.
    """

    name: str
    text: str
    value: Any
    tokens: tuple[TokenResult, ...]
    finish_reason: FinishReason

    @property
    def logprob(self) -> float:
        """Sum of the tokens' log-probabilities."""
        return sum(token.logprob for token in self.tokens)


@dataclass(slots=True)
class Usage:
    """Costs of a run: tokens decoded, written without sampling, forward passes, prompt positions computed and reused, seconds."""

    tokens: int = 0
    forced: int = 0
    forward_passes: int = 0
    tokens_computed: int = 0
    tokens_reused: int = 0
    seconds: float = 0.0


@dataclass(slots=True)
class Result:
    """The outcome of one branch of a run.

    prompt: the whole text. variables: hole name → Python value, last one wins. holes: every hole in order.
    value: what the program returned (None without `return`; see `returned`).
    finish_reason: "end", or "length" where `max_len` or the context window ended the run.
    """

    prompt: str = ""
    variables: dict[str, Any] = field(default_factory=dict)
    holes: list[HoleResult] = field(default_factory=list)
    distribution_variable: str | None = None
    distribution_values: list[tuple[Any, float]] | None = None
    usage: Usage = field(default_factory=Usage)
    returned: bool = False
    value: Any = None
    finish_reason: Literal["end", "length"] = "end"

    @property
    def score(self) -> float:
        """Sum of the holes' log-probabilities: what branches are sorted by."""
        return sum(hole.logprob for hole in self.holes)
