"""What a run gives back."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from lmqlc.compiler.masks.hole import Bound, FinishReason, TokenResult
from lmqlc.grammar.errors import LmqlError
from lmqlc.runtime.plain import plain

__all__ = ["FinishReason", "HoleResult", "Result", "TokenResult", "Usage"]


@dataclass(frozen=True, slots=True, repr=False)
class HoleResult:
    """One decoded hole.

    text: the final text. In the prompt one space may stand before it, where the hole is a number or of a plain-text type.
    value: what the program sees. tokens: as decoded, with the token that ended the hole (end-of-text, the following text) and the
    parts of tokens that a stop cut off. prompt_ids: what the model had read before; prompt_text: the same where it takes
    text, or nothing was asked. seconds: from the hole's start to its end.
    healed: text at the end of the prompt that was taken back and is the beginning of the first token's; where it is all of it, that token
    is no part of the hole's text. bound: what bounded its tokens, where it was decoded.
    exact: the text is the likeliest of all that the hole may have, by the model's own probabilities; not only a text found token by token.
    count: the tokens that write the text, as `len(TOKENS(X))` counts them: those that reach into it, one that a stop cut included.
    squeezed: the text is whole and valid, and the budget made it what it is: at some step the budget alone forbade a token that the model
    found likelier than the one that was taken, or it ended the text where another could have followed.
    """

    name: str
    text: str
    value: Any
    tokens: tuple[TokenResult, ...]
    finish_reason: FinishReason
    prompt_ids: tuple[int, ...] = ()
    prompt_text: str = ""
    seconds: float = field(default=0.0, compare=False)
    healed: str = ""
    bound: Bound = field(default="", compare=False)
    exact: bool = False
    count: int = 0
    squeezed: bool = False

    @property
    def logprob(self) -> float:
        """Sum of the tokens' log-probabilities."""
        return sum(token.logprob for token in self.tokens)

    def __repr__(self) -> str:
        value = "" if self.value == self.text else f", value={self.value!r}"
        count = f"{len(self.tokens)} token{'' if len(self.tokens) == 1 else 's'}"
        ended = f"{self.finish_reason}, squeezed" if self.squeezed else self.finish_reason
        return f"<hole {self.name}: {self.text!r}{value}, {count}, log-probability {self.logprob:.4f}, {ended}>"

    def to_dict(self) -> dict[str, Any]:
        """The hole in terms of JSON; numbers that JSON does not know become None."""
        return {
            "name": self.name,
            "text": self.text,
            "value": plain(self.value),
            "finish_reason": self.finish_reason,
            "squeezed": self.squeezed,
            "healed": self.healed,
            "exact": self.exact,
            "logprob": plain(self.logprob),
            "tokens": [{"id": t.id, "text": t.text, "logprob": plain(t.logprob), "forced": t.forced} for t in self.tokens],
        }


@dataclass(slots=True)
class Usage:
    """Costs of a run.

    tokens, forced: tokens of this branch's holes that were decoded, and that were written without asking the model.
    forward_passes: calls of the model by the whole run. tokens_computed, tokens_reused: positions of sequences that these calls
    computed, and that the cache had. seconds: wall time since the run began.
    """

    tokens: int = 0
    forced: int = 0
    forward_passes: int = 0
    tokens_computed: int = 0
    tokens_reused: int = 0
    seconds: float = 0.0


@dataclass(slots=True, repr=False)
class Result:
    """The outcome of one branch of a run.

    prompt: the whole text. variables: hole name → Python value, last one wins. holes: every hole in order.
    value: what the program returned (None without `return`; see `returned`).
    finish_reason: "end", or "length" where `max_len`, `max_total_tokens` or the context window ended the run.
    warnings: what went to standard error: holes and runs that ended for want of tokens.
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
    warnings: list[str] = field(default_factory=list)

    @property
    def score(self) -> float:
        """Sum of the holes' log-probabilities: what branches are sorted by."""
        return sum(hole.logprob for hole in self.holes)

    def __repr__(self) -> str:
        """What LMQL shows, and how the run ended; tokens and costs are in `holes` and `usage`."""
        names = {name: value for name, value in self.variables.items() if not name.startswith("P(")}
        parts = [f"prompt={self.prompt!r}", f"variables={names!r}"]
        if self.distribution_variable is not None:
            parts += [f"distribution_variable={self.distribution_variable!r}", f"distribution_values={self.distribution_values!r}"]
        if self.returned:
            parts.append(f"value={self.value!r}")
        parts += [f"score={self.score:.4f}", f"finish_reason={self.finish_reason!r}"]
        return f"LMQLResult({', '.join(parts)})"

    def to_dict(self) -> dict[str, Any]:
        """The result in terms of JSON: what it knows as it is, other values by a JSON form of their own, else as text."""
        shown: dict[str, Any] = {
            "prompt": self.prompt,
            "variables": {name: plain(value) for name, value in self.variables.items() if not name.startswith("P(")},
            "holes": [hole.to_dict() for hole in self.holes],
            "finish_reason": self.finish_reason,
            "logprob": plain(self.score),
            "usage": {item.name: getattr(self.usage, item.name) for item in fields(self.usage)},
        }
        if self.warnings:
            shown["warnings"] = list(dict.fromkeys(self.warnings))
        if self.returned:
            shown["value"] = plain(self.value)
        if self.distribution_values is not None:
            shown["distribution"] = {
                "variable": self.distribution_variable,
                "values": [{"value": plain(value), "probability": plain(share)} for value, share in self.distribution_values],
            }
        return shown

    def to_json(self, *, indent: int | None = 2) -> str:
        """`to_dict` as a text of strict JSON."""
        return json.dumps(self.to_dict(), ensure_ascii=False, allow_nan=False, indent=indent)


def attach(error: BaseException, result: Result) -> None:
    """Put a partial result on an exception."""
    try:
        setattr(error, "result" if isinstance(error, LmqlError) else "lmql_result", result)
    except AttributeError:
        error.add_note("lmqlc: the partial result could not be attached to this exception")
