"""Operands of atoms, checked: each function takes what the program gave and returns it as the atom needs it, or raises LmqlCompileError."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Iterable
from decimal import Decimal
from typing import Any, SupportsIndex

from lmqlc.compiler.automata.problems import operand
from lmqlc.compiler.constraints import Const, Operand
from lmqlc.grammar.source import Span

_MAX_DIGITS = 4_000
Number = int | float | Decimal


def value(given: Operand) -> Any:
    """The value of an operand that is known."""
    if not isinstance(given, Const):
        raise TypeError("a constraint with slots must be bound first")
    return given.value


def show(given: object) -> str:
    """A value for a message."""
    text = repr(given)
    return text if len(text) <= 60 else text[:57] + "…"


def text(given: object, what: str, span: Span | None) -> str:
    """A string."""
    if isinstance(given, str):
        return str(given)
    hint = "decode it first: .decode()" if isinstance(given, bytes) else "write a string"
    if isinstance(given, (int, float)):
        hint = f"write a string, {str(given)!r}, or compare the number: int(X), float(X)"
    raise operand(f"{what} must be a string, not {show(given)}", span, hint)


def texts(given: object, what: str, span: Span | None) -> tuple[str, ...]:
    """A string or a tuple of strings, as `str.startswith` takes them."""
    if isinstance(given, tuple):
        return tuple(text(item, what, span) for item in given)
    return (text(given, what, span),)


def options(given: object, span: Span | None) -> str | tuple[str, ...]:
    """What `X in …` takes: a string, or any iterable of strings, as a tuple without repetitions in a fixed order."""
    if isinstance(given, str):
        return str(given)
    if isinstance(given, bytes) or not isinstance(given, Iterable):
        raise operand(f"`in` needs strings to choose from, not {show(given)}", span, "give a list, a set or another iterable of strings")
    items = [text(item, "an option of `in`", span) for item in given]
    return tuple(sorted(set(items))) if isinstance(given, (set, frozenset)) else tuple(dict.fromkeys(items))


def number(given: object, what: str, span: Span | None) -> Number:
    """A number to compare with."""
    found: Number | None = None
    if isinstance(given, Decimal):
        found = given if given.is_finite() else math.nan if given.is_nan() else float(given)
    elif isinstance(given, float):
        found = float(given)
    elif isinstance(given, SupportsIndex):
        found = operator.index(given)
    if found is not None:
        _check_digits(found, what, span)
        return found
    hint = "convert it: int(…), float(…)" if isinstance(given, str) else "write an int, a float or a Decimal"
    raise operand(f"{what} must be compared with a number, not {show(given)}", span, hint)


def _check_digits(given: Number, what: str, span: Span | None) -> None:
    if isinstance(given, int):
        long = given.bit_length() > _MAX_DIGITS * 3
    elif isinstance(given, Decimal) and given.is_finite():
        long = given != 0 and (abs(given.adjusted()) > _MAX_DIGITS or len(given.as_tuple().digits) > _MAX_DIGITS)
    else:
        long = False
    if long:
        raise operand(f"{what} is compared with a number of too many digits", span, f"numbers may have {_MAX_DIGITS} digits")


def pattern(given: object, span: Span | None) -> tuple[str, int]:
    """A regular expression's source and flags."""
    if isinstance(given, re.Pattern):
        if isinstance(given.pattern, str):
            return given.pattern, given.flags
        raise operand("a pattern must be one for strings, not for bytes", span, "drop the b in front of the literal")
    return text(given, "a regular expression", span), 0


def phrases(given: object, span: Span | None) -> tuple[str | re.Pattern[str], ...]:
    """The phrases of a stop: strings and compiled patterns, none of them empty."""
    several = isinstance(given, (list, tuple, set, frozenset))
    items: list[Any] = list(given) if several and isinstance(given, Iterable) else [given]
    if isinstance(given, (set, frozenset)):
        items.sort(key=repr)
    found: list[str | re.Pattern[str]] = []
    for item in items:
        found.append(item if isinstance(item, re.Pattern) and isinstance(item.pattern, str) else text(item, "a stop phrase", span))
        if found[-1] == "":
            raise operand("a stop phrase must not be empty", span, "name the text that ends the hole")
    if not found:
        raise operand("a stop needs at least one phrase", span, "give a string, a list of strings, or a compiled pattern")
    return tuple(found)
