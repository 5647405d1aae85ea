"""Walks over constraint trees."""

from __future__ import annotations

from collections.abc import Iterator

from lmqlc.compiler.constraints import And, Const, Constraint, Not, Number, NumberCompare, Operand, Or, Slot, Truth, TypeIs


def parts(constraint: Constraint) -> Iterator[Constraint]:
    """A constraint and everything in it, from the outside in."""
    yield constraint
    if isinstance(constraint, And | Or):
        for arg in constraint.args:
            yield from parts(arg)
    elif isinstance(constraint, Not):
        yield from parts(constraint.arg)


def operands_in(constraint: Constraint) -> Iterator[Operand]:
    """Every operand of a constraint, in the order of the tree."""
    for part in parts(constraint):
        for name in part.__slots__:
            value = getattr(part, name)
            yield from (item for item in (value if isinstance(value, tuple) else (value,)) if isinstance(item, Const | Slot))


def is_true(constraint: Constraint) -> bool:
    """The constraint is the constant true."""
    return isinstance(constraint, Truth) and isinstance(constraint.value, Const) and bool(constraint.value.value)


def own_type(constraint: Constraint) -> object:
    """The type of the value that a constraint gives by its own words: `type(X) is T`, `INT(X)`, `FLOAT(X)` as conjuncts; None for none."""
    if isinstance(constraint, Number | NumberCompare):
        return int if constraint.kind == "int" else float
    if isinstance(constraint, TypeIs):
        return constraint.type.value if isinstance(constraint.type, Const) else None
    if isinstance(constraint, And):
        found = [kind for kind in map(own_type, constraint.args) if kind is not None]
        return next((kind for kind in found if kind is int), found[0] if found else None)
    return None
