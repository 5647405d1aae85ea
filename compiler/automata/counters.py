"""Upper bounds on characters that are kept as a counter beside the states.

Exact only for a conjunct of the whole formula that says "every text of this shape has at most n characters" and is otherwise unbounded:
a set repeated up to n times, alone or between parts of fixed length.
"""

from __future__ import annotations

from lmqlc.compiler.automata.expression import CHARS, CONCAT, EPSILON, REPEAT, UNBOUNDED, Expressions, Node
from lmqlc.compiler.automata.limits import COUNTER_THRESHOLD, LONGEST_TEXT


def take_counter(build: Expressions, formulas: list[list[Node]]) -> tuple[list[list[Node]], int | None]:
    """The conjuncts of every region without upper bounds that all regions share, and the least of these (None: there is none)."""
    shared = [node for node in formulas[0] if all(node in parts for parts in formulas[1:])]
    limits: dict[Node, int] = {}
    relaxed: dict[Node, Node] = {}
    for node in shared:
        found = _relax(build, node)
        if found is not None:
            relaxed[node], limits[node] = found
    if not limits:
        return formulas, None
    limit = min(limits.values())
    return [[relaxed.get(node, node) for node in parts] for parts in formulas], limit if limit < LONGEST_TEXT else None


def _relax(build: Expressions, node: Node) -> tuple[Node, int] | None:
    """A conjunct without its bound, and the bound; None where it has no such shape."""
    parts: list[Node] = []
    rest = node
    while rest.kind == CONCAT:
        parts.append(rest.args[0])
        rest = rest.args[1]
    parts.append(rest)
    total, counted = 0, -1
    for at, part in enumerate(parts):
        width = _width(part)
        if width is not None:
            total += width
        elif counted < 0 and part.kind == REPEAT and part.args[0].kind == CHARS and COUNTER_THRESHOLD < part.counts[1] < UNBOUNDED:
            counted = at
        else:
            return None
    if counted < 0:
        return None
    body, (low, high) = parts[counted].args[0], parts[counted].counts
    parts[counted] = build.repeat(body, low)
    return build.sequence(parts), total + high


def _width(node: Node) -> int | None:
    """The length of all texts of a node, where they have one length and it is plain to see."""
    if node.kind == EPSILON:
        return 0
    if node.kind == CHARS:
        return 1
    if node.kind == REPEAT and node.args[0].kind == CHARS and node.counts[0] == node.counts[1]:
        return node.counts[0]
    return None
