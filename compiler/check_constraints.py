"""Constraints whose operands are all constants, judged at compile time: no text meets them, or every text does."""

from __future__ import annotations

from lmqlc.compiler.constraint_parts import is_true, operands_in
from lmqlc.compiler.constraints import Constraint, Slot
from lmqlc.compiler.findings import Findings
from lmqlc.compiler.ir import Program
from lmqlc.grammar.errors import LmqlCompileError, UnsupportedConstraint


def check_constraints(program: Program, findings: Findings) -> None:
    """Report constraints that nothing can meet, and warn of those that restrict nothing."""
    for hole in program.holes:
        if not is_true(hole.constraint) and not any(isinstance(o, Slot) for o in operands_in(hole.constraint)):
            _check(hole.constraint, findings)


def _check(constraint: Constraint, findings: Findings) -> None:
    from lmqlc.compiler.automata.build import build
    from lmqlc.compiler.passes.conflict import vacuous

    try:
        build(constraint, source=findings.source)
        found = vacuous(constraint, findings.source)
    except UnsupportedConstraint:
        return  # whether a backend can hold it is known when the program runs
    except LmqlCompileError as error:
        found = list(error.diagnostics)
    findings.diagnostics.extend(finding for finding in found if finding not in findings.diagnostics)
