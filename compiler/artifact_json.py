"""Programs as JSON: syntax trees, constraint trees and their constants, each with an explicit form; nothing is executed to read one.

A plain JSON value stands for itself. Everything else is an object whose first key starts with `$`: `$node` (a syntax node), `$constraint`,
`$span`, `$tuple`, `$dict`, `$type`, `$bytes`, `$int` (a large one, hexadecimal), `$float` (not finite), `$complex`, `$ellipsis`.
"""

from __future__ import annotations

import ast
import base64
import dataclasses
from collections.abc import Callable
from typing import Any

from lmqlc.compiler import constraints as c
from lmqlc.compiler.constraint_parts import parts
from lmqlc.compiler.ir import HoleIR, Program, QueryIR
from lmqlc.grammar.source import Source, Span

Json = Any
_PLACE = ("lineno", "col_offset", "end_lineno", "end_col_offset")
_TYPES: dict[str, type] = {"bool": bool, "float": float, "int": int, "str": str}
_CONSTRAINTS: dict[str, type] = {
    kind.__name__: kind
    for kind in (
        c.And, c.Or, c.Not, c.Truth, c.InSet, c.Equals, c.Compared, c.Contains, c.StartsWith, c.EndsWith, c.TextIs, c.Matches, c.Number,
        c.NumberCompare, c.Count, c.Json, c.TypeIs, c.Grammar, c.Custom, c.Stop, c.Const, c.Slot,
    )
}  # fmt: skip
_SPANS = ("span", "pattern_span")
_LARGE = 1 << 63


class FormatError(ValueError):
    """JSON that stands for no program."""


# -- writing -----------------------------------------------------------------------------------------------------------


def program_to_json(program: Program) -> dict[str, Json]:
    """A program as JSON values."""
    return {
        "version": program.version,
        "source": {"name": program.source.name, "text": program.source.text},
        "decoder": program.decoder,
        "parameters": list(program.parameters),
        "optional": list(program.optional),
        "queries": [{"holes": list(query.holes), "span": _span_to_json(query.span)} for query in program.queries],
        "holes": [_hole_to_json(hole) for hole in program.holes],
        "conditions": [to_json(condition) for condition in program.conditions],
        "body": to_json(program.body),
    }


def _hole_to_json(hole: HoleIR) -> Json:
    made = {field.name: to_json(getattr(hole, field.name)) for field in dataclasses.fields(hole)}
    made["slots"] = list(hole.slots)
    del made["index"]
    return made


def _span_to_json(span: Span) -> list[int]:
    return [span.start, span.end]


def to_json(value: Any) -> Json:
    """A value of a program as JSON. Raises TypeError for one that no program holds."""
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, int):
        return value if abs(value) < _LARGE else {"$int": hex(value)}
    if isinstance(value, float):
        return value if value - value == 0 else {"$float": repr(value)}
    if isinstance(value, list):
        return [to_json(item) for item in value]
    if isinstance(value, tuple):
        return {"$tuple": [to_json(item) for item in value]}
    return _object_to_json(value)


