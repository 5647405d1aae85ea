"""Counts of tokens, for servers that decode by themselves: an upper bound becomes a limit of the request."""

from __future__ import annotations

import math

from lmqlc.compiler import constraints as c
from lmqlc.compiler.automata import operands
from lmqlc.compiler.automata.problems import UNSUPPORTED, error
from lmqlc.compiler.passes.describe import describe
from lmqlc.grammar.source import Source


def take_token_limit(constraint: c.Constraint, source: Source | None = None) -> tuple[c.Constraint, int | None]:
    """A normalised formula without its upper bounds of tokens, and the smallest of them (None: there is none).

    Raises UnsupportedConstraint for every other count of tokens: a lower bound, an exact count, or one beside alternatives.
    """
    parts = constraint.args if isinstance(constraint, c.And) else (constraint,)
    kept: list[c.Constraint] = []
    limit: int | None = None
    for part in parts:
        most = _most(part)
        if most is None:
            _refuse_counts(part, source)
            kept.append(part)
        else:
            limit = most if limit is None else min(limit, most)
    rest = kept[0] if len(kept) == 1 else c.And(tuple(kept), constraint.span) if kept else c.TRUE
    return rest, limit


def _most(part: c.Constraint) -> int | None:
    """The most tokens that an upper bound allows; None for anything else."""
    if not isinstance(part, c.Count) or part.unit != "tokens" or part.op not in ("<", "<="):
        return None
    bound = operands.value(part.bound)
    if isinstance(bound, bool) or not isinstance(bound, int | float) or not math.isfinite(bound):
        return None
    return math.ceil(bound) - 1 if part.op == "<" else math.floor(bound)


def _refuse_counts(part: c.Constraint, source: Source | None) -> None:
    if isinstance(part, c.Count) and part.unit == "tokens":
        hint = "use an upper bound such as len(TOKENS(X)) < 20, bound characters or words, or run the model in process (local:NAME)"
        raise error(UNSUPPORTED, f"a server that decodes by itself cannot hold `{describe(part, source)}`", part.span, hint, source)
    if isinstance(part, c.Not):
        _refuse_counts(part.arg, source)
    elif isinstance(part, c.And | c.Or):
        for arg in part.args:
            _refuse_counts(arg, source)
