"""Operands of atoms, checked: each function takes what the program gave and returns it as the atom needs it, or raises LmqlCompileError.

Exceptions that a value's own code raises (a generator's, a property's) reach the caller unchanged, as those of the program do.
"""

from __future__ import annotations

import json
import math
import numbers
import operator
import re
from collections.abc import Iterable, Iterator
from decimal import Decimal
from itertools import islice
from reprlib import Repr
from typing import Any, SupportsIndex

from lmqlc.compiler.automata.limits import MAX_OPTIONS
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


class _Shown(Repr):
    """Values for messages: short, the same in every run, whatever their own `__repr__` does."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = 60
        self.maxlevel = 3

    def repr_int(self, x: int, level: int) -> str:
        return f"an int of more than {_MAX_DIGITS:,} digits" if x.bit_length() > _MAX_DIGITS * 3 else repr(x)

    def repr_instance(self, x: object, level: int) -> str:
        name = type(x).__name__
        if type(x).__repr__ is object.__repr__:
            return f"an object of class {name}"
        try:
            return repr(x)
        except Exception:  # noqa: BLE001 - whatever goes wrong in it, the message is about something else
            return f"an object of class {name}"


_shown = _Shown()


def show(given: object) -> str:
    """A value with its type, for a message: `the int 3`, `the class Answer`."""
    if given is None:
        return "None"
    if isinstance(given, type):
        return f"the class {given.__name__}"
    name, text = type(given).__name__, _shown.repr(given)
    text = text if len(text) <= 60 else text[:57] + "…"
    return text if text.startswith(("an ", name)) else f"the {name} {text}"


def _is_string(given: object) -> bool:
    return isinstance(given, str)


def text(given: object, what: str, span: Span | None) -> str:
    """A string."""
    if isinstance(given, str):
        return str.__str__(given)
    hint = "decode it first: .decode()" if isinstance(given, bytes) else "write a string"
    if isinstance(given, float) or (isinstance(given, int) and given.bit_length() < 64):
        hint = f"write a string, {str(given)!r}, or compare the number: int(X), float(X)"
    elif isinstance(given, list | set | frozenset) and given and all(map(_is_string, given)):
        hint = "for one of several strings write `X in …`"
    raise operand(f"{what} must be a string, not {show(given)}", span, hint)


def texts(given: object, what: str, span: Span | None) -> tuple[str, ...]:
    """A string or a tuple of strings, as `str.startswith` takes them."""
    if isinstance(given, tuple):
        return tuple(text(item, what, span) for item in given)
    if isinstance(given, list | set | frozenset):
        raise operand(f"{what} must be a string or a tuple of strings, not {show(given)}", span, "make it a tuple: tuple(…)")
    return (text(given, what, span),)


def taken(given: object) -> object:
    """An iterator's items as a list, so that they can be read more than once; any other value as it is. Past the bound on options no
    more items are read: `options` says so."""
    return list(islice(given, MAX_OPTIONS + 1)) if isinstance(given, Iterator) else given


def options(given: object, span: Span | None) -> str | tuple[str, ...]:
    """What `X in …` takes: a string, or any iterable of strings, as a tuple without repetitions in a fixed order."""
    if isinstance(given, str):
        return str.__str__(given)
    items = [text(item, "an option of `in`", span) for item in islice(_iterator(given, span), MAX_OPTIONS + 1)]
    if len(items) > MAX_OPTIONS:
        hint = "say what they have in common: REGEX(X, …), X.startswith(…)"
        raise operand(f"`in` has more than {MAX_OPTIONS:,} strings to choose from", span, hint)
    return tuple(sorted(set(items))) if isinstance(given, (set, frozenset)) else tuple(dict.fromkeys(items))


def has_items(given: object) -> bool:
    """Whether a value can be iterated; a NumPy array without dimensions has `__iter__`, which only raises."""
    return isinstance(given, Iterable) and getattr(given, "shape", None) != ()


def _iterator(given: Any, span: Span | None) -> Iterator[Any]:
    if has_items(given) and not isinstance(given, bytes | bytearray | memoryview):
        return iter(given)
    hint = "give a list, a set or another iterable of strings"
    if isinstance(given, numbers.Number) and not isinstance(given, complex):
        hint += "; a number is compared by int(X) or float(X)"
    raise operand(f"`in` needs strings to choose from, not {show(given)}", span, hint)


def number(given: object, what: str, span: Span | None) -> Number:
    """A number to compare with."""
    found = _as_number(given)
    if found is not None:
        _check_digits(found, what, span)
        return found
    hint = "convert it: int(…), float(…)" if isinstance(given, str | bytes) else "write an int, a float or a Decimal"
    if isinstance(given, numbers.Rational):
        hint = "no decimal has this value; round it: Decimal(…), float(…)"
    elif isinstance(given, type):
        hint = f"{given.__name__} is a class; give a number"
    elif isinstance(given, list | tuple | range | set | frozenset | dict):
        hint = "compare with each of the numbers, joined by `or`, or with their bounds: low <= … <= high"
    raise operand(f"{what} must be compared with a number, not {show(given)}", span, hint)


def _as_number(given: object) -> Number | None:
    """A value as a number that keeps it exactly; None where it is none, or no finite decimal has its value."""
    if isinstance(given, type):
        return None
    if isinstance(given, Decimal):
        return given if given.is_finite() else math.nan if given.is_nan() else float(given)
    if isinstance(given, float):
        return float(given)
    if isinstance(given, SupportsIndex):
        try:
            return operator.index(given)
        except TypeError:  # an array of several numbers
            return None
    if isinstance(given, numbers.Rational):
        return _terminating(given)
    if isinstance(given, numbers.Real):  # NumPy's other floats: by what they are written as, as the hole's text is
        written = Decimal(str(given))
        return written if written.is_finite() else float(written)
    return None


def _terminating(given: numbers.Rational) -> Decimal | None:
    """A fraction as a decimal, None where its digits do not end."""
    rest, places = int(given.denominator), 0
    for factor in (2, 5):
        power = 0
        while rest % factor == 0:
            rest //= factor
            power += 1
        places = max(places, power)
    if rest != 1 or places > _MAX_DIGITS:
        return None
    digits = abs(int(given.numerator)) * 10**places // int(given.denominator)
    if digits.bit_length() > _MAX_DIGITS * 3:
        return None
    return Decimal((int(int(given.numerator) < 0), tuple(map(int, str(digits))), -places))


def _check_digits(given: Number, what: str, span: Span | None) -> None:
    if isinstance(given, int):
        long = given.bit_length() > _MAX_DIGITS * 3
    elif isinstance(given, Decimal) and given.is_finite():
        long = given != 0 and (abs(given.adjusted()) > _MAX_DIGITS or len(given.as_tuple().digits) > _MAX_DIGITS)
    else:
        long = False
    if long:
        raise operand(f"{what} is compared with a number of too many digits", span, f"numbers may have {_MAX_DIGITS} digits")


def truth(given: object, span: Span | None) -> bool:
    """Whether a Python condition holds."""
    try:
        return bool(given)
    except (TypeError, ValueError) as problem:  # as NumPy's arrays, and pandas' frames, raise them
        message = f"a condition must be true or false, and {show(given)} is neither: {problem}"
        raise operand(message, span, "write what must hold of it: any(…), all(…), len(…) > 0") from problem


def pattern(given: object, span: Span | None) -> tuple[str, int]:
    """A regular expression's source and flags."""
    if isinstance(given, re.Pattern):
        if isinstance(given.pattern, str):
            return str.__str__(given.pattern), given.flags
        raise operand("a pattern must be one for strings, not for bytes", span, "drop the b in front of the literal")
    return text(given, "a regular expression", span), 0


