"""JSON schemas: of Python types, recursive ones included, and with the project's reading of objects.

JSON is written with the keys in declared order and no others, so an object schema that names its properties is closed unless it says
otherwise. Inside `allOf`, `not` and conditionals objects stay as they are: there a schema describes a part of an object.
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
import types
import typing
from typing import Any

from lmqlc.compiler.automata.problems import UNSUPPORTED, error
from lmqlc.grammar.errors import LmqlCompileError
from lmqlc.grammar.source import Span

Schema = dict[str, Any]

_OPENED = ("additionalProperties", "unevaluatedProperties", "patternProperties", "allOf", "if", "$ref")
_MAPS = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_LISTS = ("anyOf", "oneOf", "prefixItems")
_SINGLE = ("items", "additionalProperties", "contains")
_DEPTH = 200


def close_objects(schema: Any, depth: int = 0) -> Any:
    """A schema in which objects that name their properties have no others. Raises RecursionError past 200 levels."""
    if depth > _DEPTH:
        raise RecursionError(f"it is nested more than {_DEPTH} levels deep")
    if not isinstance(schema, dict):
        return schema
    made = dict(schema)
    for key, value in schema.items():
        if key in _MAPS and isinstance(value, dict):
            made[key] = {name: close_objects(part, depth + 1) for name, part in value.items()}
        elif key in _LISTS and isinstance(value, list):
            made[key] = [close_objects(part, depth + 1) for part in value]
        elif key in _SINGLE:
            made[key] = close_objects(value, depth + 1)
    if isinstance(schema.get("properties"), dict) and not any(key in schema for key in _OPENED):
        made["additionalProperties"] = False
    return made


def schema_of(python_type: Any, span: Span | None = None) -> Schema:
    """The JSON schema of a Python type; classes become definitions, so that they may refer to themselves.

    Dataclasses, TypedDict, pydantic models, enums, `Literal`, unions, lists, tuples, dicts with string keys, dates and the plain types.
    Raises UnsupportedConstraint for any other.
    """
    made = _Definitions(span)
    schema = made.schema(python_type)
    return {**schema, "$defs": made.found} if made.found else schema


_PLAIN: dict[Any, Schema] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    None: {"type": "null"},
    type(None): {"type": "null"},
    Any: {},
    list: {"type": "array"},
    dict: {"type": "object"},
    datetime.date: {"type": "string", "format": "date"},
    datetime.datetime: {"type": "string", "format": "date-time"},
    datetime.time: {"type": "string", "format": "time"},
}


class _Definitions:
    """Writes schemas, and collects one definition for every class met."""

    def __init__(self, span: Span | None) -> None:
        self.found: dict[str, Schema] = {}
        self._names: dict[Any, str] = {}
        self._span = span

    def schema(self, python_type: Any) -> Schema:
        try:
            if python_type in _PLAIN:
                return _PLAIN[python_type]
        except TypeError:
            raise self._unsupported(python_type) from None
        if hasattr(python_type, "model_json_schema"):
            return self._named(python_type, self._pydantic)
        if isinstance(python_type, type) and issubclass(python_type, enum.Enum):
            return {"enum": [member.value for member in python_type]}
        if dataclasses.is_dataclass(python_type) or typing.is_typeddict(python_type):
            return self._named(python_type, self._record)
        return self._generic(python_type)

    def _generic(self, python_type: Any) -> Schema:
        origin, args = typing.get_origin(python_type), typing.get_args(python_type)
        if origin in (typing.Annotated, typing.Required, typing.NotRequired):
            return self.schema(args[0])
        if origin is typing.Literal:
            return {"enum": [value.value if isinstance(value, enum.Enum) else value for value in args]}
        if origin in (typing.Union, types.UnionType):
            return {"anyOf": [self.schema(arg) for arg in args]}
        if origin is list:
            return {"type": "array", "items": self.schema(args[0])}
        if origin is tuple:
            return self._tuple(args)
        if origin is dict and args[0] is str:
            return {"type": "object", "additionalProperties": self.schema(args[1])}
        raise self._unsupported(python_type)

    def _tuple(self, args: tuple[Any, ...]) -> Schema:
        if len(args) == 2 and args[1] is Ellipsis:
            return {"type": "array", "items": self.schema(args[0])}
        items = [self.schema(arg) for arg in args if arg != ()]
        return {"type": "array", "prefixItems": items, "items": False, "minItems": len(items), "maxItems": len(items)}

    def _named(self, python_type: Any, write: Any) -> Schema:
        """A reference to the definition of a class, written when the class is met first."""
        if python_type not in self._names:
            base, number = python_type.__name__, 2
            name = base
            while name in self.found:
                name, number = f"{base}{number}", number + 1
            self._names[python_type] = name
            self.found[name] = {}
            self.found[name] = write(python_type)
        return {"$ref": f"#/$defs/{_escaped(self._names[python_type])}"}

    def _record(self, python_type: Any) -> Schema:
        """A dataclass (all fields that are given when it is made) or a TypedDict (its optional keys may be left out)."""
        hints = self._hints(python_type)
        if dataclasses.is_dataclass(python_type):
            names = [field.name for field in dataclasses.fields(python_type) if field.init]
            required = names
        else:
            names, required = list(hints), [name for name in hints if name in python_type.__required_keys__]
        properties = {name: self.schema(hints[name]) for name in names}
        return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}

    def _hints(self, python_type: Any) -> dict[str, Any]:
        try:
            return typing.get_type_hints(python_type, localns={python_type.__name__: python_type})
        except NameError as problem:
            raise self._unsupported(python_type, f": {problem}") from problem

    def _pydantic(self, python_type: Any) -> Schema:
        """The model's own schema; its inner definitions move to the outer ones."""
        schema: Schema = python_type.model_json_schema(ref_template="#/$defs/{model}")
        inner = schema.pop("$defs", {})
        for name, part in inner.items():
            self.found.setdefault(name, part)
        own = schema.get("$ref")
        return inner[own.rsplit("/", 1)[-1]] if own and set(schema) == {"$ref"} else schema

    def _unsupported(self, python_type: Any, detail: str = "") -> LmqlCompileError:
        name = getattr(python_type, "__name__", repr(python_type))
        message = f"the type {name!s:.80} has no JSON form{detail}"
        return error(UNSUPPORTED, message, self._span)


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")
