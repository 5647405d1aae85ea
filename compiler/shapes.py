"""Shapes: what the text of a type looks like, and what makes its value. `types.py` reads types as shapes.

A shape without structure is *plain text*: `12`, `True`, `2024-05-01`, `red`. One with structure (arrays, objects, unions with one of
them) is JSON. Shapes say nothing about where a program wrote the type.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal[
    "str", "int", "float", "decimal", "bool", "none", "date", "time", "datetime", "timedelta", "uuid", "url"
]  # fmt: skip
Bounds = tuple[tuple[str, Any], ...]
"""Further conditions by name.

Numbers and dates: ge, gt, le, lt. Numbers: multiple_of; finite (of a float). Decimals: max_digits, decimal_places. Strings, arrays and
objects: min_length, max_length. Strings: pattern (a `Search`), ascii, strip (white space at the ends is no part of the value). Times: zone
("aware", "naive"). UUIDs: version. URLs: schemes (a tuple).
"""


@dataclass(frozen=True, slots=True)
class Search:
    """A pattern that some part of a string matches. rust: with the syntax of Rust's `regex`, as pydantic reads patterns by default."""

    source: str
    flags: int
    rust: bool


@dataclass(frozen=True, slots=True)
class Plain:
    """One value without parts. make: takes the value that the text stands for, and gives that of the type; None where they are the same."""

    kind: Kind
    bounds: Bounds = ()
    make: Callable[[Any], Any] | None = None


@dataclass(frozen=True, slots=True)
class Fixed:
    """One of several known values: what stands for each in JSON, and the value."""

    options: tuple[tuple[Any, Any], ...]


@dataclass(frozen=True, slots=True)
class Pattern:
    """A string that matches a regular expression as a whole."""

    source: str
    flags: int


@dataclass(frozen=True, slots=True)
class ListOf:
    """An array of any number of items. distinct: no two items are equal."""

    item: Shape
    bounds: Bounds = ()
    make: Callable[[Any], Any] = list
    distinct: bool = False


@dataclass(frozen=True, slots=True)
class TupleOf:
    """An array with one shape for every place; the last `optional` places may be missing."""

    items: tuple[Shape, ...]
    make: Callable[[Any], Any] = tuple
    optional: int = 0


@dataclass(frozen=True, slots=True)
class DictOf:
    """An object with keys of a plain shape; in JSON they stand in quotes, whatever their kind. No key comes twice."""

    key: Shape
    value: Shape
    bounds: Bounds = ()


@dataclass(frozen=True, slots=True)
class UnionOf:
    options: tuple[Shape, ...]


@dataclass(frozen=True, slots=True)
class Field:
    """A field of an object. key: as JSON has it; name: as the class has it."""

    key: str
    shape: Shape
    required: bool
    name: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """An object with named fields. make: takes the values by key. given: the class."""

    name: str
    fields: tuple[Field, ...]
    make: Callable[[dict[str, Any]], Any] = dict
    given: Any = None


@dataclass(frozen=True, slots=True)
class Made:
    """A shape whose value is made by a library from the JSON text itself. given: the class."""

    name: str
    shape: Shape
    read: Callable[[str], Any]
    given: Any = None


@dataclass(frozen=True, slots=True)
class Finished:
    """A shape whose value goes through a function of the program or a library, which may refuse it or give another."""

    shape: Shape
    finish: Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Anything:
    """Any JSON value, or any array or object."""

    kind: Literal["value", "array", "object"]
    make: Callable[[Any], Any] | None = None


@dataclass(eq=False, slots=True)
class Again:
    """A class that stands inside itself; `given` is the class, whose shape holds this."""

    given: Any


Shape = Plain | Fixed | Pattern | ListOf | TupleOf | DictOf | UnionOf | Record | Made | Finished | Anything | Again


def structured(shape: Shape) -> bool:
    """Whether a shape is written as JSON."""
    if isinstance(shape, UnionOf):
        return any(map(structured, shape.options))
    if isinstance(shape, Finished):
        return structured(shape.shape)
    return not isinstance(shape, (Plain, Fixed, Pattern))


def parts(shape: Shape) -> Iterator[Shape]:
    """A shape and everything in it, from the outside in; a class inside itself is not entered again."""
    yield shape
    inner: tuple[Shape, ...] = ()
    if isinstance(shape, ListOf):
        inner = (shape.item,)
    elif isinstance(shape, TupleOf):
        inner = shape.items
    elif isinstance(shape, DictOf):
        inner = (shape.key, shape.value)
    elif isinstance(shape, UnionOf):
        inner = shape.options
    elif isinstance(shape, Record):
        inner = tuple(field.shape for field in shape.fields)
    elif isinstance(shape, (Made, Finished)):
        inner = (shape.shape,)
    for part in inner:
        yield from parts(part)


def recursive(shape: Shape) -> bool:
    """Whether a shape holds itself, or any JSON value: then no automaton describes it."""
    return any(isinstance(part, (Anything, Again)) for part in parts(shape))
