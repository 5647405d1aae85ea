"""Formulas as expressions, one per region of token counts."""

from __future__ import annotations

from lmqlc.compiler import constraints as c
from lmqlc.compiler.automata import counts, operands
from lmqlc.compiler.automata.atoms import Atoms
from lmqlc.compiler.automata.expression import Expressions, Node
from lmqlc.compiler.automata.limits import MAX_REGIONS, LimitExceeded
from lmqlc.grammar.source import Source


def regions(constraint: c.Constraint) -> list[int]:
    """The first count of every region: between two of them no token atom of the formula changes. Raises LimitExceeded."""
    cuts = {0}
    pending = [constraint]
    while pending:
        part = pending.pop()
        if isinstance(part, (c.And, c.Or)):
            pending += part.args
        elif isinstance(part, c.Not):
            pending.append(part.arg)
        elif isinstance(part, c.Count) and part.unit == "tokens":
            bound = operands.number(operands.value(part.bound), "a count", part.span)
            found = counts.counts("==" if part.op == "!=" else part.op, bound)
            if found is not None:
                cuts.update((found[0],) if found[1] is None else (found[0], found[1] + 1))
    if len(cuts) > MAX_REGIONS:
        raise LimitExceeded("regions")
    return sorted(cuts)


def conjuncts(build: Expressions, constraint: c.Constraint, tokens: int, source: Source | None) -> list[Node]:
    """The expressions whose intersection a formula is, where the count of tokens is `tokens`."""
    atoms = Atoms(build, source, tokens)
    parts = constraint.args if isinstance(constraint, c.And) else (constraint,)
    return [_node(build, atoms, part) for part in parts]


def _node(build: Expressions, atoms: Atoms, part: c.Constraint) -> Node:
    if isinstance(part, c.And):
        return build.intersection(_node(build, atoms, arg) for arg in part.args)
    if isinstance(part, c.Or):
        return build.union(_node(build, atoms, arg) for arg in part.args)
    if isinstance(part, c.Not):
        return build.complement(_node(build, atoms, part.arg))
    return atoms.node(part)
