"""Shortest texts of an expression, without building its automaton: satisfiability and small questions about patterns."""

from __future__ import annotations

from lmqlc.compiler.automata.derivative import Derivatives
from lmqlc.compiler.automata.expression import Expressions, Node
from lmqlc.compiler.automata.limits import MAX_STATES, LimitExceeded
from lmqlc.compiler.automata.partition import Partition


def shortest(build: Expressions, node: Node, max_states: int = MAX_STATES) -> int | None:
    """The length, in characters, of a shortest text of a language; None where there is none. Raises LimitExceeded."""
    rows = Derivatives(build, Partition(build.sets))
    seen, level, length = {node}, [node], 0
    while level:
        after: list[Node] = []
        for at in level:
            if at.nullable:
                return length
            for _, then in rows.row(at):
                if then not in seen:
                    seen.add(then)
                    after.append(then)
            if len(seen) > max_states:
                raise LimitExceeded("states")
        level, length = after, length + 1
    return None