def _object_to_json(value: Any) -> Json:
    if isinstance(value, ast.AST):
        return _node_to_json(value)
    if isinstance(value, Span):
        return {"$span": _span_to_json(value)}
    if type(value).__name__ in _CONSTRAINTS and dataclasses.is_dataclass(value):
        fields = {field.name: to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return {
            "$constraint": type(value).__name__,
            **{name: given for name, given in fields.items() if given is not None or name not in _SPANS},
        }
    if isinstance(value, dict):
        return {"$dict": [[to_json(key), to_json(item)] for key, item in value.items()]}
    if isinstance(value, type) and value.__name__ in _TYPES:
        return {"$type": value.__name__}
    if isinstance(value, bytes):
        return {"$bytes": base64.b64encode(value).decode("ascii")}
    if isinstance(value, complex):
        return {"$complex": [to_json(value.real), to_json(value.imag)]}
    if value is ...:
        return {"$ellipsis": True}
    raise TypeError(f"a program cannot hold a {type(value).__name__}")


def _node_to_json(node: ast.AST) -> Json:
    made: dict[str, Json] = {"$node": type(node).__name__}
    if "lineno" in node._attributes:
        made["at"] = [getattr(node, name, None) for name in _PLACE]
    made |= {name: to_json(value) for name, value in ast.iter_fields(node) if value is not None}
    if isinstance(node, ast.Constant):
        made["value"] = to_json(node.value)
    return made


# -- reading -----------------------------------------------------------------------------------------------------------


def program_from_json(made: Json) -> Program:
    """The program that JSON values stand for. Raises FormatError, KeyError, TypeError or ValueError for anything else."""
    body = from_json(made["body"])
    if not isinstance(body, ast.Module):
        raise FormatError("the body is no module")
    return Program(
        source=source_from_json(made["source"]),
        body=body,
        queries=tuple(QueryIR(i, tuple(map(_whole, query["holes"])), _span(query["span"])) for i, query in enumerate(made["queries"])),
        holes=tuple(_hole(i, hole) for i, hole in enumerate(made["holes"])),
        decoder=_text(made["decoder"]),
        parameters=tuple(map(_text, made["parameters"])),
        optional=tuple(map(_text, made["optional"])),
        conditions=tuple(map(constraint_from_json, made["conditions"])),
        version=_whole(made["version"]),
    )


def source_from_json(made: Json) -> Source:
    """The source of a program."""
    return Source(_text(made["name"]), _text(made["text"]))


def _hole(index: int, made: Json) -> HoleIR:
    follow = made["follow"]
    return HoleIR(
        index=index,
        name=_text(made["name"]),
        constraint=constraint_from_json(made["constraint"]),
        slots=tuple(map(_text, made["slots"])),
        has_type=_flag(made["has_type"]),
        decorators=_whole(made["decorators"]),
        follow=None if follow is None else _text(follow),
        distribution=_flag(made["distribution"]),
        span=_span(made["span"]["$span"]),
    )


def _text(value: Json) -> str:
    if not isinstance(value, str):
        raise FormatError(f"{value!r} is no text")
    return value


def _whole(value: Json) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise FormatError(f"{value!r} is no whole number")
    return value


def _flag(value: Json) -> bool:
    if not isinstance(value, bool):
        raise FormatError(f"{value!r} is neither true nor false")
    return value


def _span(value: Json) -> Span:
    start, end = value
    return Span(_whole(start), _whole(end))


def constraint_from_json(value: Json) -> c.Constraint:
    """The constraint that `to_json` wrote; errors as for `program_from_json`."""
    made: c.Constraint = from_json(value)
    if not isinstance(made, c.Constraint):
        raise FormatError("this is no constraint")
    for part in parts(made):
        _check_fields(part)
    return made


def _check_fields(part: c.Constraint) -> None:
    """The fields of a constraint are what the IR says, so that walks over the tree find nothing else."""
    for name in part.__slots__:
        value = getattr(part, name)
        if name in ("arg", "args"):
            kinds: Any = c.Operand if isinstance(part, c.Custom) else c.Constraint
            fits = all(isinstance(item, kinds) for item in (value if name == "args" else [value]))
        elif name in _SPANS:
            fits = value is None or isinstance(value, Span)
        elif name in ("op", "unit", "test", "keep", "is_hole") or (name == "kind" and not isinstance(part, c.Compared)):
            fits = isinstance(value, str | bool)
        else:
            fits = isinstance(value, c.Operand) or (name in ("schema", "kind") and value is None)
        if not fits:
            raise FormatError(f"`{type(part).__name__}.{name}` cannot be {value!r}")


def from_json(made: Json) -> Any:
    """The value that `to_json` wrote."""
    if isinstance(made, list):
        return [from_json(item) for item in made]
    if not isinstance(made, dict):
        return made
    kind = next(iter(made), "")
    if kind not in _READERS:
        raise FormatError(f"unknown form {kind!r}")
    return _READERS[kind](made)


def _read_node(made: Json) -> ast.AST:
    kind = getattr(ast, _text(made["$node"]), None)
    if not (isinstance(kind, type) and issubclass(kind, ast.AST) and kind.__module__ in ("ast", "_ast")):
        raise FormatError(f"unknown syntax node {made['$node']!r}")
    fields = {name: from_json(value) for name, value in made.items() if name not in ("$node", "at")}
    unknown = set(fields) - set(kind._fields)
    if unknown:
        raise FormatError(f"`{kind.__name__}` has no field {sorted(unknown)[0]!r}")
    node: ast.AST = kind(**{name: None for name in kind._fields if name not in fields}, **fields)
    for name, value in zip(_PLACE, made.get("at", ()), strict=False):
        setattr(node, name, value if value is None else _whole(value))
    return node


def _read_constraint(made: Json) -> Any:
    kind = _CONSTRAINTS[made["$constraint"]]
    return kind(**{name: from_json(value) for name, value in made.items() if name != "$constraint"})


_READERS: dict[str, Callable[[Json], Any]] = {
    "$node": _read_node,
    "$constraint": _read_constraint,
    "$span": lambda made: _span(made["$span"]),
    "$tuple": lambda made: tuple(from_json(item) for item in made["$tuple"]),
    "$dict": lambda made: {from_json(key): from_json(item) for key, item in made["$dict"]},
    "$type": lambda made: _TYPES[made["$type"]],
    "$bytes": lambda made: base64.b64decode(made["$bytes"], validate=True),
    "$int": lambda made: int(_text(made["$int"]), 16),
    "$float": lambda made: float(_text(made["$float"])),
    "$complex": lambda made: complex(*map(from_json, made["$complex"])),
    "$ellipsis": lambda made: ...,
}
