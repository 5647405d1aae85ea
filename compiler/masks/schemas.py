"""JSON schemas: of Python types, recursive ones included, and with the project's reading of objects.

JSON is written with the keys in declared order and no others, so an object schema that names its properties is closed unless it says
otherwise. Inside `allOf`, `not` and conditionals objects stay as they are: there a schema describes a part of an object.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

from lmqlc.compiler import shapes as s
from lmqlc.compiler.automata import calendar
from lmqlc.compiler.automata.problems import UNSUPPORTED, error
from lmqlc.compiler.types import read_type
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
    """The JSON schema of a Python type. Classes with fields become definitions, so that they may refer to themselves.

    Raises LmqlCompileError for what is no type of a hole, or has no schema.
    """
    made = _Definitions(span)
    schema = made.schema(read_type(python_type, span))
    return {**schema, "$defs": made.found} if made.found else schema


_ANY: dict[str, Schema] = {"value": {}, "array": {"type": "array"}, "object": {"type": "object"}}
_KINDS: dict[s.Kind, Schema] = {
    "str": {"type": "string"}, "int": {"type": "integer"}, "float": {"type": "number"}, "decimal": {"type": "number"},
    "bool": {"type": "boolean"}, "none": {"type": "null"}, "date": {"type": "string", "format": "date"},
    "time": {"type": "string", "format": "time"},
    "datetime": {"type": "string", "format": "date-time"}, "uuid": {"type": "string", "format": "uuid"},
    "timedelta": {"type": "string", "pattern": f"^{calendar.pattern('timedelta')}$"},
    "url": {"type": "string", "pattern": "^[a-z]+://[A-Za-z0-9]"},
}  # fmt: skip
_BOUNDS = {
    "ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum", "multiple_of": "multipleOf",
    "min_length": "minLength", "max_length": "maxLength",
}  # fmt: skip
_LIST_BOUNDS = {"min_length": "minItems", "max_length": "maxItems"}
_DICT_BOUNDS = {"min_length": "minProperties", "max_length": "maxProperties"}


class _Definitions:
    """Writes schemas, and collects one definition for every class with fields."""

    def __init__(self, span: Span | None) -> None:
        self.found: dict[str, Schema] = {}
        self._names: dict[Any, str] = {}
        self._span = span

    def schema(self, shape: s.Shape) -> Schema:
        if isinstance(shape, s.Again):
            return self._named(shape.given)
        if isinstance(shape, s.Record | s.Made) and shape.given is not None:
            return self._named(shape.given, shape)
        if isinstance(shape, s.Anything):
            return _ANY[shape.kind]
        if isinstance(shape, s.UnionOf):
            return {"anyOf": [self.schema(option) for option in shape.options]}
        if isinstance(shape, s.Finished | s.Made):
            return self.schema(shape.shape)
        return self._with_parts(shape)

    def _with_parts(self, shape: s.Shape) -> Schema:
        if isinstance(shape, s.ListOf):
            return {"type": "array", "items": self.schema(shape.item), **_renamed(shape.bounds, _LIST_BOUNDS)}
        if isinstance(shape, s.TupleOf):
            items = [self.schema(item) for item in shape.items]
            least = len(items) - shape.optional
            return {"type": "array", "prefixItems": items, "items": False, "minItems": least, "maxItems": len(items)}
        if isinstance(shape, s.DictOf):
            if shape.key != s.Plain("str"):
                raise error(UNSUPPORTED, "a dict whose keys are not any strings cannot stand in a type that contains itself", self._span)
            return {"type": "object", "additionalProperties": self.schema(shape.value), **_renamed(shape.bounds, _DICT_BOUNDS)}
        if isinstance(shape, s.Record):
            return self._object(shape)
        return self._leaf(shape)

    def _leaf(self, shape: s.Shape) -> Schema:
        """A shape without parts."""
        if isinstance(shape, s.Plain):
            schema = {**_KINDS[shape.kind], **_renamed(shape.bounds, _BOUNDS)}
            pattern = dict(shape.bounds).get("pattern")
            return schema if pattern is None else {**schema, "pattern": pattern.source}
        if isinstance(shape, s.Fixed):
            return {"enum": [written for written, _ in shape.options]}
        assert isinstance(shape, s.Pattern)
        if shape.flags & ~re.UNICODE:
            raise error(UNSUPPORTED, "a pattern with flags cannot stand in a type that contains itself", self._span)
        return {"type": "string", "pattern": f"^(?:{shape.source})$"}

    def _named(self, given: Any, shape: s.Shape | None = None) -> Schema:
        """A reference to the definition of a class, written when the class is met first."""
        if given not in self._names:
            name, number = given.__name__, 2
            while name in self.found:
                name, number = f"{given.__name__}{number}", number + 1
            self._names[given] = name
            self.found[name] = {}
            shape = read_type(given, self._span) if shape is None else shape
            inner = shape.shape if isinstance(shape, s.Made) else shape
            self.found[name] = self._object(inner) if isinstance(inner, s.Record) else self.schema(inner)
        return {"$ref": f"#/$defs/{self._names[given]}"}

    def _object(self, shape: s.Record) -> Schema:
        return {
            "type": "object",
            "properties": {field.key: self.schema(field.shape) for field in shape.fields},
            "required": [field.key for field in shape.fields if field.required],
            "additionalProperties": False,
        }


def _renamed(bounds: s.Bounds, names: dict[str, str]) -> Schema:
    """Bounds as keywords of a schema; those without one are left to the value's own validation."""
    found = {names[name]: value for name, value in bounds if name in names and isinstance(value, int | float | Decimal)}
    return {name: float(value) if isinstance(value, Decimal) else value for name, value in found.items()}
