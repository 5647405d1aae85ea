"""How many tokens a hole may have: its own bound, the query's `max_len`, and the model's context window."""

from __future__ import annotations

from lmqlc.compiler.masks.hole import Budget
from lmqlc.grammar.errors import ContextOverflow


class EndOfRun(BaseException):
    """`max_len` or the context window is reached: the program ends here, and keeps what it has.

    No Exception, so that a program's own `except Exception` does not go on after the end.
    """


def hole_budget(name: str, prompt: int, *, max_len: int, max_tokens: int | None, context: int | None) -> Budget:
    """The budget of a hole after `prompt` tokens.

    Raises ContextOverflow where the prompt leaves no room in the context window, EndOfRun where `max_len` is reached.
    """
    if context is not None and prompt >= context:
        raise ContextOverflow(
            f"the prompt before hole `{name}` is {prompt} tokens long, and the model's context window holds {context}; "
            "shorten the prompt, or choose a model with a longer context"
        )
    left = max_len - prompt
    if left <= 0:
        raise EndOfRun
    if context is not None:
        left = min(left, context - prompt)
    return Budget(max_tokens, "budget") if max_tokens is not None and max_tokens < left else Budget(left, "length")
