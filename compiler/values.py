"""From the text of a typed hole to its Python value."""

from __future__ import annotations

import datetime
import decimal
import functools
import json
import operator
import re
import uuid
from collections.abc import Callable, Iterable
from typing import Any

from lmqlc.compiler.automata.problems import BAD_VALUE
from lmqlc.compiler.json_nodes import JsonNode, parse_json
from lmqlc.compiler.shapes import (
    Anything,
    DictOf,
    Finished,
    Fixed,
    ListOf,
    Made,
    Pattern,
    Plain,
    Record,
    Shape,
    TupleOf,
    UnionOf,
    recursive,
    structured,
)
from lmqlc.compiler.types import read_type
from lmqlc.grammar.diagnostics import Diagnostic
from lmqlc.grammar.errors import ConstraintViolated


class _Unfit(Exception):
    """A value that does not fit a shape. path: where it stands; hint: what can be done."""

    hint = "give the hole more tokens, and see what changes its text"

    def __init__(self, message: str, path: str = "") -> None:
        super().__init__(message)
        self.path = path


class _Refused(_Unfit):
    """A value that fits, and that the type's own validation refuses."""

    hint = "say in the `where` what the type demands beyond the types of its fields, or relax it"


def value_of(hole_type: object, text: str) -> Any:
    """The Python value of a hole's text. Raises ConstraintViolated where the text is none of the type, also where the program's own code,
    which makes or validates the value, refuses it: its exception is the cause."""
    shape = read_type(hole_type)
    try:
        if not structured(shape):
            return _from_text(shape, text)
        try:
            node = parse_json(text)
        except (ValueError, RecursionError) as problem:
            raise _Unfit(str(problem)) from None
        if recursive(shape):
            return _recursive(hole_type, shape, text)
        return _Values(text).value(shape, node, "")
    except _Unfit as problem:
        raise _violated(hole_type, text, problem) from problem.__cause__


def _violated(hole_type: object, text: str, problem: _Unfit) -> ConstraintViolated:
    name = getattr(hole_type, "__name__", None) or repr(hole_type)
    shown = text if len(text) <= 60 else text[:57] + "…"
    said = f"{problem.path.lstrip('.')}: {problem}" if problem.path else str(problem)
    message = f"the text is no {name:.60}: {shown!r}" + (f" ({said})" if said else "")
    return ConstraintViolated(diagnostics=[Diagnostic(BAD_VALUE, "error", message, hint=problem.hint)])


def _called(make: Callable[[Any], Any], given: Any, path: str) -> Any:
    """What code of the program, or a library, makes of a value."""
    try:
        return make(given)
    except Exception as problem:
        raise _Refused(_said(problem), path) from problem


def _said(problem: Exception) -> str:
    """An exception in one line; of pydantic's, every finding with its place."""
    errors = getattr(problem, "errors", None)
    if callable(errors) and hasattr(problem, "error_count"):
        found = [(".".join(map(str, error["loc"])), error["msg"]) for error in errors(include_url=False)]
        return "; ".join(f"{place}: {message}" if place else message for place, message in found)
    text = " ".join(str(problem).split())
    return f"{type(problem).__name__}: {text}" if text else type(problem).__name__


def _recursive(hole_type: Any, shape: Shape, text: str) -> Any:
    """A value of a type that contains itself: by pydantic, where it is installed; else as parsed."""
    if isinstance(shape, Made):
        return _called(shape.read, text, "")
    if isinstance(shape, Anything):
        parsed = json.loads(text)
        return parsed if shape.make is None else shape.make(parsed)
    try:
        from pydantic import TypeAdapter
    except ImportError:
        return json.loads(text)
    return _called(lambda given: TypeAdapter(hole_type).validate_json(given), text, "")


# -- plain text --------------------------------------------------------------------------------------------------------


def _from_text(shape: Shape, text: str) -> Any:
    """The value of a plain text."""
    if isinstance(shape, UnionOf):
        options = sorted(shape.options, key=lambda option: _is_text(option) or _is_converted(option, text))
        return _first(lambda option: _from_text(option, text), options)
    if isinstance(shape, Fixed):
        return _choose(shape, lambda written: str(written) == text, text)
    if isinstance(shape, Finished):
        return _called(shape.finish, _from_text(shape.shape, text), "")
    if isinstance(shape, Pattern):
        return text
    assert isinstance(shape, Plain)
    if shape.kind in ("bool", "none"):
        words = {"True": True, "False": False} if shape.kind == "bool" else {"None": None}
        if text not in words:
            raise _Unfit(f"{text!r} is none of the options")
        return words[text]
    return _read(shape, text, "")


def _is_text(shape: Shape) -> bool:
    """Whether a shape takes any text, so that others are asked first."""
    return isinstance(shape, Plain) and shape.kind == "str"


def _is_converted(shape: Shape, number: str) -> bool:
    """Whether another type is closer to a number as it is written: integers are ints, others floats."""
    integer = _INTEGER.fullmatch(number) is not None
    return isinstance(shape, Plain) and (shape.kind == "decimal" or (shape.kind == "float" and integer))


