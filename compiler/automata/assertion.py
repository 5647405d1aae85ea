"""Look-around in derivatives.

A node of width zero says something about its place in the text. Look-ahead restricts the rest of the text, so a concatenation with
one is derived together with everything that follows it (`_continued`), and becomes an intersection (GUARD). Look-behind speaks of the text
so far: the language that must end here is derived alongside, in a LOCATED node, from the start of the text. What such a language says
at a place is a *condition* on the rest of the text: any text, none, or, where it contains look-ahead itself, something between.

Anchors and word boundaries are look-around over one character; `regex.py` spells them so.
"""

from __future__ import annotations

from lmqlc.compiler.automata.derivative import RULES, Derivatives, once_less
from lmqlc.compiler.automata.expression import (
    AND,
    BEHIND,
    CONCAT,
    GUARD,
    LOCATED,
    LOOK,
    LOOKS_BEHIND,
    MARK,
    NOT,
    OR,
    REPEAT,
    Expressions,
    Node,
    Row,
)  # fmt: skip

Context = tuple[tuple[int, Node], ...]
"""By number of a look-behind: the condition on the rest of the text under which it holds at this place."""


def anchored(build: Expressions, body: Node) -> Node:
    """The language of an expression that may look around, for a text that begins where the expression does."""
    if not body.flags:
        return body
    numbers = _behinds(build, body)
    return _locate(build, body, numbers, tuple(build.behinds[number] for number in numbers))


def _behinds(build: Expressions, body: Node) -> tuple[int, ...]:
    """The numbers of all look-behinds in an expression, those inside others first (they were made first)."""
    found: set[int] = set()
    done: set[Node] = set()
    pending = [body]
    while pending:
        node = pending.pop()
        if node in done or not node.flags & LOOKS_BEHIND:
            continue
        done.add(node)
        pending += node.args
        if node.kind == BEHIND:
            number = _number(node)[0]
            found.add(number)
            pending.append(build.behinds[number])
    return tuple(sorted(found))


def _number(node: Node) -> tuple[int, bool]:
    assert isinstance(node.data, tuple)
    return node.data


def _locate(build: Expressions, body: Node, numbers: tuple[int, ...], seen: tuple[Node, ...]) -> Node:
    if not body.flags:
        return body
    if not body.flags & LOOKS_BEHIND:
        numbers = seen = ()
    return build.located(body, numbers, seen, _Ends(build, _context(build, numbers, seen)).of(body))


def _context(build: Expressions, numbers: tuple[int, ...], seen: tuple[Node, ...]) -> Context:
    context: Context = ()
    for number, node in zip(numbers, seen, strict=True):
        context = (*context, (number, _Conditions(build, context).of(node)))
    return context


def _lookup(node: Node, context: Context) -> Node:
    number = _number(node)[0]
    return next(condition for other, condition in context if other == number)


class _Conditions:
    """At a place where look-behinds hold as `context` says: the language in which the rest of the text must be for a node to match the
    empty text here. Parts that nodes share are judged once."""

    def __init__(self, build: Expressions, context: Context) -> None:
        self._build = build
        self._context = context
        self._known: dict[Node, Node] = {}

    def of(self, node: Node) -> Node:
        if not node.flags and node.kind not in (OR, CONCAT, GUARD):
            return self._build.anything if node.nullable or node.kind == MARK else self._build.empty
        found = self._known.get(node)
        if found is None:
            self._build.step(1)
            found = self._known[node] = self._find(node)
        return found

    def _find(self, node: Node) -> Node:
        build = self._build
        if node.kind == OR:
            return build.union(map(self.of, node.args))
        if node.kind == CONCAT:
            head = self.of(node.args[0])
            return head if head is build.empty else build.intersection((head, self.of(node.args[1])))
        if node.kind == GUARD:
            return build.intersection((node.args[0], self.of(node.args[1])))
        if node.kind == LOOK:
            ahead = build.concat(node.args[0], build.anything)
            return ahead if node.data else build.complement(ahead)
        if node.kind == BEHIND:
            seen = _lookup(node, self._context)
            return seen if _number(node)[1] else build.complement(seen)
        if node.kind == REPEAT:
            return build.anything if node.counts[0] == 0 else self.of(node.args[0])
        return build.anything if node.nullable else build.empty


