"""Constraints whose operands are all constants, judged at compile time: no text meets them, or every text does."""

from __future__ import annotations

from lmqlc.compiler.constraint_parts import is_true, operands_in, own_type, parts
from lmqlc.compiler.constraints import Compared, Const, Constraint, Slot, TypeIs
from lmqlc.compiler.findings import Findings
from lmqlc.compiler.ir import HoleIR, Program
from lmqlc.grammar.errors import LmqlCompileError, UnsupportedConstraint
from lmqlc.grammar.source import Source

MAX_STEPS = 1_000_000
MAX_STATES = 20_000
"""Bounds on the search for a text that meets a constraint; past them nothing is said."""


def check_constraints(program: Program, findings: Findings) -> None:
    """Report constraints that nothing can meet, and warn of those that restrict nothing."""
    for hole in program.holes:
        if not _check_values(hole, findings):
            continue
        if not is_true(hole.constraint) and not any(isinstance(o, Slot) for o in operands_in(hole.constraint)):
            _check(hole.constraint, findings)


def _check_values(hole: HoleIR, findings: Findings) -> bool:
    """Report comparisons by value where the hole has no type. False where the constraint is known only with its type."""
    compared = [part for part in parts(hole.constraint) if isinstance(part, Compared)]
    if not compared or hole.has_type or any(isinstance(part, TypeIs) for part in parts(hole.constraint)):
        return not compared
    if own_type(hole.constraint) is not None:
        return False
    for part in compared:
        if isinstance(part.value, Const) and part.span is not None:
            shown = findings.source.text[part.span.start : part.span.end]
            hint = f"give the hole a type, `[{hole.name}: int]`, or compare the number: `int({hole.name}) {part.op} …`"
            findings.error("L0400", f"`{shown}` compares a text with a value that is none", part.span, hint)
    return False


def _check(constraint: Constraint, findings: Findings) -> None:
    from lmqlc.compiler.automata.limits import LimitExceeded
    from lmqlc.compiler.passes.conflict import conflict, vacuous

    source = findings.source
    try:
        found = vacuous(constraint, source) if _is_possible(constraint, source) else [conflict(constraint, source)]
    except (UnsupportedConstraint, LimitExceeded, RecursionError):
        return  # what can hold it, and whether it is too large, is known when the program runs
    except LmqlCompileError as error:
        found = list(error.diagnostics)
    findings.diagnostics.extend(finding for finding in found if finding not in findings.diagnostics)


def _is_possible(constraint: Constraint, source: Source) -> bool:
    """Some text, with some count of tokens, meets a constraint; its stops add no condition. No automaton is built to know it."""
    from lmqlc.compiler.automata.expression import Expressions
    from lmqlc.compiler.automata.formula import conjuncts, regions
    from lmqlc.compiler.automata.search import shortest
    from lmqlc.compiler.passes.fold import fold
    from lmqlc.compiler.passes.normalize import normalize
    from lmqlc.compiler.passes.stops import split_stops

    rest = fold(split_stops(normalize(constraint))[0])
    build = Expressions(MAX_STEPS)
    return any(
        shortest(build, build.intersection(conjuncts(build, rest, tokens, source)), MAX_STATES) is not None for tokens in regions(rest)
    )
