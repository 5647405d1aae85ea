"""A radix tree over id sequences: which of many sequences begins with most of another one, in time that depends on that one alone.

Every node stands for the sequence spelled by the labels from the root to it; no two children of a node begin with the same id, and every
node but the root holds an item or has several children, so that there are at most twice as many nodes as items.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Node(Generic[T]):
    """A place in the tree. label: the ids from its parent to it. depth: how many ids it spells. item: what is kept for them."""

    __slots__ = ("children", "depth", "item", "label", "parent")

    def __init__(self, label: list[int], parent: Node[T] | None) -> None:
        self.label = label
        self.parent = parent
        self.depth: int = len(label) + (0 if parent is None else parent.depth)
        self.children: dict[int, Node[T]] = {}
        self.item: T | None = None


class PrefixTree(Generic[T]):
    """Items by id sequences; a sequence has at most one."""

    def __init__(self) -> None:
        self._root: Node[T] = Node([], None)

    def put(self, ids: list[int], item: T) -> tuple[Node[T], T | None]:
        """Keep an item for a sequence; its node, and the item that it takes the place of."""
        node, length, below = self._descend(ids, len(ids))
        if below is not None:
            node = self._split(below, length - node.depth)
        if length < len(ids):
            leaf: Node[T] = Node(ids[length:], node)
            node.children[leaf.label[0]] = leaf
            node = leaf
        before, node.item = node.item, item
        return node, before

    def drop(self, node: Node[T]) -> None:
        """Forget the item of a node, and the node where nothing needs it."""
        node.item = None
        parent = node.parent
        if parent is not None and not node.children:
            del parent.children[node.label[0]]
            node = parent
        self._join(node)

    def longest(self, ids: list[int], limit: int) -> tuple[T | None, int]:
        """An item whose sequence begins with as many of `ids` as any does, and how many these are, at most `limit`; (None, 0) where none
        does. It is that of exactly those ids, where there is one."""
        node, length, below = self._descend(ids, limit)
        if length == 0:
            return None, 0
        at = node if below is None else below
        while at.item is None:
            at = next(iter(at.children.values()))
        return at.item, length

    def whole(self, ids: list[int], limit: int) -> T | None:
        """The item of the longest sequence that `ids` begins with, of at most `limit` ids."""
        at: Node[T] | None = self._descend(ids, limit)[0]
        while at is not None and at.item is None:
            at = at.parent
        return None if at is None else at.item

    def __iter__(self) -> Iterator[Node[T]]:
        """All nodes but the root."""
        pending = list(self._root.children.values())
        while pending:
            node = pending.pop()
            yield node
            pending += node.children.values()

    def _descend(self, ids: list[int], limit: int) -> tuple[Node[T], int, Node[T] | None]:
        """The last node whose sequence `ids` begins with, how many ids can be followed, and the child within whose label they end."""
        node, limit = self._root, min(limit, len(ids))
        while node.depth < limit:
            child = node.children.get(ids[node.depth])
            if child is None:
                break
            end = min(child.depth, limit)
            part = ids[node.depth : end]
            if part == child.label if end == child.depth else part == child.label[: len(part)]:
                if end < child.depth:
                    return node, end, child
                node = child
                continue
            return node, node.depth + shared_length(part, child.label), child
        return node, node.depth, None

    def _split(self, node: Node[T], at: int) -> Node[T]:
        """A new node within the label of another one, after its first `at` ids."""
        assert node.parent is not None
        upper: Node[T] = Node(node.label[:at], node.parent)
        node.parent.children[upper.label[0]] = upper
        node.label, node.parent = node.label[at:], upper
        upper.children[node.label[0]] = node
        return upper

    def _join(self, node: Node[T]) -> None:
        """A node without an item and with one child becomes one with it."""
        if node.item is not None or node.parent is None or len(node.children) != 1:
            return
        (child,) = node.children.values()
        child.label = node.label + child.label
        child.parent = node.parent
        node.parent.children[child.label[0]] = child


def shared_length(a: list[int], b: list[int]) -> int:
    """How many ids two sequences begin with in common."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
