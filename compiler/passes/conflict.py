"""Formulas that no text meets, or that every text meets: which conditions are to blame."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lmqlc.compiler import constraints as c
from lmqlc.compiler.automata.expression import Expressions
from lmqlc.compiler.automata.formula import conjuncts, regions
from lmqlc.compiler.automata.limits import LimitExceeded
from lmqlc.compiler.automata.operands import writable
from lmqlc.compiler.automata.problems import UNSATISFIABLE, VACUOUS
from lmqlc.compiler.automata.search import shortest
from lmqlc.compiler.passes.describe import describe
from lmqlc.compiler.passes.fold import fold, truth
from lmqlc.compiler.passes.normalize import key, normalize
from lmqlc.compiler.passes.stops import split_stops
from lmqlc.grammar.diagnostics import Diagnostic
from lmqlc.grammar.errors import UnsupportedConstraint
from lmqlc.grammar.source import Source, Span

_CORE_STEPS = 1_000_000
_VACUOUS_STEPS = 400_000
_STATES = 20_000


def conflict(constraint: c.Constraint, source: Source | None = None) -> Diagnostic:
    """Why a formula without slots, which no text meets, has none: a smallest set of its conjuncts that conflict (none of them can be
    left out). Where the search for it takes too long the set may be larger."""
    parts = _core(_parts(constraint), Budget(_CORE_STEPS))
    if len(parts) == 1:
        message = f"no text can meet this condition: {describe(parts[0], source)}"
        return Diagnostic(UNSATISFIABLE, "error", message, place(parts[0]) or place(constraint), hint=_hint(parts[0]))
    shown = " and ".join(describe(part, source) for part in parts)
    message = f"no text can meet these conditions together: {shown}"
    notes = tuple((f"conflicts with {describe(part, source)}", place(part)) for part in parts[1:])
    return Diagnostic(UNSATISFIABLE, "error", message, place(parts[0]) or place(constraint), notes, "leave one of them out, or relax it")


def _hint(part: c.Constraint) -> str:
    found = next((text for text in _texts(part) if not writable(text)), None)
    if found is None:
        return "correct it, or leave it out"
    code = next(ord(character) for character in found if not writable(character))
    return f"no text can hold U+{code:04X}, half of a surrogate pair: write the whole character"


def _texts(part: c.Constraint) -> Iterator[str]:
    """Strings among the operands of an atom."""
    for name in part.__slots__:
        operand = getattr(part, name)
        if isinstance(operand, c.Const):
            several = operand.value if isinstance(operand.value, list | tuple) else (operand.value,)
            yield from (value for value in several if isinstance(value, str))


def vacuous(constraint: c.Constraint, source: Source | None = None) -> list[Diagnostic]:
    """Warnings for conjuncts of a formula without slots that every text meets. Conditions without the hole are not judged."""
    found = []
    for part in _parts(constraint):
        if truth(part) is None and _always(part):
            message = f"this condition always holds: {describe(part, source)}"
            found.append(Diagnostic(VACUOUS, "warning", message, place(part), hint="leave it out, or correct it"))
    return found


def _parts(constraint: c.Constraint) -> list[c.Constraint]:
    """The conjuncts of a formula without its stops, as they were written; those that say the same once."""
    rest, _ = split_stops(normalize(constraint))
    wanted = {key(part): part for part in (rest.args if isinstance(rest, c.And) else (rest,))}
    written = [part for part in _conjuncts(constraint) if wanted.pop(key(normalize(part)), None) is not None]
    return [*written, *wanted.values()]


def _conjuncts(constraint: c.Constraint) -> Iterator[c.Constraint]:
    """What must hold together; the negation of alternatives is written `not` of each."""
    if isinstance(constraint, c.And):
        for arg in constraint.args:
            yield from _conjuncts(arg)
    elif isinstance(constraint, c.Not) and isinstance(constraint.arg, c.Or):
        for arg in constraint.arg.args:
            yield from _conjuncts(c.Not(arg))
    elif isinstance(constraint, c.Not) and isinstance(constraint.arg, c.Not) and isinstance(constraint.arg.arg, c.And):
        yield from _conjuncts(constraint.arg.arg)
    else:
        yield constraint


def place(part: c.Constraint) -> Span | None:
    """Where a part of a formula stands; that of its first part which has a place, where it has none itself."""
    pending = [part]
    while pending:
        at = pending.pop()
        if at.span is not None:
            return at.span
        pending += (at.arg,) if isinstance(at, c.Not) else at.args[::-1] if isinstance(at, c.And | c.Or) else ()
    return None


def _always(part: c.Constraint) -> bool:
    try:
        return not _possible([c.Not(part)], Budget(_VACUOUS_STEPS))
    except (LimitExceeded, RecursionError, UnsupportedConstraint):
        return False


@dataclass
class Budget:
    """Steps left for several searches together."""

    steps: int


def _core(parts: list[c.Constraint], budget: Budget) -> list[c.Constraint]:
    """Leave conjuncts out one by one as long as the others still conflict."""
    at = 0
    while at < len(parts) and len(parts) > 1:
        others = parts[:at] + parts[at + 1 :]
        try:
            needed = _possible(others, budget)
        except (LimitExceeded, RecursionError):
            needed = True
        if needed:
            at += 1
        else:
            parts = others
    return parts


def _possible(parts: Sequence[c.Constraint], budget: Budget) -> bool:
    """Whether some text, with some count of tokens, meets all of several conditions. Raises LimitExceeded."""
    whole = fold(normalize(c.And(tuple(parts))))
    return any(_has_text(whole, tokens, budget) for tokens in regions(whole))


def _has_text(whole: c.Constraint, tokens: int, budget: Budget) -> bool:
    with Expressions(budget.steps) as build:
        try:
            found = shortest(build, build.intersection(conjuncts(build, whole, tokens, None)), _STATES)
        except LimitExceeded as limit:
            budget.steps = 0 if limit.what == "time" else build.steps_left
            raise
        budget.steps = build.steps_left
        return found is not None
