"""Constraints in the words of the language, for messages."""

from __future__ import annotations

from lmqlc.compiler import constraints as c
from lmqlc.grammar.source import Source

_NAMES = {"chars": "len(X)", "tokens": "len(TOKENS(X))", "words": "len(WORDS(X))", "sentences": "len(SENTENCES(X))"}
_WIDTH = 80


def describe(constraint: c.Constraint, source: Source | None = None) -> str:
    """A constraint as the program wrote it, where it shows it, else as it could be written. Long ones are cut."""
    text = _written(constraint, source) or _negated(constraint, source) or _spelled(constraint)
    return text if len(text) <= _WIDTH else text[: _WIDTH - 1] + "…"


def _written(constraint: c.Constraint, source: Source | None) -> str | None:
    if source is None or constraint.span is None:
        return None
    return " ".join(source.text[constraint.span.start : constraint.span.end].split()) or None


def _negated(constraint: c.Constraint, source: Source | None) -> str | None:
    """A negation that is not written itself, of something that is."""
    inner = _written(constraint.arg, source) if isinstance(constraint, c.Not) else None
    return None if inner is None else f"not ({inner})"


def _operand(operand: c.Operand) -> str:
    if isinstance(operand, c.Slot):
        return "…"
    pattern = getattr(operand.value, "pattern", None)
    return repr(pattern if pattern is not None else operand.value)


def _spelled(part: c.Constraint) -> str:
    if isinstance(part, (c.And, c.Or)):
        return f" {type(part).__name__.lower()} ".join(f"({_spelled(arg)})" for arg in part.args)
    if isinstance(part, c.Not):
        return f"not {_spelled(part.arg)}"
    if isinstance(part, c.Count):
        return f"{_NAMES[part.unit]} {part.op} {_operand(part.bound)}"
    if isinstance(part, c.NumberCompare):
        return f"{part.kind}(X) {part.op} {_operand(part.bound)}"
    if isinstance(part, c.Compared):
        return f"X {part.op} {_operand(part.value)}"
    if isinstance(part, c.Number):
        return f"{part.kind.upper()}(X)"
    if isinstance(part, c.TextIs):
        return f"X.{part.test}()"
    return _spelled_call(part)


def _spelled_call(part: c.Constraint) -> str:
    """Atoms with one operand."""
    if isinstance(part, c.InSet):
        return f"X in {_operand(part.options)}"
    if isinstance(part, c.Equals):
        return f"X == {_operand(part.value)}"
    if isinstance(part, c.Contains):
        return f"{_operand(part.text)} in X"
    if isinstance(part, (c.StartsWith, c.EndsWith)):
        return f"X.{type(part).__name__.lower()}({_operand(part.text)})"
    if isinstance(part, c.Matches):
        return f"REGEX(X, {_operand(part.pattern)})"
    if isinstance(part, c.TypeIs):
        return f"type(X) is {getattr(getattr(part.type, 'value', None), '__name__', _operand(part.type))}"
    if isinstance(part, c.Stop):
        return f"{'STOPS_AT' if part.keep else 'STOPS_BEFORE'}(X, {_operand(part.phrase)})"
    if isinstance(part, c.Truth):
        return _operand(part.value)
    return {c.Json: "JSON(X)", c.Grammar: "GRAMMAR(X, …)"}.get(type(part), "a custom constraint")