_INTEGER = re.compile(r"-?[0-9]+")
_DURATION = re.compile(
    r"(-?)P(?:([0-9]+)W|(?:([0-9]+)D)?(?:T(?:([0-9]+)H)?(?:([0-9]+)M)?(?:([0-9]+(?:\.[0-9]+)?)S)?)?)"
)  # fmt: skip


def read_duration(text: str) -> datetime.timedelta:
    """The duration of an ISO 8601 text of weeks, or of days, hours, minutes and seconds. Raises ValueError."""
    found = _DURATION.fullmatch(text)
    if found is None or not any(found.groups()[1:]):
        raise ValueError(f"{text!r} is no duration")
    weeks, days, hours, minutes = (int(part or 0) for part in found.group(2, 3, 4, 5))
    whole, _, fraction = (found[6] or "0").partition(".")
    micro = int((fraction + "000000")[:6])
    made = datetime.timedelta(days, int(whole), micro, 0, minutes, hours, weeks)
    return -made if found[1] else made


_READERS: dict[str, Callable[[str], Any]] = {
    "str": str, "url": str, "int": int, "float": float, "decimal": decimal.Decimal, "date": datetime.date.fromisoformat,
    "time": datetime.time.fromisoformat, "datetime": datetime.datetime.fromisoformat, "timedelta": read_duration, "uuid": uuid.UUID,
}  # fmt: skip


def _read(shape: Plain, text: str, path: str, make: bool = True) -> Any:
    """The value of a scalar's text, without its quotes."""
    try:
        value = _READERS[shape.kind](text)
    except (ValueError, ArithmeticError) as problem:
        raise _Unfit(str(problem) or f"{text!r} is no {shape.kind}", path) from None
    return value if shape.make is None or not make else _called(shape.make, value, path)


def _choose(shape: Fixed, fits: Callable[[Any], bool], text: object, path: str = "") -> Any:
    for written, value in shape.options:
        if fits(written):
            return value
    raise _Unfit(f"{text!r} is none of the options", path)


def _first(read: Callable[[Shape], Any], options: Iterable[Shape], path: str = "") -> Any:
    """The value by the first option that fits; where none does, what the last validation said."""
    refused: _Refused | None = None
    for option in options:
        try:
            return read(option)
        except _Refused as problem:
            refused = problem
        except _Unfit:
            continue
    raise refused or _Unfit("no option fits", path)


# -- JSON --------------------------------------------------------------------------------------------------------------


