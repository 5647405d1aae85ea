"""JSON schemas: of Python types, recursive ones included, and with the project's reading of objects.

JSON is written with the keys in declared order and no others, so an object schema that names its properties is closed unless it says
otherwise. Inside `allOf`, `not` and conditionals objects stay as they are: there a schema describes a part of an object.
"""

from __future__ import annotations

import dataclasses
import re
import types
import typing
from collections.abc import Iterator
from typing import Any

from lmqlc.compiler.automata.problems import BAD_TYPE, UNSUPPORTED, error
from lmqlc.compiler.types import Fixed, Kind, ListOf, Pattern, Plain, RecursionFound, shape_of
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
    """The JSON schema of a Python type that contains itself, with the same reading of types as `types.shape_of`.

    Classes with fields become definitions, so that they may refer to themselves. Raises LmqlCompileError for what is no type of a hole.
    """
    made = _Definitions(span)
    schema = made.schema(python_type)
    return {**schema, "$defs": made.found} if made.found else schema


_ANY: dict[Any, Schema] = {
    Any: {},
    object: {},
    list: {"type": "array"},
    tuple: {"type": "array"},
    dict: {"type": "object"},
}
_KINDS: dict[Kind, Schema] = {
    "str": {"type": "string"},
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "bool": {"type": "boolean"},
    "none": {"type": "null"},
    "date": {"type": "string", "format": "date"},
    "time": {"type": "string", "format": "time"},
    "datetime": {"type": "string", "format": "date-time"},
}
_NUMBER_BOUNDS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
_TEXT_BOUNDS = {"min_length": "minLength", "max_length": "maxLength", "pattern": "pattern"}
_LIST_BOUNDS = {"min_length": "minItems", "max_length": "maxItems"}


class _Definitions:
    """Writes schemas, and collects one definition for every class with fields. What does not recurse is read as a shape."""

    def __init__(self, span: Span | None) -> None:
        self.found: dict[str, Schema] = {}
        self._names: dict[Any, str] = {}
        self._span = span

    def schema(self, given: Any) -> Schema:
        if isinstance(given, type) and _has_fields(given) and typing.get_origin(given) is None:
            return self._named(given)
        try:
            if given in _ANY:
                return _ANY[given]
        except TypeError:
            return self._leaf(given)
        origin, args = typing.get_origin(given), typing.get_args(given)
        if origin is typing.Annotated:
            return self._bounded(args[0], given.__metadata__)
        if origin in (typing.Required, typing.NotRequired, typing.ClassVar, typing.Final):
            return self.schema(args[0])
        if origin in (typing.Union, types.UnionType):
            return {"anyOf": [self.schema(arg) for arg in args]}
        if origin in (list, set, frozenset) or (origin is tuple and len(args) == 2 and args[1] is Ellipsis):
            return {"type": "array", "items": self.schema(args[0])}
        if origin is tuple:
            items = [self.schema(arg) for arg in args if arg != ()]
            return {"type": "array", "prefixItems": items, "items": False, "minItems": len(items), "maxItems": len(items)}
        if origin is dict and args[0] is str:
            return {"type": "object", "additionalProperties": self.schema(args[1])}
        return self.schema(given.__supertype__) if hasattr(given, "__supertype__") else self._leaf(given)

    def _leaf(self, given: Any) -> Schema:
        """A type without parts that could recurse."""
        shape = shape_of(given, self._span)
        if isinstance(shape, Plain):
            names = _TEXT_BOUNDS if shape.kind == "str" else _NUMBER_BOUNDS
            return {**_KINDS[shape.kind], **{names[name]: value for name, value in shape.bounds}}
        if isinstance(shape, Fixed):
            return {"enum": [written for written, _ in shape.options]}
        if isinstance(shape, Pattern) and not shape.flags & ~re.UNICODE:
            return {"type": "string", "pattern": f"^(?:{shape.source})$"}
        message = f"{getattr(given, '__name__', given)!s:.80} cannot stand in a type that contains itself"
        raise error(UNSUPPORTED, message, self._span)

    def _bounded(self, inner: Any, metadata: tuple[Any, ...]) -> Schema:
        """A type with the conditions of its annotations; on a union they hold for every option but None."""
        if typing.get_origin(inner) in (typing.Union, types.UnionType):
            parts = [self.schema(arg) if arg is type(None) else self._bounded(arg, metadata) for arg in typing.get_args(inner)]
            return {"anyOf": parts}
        try:
            return self._leaf(typing.Annotated[(inner, *metadata)])
        except RecursionFound:
            # A list of lengths alone can be bounded besides; reading the same conditions on a plain list refuses all others.
            shape = shape_of(typing.Annotated[(list[str], *metadata)], self._span)
            bounds = shape.bounds if isinstance(shape, ListOf) else ()
            schema = self.schema(inner)
            if bounds and schema.get("type") != "array":
                raise error(UNSUPPORTED, f"the condition {bounds[0][0]} is not supported for this type", self._span) from None
            return {**schema, **{_LIST_BOUNDS[name]: value for name, value in bounds}}

    def _named(self, given: Any) -> Schema:
        """A reference to the definition of a class, written when the class is met first."""
        if given not in self._names:
            name, number = given.__name__, 2
            while name in self.found:
                name, number = f"{given.__name__}{number}", number + 1
            self._names[given] = name
            self.found[name] = {}
            fields = list(self._fields(given))
            self.found[name] = {
                "type": "object",
                "properties": {key: schema for key, schema, _ in fields},
                "required": [key for key, _, required in fields if required],
                "additionalProperties": False,
            }
        return {"$ref": f"#/$defs/{self._names[given]}"}

    def _fields(self, given: Any) -> Iterator[tuple[str, Schema, bool]]:
        """Key, schema, and whether the key must be there."""
        if hasattr(given, "model_fields"):
            for name, field in given.model_fields.items():
                alias = field.validation_alias or field.alias or name
                if not isinstance(alias, str):
                    raise error(UNSUPPORTED, f"the alias of {given.__name__}.{name} is not a plain name", self._span)
                schema = self._bounded(field.annotation, tuple(field.metadata)) if field.metadata else self.schema(field.annotation)
                yield alias, schema, field.is_required()
            return
        hints = self._hints(given)
        if dataclasses.is_dataclass(given):
            for part in dataclasses.fields(given):
                if part.init:
                    yield part.name, self.schema(hints[part.name]), True
        else:
            for name, hint in hints.items():
                origin = typing.get_origin(hint)  # as written: annotations kept as strings hide it from `__required_keys__`
                required = origin is typing.Required or (name in given.__required_keys__ and origin is not typing.NotRequired)
                yield name, self.schema(hint), required

    def _hints(self, given: Any) -> dict[str, Any]:
        try:
            return typing.get_type_hints(given, localns={given.__name__: given}, include_extras=True)
        except NameError as problem:
            message = f"a field of {given.__name__} has an unknown type: {problem}"
            raise error(BAD_TYPE, message, self._span, "define it first") from None


def _has_fields(given: type) -> bool:
    return hasattr(given, "model_fields") or dataclasses.is_dataclass(given) or typing.is_typeddict(given)
