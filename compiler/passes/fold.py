"""Constant folding: conditions that do not depend on the text leave the formula."""

from __future__ import annotations

from lmqlc.compiler import constraints as c


def fold(constraint: c.Constraint) -> c.Constraint:
    """An equal formula in which `Truth` stands at most for the whole. Operands that are still slots stay."""
    if isinstance(constraint, c.Truth) and isinstance(constraint.value, c.Const):
        return c.Truth(c.Const(bool(constraint.value.value)), constraint.span)
    if isinstance(constraint, c.Not):
        arg = fold(constraint.arg)
        known = truth(arg)
        return c.Not(arg, constraint.span) if known is None else c.Truth(c.Const(not known), constraint.span)
    if isinstance(constraint, (c.And, c.Or)):
        return _fold_join(constraint)
    return constraint


def truth(constraint: c.Constraint) -> bool | None:
    """What a constant says; None for anything else."""
    if isinstance(constraint, c.Truth) and isinstance(constraint.value, c.Const):
        return bool(constraint.value.value)
    return None


def _fold_join(constraint: c.And | c.Or) -> c.Constraint:
    neutral = isinstance(constraint, c.And)
    args = [fold(arg) for arg in constraint.args]
    deciding = [arg for arg in args if truth(arg) is (not neutral)]
    if deciding:
        return deciding[0]
    kept = tuple(arg for arg in args if truth(arg) is None)
    if not kept:
        return c.Truth(c.Const(neutral), constraint.span)
    return kept[0] if len(kept) == 1 else type(constraint)(kept, constraint.span)
