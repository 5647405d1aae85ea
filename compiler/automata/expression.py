"""Expressions over sets of code points: regular languages with intersection, complement and counted repetition.

Every `Node` belongs to one `Expressions`, which builds equal nodes once (so that equality is identity) and simplifies as it builds:
unions and intersections are sets, the empty language, the empty text and "any text" are absorbed, counted repetitions of one body
join where their ranges touch. Nodes hold no derivatives of their own; `derivative.py` computes and keeps those.

Look-around stands in concatenations as nodes of width zero (`LOOK`, `BEHIND`); `assertion.py` says what they mean.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from lmqlc.compiler.automata import limits
from lmqlc.compiler.automata.charset import ANY, SURROGATES, CharSet
from lmqlc.compiler.automata.limits import MAX_WORK, LimitExceeded

EMPTY, EPSILON, CHARS, CONCAT, OR, AND, NOT, REPEAT, CHOICE, TABLE, LOOK, BEHIND, GUARD, LOCATED, MARK, SPELLED = range(16)
"""Kinds of nodes: no text; the empty text; one character of a set; a concatenation of two; union; intersection; complement; a body
counted from low to high; a literal tree; a state of a ready-made automaton; look-ahead; look-behind; text under a condition on all of
it; an expression with look-around together with what its look-behinds have seen; the end of a look-behind's own language; the texts of a
language as they are spelled within a JSON string."""

ASSERTS, LOOKS_BEHIND = 1, 2
"""Flags of nodes: some LOOK or BEHIND may be met before a character is read; some BEHIND lies anywhere below."""

_CHECKED_EVERY = 1 << 10
"""Steps between two looks at the bounds."""

UNBOUNDED = 1 << 60
"""The high end of a repetition without one."""


class Node:
    """One expression. `data` is what its kind needs: a CharSet, counts, a table's state; `args` are the nodes below.

    nullable: the empty text belongs to the language (meaningless where `flags` is not 0).
    row: the derivative once computed, None before.
    """

    __slots__ = ("args", "data", "flags", "ident", "kind", "nullable", "row", "rows")

    def __init__(self, kind: int, args: tuple[Node, ...], data: object, nullable: bool, flags: int, ident: int) -> None:
        self.kind = kind
        self.args = args
        self.data = data
        self.nullable = nullable
        self.flags = flags
        self.ident = ident
        self.row: Row | None = None
        self.rows: dict[object, Row] | None = None

    @property
    def chars(self) -> CharSet:
        assert isinstance(self.data, CharSet)
        return self.data

    @property
    def counts(self) -> tuple[int, int]:
        assert isinstance(self.data, tuple)
        return self.data

    def __repr__(self) -> str:
        return f"<{self.kind} {self.data!r} {self.args!r}>"


Row = list[tuple[int, Node]]
"""A derivative: disjoint sets of classes (bit sets) with the language that remains after them; classes left out lead nowhere."""


def _by_ident(node: Node) -> int:
    return node.ident


class Expressions:
    """Builds nodes. `sets` collects every CharSet used, `behinds` the language that must precede each BEHIND, by its number;
    `positive` says that no intersection or complement was made: then every node but `empty` has a text."""

    def __init__(self, steps: int | None = None) -> None:
        """steps: a bound lower than `MAX_STEPS`."""
        self._nodes: dict[tuple[object, ...], Node] = {}
        self._work = 0
        self.steps_left = limits.MAX_STEPS if steps is None else min(steps, limits.MAX_STEPS)
        self._checked = self.steps_left
        self._deadline = time.thread_time() + limits.MAX_SECONDS * self.steps_left / limits.MAX_STEPS
        self.sets: dict[CharSet, None] = {ANY: None}
        self.behinds: list[Node] = []
        self.positive = True
        self.machines: dict[object, object] = {}
        self.empty = self._make(EMPTY, (), None, False, 0)
        self.epsilon = self._make(EPSILON, (), None, True, 0)
        self.char = self.chars(ANY)
        self.anything = self._make(REPEAT, (self.char,), (0, UNBOUNDED), True, 0)
        self.mark = self._make(MARK, (), None, False, 0)
        self.something = self._make(REPEAT, (self.char,), (1, UNBOUNDED), False, 0)

    def _make(self, kind: int, args: tuple[Node, ...], data: object, nullable: bool, flags: int) -> Node:
        key = (kind, args, data)
        node = self._nodes.get(key)
        if node is None:
            self.spend(3 + len(args))
            self.positive = self.positive and kind not in (AND, NOT, GUARD, LOCATED)
            node = self._nodes[key] = Node(kind, args, data, nullable, flags, len(self._nodes))
        return node

    def spend(self, work: int) -> None:
        """Count what is kept in memory; raises LimitExceeded past the bound."""
        self._work += work
        if self._work > MAX_WORK:
            raise LimitExceeded("memory")
        self.step(work)

    def step(self, steps: int) -> None:
        """Count steps; raises LimitExceeded past their bound, or that of time."""
        self.steps_left -= steps
        if self.steps_left < self._checked - _CHECKED_EVERY:
            if self.steps_left < 0:
                raise LimitExceeded("steps")
            self._checked = self.steps_left
            if time.thread_time() > self._deadline:
                raise LimitExceeded("time")

    def __enter__(self) -> Expressions:
        return self

    def __exit__(self, *_: object) -> None:
        """Drop all nodes and rows. They refer to each other in circles, which a collector would take long to find."""
        for node in self._nodes.values():
            node.row = node.rows = None
        self._nodes.clear()
        self.machines.clear()

    def chars(self, chars: CharSet) -> Node:
        """One character of a set. Surrogates are no characters of a text."""
        if not chars or (chars.cuts[0] >= SURROGATES.cuts[0] and chars.cuts[-1] <= SURROGATES.cuts[1]):
            return self.empty
        self.sets[chars] = None
        return self._make(CHARS, (), chars, False, 0)

    def literal(self, text: str, then: Node | None = None) -> Node:
        """One text, followed by `then`."""
        node = self.epsilon if then is None else then
        for character in reversed(text):
            node = self.concat(self.chars(CharSet.single(ord(character))), node)
        return node

    def concat(self, head: Node, tail: Node) -> Node:
        """Concatenation, nested to the right."""
        if head is self.empty or tail is self.empty:
            return self.empty
        if head is self.epsilon:
            return tail
        if tail is self.epsilon:
            return head
        if head.kind == CONCAT:
            return self._append(head, tail)
        if head is self.anything and not tail.flags and (tail.nullable or tail is self.anything):
            return head
        if tail is self.anything and not head.flags and head.nullable:
            return tail
        if head.kind == REPEAT and not head.flags:
            joined = self._join(head, tail)
            if joined is not None:
                return joined
        flags = (head.flags | tail.flags) & LOOKS_BEHIND
        if head.flags & ASSERTS or tail.flags & ASSERTS:
            flags |= ASSERTS
        return self._make(CONCAT, (head, tail), None, head.nullable and tail.nullable, flags)

    def _append(self, head: Node, tail: Node) -> Node:
        """A chain of concatenations followed by one more."""
        parts = []
        while head.kind == CONCAT:
            parts.append(head.args[0])
            head = head.args[1]
        return self.sequence([*parts, head, tail])

    def _join(self, head: Node, tail: Node) -> Node | None:
        """`x{a,b}x{c,d}…` as `x{a+c,b+d}…`; None where that is not the shape."""
        first = tail.args[0] if tail.kind == CONCAT else tail
        if first.kind != REPEAT or first.args != head.args:
            return None
        (low, high), (low2, high2) = head.counts, first.counts
        joined = self.repeat(head.args[0], low + low2, min(high + high2, UNBOUNDED))
        return self.concat(joined, tail.args[1]) if tail.kind == CONCAT else joined

    def sequence(self, parts: Sequence[Node]) -> Node:
        """The concatenation of several."""
        node = self.epsilon
        for part in reversed(parts):
            node = self.concat(part, node)
        return node

    def union(self, args: Iterable[Node]) -> Node:
        """Union as a set of nodes."""
        found: dict[Node, None] = {}
        for arg in args:
            if arg.kind == OR:
                found.update(dict.fromkeys(arg.args))
            elif arg is not self.empty:
                found[arg] = None
        if len(found) < 2:
            return next(iter(found), self.empty)
        self.step(2 + len(found))
        if self.anything in found:
            return self.anything
        if len(found) > 2 or any(arg.kind in (REPEAT, CONCAT) for arg in found):
            found = self._merge_repeats(found)
        return self._union_of(found)

    def _union_of(self, found: dict[Node, None]) -> Node:
        if self.epsilon in found and any(a.nullable and not a.flags and a is not self.epsilon for a in found):
            del found[self.epsilon]
        if any(arg.kind == NOT and arg.args[0] in found for arg in found):
            return self.anything
        if len(found) == 1:
            return next(iter(found))
        args = tuple(sorted(found, key=_by_ident))
        flags = 0
        for arg in args:
            flags |= arg.flags
        return self._make(OR, args, None, any(arg.nullable for arg in args), flags)

    def _merge_repeats(self, found: dict[Node, None]) -> dict[Node, None]:
        """Join `x{a,b}y | x{c,d}y` where the ranges overlap or touch; a body alone counts as once."""
        groups: dict[tuple[Node, Node], list[Node]] = {}
        for arg in found:
            first, rest = arg.args if arg.kind == CONCAT else (arg, self.epsilon)
            if first.kind == REPEAT and not first.flags:
                groups.setdefault((first.args[0], rest), []).append(arg)
        for (body, rest), members in groups.items():
            if len(members) > 1:
                self._merge_group(found, body, rest, members)
        return found

    def _merge_group(self, found: dict[Node, None], body: Node, rest: Node, members: list[Node]) -> None:
        ranges = sorted((m.args[0] if m.kind == CONCAT else m).counts for m in members)
        merged = [ranges[0]]
        for low, high in ranges[1:]:
            if low <= merged[-1][1] + 1:
                merged[-1] = (merged[-1][0], max(merged[-1][1], high))
            else:
                merged.append((low, high))
        if len(merged) < len(ranges):
            for member in members:
                del found[member]
            for low, high in merged:
                found[self.concat(self.repeat(body, low, high), rest)] = None

    def intersection(self, args: Iterable[Node]) -> Node:
        """Intersection as a set of nodes."""
        found: dict[Node, None] = {}
        for arg in args:
            if arg.kind == AND:
                found.update(dict.fromkeys(arg.args))
            elif arg is self.empty:
                return arg
            elif arg is not self.anything:
                found[arg] = None
        if len(found) < 2:
            return next(iter(found), self.anything)
        self.step(2 + (len(found) >> 1))
        if self.epsilon in found and not any(a.flags for a in found):
            return self.epsilon if all(a.nullable for a in found) else self.empty
        if any(arg.kind == NOT and arg.args[0] in found for arg in found):
            return self.empty
        args = tuple(sorted(found, key=_by_ident))
        flags = 0
        for arg in args:
            flags |= arg.flags
        return self._make(AND, args, None, all(arg.nullable for arg in args), flags)

    def complement(self, arg: Node) -> Node:
        """All texts that are not in a language."""
        if arg.kind == NOT:
            return arg.args[0]
        if arg is self.empty:
            return self.anything
        if arg is self.anything:
            return self.empty
        if arg is self.epsilon:
            return self.something
        if arg is self.something:
            return self.epsilon
        return self._make(NOT, (arg,), None, not arg.nullable, arg.flags)

    def repeat(self, body: Node, low: int = 0, high: int = UNBOUNDED) -> Node:
        """A body from `low` to `high` times."""
        if high == 0 or body is self.epsilon:
            return self.epsilon
        if body is self.empty:
            return self.epsilon if low == 0 else self.empty
        if low == high == 1:
            return body
        if body.nullable and not body.flags:
            low = 0
        if body.kind == REPEAT and not body.flags and body.counts[0] <= 1 and body.counts[1] == UNBOUNDED:
            return self.repeat(body.args[0], min(low, body.counts[0]) if low < 2 else low * body.counts[0])
        return self._make(REPEAT, (body,), (low, high), low == 0 or body.nullable, body.flags)

    def choice(self, accepting: bool, edges: Sequence[Node]) -> Node:
        """A literal tree: the empty text if `accepting`, or a character of one edge's set and what follows it. edges: characters and what
        follows them by turns; the sets are disjoint."""
        if self.empty in edges:
            alive: list[Node] = []
            for at in range(0, len(edges), 2):
                if self.empty not in edges[at : at + 2]:
                    alive += edges[at : at + 2]
            edges = alive
        if not edges:
            return self.epsilon if accepting else self.empty
        if len(edges) == 2 and not accepting:
            head, tail = edges
            if head.kind != CHARS or tail is self.epsilon or tail.flags:
                return self.concat(head, tail)
            return self._make(CONCAT, (head, tail), None, False, 0)
        return self._make(CHOICE, tuple(edges), accepting, accepting, 0)

    def table(self, machine: object, state: int, nullable: bool) -> Node:
        """A state of a ready-made automaton (`machine.py`)."""
        return self._make(TABLE, (), (machine, state), nullable, 0)

    def look(self, body: Node, positive: bool) -> Node:
        """Look-ahead: what follows begins with a text of the body, or does not."""
        return self._make(LOOK, (body,), positive, False, ASSERTS | (body.flags & LOOKS_BEHIND))

    def behind(self, before: Node, positive: bool) -> Node:
        """Look-behind: the whole text up to here is in the language `before`, or is not."""
        if before not in self.behinds:
            self.behinds.append(before)
        return self._make(BEHIND, (), (self.behinds.index(before), positive), False, ASSERTS | LOOKS_BEHIND)

    def guard(self, condition: Node, rest: Node) -> Node:
        """The texts of `rest` that meet a condition. Distributed over unions, so that only finitely many arise."""
        if condition is self.empty or rest is self.empty:
            return self.empty
        if condition is self.anything:
            return rest
        if rest is self.anything:
            return condition
        if rest.kind == OR:
            return self.union(self.guard(condition, arg) for arg in rest.args)
        if rest.kind == GUARD:
            return self.guard(self.intersection((condition, rest.args[0])), rest.args[1])
        if rest is self.epsilon and not condition.flags:
            return rest if condition.nullable else self.empty
        return self._make(GUARD, (condition, rest), None, condition.nullable and rest.nullable, condition.flags | rest.flags)

    def spelled(self, body: Node) -> Node:
        """The texts of a language as JSON strings spell them (`spelled.py`), without the quotes."""
        return body if body is self.empty or body is self.epsilon else self._make(SPELLED, (body,), None, body.nullable, 0)

    def located(self, body: Node, numbers: tuple[int, ...], seen: tuple[Node, ...], nullable: bool) -> Node:
        """A body that looks around; `seen` is what remains of the languages of its look-behinds, by their `numbers`."""
        return self._make(LOCATED, (body, *seen), numbers, nullable, 0)
