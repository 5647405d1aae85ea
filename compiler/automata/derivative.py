"""Derivatives: what remains of a language after one character, for every class of characters at once.

The derivative of a node is a row: disjoint sets of classes, each with the node that remains. Rows are kept on their nodes, so the
work of a Boolean combination is the states it reaches (Brzozowski 1964; rows over classes as in Owens, Reppy and Turon 2009).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import cast

from lmqlc.compiler.automata.expression import (
    AND,
    CHARS,
    CHOICE,
    CONCAT,
    EMPTY,
    EPSILON,
    MARK,
    NOT,
    OR,
    REPEAT,
    TABLE,
    UNBOUNDED,
    Expressions,
    Node,
    Row,
)  # fmt: skip
from lmqlc.compiler.automata.machine import Machine
from lmqlc.compiler.automata.partition import Partition

Parts = list[tuple[int, tuple[Node, ...]]]


class Derivatives:
    """Derivatives of one builder's nodes over one partition, which must know every set of those nodes."""

    def __init__(self, build: Expressions, partition: Partition) -> None:
        self.build = build
        self.partition = partition
        self._masks: dict[Node, int] = {}

    def row(self, node: Node) -> Row:
        """The derivative of a language (a node that is not part of a larger concatenation)."""
        if node.row is None:
            node.row = RULES[node.kind](self, node)
            self.build.spend(len(node.row))
        return node.row

    def mask(self, node: Node) -> int:
        """The classes of a node of one character."""
        mask = self._masks.get(node)
        if mask is None:
            mask = self._masks[node] = self.partition.mask(node.chars)
        return mask

    def union(self, rows: Iterable[Row]) -> Row:
        """The derivative of a union."""
        return self.close(self.split(rows), self.build.union)

    def meet(self, rows: Iterable[Row]) -> Row:
        """The derivative of an intersection."""
        return self.close(self.product(rows), self.build.intersection)

    def complement(self, row: Row) -> Row:
        """The derivative of a complement."""
        rest, found = self.partition.full, []
        for mask, node in row:
            rest &= ~mask
            other = self.build.complement(node)
            if other is not self.build.empty:
                found.append((mask, other))
        if rest:
            found.append((rest, self.build.anything))
        return found

    def follow(self, row: Row, tail: Node) -> Row:
        """A row with every language followed by another."""
        concat = self.build.concat
        return [(mask, concat(node, tail)) for mask, node in row]

    def complete(self, row: Row) -> Row:
        """A row with the classes that lead nowhere written out."""
        rest = self.partition.full
        for mask, _ in row:
            rest &= ~mask
        return [*row, (rest, self.build.empty)] if rest else row

    def split(self, rows: Iterable[Row]) -> Parts:
        """The coarsest common refinement of several rows: sets of classes with the nodes found there."""
        parts: Parts = []
        for row in rows:
            done: Parts = []
            for mask, node in row:
                self.build.step(1 + (len(parts) >> 3))
                rest, left = mask, []
                for part in parts:
                    both = part[0] & rest
                    if both:
                        rest ^= both
                        done.append((both, (*part[1], node)))
                        if both != part[0]:
                            left.append((part[0] ^ both, part[1]))
                    else:
                        left.append(part)
                parts = left
                if rest:
                    done.append((rest, (node,)))
            parts += done
            self.build.spend(len(parts) >> 3)
        return parts

    def product(self, rows: Iterable[Row]) -> Parts:
        """Where every one of several rows leads somewhere: sets of classes with one node of each row, in order."""
        parts: Parts = [(self.partition.full, ())]
        for row in rows:
            self.build.step(len(parts) * len(row) >> 3)
            parts = [(mask & other, (*nodes, node)) for mask, nodes in parts for other, node in row if mask & other]
            self.build.spend(len(parts) >> 3)
        return parts

    def close(self, parts: Parts, combine: Callable[[tuple[Node, ...]], Node]) -> Row:
        """Parts as a row: nodes combined, equal results joined, dead ones left out."""
        found: dict[Node, int] = {}
        self.build.step(len(parts))
        for mask, nodes in parts:
            if not mask:
                continue
            node = nodes[0] if len(nodes) == 1 else combine(nodes)
            found[node] = found.get(node, 0) | mask
        found.pop(self.build.empty, None)
        return [(mask, node) for node, mask in found.items()]


def _nothing(_rows: Derivatives, _node: Node) -> Row:
    return []


def _chars(rows: Derivatives, node: Node) -> Row:
    mask = rows.mask(node)
    return [(mask, rows.build.epsilon)] if mask else []


def _concat(rows: Derivatives, node: Node) -> Row:
    head, tail = node.args
    if head.kind == CHARS:
        mask = rows.mask(head)
        return [(mask, tail)] if mask else []
    row = rows.follow(rows.row(head), tail)
    return rows.union((row, _tail_row(rows, tail))) if head.nullable else row


def _tail_row(rows: Derivatives, node: Node) -> Row:
    """The row of what follows a part that may be empty. A long chain of such parts is walked from its end, not by deep recursion."""
    chain = []
    while node.kind == CONCAT and node.row is None and node.args[0].nullable:
        chain.append(node)
        node = node.args[1]
    row = rows.row(node)
    for link in reversed(chain):
        head, tail = link.args
        row = link.row = rows.union((rows.follow(rows.row(head), tail), row))
    return row


def _or(rows: Derivatives, node: Node) -> Row:
    return rows.union(rows.row(arg) for arg in node.args)


def _and(rows: Derivatives, node: Node) -> Row:
    return rows.meet(rows.row(arg) for arg in node.args)


def _not(rows: Derivatives, node: Node) -> Row:
    return rows.complement(rows.row(node.args[0]))


def _repeat(rows: Derivatives, node: Node) -> Row:
    body = node.args[0]
    rest = once_less(rows.build, node)
    if body.kind == CHARS:
        mask = rows.mask(body)
        return [(mask, rest)] if mask else []
    return rows.follow(rows.row(body), rest)


def once_less(build: Expressions, node: Node) -> Node:
    """What follows one turn of a repetition."""
    low, high = node.counts
    return build.repeat(node.args[0], max(low - 1, 0), high if high == UNBOUNDED else high - 1)


def _choice(rows: Derivatives, node: Node) -> Row:
    args, mask = node.args, rows.mask
    row = [(mask(args[at]), args[at + 1]) for at in range(0, len(args), 2)]
    if len({then for _, then in row}) == len(row):
        return row
    return rows.close([(found, (then,)) for found, then in row], rows.build.union)


def _table(rows: Derivatives, node: Node) -> Row:
    machine, state = cast("tuple[Machine, int]", node.data)
    return machine.row(state, rows.partition)


RULES: dict[int, Callable[[Derivatives, Node], Row]] = {
    EMPTY: _nothing, EPSILON: _nothing, MARK: _nothing, CHARS: _chars, CONCAT: _concat, OR: _or, AND: _and, NOT: _not, REPEAT: _repeat,
    CHOICE: _choice, TABLE: _table,
}  # fmt: skip
"""How to derive every kind of node. `assertion.py` adds the kinds that look around."""
