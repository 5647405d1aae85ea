"""Formulas as expressions, one per region of token counts."""

from __future__ import annotations

from collections.abc import Sequence

from lmqlc.compiler import constraints as c
from lmqlc.compiler.automata import counts, operands
from lmqlc.compiler.automata.atoms import Atoms
from lmqlc.compiler.automata.expression import Expressions, Node
from lmqlc.compiler.automata.limits import MAX_REGIONS, MOST_TOKENS, LimitExceeded
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
            found = counts.counts("==" if part.op == "!=" else part.op, bound, MOST_TOKENS)
            if found is not None:
                low, high = found
                cuts.update(cut for cut in (low, 0 if high is None else high + 1) if cut < MOST_TOKENS)
    if len(cuts) > MAX_REGIONS:
        raise LimitExceeded("regions")
    return sorted(cuts)


def conjuncts(build: Expressions, constraint: c.Constraint, tokens: int, source: Source | None) -> list[Node]:
    """The expressions whose intersection a formula is, where the count of tokens is `tokens`."""
    atoms = Atoms(build, source, tokens)
    return _parts(build, atoms, constraint.args if isinstance(constraint, c.And) else (constraint,))


def _node(build: Expressions, atoms: Atoms, part: c.Constraint) -> Node:
    if isinstance(part, c.And):
        return build.intersection(_parts(build, atoms, part.args))
    if isinstance(part, c.Or):
        return build.union((atoms.union([arg for arg in part.args if _is_atom(arg)]), *_nodes(build, atoms, part.args)))
    if isinstance(part, c.Not):
        return build.complement(_node(build, atoms, part.arg))
    return atoms.node(part)


def _parts(build: Expressions, atoms: Atoms, args: Sequence[c.Constraint]) -> list[Node]:
    """The parts of a conjunction; negated atoms are the complement of their union."""
    negated = [arg.arg for arg in args if isinstance(arg, c.Not) and _is_atom(arg.arg)]
    found = [_node(build, atoms, arg) for arg in args if not (isinstance(arg, c.Not) and _is_atom(arg.arg))]
    return [*found, build.complement(atoms.union(negated))] if negated else found


def _nodes(build: Expressions, atoms: Atoms, args: Sequence[c.Constraint]) -> list[Node]:
    """The parts that are no atoms themselves."""
    return [_node(build, atoms, arg) for arg in args if not _is_atom(arg)]


def _is_atom(part: c.Constraint) -> bool:
    return not isinstance(part, c.And | c.Or | c.Not)
