"""Constraints of one's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from lmqlc.grammar.errors import LmqlError

NAMES = ("FLOAT", "GRAMMAR", "INT", "JSON", "REGEX", "SENTENCES", "STOPS_AT", "STOPS_BEFORE", "TOKENS", "WORDS")
"""Constraints of the language. A program may import them; they mean something in a `where` only."""

F = TypeVar("F", bound=Callable[..., Any])


def constraint(function: F) -> F:
    """Mark a function as a constraint: `where f(X, …)`.

    It is called as `f(text, final, …)` and says False (no continuation will do), None (not yet known) or True; `final` is True for a text
    that may be the hole's value, which only True lets pass. It is checked token by token, not compiled: `lmqlc explain` says so.
    """
    from lmqlc.compiler.masks.custom import MARK

    setattr(function, MARK, True)
    return function


def __getattr__(name: str) -> Any:
    if name not in NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def only_in_where(*_: object) -> None:
        raise LmqlError(f"`{name}` is a constraint: it stands in the `where` of a query, and cannot be called")

    only_in_where.__name__ = only_in_where.__qualname__ = name
    only_in_where.__doc__ = f"The constraint `{name}(X, …)` of a `where` clause; see docs/language.md."
    return only_in_where
