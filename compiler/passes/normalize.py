"""Normal form: negation only on atoms, nested conjunctions and disjunctions flattened, repetitions dropped."""

from __future__ import annotations

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
    if isinstance(constraint, c.Count) and not _unordered(constraint.bound):
        return c.Count(constraint.unit, _OPPOSITE[constraint.op], constraint.bound, constraint.span)
    return c.Not(constraint, constraint.span)


def _unordered(bound: c.Operand) -> bool:
    """Whether a bound may be NaN, with which a comparison and its opposite are both false."""
    return not isinstance(bound, c.Const) or bound.value != bound.value


def _join(kind: type[c.And] | type[c.Or], args: list[c.Constraint], whole: c.And | c.Or) -> c.Constraint:
    found: list[c.Constraint] = []
    for arg in args:
        for part in arg.args if isinstance(arg, kind) else (arg,):
            if not any(same(part, other) for other in found):
                found.append(part)
    return found[0] if len(found) == 1 else kind(tuple(found), whole.span)


def same(left: c.Constraint, right: c.Constraint) -> bool:
    """Whether two parts say the same, wherever they stand. Operands of different types differ: `1` is not `True`."""
    return type(left) is type(right) and _key(left) == _key(right)


def _key(part: c.Constraint) -> object:
    if isinstance(part, (c.And, c.Or)):
        return tuple((type(arg), _key(arg)) for arg in part.args)
    if isinstance(part, c.Not):
        return type(part.arg), _key(part.arg)
    fields = [getattr(part, name) for name in part.__slots__ if name not in ("span", "pattern_span")]
    return tuple((type(f), _value_key(f.value)) if isinstance(f, c.Const) else f for f in fields)


def _value_key(value: object) -> object:
    """Equal for values that mean the same in a constraint: plain values by what they are, anything else by its identity."""
    if isinstance(value, (list, tuple)):
        return type(value), tuple(map(_value_key, value))
    if isinstance(value, (str, bytes, int, float)) or value is None:
        return type(value), repr(value)
    return type(value), id(value)
