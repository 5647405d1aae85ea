"""Normal form: negation only on atoms, nested conjunctions and disjunctions flattened, repetitions dropped."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from typing import Any

from lmqlc.compiler import constraints as c

_OPPOSITE: dict[c.Op, c.Op] = {"<": ">=", ">=": "<", ">": "<=", "<=": ">", "==": "!=", "!=": "=="}


def normalize(constraint: c.Constraint) -> c.Constraint:
    """An equal formula in negation normal form. Counts absorb negation into their comparison; other atoms keep a `Not`."""
    return _normal(constraint, False)


def _normal(constraint: c.Constraint, negated: bool) -> c.Constraint:
    if isinstance(constraint, c.Not):
        return _normal(constraint.arg, not negated)
    if isinstance(constraint, (c.And, c.Or)):
        kind = c.And if isinstance(constraint, c.And) != negated else c.Or
        return _join(kind, [_normal(arg, negated) for arg in constraint.args], constraint)
    if not negated:
        return constraint
    if isinstance(constraint, c.Compared):
        return replace(constraint, op=_NOT[constraint.op])
    if isinstance(constraint, c.Count) and not _unordered(constraint.bound):
        return c.Count(constraint.unit, _OPPOSITE[constraint.op], constraint.bound, constraint.span)
    return c.Not(constraint, constraint.span)


_NOT = {"<": ">=", "<=": ">", "==": "!=", "!=": "==", ">=": "<", ">": "<=", "in": "not in", "not in": "in"}


def _unordered(bound: c.Operand) -> bool:
    """Whether a bound may be NaN, with which a comparison and its opposite are both false."""
    return not isinstance(bound, c.Const) or bound.value != bound.value


def _join(kind: type[c.And] | type[c.Or], args: list[c.Constraint], whole: c.And | c.Or) -> c.Constraint:
    found: dict[object, c.Constraint] = {}
    for arg in args:
        for part in arg.args if isinstance(arg, kind) else (arg,):
            found.setdefault(key(part), part)
    parts = tuple(found.values())
    return parts[0] if len(parts) == 1 else kind(parts, whole.span)


def key(part: c.Constraint) -> Hashable:
    """Equal for parts that say the same, wherever they stand. Operands of different types differ: `1` is not `True`."""
    if isinstance(part, (c.And, c.Or)):
        return type(part), tuple(map(key, part.args))
    if isinstance(part, c.Not):
        return c.Not, key(part.arg)
    return type(part), tuple(_field_key(getattr(part, name)) for name in part.__slots__ if name not in ("span", "pattern_span"))


def _field_key(field: object) -> Hashable:
    if isinstance(field, c.Const):
        return c.Const, _value_key(field.value, _DEEPEST)
    if isinstance(field, tuple):
        return tuple(map(_field_key, field))
    return field


_DEEPEST = 6
"""Containers in containers that are compared by what they hold; deeper ones are only equal to themselves."""


def _value_key(value: Any, deeper: int) -> Hashable:
    """Equal for values that mean the same in a constraint: plain values by what they are, anything else by its identity."""
    kind = type(value)
    if kind in (str, bytes, int, bool) or value is None:
        return kind, value
    if kind is float:
        return kind, repr(value)  # NaN is itself here, and -0.0 is not 0.0
    if isinstance(value, list | tuple) and deeper:
        return kind, tuple(_value_key(item, deeper - 1) for item in value)
    return kind, id(value)
