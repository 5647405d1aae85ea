"""Stops: taken out of the formula they stand in."""

from __future__ import annotations

from lmqlc.compiler import constraints as c
from lmqlc.compiler.automata import operands
from lmqlc.compiler.automata.automaton import StopPhrase
from lmqlc.compiler.automata.problems import MISPLACED_STOP, error
from lmqlc.grammar.source import Span

_HINT = "make the stop a conjunct of the whole constraint: `… and STOPS_AT(X, …)`"


def split_stops(constraint: c.Constraint) -> tuple[c.Constraint, tuple[c.Stop, ...]]:
    """The formula without its stops, which count as true in it, and the stops in order. Several stops may be or-ed with each other.

    Raises LmqlCompileError for a stop under `not`, or or-ed with an atom.
    """
    if isinstance(constraint, c.Stop):
        return c.TRUE, (constraint,)
    if isinstance(constraint, c.And):
        rests: list[c.Constraint] = []
        stops: list[c.Stop] = []
        for arg in constraint.args:
            rest, found = split_stops(arg)
            stops += found
            if rest is not c.TRUE:
                rests.append(rest)
        if not stops:
            return constraint, ()
        return (c.And(tuple(rests), constraint.span) if len(rests) > 1 else rests[0] if rests else c.TRUE), tuple(stops)
    if isinstance(constraint, c.Or) and _only_stops(constraint):
        return c.TRUE, _stops_in(constraint)
    found = _stops_in(constraint)
    if found:
        raise _misplaced(constraint, found[0])
    return constraint, ()


def stop_texts(constraint: c.Constraint) -> tuple[StopPhrase, ...]:
    """The stop phrases of a constraint without slots, as they are shown."""
    found: list[StopPhrase] = []
    for stop in _stops_in(constraint):
        for phrase in filter(operands.writable, operands.phrases(operands.value(stop.phrase), stop.span)):
            pattern = None if isinstance(phrase, str) else phrase
            text = phrase if isinstance(phrase, str) else None
            found.append(StopPhrase(stop.keep, text, pattern.pattern if pattern else None, pattern.flags if pattern else 0))
    return tuple(found)


def _only_stops(constraint: c.Or) -> bool:
    return all(isinstance(arg, c.Stop) or (isinstance(arg, c.Or) and _only_stops(arg)) for arg in constraint.args)


def _stops_in(constraint: c.Constraint) -> tuple[c.Stop, ...]:
    if isinstance(constraint, c.Stop):
        return (constraint,)
    if isinstance(constraint, c.Not):
        return _stops_in(constraint.arg)
    if isinstance(constraint, (c.And, c.Or)):
        return tuple(stop for arg in constraint.args for stop in _stops_in(arg))
    return ()


def _misplaced(constraint: c.Constraint, stop: c.Stop) -> Exception:
    span: Span | None = stop.span or constraint.span
    where = "under `not`" if isinstance(constraint, c.Not) else "as an alternative to other conditions"
    return error(MISPLACED_STOP, f"a stop cannot stand {where}", span, _HINT)
