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


def texts(build: Expressions, node: Node, most: int, longest: int = 200) -> list[str] | None:
    """All texts of a language; None where there are more than `most`, or longer ones than `longest` characters."""
    rows = Derivatives(build, Partition(build.sets))
    if shortest(build, node) is None:
        return []
    found: list[str] = []
    pending, steps = [(node, "")], 0
    while pending:
        at, text = pending.pop()
        steps += 1
        if at.nullable:
            found.append(text)
        if len(found) > most or len(text) > longest or steps > 50 * most:
            return None
        for mask, then in rows.row(at):
            ranges = [span for number in range(mask.bit_length()) if mask >> number & 1 for span in rows.partition.ranges[number]]
            if sum(high - low for low, high in ranges) > most:
                return None
            pending += [(then, text + chr(code)) for low, high in ranges for code in range(low, high)]
        if len(pending) > 50 * most:
            return None
    return sorted(found)
