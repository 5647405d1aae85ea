"""From the text of a typed hole to its Python value."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from typing import Any

from lmqlc.compiler.automata.problems import BAD_VALUE
from lmqlc.compiler.types import (
    DictOf,
    Fixed,
    ListOf,
    Pattern,
    Plain,
    Record,
    RecursionFound,
    Shape,
    TupleOf,
    UnionOf,
    shape_of,
    structured,
)
from lmqlc.grammar.diagnostics import Diagnostic
from lmqlc.grammar.errors import ConstraintViolated


class _Unfit(Exception):
    """A value that does not fit a shape. hint: what can be done."""

    hint = "give the hole more tokens, and see what changes its text"


class _Refused(_Unfit):
    """A value that fits, and that the type's own validation refuses."""

    hint = "say in the `where` what the type demands beyond the types of its fields, or relax it"


def value_of(hole_type: object, text: str) -> Any:
    """The Python value of a hole's text. Raises ConstraintViolated where the text is none of the type; what the program's own classes
    raise when they are made is passed on."""
    try:
        shape = shape_of(hole_type)
    except RecursionFound:
        return _recursive(hole_type, text)
    try:
        return _from_json(shape, _parse(text)) if structured(shape) else _from_text(shape, text)
    except _Unfit as problem:
        raise _violated(hole_type, text, problem) from None


def _violated(hole_type: object, text: str, problem: _Unfit) -> ConstraintViolated:
    name = getattr(hole_type, "__name__", None) or repr(hole_type)
    shown = text if len(text) <= 60 else text[:57] + "…"
    message = f"the text is no {name:.60}: {shown!r}" + (f" ({problem})" if str(problem) else "")
    return ConstraintViolated(diagnostics=[Diagnostic(BAD_VALUE, "error", message, hint=problem.hint)])


def _recursive(hole_type: object, text: str) -> Any:
    """A value of a type that contains itself: through pydantic where it is a model, else as parsed."""
    try:
        parsed = _parse(text)
        validate = getattr(hole_type, "model_validate", None)
        return _made(validate, parsed) if callable(validate) else _nested(hole_type, parsed)
    except _Unfit as problem:
        raise _violated(hole_type, text, problem) from None


def _nested(hole_type: Any, parsed: Any) -> Any:
    """Plain Python values become dataclasses and the like by pydantic's rules, where pydantic is installed; else they stay as they are."""
    if hole_type in (list, dict, tuple, object, Any):
        return tuple(parsed) if hole_type is tuple else parsed
    try:
        from pydantic import TypeAdapter
    except ImportError:
        return parsed
    return _made(TypeAdapter(hole_type).validate_python, parsed)


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as problem:
        raise _Unfit(str(problem)) from None


def _from_text(shape: Shape, text: str) -> Any:
    """The value of a plain text."""
    if isinstance(shape, UnionOf):
        return _first(_from_text, sorted(shape.options, key=lambda option: option == Plain("str")), text)
    if isinstance(shape, Fixed):
        return _choose(shape, lambda written: str(written) == text, text)
    if isinstance(shape, Pattern):
        return text
    assert isinstance(shape, Plain)
    if shape.kind in ("bool", "none"):
        return _choose(Fixed((("True", True), ("False", False)) if shape.kind == "bool" else (("None", None),)), text.__eq__, text)
    try:
        return _READERS[shape.kind](text)
    except ValueError as problem:
        raise _Unfit(str(problem)) from None


_READERS: dict[str, Callable[[str], Any]] = {
    "str": str, "int": int, "float": float, "date": datetime.date.fromisoformat, "time": datetime.time.fromisoformat,
    "datetime": datetime.datetime.fromisoformat,
}  # fmt: skip


def _choose(shape: Fixed, fits: Callable[[Any], bool], text: object) -> Any:
    for written, value in shape.options:
        if fits(written):
            return value
    raise _Unfit(f"{text!r} is none of the options")


def _first(read: Callable[[Shape, Any], Any], options: list[Shape], given: Any) -> Any:
    """The value by the first option that fits."""
    for option in options:
        try:
            return read(option, given)
        except _Unfit:
            continue
    raise _Unfit("no option fits")


def _from_json(shape: Shape, given: Any) -> Any:
    """The value of parsed JSON."""
    if isinstance(shape, UnionOf):
        return _first(_from_json, list(shape.options), given)
    if isinstance(shape, Fixed):
        return _choose(shape, lambda written: type(written) is type(given) and written == given, given)
    if isinstance(shape, ListOf):
        return shape.make([_from_json(shape.item, item) for item in _typed(given, list)])
    if isinstance(shape, TupleOf):
        items = _typed(given, list)
        if len(items) != len(shape.items):
            raise _Unfit(f"{len(items)} items instead of {len(shape.items)}")
        return tuple(_from_json(part, item) for part, item in zip(shape.items, items, strict=True))
    if isinstance(shape, DictOf):
        return {_key(shape.key, key): _from_json(shape.value, value) for key, value in _typed(given, dict).items()}
    if isinstance(shape, Record):
        return _record(shape, _typed(given, dict))
    return _scalar(shape, given)


def _key(shape: Shape, key: str) -> Any:
    return _from_json(shape, key)


def _typed(given: Any, wanted: type) -> Any:
    if not isinstance(given, wanted) or (wanted is not bool and isinstance(given, bool)):
        raise _Unfit(f"{given!r:.40} instead of a {wanted.__name__}")
    return given


def _scalar(shape: Plain | Pattern, given: Any) -> Any:
    kind = "str" if isinstance(shape, Pattern) else shape.kind
    if kind == "none":
        return _typed(given, type(None))
    if kind == "float":
        if isinstance(given, bool) or not isinstance(given, (int, float)):
            raise _Unfit(f"{given!r:.40} instead of a number")
        return float(given)
    if kind in ("int", "bool", "str"):
        return _typed(given, {"int": int, "bool": bool, "str": str}[kind])
    try:
        return _READERS[kind](_typed(given, str))
    except ValueError as problem:
        raise _Unfit(str(problem)) from None


def _record(shape: Record, given: dict[str, Any]) -> Any:
    missing = [field.key for field in shape.fields if field.required and field.key not in given]
    if missing:
        raise _Unfit(f"{shape.name} lacks {', '.join(missing)}")
    if shape.raw:
        return _made(shape.make, given)
    shapes = {field.key: field.shape for field in shape.fields}
    unknown = [key for key in given if key not in shapes]
    if unknown:
        raise _Unfit(f"{shape.name} has no {', '.join(unknown)}")
    return shape.make({key: _from_json(shapes[key], value) for key, value in given.items()})


def _made(make: Callable[[Any], Any], given: Any) -> Any:
    """A model by its own validation, whose findings are passed on as text."""
    try:
        return make(given)
    except ValueError as problem:
        raise _Refused(str(problem)) from None
