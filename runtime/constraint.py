"""Custom constraints: `@lmql.constraint`, and classes of the older protocol.

A function `f(text, final, *args)` becomes an atom of `where`, to be called with the hole first, `f(X, 3)`, and combined with anything:

    @lmql.constraint
    def balanced(text, final):
        if text.count(")") > text.count("("):
            return False                                   # no continuation helps
        return text.count("(") == text.count(")") if final else None

It says False (no text that begins so will do), None (not yet known) or True. `final` is True for a whole text that may become the hole's
value; there only True counts as yes. It must depend on its arguments alone: it is called for many texts that the model never writes.

A class with `forward`, and perhaps `final` and `follow`, as custom operators of the existing language have them, works in the same places,
with or without the decorator. An object of it is made without operands. Then

- `forward(text, *args, final=…)` gives the value for a text (`final` only where it takes one). A whole text must have a true one.
- `final("inc", "fin", …, operands=…, result=…)` says whether a false value of a text that may go on is definitive ("fin", "dec"): only
  then is the text dead. Without it, false values of unfinished texts rule nothing out.
- `follow` is never asked: what it would say of the next token, `forward` and `final` say of the text with that token. Values that it
  alone knows are therefore no loss of validity, only of foresight.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import update_wrapper
from typing import Any, TypeVar, cast

from lmqlc.compiler.masks.custom import MARK, function_of

F = TypeVar("F", bound=Callable[..., Any])


def constraint(function: F) -> F:
    """Mark a function (or a class of the protocol) as a constraint. Raises LmqlCompileError for what cannot be one, such as an
    asynchronous function."""
    try:
        setattr(function, MARK, True)
        marked = function
    except (AttributeError, TypeError):  # a builtin or bound method takes no attributes
        marked = cast(F, _Marked(function) if callable(function) else function)
    function_of(marked)
    return marked


class _Marked:
    """A callable that cannot be marked itself."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        update_wrapper(self, function)
        setattr(self, MARK, True)

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)
