"""Constraints whose operands are all constants, judged at compile time: no text meets them, or every text does."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from lmqlc.compiler.constraints import And, Const, Constraint, Not, Or, Slot, Truth
from lmqlc.compiler.findings import Findings
from lmqlc.compiler.ir import Program
from lmqlc.grammar.errors import LmqlCompileError, UnsupportedConstraint


def check_constraints(program: Program, findings: Findings) -> None:
    """Report constraints that nothing can meet, and warn of those that restrict nothing."""
    for hole in program.holes:
        if not _is_plain(hole.constraint) and not any(isinstance(o, Slot) for o in operands_in(hole.constraint)):
            _check(hole.constraint, findings)


def _is_plain(constraint: Constraint) -> bool:
    """No constraint at all."""
    return isinstance(constraint, Truth) and isinstance(constraint.value, Const) and bool(constraint.value.value)


def operands_in(constraint: Constraint) -> Iterator[Const | Slot]:
    """Every operand of a constraint, in the order of its fields."""
    for part in parts(constraint):
        for field in dataclasses.fields(part):
            value = getattr(part, field.name)
            yield from (item for item in (value if isinstance(value, tuple) else (value,)) if isinstance(item, Const | Slot))


def parts(constraint: Constraint) -> Iterator[Constraint]:
    """A constraint and everything in it."""
    yield constraint
    if isinstance(constraint, And | Or):
        for arg in constraint.args:
            yield from parts(arg)
    elif isinstance(constraint, Not):
        yield from parts(constraint.arg)


def _check(constraint: Constraint, findings: Findings) -> None:
    from lmqlc.compiler.automata.build import build

    try:
        build(constraint, source=findings.source)
    except UnsupportedConstraint:
        return  # whether a backend can hold it is known when the program runs
    except LmqlCompileError as error:
        findings.diagnostics.extend(d for d in error.diagnostics if d not in findings.diagnostics)
