"""Partial evaluation: the values of a hole's operands put into its constraint."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from lmqlc.compiler import constraints as c
from lmqlc.compiler.automata import operands
from lmqlc.compiler.passes.fold import fold
from lmqlc.compiler.passes.normalize import normalize
from lmqlc.grammar.source import Span


def bind(constraint: c.Constraint, values: Sequence[object]) -> c.Constraint:
    """The constraint with `values[i]` in place of `Slot(i)`, in normal form, without slots.

    An atom with an operand that is OPEN is unknown: once negation stands on atoms only, it becomes true, so that it restricts nothing.
    Iterables are consumed here, once, in a fixed order. Raises LmqlCompileError for operands of the wrong kind.
    """
    known = [operands.taken(value) for value in values]
    return fold(normalize(_bind(normalize(constraint), known)))


def _bind(part: c.Constraint, values: Sequence[object]) -> c.Constraint:
    if isinstance(part, (c.And, c.Or)):
        return type(part)(tuple(_bind(arg, values) for arg in part.args), part.span)
    atom = part.arg if isinstance(part, c.Not) else part
    bound = _bind_atom(atom, values)
    if bound is None:
        return c.Truth(c.Const(True), part.span)
    return c.Not(bound, part.span) if isinstance(part, c.Not) else bound


def _bind_atom(atom: Any, values: Sequence[object]) -> c.Atom | None:
    """The atom with known operands; None where one is open."""
    changed: dict[str, Any] = {}
    for name in atom.__slots__:
        given = getattr(atom, name)
        if isinstance(given, tuple):
            changed[name] = tuple(_value(operand, values) for operand in given)
            if any(operand.value is c.OPEN for operand in changed[name]):
                return None
        elif isinstance(given, (c.Const, c.Slot)):
            known = _value(given, values)
            if known.value is c.OPEN:
                return None
            changed[name] = c.Const(_checked(atom, name, known.value))
    bound: c.Atom = replace(atom, **changed)
    return bound


def _value(operand: c.Operand, values: Sequence[object]) -> c.Const:
    return c.Const(values[operand.index]) if isinstance(operand, c.Slot) else operand


def _checked(atom: c.Atom, name: str, value: object) -> object:
    check = _CHECKS.get((type(atom), name))
    return check(value, atom.span) if check is not None else value


def _checked_pattern(value: object, span: Span | None) -> object:
    operands.pattern(value, span)
    return value


_CHECKS: dict[tuple[type, str], Callable[[object, Span | None], object]] = {
    (c.Truth, "value"): operands.truth,
    (c.InSet, "options"): operands.options,
    (c.Equals, "value"): lambda value, span: operands.text(value, "what a hole is compared with", span),
    (c.Contains, "text"): lambda value, span: operands.text(value, "the left side of `in`", span),
    (c.StartsWith, "text"): lambda value, span: operands.texts(value, "the argument of startswith", span),
    (c.EndsWith, "text"): lambda value, span: operands.texts(value, "the argument of endswith", span),
    (c.Matches, "pattern"): _checked_pattern,
    (c.NumberCompare, "bound"): lambda value, span: operands.number(value, "a number", span),
    (c.Count, "bound"): lambda value, span: operands.number(value, "a count", span),
    (c.Stop, "phrase"): operands.phrases,
    (c.Grammar, "grammar"): lambda value, span: operands.text(value, "the grammar of GRAMMAR(X, …)", span),
    (c.Json, "schema"): operands.schema,
}
"""What the operand of an atom must be, and the form in which the atom keeps it."""
