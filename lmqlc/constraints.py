"""Constraints of one's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


def constraint(function: F) -> F:
    """Mark a function as a constraint: `where f(X, …)`.

    It is called as `f(text, final, …)` and says False (no continuation will do), None (not yet known) or True; `final` is True for a text
    that may be the hole's value, which only True lets pass. It is checked token by token, not compiled: `lmqlc explain` says so.
    """
    from lmqlc.compiler.masks.custom import MARK

    setattr(function, MARK, True)
    return function
