"""How many tokens a hole may have: its own bound, the query's `max_len` and `max_total_tokens`, and the model's context window."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lmqlc.compiler.masks.hole import Budget
from lmqlc.grammar.errors import ContextOverflow


class EndOfRun(BaseException):
    """`max_len`, `max_total_tokens` or the context window is reached: the program ends here, and keeps what it has.

    No Exception, so that a program's own `except Exception` does not go on after the end.
    """


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds in tokens. max_len: of the whole sequence. max_tokens: of each hole. left: of all that is still to be decoded. context: of the
    model's window. None: none."""

    max_len: int
    max_tokens: int | None = None
    left: int | None = None
    context: int | None = None


@dataclass(slots=True)
class Spent:
    """Tokens that a branch has spent in queries that it called, which run by themselves."""

    tokens: int = 0


def hole_budget(name: str, prompt: int, limits: Limits, parts: Callable[[], str] = str) -> Budget:
    """The budget of a hole after `prompt` tokens. parts: what fills the prompt, for the error.

    Raises ContextOverflow where the prompt leaves no room in the context window, EndOfRun where the run's own bounds are reached.
    """
    if limits.context is not None and prompt >= limits.context:
        filled = parts()
        raise ContextOverflow(
            f"the prompt before hole `{name}` is {prompt} tokens long{f', mostly {filled}' if filled else ''}, and the model's context "
            f"window holds {limits.context}; shorten the prompt, or choose a model with a longer context"
        )
    bounds = [limits.max_len - prompt]
    bounds += [limits.context - prompt] if limits.context is not None else []
    bounds += [limits.left] if limits.left is not None else []
    left = min(bounds)
    if left <= 0:
        raise EndOfRun
    own = limits.max_tokens
    return Budget(own, "budget") if own is not None and own < left else Budget(left, "length")
