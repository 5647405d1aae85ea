"""Decorators of holes: `[@name X]`, `[@name(argument) @other X]`.

A plain function is called after decoding with the value, or the value and the hole's text, or these and the context. What it returns
becomes the value, and, as `str` shows it, the text in the prompt; a pair is (value, text), and None changes nothing. `pre` marks a
function called before, with the hole's variable (`.name`) and the context: a string that it returns stands in the hole's place, the
variable or None leaves it to the model, and the next `pre` decorator gets what this one returned. `streaming` marks one called at every
token with the text so far (as much of it as no later token can take back) and the context. A class with methods `pre`, `post` and
`streaming` takes part in each of them. Pre and streaming decorators run in order, post decorators in reverse, each of them on what the
one before has made.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from lmqlc.grammar.errors import LmqlCompileError, LmqlError

__all__ = ["LMQLDecorator", "Variable", "post", "pre", "streaming"]

Moment = Literal["pre", "post", "streaming"]
_MOMENT = "__lmql_decorator__"
F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Variable:
    """The variable of a hole, as `pre` decorators get it."""

    name: str

    def __str__(self) -> str:
        return self.name


class LMQLDecorator:
    """A base for decorators of several moments; each of them is optional."""

    def pre(self, variable: Variable, context: Any) -> Any:
        """Before decoding: the variable, or a string to stand in the hole's place."""
        return variable

    def post(self, value: Any, prompt_value: str, context: Any) -> Any:
        """After decoding: the value, or a pair of value and text."""
        return value, prompt_value

    def streaming(self, value: str, context: Any) -> None:
        """At every token, with the text so far."""


def pre(function: F) -> F:
    """Mark a decorator that runs before decoding."""
    setattr(function, _MOMENT, "pre")
    return function


def post(function: F) -> F:
    """Mark a decorator that runs after decoding; the default."""
    setattr(function, _MOMENT, "post")
    return function


def streaming(function: F) -> F:
    """Mark a decorator that runs at every token."""
    setattr(function, _MOMENT, "streaming")
    return function


def steps(decorators: Sequence[object], moment: Moment) -> list[Callable[..., Any]]:
    """The functions to call at a moment, in the order to call them; `decorators` are prepared."""
    found = [function for decorator in decorators if (function := _step(decorator, moment)) is not None]
    return found[::-1] if moment == "post" else found


async def before(decorators: Sequence[object], variable: Variable, context: object) -> str | None:
    """Run the `pre` decorators of a hole: the text that stands in its place, None where it is to be decoded."""
    current: Variable | str = variable
    for function in steps(decorators, "pre"):
        given = await call(function, current, context)
        if isinstance(given, str | Variable):
            current = given
        elif given is not None:
            raise LmqlError(f"a `pre` decorator gives a string, its variable or None, not {given!r}")
    return current if isinstance(current, str) else None


async def after(decorators: Sequence[object], context: object, text: str, value: Any) -> tuple[str, Any]:
    """Run the post decorators of a hole: its text and value then. What was no pair before and is (value, text) now sets both."""
    for function in steps(decorators, "post"):
        given = await call(function, value, text, context)
        if given is None:
            continue
        if (
            isinstance(given, tuple)
            and len(given) == 2
            and isinstance(given[1], str)
            and (given[1] == text or not isinstance(value, tuple))
        ):
            value, text = given
        else:
            value, text = given, str(given)
    return text, value


async def call(function: Callable[..., Any], *arguments: object) -> Any:
    """Call a decorator with as many of the arguments as it takes; awaited where it is async."""
    taken = arguments[: _arity(function, len(arguments))]
    effects = getattr(arguments[-1], "effects", None)
    value = function(*taken) if effects is None else await effects.call_awaited(function, *taken)
    return await value if inspect.isawaitable(value) else value


def prepared(decorators: Sequence[object]) -> list[object]:
    """Decorators ready for one hole: classes with the methods of a decorator are instantiated. Raises LmqlCompileError for what is none."""
    ready = [decorator() if isinstance(decorator, type) and _has_methods(decorator) else decorator for decorator in decorators]
    for decorator in ready:
        if not callable(decorator) and not _has_methods(decorator):
            raise LmqlCompileError(
                f"a decorator of a hole must be a function, or an object with `pre`, `post` or `streaming`, not {decorator!r}"
            )
    return ready


def _has_methods(decorator: object) -> bool:
    return not inspect.isroutine(decorator) and any(callable(getattr(decorator, name, None)) for name in ("pre", "post", "streaming"))


def _step(decorator: object, moment: Moment) -> Callable[..., Any] | None:
    if _has_methods(decorator):
        method = getattr(decorator, moment, None)
        return method if callable(method) else None
    return decorator if callable(decorator) and getattr(decorator, _MOMENT, "post") == moment else None


def _arity(function: Callable[..., Any], most: int) -> int:
    """How many positional arguments a function takes, `most` at most; 1 where it cannot be known."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return 1
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return most
    return min(most, sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters))