class _Ends:
    """At the end of a text where look-behinds hold as `context` says: whether a node matches the empty text. Parts that nodes share are
    judged once."""

    def __init__(self, build: Expressions, context: Context) -> None:
        self._build = build
        self._context = context
        self._known: dict[Node, bool] = {}

    def of(self, node: Node) -> bool:
        if not node.flags:
            return node.nullable
        found = self._known.get(node)
        if found is None:
            self._build.step(1)
            found = self._known[node] = self._find(node)
        return found

    def _find(self, node: Node) -> bool:
        if node.kind == OR:
            return any(map(self.of, node.args))
        if node.kind == NOT:
            return not self.of(node.args[0])
        if node.kind == REPEAT:
            return node.counts[0] == 0 or self.of(node.args[0])
        if node.kind == LOOK:
            return self.of(node.args[0]) == node.data
        if node.kind == BEHIND:
            return self.of(_lookup(node, self._context)) == _number(node)[1]
        return all(map(self.of, node.args))


def _row_at(rows: Derivatives, node: Node, context: Context) -> Row:
    """The derivative at a place where look-behinds hold as `context` says."""
    if not node.flags:
        return rows.row(node)
    if not node.flags & LOOKS_BEHIND:
        context = ()
    if node.rows is None:
        node.rows = {}
    row = node.rows.get(context)
    if row is None:
        row = node.rows[context] = _flagged_row(rows, node, context)
        rows.build.spend(len(row))
    return row


def _flagged_row(rows: Derivatives, node: Node, context: Context) -> Row:
    if node.kind == OR:
        return rows.union(_row_at(rows, arg, context) for arg in node.args)
    if node.kind == AND:
        return rows.meet(_row_at(rows, arg, context) for arg in node.args)
    if node.kind == NOT:
        return rows.complement(_row_at(rows, node.args[0], context))
    if node.kind == GUARD:
        return _guarded(rows, _row_at(rows, node.args[0], context), _row_at(rows, node.args[1], context))
    return _continued(rows, node, context, rows.build.epsilon)


def _guarded(rows: Derivatives, condition: Row, rest: Row) -> Row:
    guard = rows.build.guard
    return rows.close(rows.product((condition, rest)), lambda nodes: guard(nodes[0], nodes[1]))


def _continued(rows: Derivatives, node: Node, context: Context, then: Node) -> Row:
    """The derivative of a node followed by everything else up to the end of the text."""
    build = rows.build
    if not node.flags:
        row = rows.follow(rows.row(node), then)
        return rows.union((row, _row_at(rows, then, context))) if node.nullable else row
    if node.kind == CONCAT:
        return _continued(rows, node.args[0], context, build.concat(node.args[1], then))
    if node.kind == OR:
        return rows.union(_continued(rows, arg, context, then) for arg in node.args)
    if node.kind == REPEAT:
        turn = _continued(rows, node.args[0], context, build.concat(once_less(build, node), then))
        return rows.union((turn, _row_at(rows, then, context))) if node.counts[0] == 0 else turn
    rest = _row_at(rows, then, context)
    return _guarded(rows, _row_at(rows, _Conditions(build, context).of(node), context), rest) if rest else rest


def _located(rows: Derivatives, node: Node) -> Row:
    body, *seen = node.args
    assert isinstance(node.data, tuple)
    numbers: tuple[int, ...] = node.data
    build, context = rows.build, _context(rows.build, numbers, tuple(seen))
    row = _row_at(rows, body, context)
    if not any(rest.flags & LOOKS_BEHIND for _, rest in row):
        return rows.close([(mask, (rest, rest)) for mask, rest in row], lambda nodes: _locate(build, nodes[0], (), ()))
    trackers = [rows.complete(_row_at(rows, tracker, context)) for tracker in seen]
    return rows.close(rows.product((row, *trackers)), lambda nodes: _locate(build, nodes[0], numbers, nodes[1:]))


def _guard(rows: Derivatives, node: Node) -> Row:
    return _guarded(rows, rows.row(node.args[0]), rows.row(node.args[1]))


RULES[LOCATED] = _located
RULES[GUARD] = _guard
