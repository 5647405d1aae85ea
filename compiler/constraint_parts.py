"""Walks over constraint trees."""

from __future__ import annotations

from collections.abc import Iterator

from lmqlc.compiler.constraints import And, Const, Constraint, Not, Operand, Or, Slot, Truth


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
