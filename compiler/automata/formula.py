"""Formulas as expressions, one per region of token counts."""

from __future__ import annotations

from collections.abc import Sequence

from lmqlc.compiler import constraints as c
from lmqlc.compiler.automata import counts, operands
from lmqlc.compiler.automata.atoms import Atoms
from lmqlc.compiler.automata.expression import Expressions, Node
from lmqlc.compiler.automata.limits import MAX_REGIONS, MOST_TOKENS, LimitExceeded
from lmqlc.compiler.automata.remembered import Rule
from lmqlc.compiler.automata.typed_memory import DIGITS, type_rule
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


def conjuncts(build: Expressions, constraint: c.Constraint, tokens: int, source: Source | None, remembers: bool = True) -> list[Node]:
    """The expressions whose intersection a formula is, where the count of tokens is `tokens`. remembers: without what `memory` holds."""
    atoms = Atoms(build, source, tokens)
    parts = _conjuncts(constraint)
    typed = [atoms.type_is(part, remembers) for part in parts if isinstance(part, c.TypeIs)]
    return [*typed, *_parts(build, atoms, [part for part in parts if not isinstance(part, c.TypeIs)])]


def memory(constraint: c.Constraint) -> tuple[Rule, ...]:
    """What the conjuncts of a formula leave to the memory beside its automaton."""
    found = []
    for part in _conjuncts(constraint):
        if isinstance(part, c.TypeIs):
            found.append(type_rule(operands.value(part.type)))
        elif isinstance(part, c.Number | c.NumberCompare) and part.kind == "int":
            found.append(Rule(digits=DIGITS))
    return tuple(dict.fromkeys(rule for rule in found if rule is not None))


def _conjuncts(constraint: c.Constraint) -> tuple[c.Constraint, ...]:
    return constraint.args if isinstance(constraint, c.And) else (constraint,)


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
