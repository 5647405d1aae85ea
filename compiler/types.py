"""The types of holes: what their texts look like and how the text becomes a Python value.

A type without structure is *plain text*: `12`, `True`, `2024-05-01`, `red`. One with structure (lists, tuples, dicts, dataclasses,
`TypedDict`, pydantic models, unions with one of them) is JSON: keys in declared order, one space after `:` and `,`, nothing else.
`shape_of` reads a type; `automata/typed.py` turns shapes into languages, `values.py` texts into values.
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
import re
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from lmqlc.compiler.automata.operands import show
from lmqlc.compiler.automata.problems import BAD_TYPE, UNSUPPORTED, error
from lmqlc.grammar.source import Span

Kind = Literal["str", "int", "float", "bool", "none", "date", "time", "datetime"]
Bounds = tuple[tuple[str, Any], ...]
"""Further conditions by name: ge, gt, le, lt on numbers; min_length, max_length on strings and lists; pattern on strings."""


@dataclass(frozen=True, slots=True)
class Plain:
    kind: Kind
    bounds: Bounds = ()


@dataclass(frozen=True, slots=True)
class Fixed:
    """One of several known values: what stands for each in JSON, and the value."""

    options: tuple[tuple[Any, Any], ...]


@dataclass(frozen=True, slots=True)
class Pattern:
    """A string that matches a regular expression."""

    source: str
    flags: int


@dataclass(frozen=True, slots=True)
class ListOf:
    item: Shape
    bounds: Bounds = ()
    make: Callable[[Any], Any] = list


@dataclass(frozen=True, slots=True)
class TupleOf:
    items: tuple[Shape, ...]


@dataclass(frozen=True, slots=True)
class DictOf:
    """A dict with keys of a plain shape that is a string in JSON."""

    key: Shape
    value: Shape


@dataclass(frozen=True, slots=True)
class UnionOf:
    options: tuple[Shape, ...]


@dataclass(frozen=True, slots=True)
class Field:
    key: str
    shape: Shape
    required: bool


@dataclass(frozen=True, slots=True)
class Record:
    """An object with named fields. `make` takes the dict of values, by key; `raw`: the parsed JSON instead."""

    name: str
    fields: tuple[Field, ...]
    make: Callable[[dict[str, Any]], Any]
    raw: bool = False


Shape = Plain | Fixed | Pattern | ListOf | TupleOf | DictOf | UnionOf | Record

_PLAIN: dict[Any, Kind] = {
    str: "str", int: "int", float: "float", bool: "bool", None: "none", type(None): "none",
    datetime.date: "date", datetime.time: "time", datetime.datetime: "datetime",
}  # fmt: skip
_KNOWN_BOUNDS = ("ge", "gt", "le", "lt", "min_length", "max_length", "pattern")
_HINT = "use str, int, float, bool, Literal, Enum, list, tuple, dict, Optional, unions, dates, dataclasses, TypedDict, pydantic models"


def is_plain_text(hole_type: object) -> bool:
    """Whether the text of a type is plain (not JSON). Raises LmqlCompileError for what is no type of a hole."""
    try:
        return not _structured(shape_of(hole_type))
    except RecursionFound:
        return False


def is_recursive(hole_type: object) -> bool:
    """Whether a type contains itself, or any JSON value: then no automaton describes it."""
    try:
        shape_of(hole_type)
    except RecursionFound:
        return True
    return False


class RecursionFound(Exception):
    """A type that contains itself."""


def shape_of(hole_type: object, span: Span | None = None) -> Shape:
    """The shape of a type. Raises RecursionFound, and LmqlCompileError for what is no type of a hole."""
    return _Reader(span).shape(hole_type, ())


def structured(shape: Shape) -> bool:
    """Whether a shape is written as JSON."""
    return _structured(shape)


def _structured(shape: Shape) -> bool:
    if isinstance(shape, UnionOf):
        return any(_structured(option) for option in shape.options)
    return isinstance(shape, (ListOf, TupleOf, DictOf, Record))


class _Reader:
    """Reads types; `inside` are the classes that a type stands in."""

    def __init__(self, span: Span | None) -> None:
        self._span = span

    def shape(self, given: Any, inside: tuple[Any, ...]) -> Shape:
        if isinstance(given, str):
            return Pattern(given, 0)
        if isinstance(given, re.Pattern) and isinstance(given.pattern, str):
            return Pattern(given.pattern, given.flags)
        try:
            kind = _PLAIN.get(given, "")
        except TypeError:
            raise self._bad(given) from None
        if kind or given is None:
            return Plain(_PLAIN[given])
        if given in (Any, object, list, dict, tuple):
            raise RecursionFound
        if isinstance(given, type) and typing.get_origin(given) is None:
            return self._class(given, inside)
        return self._generic(given, inside)

    def _class(self, given: Any, inside: tuple[Any, ...]) -> Shape:
        if given in inside:
            raise RecursionFound
        inside = (*inside, given)
        if issubclass(given, enum.Enum):
            return _fixed([(_json_value(member), member) for member in given])
        if hasattr(given, "model_fields") and hasattr(given, "model_validate"):
            return self._pydantic(given, inside)
        if dataclasses.is_dataclass(given):
            return self._dataclass(given, inside)
        if typing.is_typeddict(given):
            hints = self._hints(given)
            keys = tuple(Field(name, self.shape(hint, inside), _is_required(given, name, hint)) for name, hint in hints.items())
            return Record(given.__name__, keys, dict)
        raise self._bad(given)

    def _dataclass(self, given: Any, inside: tuple[Any, ...]) -> Shape:
        hints = self._hints(given)
        names = [field.name for field in dataclasses.fields(given) if field.init]
        fields = tuple(Field(name, self.shape(hints[name], inside), True) for name in names)
        return Record(given.__name__, fields, lambda values: given(**values))

    def _generic(self, given: Any, inside: tuple[Any, ...]) -> Shape:
        origin, args = typing.get_origin(given), typing.get_args(given)
        if origin is typing.Annotated:
            return self._bounded(self.shape(args[0], inside), given.__metadata__)
        if origin in (typing.Required, typing.NotRequired, typing.ClassVar, typing.Final):
            return self.shape(args[0], inside)
        if origin is Literal:
            return _fixed([(_json_value(value), value) for value in args])
        if origin in (typing.Union, types.UnionType):
            return UnionOf(tuple(self.shape(arg, inside) for arg in args))
        if origin in (list, set, frozenset):
            return ListOf(self.shape(args[0], inside), (), origin)
        if origin is tuple:
            return self._tuple(args, inside)
        if origin is dict:
            return self._dict(args, inside)
        if hasattr(given, "__supertype__"):
            return self.shape(given.__supertype__, inside)
        raise self._bad(given)

    def _tuple(self, args: tuple[Any, ...], inside: tuple[Any, ...]) -> Shape:
        if len(args) == 2 and args[1] is Ellipsis:
            return ListOf(self.shape(args[0], inside), (), tuple)
        return TupleOf(tuple(self.shape(arg, inside) for arg in args if arg != ()))

    def _dict(self, args: tuple[Any, ...], inside: tuple[Any, ...]) -> Shape:
        key = self.shape(args[0], inside)
        words = isinstance(key, Fixed) and all(isinstance(written, str) for written, _ in key.options)
        if key != Plain("str") and not words and not isinstance(key, Pattern):
            raise error(BAD_TYPE, "the keys of a dict must be strings", self._span, "use dict[str, …]")
        return DictOf(key, self.shape(args[1], inside))

    def _pydantic(self, given: Any, inside: tuple[Any, ...]) -> Shape:
        fields = []
        for name, field in given.model_fields.items():
            alias = field.validation_alias or field.alias
            if alias is not None and not isinstance(alias, str):
                raise error(UNSUPPORTED, f"the alias of {given.__name__}.{name} is not a plain name", self._span, "use a string as alias")
            shape = self._bounded(self.shape(field.annotation, inside), field.metadata)
            fields.append(Field(alias or name, shape, field.is_required()))
        if getattr(given, "__pydantic_root_model__", False):
            raise error(UNSUPPORTED, f"root models are not supported: {given.__name__}", self._span, "use the type inside it")
        return Record(given.__name__, tuple(fields), given.model_validate, raw=True)

    def _bounded(self, shape: Shape, metadata: typing.Iterable[Any]) -> Shape:
        """A shape with the conditions of `annotated_types` or pydantic; those that are no conditions are left alone."""
        found = [pair for item in metadata for pair in _conditions(item)]
        if not found:
            return shape
        if isinstance(shape, UnionOf):
            options = (self._bounded(o, metadata) if isinstance(o, (Plain, ListOf)) and o != Plain("none") else o for o in shape.options)
            return UnionOf(tuple(options))
        for name, _ in found:
            allowed = {"int": "number", "float": "number", "str": "text"}.get(shape.kind, "") if isinstance(shape, Plain) else "list"
            group = "number" if name in ("ge", "gt", "le", "lt") else "text"
            fits = allowed == group or (isinstance(shape, ListOf) and name in ("min_length", "max_length"))
            if name not in _KNOWN_BOUNDS or not fits:
                raise error(UNSUPPORTED, f"the condition {name} is not supported for this type", self._span, "check it after decoding")
        assert isinstance(shape, (Plain, ListOf))
        return dataclasses.replace(shape, bounds=(*shape.bounds, *found))

    def _hints(self, given: Any) -> dict[str, Any]:
        try:
            return typing.get_type_hints(given, localns={given.__name__: given}, include_extras=True)
        except NameError as problem:
            raise error(BAD_TYPE, f"a field of {given.__name__} has an unknown type: {problem}", self._span, "define it first") from None

    def _bad(self, given: object) -> Exception:
        name = str(getattr(given, "__name__", None) or show(given))
        return error(BAD_TYPE, f"{name:.80} is no type of a hole", self._span, _HINT)


def _is_required(given: Any, name: str, hint: Any) -> bool:
    """Whether a TypedDict must have a key. What the annotation says goes first: it may have been a string when the class was made."""
    origin = typing.get_origin(hint)
    if origin in (typing.Required, typing.NotRequired):
        return origin is typing.Required
    return name in given.__required_keys__


def _conditions(item: Any) -> list[tuple[str, Any]]:
    """The conditions of one piece of metadata, by name."""
    if type(item).__module__.split(".")[0] not in ("annotated_types", "pydantic"):
        return []
    inside = getattr(item, "metadata", None)
    if isinstance(inside, list):  # pydantic's `Field(ge=0)`
        return [pair for part in inside for pair in _conditions(part)]
    found = vars(item) if hasattr(item, "__dict__") else {name: getattr(item, name) for name in getattr(item, "__slots__", ())}
    pairs = list(found.items()) or list(getattr(item, "_asdict", dict)().items())
    return [(name, value) for name, value in pairs if value is not None and not name.startswith("_")]


def _json_value(value: Any) -> Any:
    """What stands for a literal or enum member: its value, or its name where the value is no JSON scalar."""
    inner = value.value if isinstance(value, enum.Enum) else value
    if inner is None or isinstance(inner, (str, int, float, bool)):
        return inner
    return value.name if isinstance(value, enum.Enum) else str(value)


def _fixed(options: list[tuple[Any, Any]]) -> Fixed:
    return Fixed(tuple(options))


def decode(hole_type: object, text: str) -> Any:
    """The Python value of a hole's text. Raises ConstraintViolated where the text is none of the type."""
    from lmqlc.compiler.values import value_of

    return value_of(hole_type, text)
