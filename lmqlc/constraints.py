"""The names of constraints, for programs that import them."""

from __future__ import annotations

from typing import Any

from lmqlc.grammar.errors import LmqlError

NAMES = ("FLOAT", "GRAMMAR", "INT", "JSON", "REGEX", "SENTENCES", "STOPS_AT", "STOPS_BEFORE", "TOKENS", "WORDS")
"""Constraints of the language. A program may import them; they mean something in a `where` only."""


def __getattr__(name: str) -> Any:
    if name not in NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def only_in_where(*_: object) -> None:
        raise LmqlError(f"`{name}` is a constraint: it stands in the `where` of a query, and cannot be called")

    only_in_where.__name__ = only_in_where.__qualname__ = name
    only_in_where.__doc__ = f"The constraint `{name}(X, …)` of a `where` clause; see docs/language.md."
    return only_in_where
