"""What a query takes and gives, as JSON Schema: its free names with the types that the program declares for them, its holes; and the checks
of what a client sends.

A program declares the type of an argument by an annotation without a value: `country: str`. Annotations are read, never evaluated.
"""

from __future__ import annotations

import ast
import dataclasses
import datetime
import enum
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from lmqlc.compiler.ir import Program
from lmqlc.grammar.parse import parse
from lmqlc.grammar.source import Source
from lmqlc.runtime.link import number_kind
from lmqlc.static_types import static_types

Schema = dict[str, Any]
_NAMES: Mapping[str, Schema] = {
    "str": {"type": "string"},
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "bool": {"type": "boolean"},
    "list": {"type": "array"},
    "List": {"type": "array"},
    "dict": {"type": "object"},
    "Dict": {"type": "object"},
    "None": {"type": "null"},
    "date": {"type": "string", "format": "date"},
    "datetime": {"type": "string", "format": "date-time"},
}
_TYPES: Mapping[object, Schema] = {
    str: _NAMES["str"],
    int: _NAMES["int"],
    float: _NAMES["float"],
    bool: _NAMES["bool"],
    types.NoneType: _NAMES["None"],
    datetime.date: _NAMES["date"],
    datetime.datetime: _NAMES["datetime"],
}
_DEEPEST = 32


def arguments_schema(program: Program) -> Schema:
    """The object that a client sends: every free name of the program, the declared ones with their types."""
    declared = _declared(program)
    known = [*program.parameters, *(name for name in program.optional if name in declared)]
    return {
        "type": "object",
        "properties": {name: declared.get(name, {}) for name in known},
        "required": list(program.parameters),
        "additionalProperties": False,
    }


def variables_schema(program: Program) -> Schema:
    """The query's holes with the types of their values, where these are known before it runs."""
    known = static_types(program)
    holes: dict[str, Schema] = {}
    for hole in program.holes:
        schema = type_schema(known[hole.index]) if hole.index in known else {} if hole.has_type else _plain(hole.constraint)
        holes[hole.name] = schema if holes.get(hole.name, schema) == schema else {}
    return {"type": "object", "properties": holes}


def _plain(constraint: Any) -> Schema:
    kind = number_kind(constraint)
    return dict(_TYPES[str if kind is None else kind])


def description(source: Source) -> str:
    """The comments that a program begins with, tests left out."""
    lines = []
    for line in source.text.lstrip("\ufeff").splitlines():
        if not line.startswith("#") or line.lstrip("# ").startswith("test:"):
            break
        lines.append(line.lstrip("#").strip())
    return "\n".join(lines).strip()


# Types


def _declared(program: Program) -> dict[str, Schema]:
    """Annotations without a value at the top of the program."""
    query = parse(program.source.text, program.source.name, decoders=[program.decoder])
    return {
        node.target.id: annotation_schema(node.annotation)
        for node in query.statements
        if isinstance(node, ast.AnnAssign) and node.value is None and isinstance(node.target, ast.Name)
    }


def annotation_schema(node: ast.expr) -> Schema:
    """The schema of an annotation; one that is not known allows anything."""
    if isinstance(node, ast.Constant) and node.value is None:
        return dict(_NAMES["None"])
    if isinstance(node, ast.Name | ast.Attribute):
        return dict(_NAMES.get(node.id if isinstance(node, ast.Name) else node.attr, {}))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return _any_of([annotation_schema(node.left), annotation_schema(node.right)])
    if isinstance(node, ast.Subscript):
        return _generic(node)
    return {}


def _generic(node: ast.Subscript) -> Schema:
    name = node.value.id if isinstance(node.value, ast.Name) else getattr(node.value, "attr", "")
    inner = list(node.slice.elts) if isinstance(node.slice, ast.Tuple) else [node.slice]
    if name == "Literal":
        values = [one.value for one in inner if isinstance(one, ast.Constant) and isinstance(one.value, str | int | bool | None)]
        return {"enum": values} if len(values) == len(inner) else {}
    if name in ("list", "List", "Sequence", "Iterable", "set", "tuple") and len(inner) == 1:
        return {"type": "array", "items": annotation_schema(inner[0])}
    if name in ("dict", "Dict", "Mapping") and len(inner) == 2:
        return {"type": "object", "additionalProperties": annotation_schema(inner[1])}
    if name == "Optional" and len(inner) == 1:
        return _any_of([annotation_schema(inner[0]), dict(_NAMES["None"])])
    return _any_of([annotation_schema(one) for one in inner]) if name == "Union" else {}


def _any_of(schemas: list[Schema]) -> Schema:
    flat = [inner for schema in schemas for inner in schema.get("anyOf", [schema])]
    return {} if {} in flat else {"anyOf": flat}


def type_schema(kind: Any, depth: int = 0) -> Schema:
    """The schema of the JSON form of a hole's value."""
    if depth > _DEEPEST:
        return {}
    if isinstance(kind, str):
        return {"type": "string", "pattern": f"^(?:{kind})$"}
    if kind in _TYPES if isinstance(kind, type) else False:
        return dict(_TYPES[kind])
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return {"enum": [one.value for one in kind]}
    if callable(getattr(kind, "model_json_schema", None)):
        return dict(kind.model_json_schema())
    if dataclasses.is_dataclass(kind) or typing.is_typeddict(kind):
        return _fields(kind, depth)
    return _arguments(kind, depth)


def _fields(kind: Any, depth: int) -> Schema:
    try:
        hints = typing.get_type_hints(kind)
    except (NameError, TypeError):
        return {"type": "object"}
    return {"type": "object", "properties": {name: type_schema(hint, depth + 1) for name, hint in hints.items()}, "required": list(hints)}


def _arguments(kind: Any, depth: int) -> Schema:
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Literal:
        return {"enum": list(inner)}
    if origin in (typing.Union, types.UnionType):
        return _any_of([type_schema(one, depth + 1) for one in inner])
    if origin is list and inner:
        return {"type": "array", "items": type_schema(inner[0], depth + 1)}
    if origin is tuple and inner and inner[-1] is not Ellipsis:
        return {"type": "array", "prefixItems": [type_schema(one, depth + 1) for one in inner], "minItems": len(inner)}
    if origin is dict and len(inner) == 2:
        return {"type": "object", "additionalProperties": type_schema(inner[1], depth + 1)}
    return {}


# Checks


_KINDS: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
    "null": (types.NoneType,),
}


def problems(value: Any, schema: Schema, place: str) -> Iterator[str]:
    """What is wrong with a value by a schema of ours, each with its place."""
    if "anyOf" in schema:
        if all(any(problems(value, one, place)) for one in schema["anyOf"]):
            yield f"{place} is none of the types it may have"
        return
    if "enum" in schema and not any(value == one and type(value) is type(one) for one in schema["enum"]):
        yield f"{place} is one of {', '.join(map(repr, schema['enum']))}"
        return
    kind = schema.get("type")
    if kind is not None and (not isinstance(value, _KINDS[kind]) or (isinstance(value, bool) and kind != "boolean")):
        yield f"{place} is of the type {kind}"
        return
    if isinstance(value, list):
        for number, item in enumerate(value):
            yield from problems(item, schema.get("items", {}), f"{place}[{number}]")
    elif isinstance(value, dict):
        for key, item in value.items():
            inner = schema.get("additionalProperties", {})
            yield from problems(item, inner if isinstance(inner, dict) else {}, f"{place}[{key!r}]")