def phrases(given: object, span: Span | None) -> tuple[str | re.Pattern[str], ...]:
    """The phrases of a stop: strings and compiled patterns, none of them empty, each once."""
    several = isinstance(given, (list, tuple, set, frozenset))
    items: list[Any] = list(given) if several and isinstance(given, Iterable) else [given]
    if len(items) > MAX_OPTIONS:
        raise operand(f"a stop has more than {MAX_OPTIONS:,} phrases", span, "say what they have in common: re.compile(…)")
    if isinstance(given, (set, frozenset)):
        items.sort(key=repr)
    found: dict[str | re.Pattern[str], None] = {}
    for item in items:
        phrase = item if isinstance(item, re.Pattern) and isinstance(item.pattern, str) else text(item, "a stop phrase", span)
        if phrase == "":
            raise operand("a stop phrase must not be empty", span, "name the text that ends the hole")
        found[phrase] = None
    if not found:
        raise operand("a stop needs at least one phrase", span, "give a string, a list of strings, or a compiled pattern")
    return tuple(found)


def schema(given: object, span: Span | None) -> object:
    """What `JSON(X, …)` takes: a JSON schema (a dict, its JSON text, or a Boolean) or a type with parts."""
    if isinstance(given, bool | dict):
        return given
    wrong = given is None or isinstance(given, numbers.Number | bytes | bytearray | list | tuple | set | frozenset | range)
    if isinstance(given, str):
        try:
            wrong = not isinstance(json.loads(given), bool | dict)
        except (ValueError, RecursionError) as problem:
            raise operand(f"JSON(X, …) takes the text of a JSON schema, not {show(given)}: {problem}", span, _SCHEMA) from None
    if wrong:
        raise operand(f"JSON(X, …) takes a JSON schema, not {show(given)}", span, _SCHEMA)
    return given


_SCHEMA = "give a dict, its JSON text, or a dataclass or another type with fields"


def writable(phrase: object) -> bool:
    """Whether a text can hold a string: one with a lone surrogate is in none, because UTF-8 cannot say it."""
    return not isinstance(phrase, str) or _SURROGATE.search(phrase) is None


_SURROGATE = re.compile("[\ud800-\udfff]")