class _Values:
    """Values of the parts of one JSON text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._converted = False  # some number or array so far is of another type than it is written as

    def value(self, shape: Shape, node: JsonNode, path: str, make: bool = True) -> Any:
        """The value of a node. make: classes and libraries make it; else it is only seen to fit, bounds included."""
        value = self._value(shape, node, path, make)
        if not make and isinstance(shape, (Plain, ListOf, DictOf)) and shape.bounds and not _within(shape, value):
            raise _Unfit("it is not within the bounds of its type", path)
        return value

    def _value(self, shape: Shape, node: JsonNode, path: str, make: bool) -> Any:
        if isinstance(shape, UnionOf):
            return _first(lambda option: self.value(option, node, path, make), self._fitting(shape.options, node), path)
        if isinstance(shape, Fixed):
            given = self._scalar(node, path)
            return _choose(shape, lambda written: type(written) is type(given) and written == given, given, path)
        if isinstance(shape, Made):
            self.value(shape.shape, node, path, make=False)
            return _called(shape.read, self._text[node.start : node.end], path) if make else None
        if isinstance(shape, Finished):
            value = self.value(shape.shape, node, path, make)
            return _called(shape.finish, value, path) if make else value
        if isinstance(shape, (ListOf, TupleOf)):
            return self._array(shape, _expect(node, "array", path), path, make)
        if isinstance(shape, DictOf):
            pairs = _distinct(_expect(node, "object", path), path)
            return {self._key(shape.key, key, path): self.value(shape.value, value, f"{path}[{key!r}]", make) for key, value in pairs}
        if isinstance(shape, Record):
            return self._record(shape, _expect(node, "object", path), path, make)
        assert isinstance(shape, (Plain, Pattern))
        return self._plain(shape, node, path, make)

    def _fitting(self, options: Iterable[Shape], node: JsonNode) -> list[Shape]:
        """The options that a node fits, in order: None first, then those of whose types its numbers and arrays are as they are written."""
        exact: list[Shape] = []
        converted: list[Shape] = []
        outside = self._converted
        for option in sorted(options, key=lambda option: option != Plain("none")):
            self._converted = False
            try:
                self.value(option, node, "", make=False)
                (converted if self._converted else exact).append(option)
            except _Unfit:
                continue
        self._converted = outside
        return [*exact, *converted]

    def _of(self, node: JsonNode) -> str:
        return self._text[node.start : node.end]

    def _scalar(self, node: JsonNode, path: str) -> Any:
        """A string, a number or a word as JSON has it."""
        if node.kind == "string":
            return node.string
        if node.kind in ("array", "object"):
            raise _Unfit(f"an {node.kind} instead of one of the options", path)
        try:
            return json.loads(self._of(node))
        except ValueError as problem:
            raise _Unfit(str(problem), path) from None

    def _array(self, shape: ListOf | TupleOf, node: JsonNode, path: str, make: bool) -> Any:
        self._converted = self._converted or shape.make is not list
        if isinstance(shape, ListOf):
            items = [self.value(shape.item, item, f"{path}[{at}]", make) for at, item in enumerate(node.items)]
            return _called(shape.make, items, path) if make or shape.make in (tuple, frozenset) else items
        if not len(shape.items) - shape.optional <= len(node.items) <= len(shape.items):
            raise _Unfit(f"{len(node.items)} items instead of {len(shape.items)}", path)
        pairs = zip(shape.items, node.items, strict=False)
        items = [self.value(part, item, f"{path}[{at}]", make) for at, (part, item) in enumerate(pairs)]
        return _called(shape.make, items, path) if make else tuple(items)

    def _record(self, shape: Record, node: JsonNode, path: str, make: bool) -> Any:
        given = dict(_distinct(node, path))
        fields = {field.key: field for field in shape.fields}
        missing = [key for key, field in fields.items() if field.required and key not in given]
        if missing:
            raise _Unfit(f"{shape.name} lacks {', '.join(missing)}", path)
        unknown = [key for key in given if key not in fields]
        if unknown:
            raise _Unfit(f"{shape.name} has no {', '.join(unknown)}", path)
        values = {key: self.value(fields[key].shape, value, f"{path}.{key}", make) for key, value in given.items()}
        return _called(shape.make, values, path) if make else values

    def _key(self, shape: Shape, key: str, path: str) -> Any:
        if isinstance(shape, Fixed):
            return _choose(shape, key.__eq__, key, path)
        if isinstance(shape, Finished):
            return _called(shape.finish, self._key(shape.shape, key, path), path)
        return key if isinstance(shape, Pattern) else _read(_plain_of(shape), key, path)

    def _plain(self, shape: Plain | Pattern, node: JsonNode, path: str, make: bool) -> Any:
        if isinstance(shape, Pattern):
            return _expect(node, "string", path).string
        if shape.kind == "bool":
            if node.kind not in ("true", "false"):
                raise _Unfit(f"{self._of(node):.40} instead of true or false", path)
            return node.kind == "true"
        if shape.kind == "none":
            _expect(node, "null", path)
            return None
        if shape.kind == "decimal" and node.kind == "string":
            return _read(shape, node.string, path, make)
        if shape.kind in ("int", "float", "decimal"):
            number = self._of(_expect(node, "number", path))
            self._converted = self._converted or _is_converted(shape, number)
            return _read(shape, number, path, make)
        return _read(shape, _expect(node, "string", path).string, path, make)


def _plain_of(shape: Shape) -> Plain:
    assert isinstance(shape, Plain)
    return shape


_NAMES = {"object": "an object", "array": "an array", "string": "a string", "number": "a number"}


def _expect(node: JsonNode, kind: str, path: str) -> JsonNode:
    if node.kind != kind:
        raise _Unfit(f"{_NAMES.get(node.kind, node.kind)} instead of {_NAMES.get(kind, kind)}", path)
    return node


def _distinct(node: JsonNode, path: str) -> tuple[tuple[str, JsonNode], ...]:
    """The members of an object; a key that comes twice is none of a type."""
    seen: set[str] = set()
    for key, _ in node.members:
        if key in seen:
            raise _Unfit(f"the key {key!r} comes twice", path)
        seen.add(key)
    return node.members


def _within(shape: Plain | ListOf | DictOf, value: Any) -> bool:
    """Whether a value meets the bounds of a shape, as far as they tell the options of a union apart."""
    bounds = dict(shape.bounds)
    if isinstance(value, str) and bounds.get("strip"):
        value = value.strip()
    return all(_meets(name, bound, value) for name, bound in shape.bounds)


def _meets(name: str, bound: Any, value: Any) -> bool:
    if name in _ORDERS:
        return bool(_ORDERS[name](value, bound))
    if name in ("min_length", "max_length"):
        return bool(len(value) >= bound if name == "min_length" else len(value) <= bound)
    if name == "multiple_of":
        return bool(decimal.Decimal(str(value)) % decimal.Decimal(str(bound)) == 0)
    if name == "pattern":
        return _rust_pattern(bound.source)(value) if bound.rust else re.search(bound.source, value, bound.flags) is not None
    if name == "zone":
        return bool((value.utcoffset() is not None) == (bound == "aware"))
    return name != "schemes" or str(value).partition(":")[0] in bound


@functools.cache
def _rust_pattern(source: str) -> Callable[[str], bool]:
    """Whether a string matches a pattern with Rust's syntax and classes; only pydantic's types have such patterns, and it judges them."""
    from pydantic_core import SchemaValidator, core_schema

    judge: Callable[[str], bool] = SchemaValidator(core_schema.str_schema(pattern=source)).isinstance_python
    return judge


_ORDERS = {"ge": operator.ge, "gt": operator.gt, "le": operator.le, "lt": operator.lt}
