"""Partial evaluation: the values of a hole's operands put into its constraint."""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from lmqlc.compiler import constraints as c
from lmqlc.compiler.automata import operands
from lmqlc.compiler.automata.compared import comparable
from lmqlc.compiler.automata.problems import operand
from lmqlc.compiler.constraint_parts import own_type
from lmqlc.compiler.passes.fold import fold
from lmqlc.compiler.passes.normalize import normalize
from lmqlc.grammar.source import Span


def bind(constraint: c.Constraint, values: Sequence[object], kind: object = None) -> c.Constraint:
    """The constraint with `values[i]` in place of `Slot(i)`, in normal form, without slots.

    An atom with an operand that is OPEN is unknown: once negation stands on atoms only, it becomes true, so that it restricts nothing.
    kind: the type of the hole, which comparisons by value need. Iterables are consumed here, once, in a fixed order. Raises
    LmqlCompileError for operands of the wrong kind.
    """
    known = [operands.taken(value) for value in values]
    bound = _bind(normalize(constraint), known)
    return fold(normalize(_typed(bound, own_type(bound) if kind is None else kind)))


def _typed(part: c.Constraint, kind: object) -> c.Constraint:
    """The formula with the hole's type in its comparisons by value; those with texts are comparisons of texts."""
    if isinstance(part, (c.And, c.Or)):
        return type(part)(tuple(_typed(arg, kind) for arg in part.args), part.span)
    if isinstance(part, c.Not):
        return c.Not(_typed(part.arg, kind), part.span)
    return _compared(part, kind) if isinstance(part, c.Compared) and part.kind is None else part


def _compared(part: c.Compared, kind: object) -> c.Constraint:
    """A comparison whose operand is known: of values, or of texts where the operand is a text or the hole has no type."""
    value = operands.value(part.value)
    if part.op in ("in", "not in"):
        found = _among(part, kind, value)
        return c.Not(found, part.span) if part.op == "not in" and not isinstance(found, c.Compared) else found
    if _is_text(value) or kind is None or kind is str or (part.is_hole and not comparable(kind, value)):
        if part.op not in ("==", "!="):
            hint = "give the hole a type, or compare a number or a length: `int(X)`, `len(X)`"
            raise operand(f"texts have no order here: {operands.show(value)}", part.span, hint)
        text = str(value) if part.is_hole else operands.text(value, "what a hole is compared with", part.span)
        equal = c.Equals(c.Const(text), part.span)
        return c.Not(equal, part.span) if part.op == "!=" else equal
    return replace(part, kind=c.Const(kind))


def _is_text(value: object) -> bool:
    return isinstance(value, str) and not isinstance(value, enum.Enum)


def _among(part: c.Compared, kind: object, value: Any) -> c.Constraint:
    """`X in C`, for `not in` too; where only values are compared, with the operator that was written."""
    if isinstance(value, range) and kind not in (None, str):
        return replace(part, kind=c.Const(kind))
    if isinstance(value, str | bytes | bytearray) or not operands.has_items(value):
        return c.InSet(c.Const(operands.options(value, part.span)), part.span)
    items: list[Any] = list(value)
    values = [item for item in items if not _is_text(item)]
    if not values or kind is None or kind is str:
        return c.InSet(c.Const(operands.options(value if isinstance(value, set | frozenset) else items, part.span)), part.span)
    if len(values) == len(items):
        return replace(part, value=c.Const(values), kind=c.Const(kind))
    texts = c.InSet(c.Const(tuple(item for item in items if _is_text(item))), part.span)
    return c.Or((c.Compared("in", c.Const(values), c.Const(kind), False, part.span), texts), part.span)


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
