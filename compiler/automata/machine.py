"""Ready-made automata for literals: sets of texts as trees, substrings of a text, and texts that contain or end with one of some texts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from lmqlc.compiler.automata.charset import CharSet
from lmqlc.compiler.automata.expression import Expressions, Node, Row
from lmqlc.compiler.automata.operands import writable
from lmqlc.compiler.automata.partition import Partition


def words(build: Expressions, options: Iterable[str]) -> Node:
    """The texts of a finite set, as a tree whose equal ends are shared (Daciuk et al. 2000: sorted, one path open at a time)."""
    tree = _Tree(build)
    for word in sorted(set(options)):
        build.spend(len(word) >> 2)
        tree.add(word)
    return tree.root()


class _Tree:
    """A tree of words that come in order. The path of the last word is open as far as another word shared it (`own`); what is behind is
    the word's own, a literal.

    edges, ends: by depth on the open path, characters and what follows them by turns, and whether a word ends there.
    """

    def __init__(self, build: Expressions) -> None:
        self._build = build
        self._leaves = _Leaves(build)
        self._literals: dict[str, Node] = {"": build.epsilon}
        self._edges: list[list[Node]] = [[]]
        self._ends = [False]
        self._word: str | None = None
        self._own = 0

    def add(self, word: str) -> None:
        """Add a word that comes after all others."""
        if self._word is not None:
            shared = 0
            for one, other in zip(self._word, word, strict=False):
                if one != other:
                    break
                shared += 1
            self._settle(self._word, shared)
            self._own = shared
        self._word = word

    def root(self) -> Node:
        """The whole tree."""
        if self._word is not None:
            self._settle(self._word, 0)
        return self._build.choice(self._ends[0], self._edges[0])

    def _settle(self, word: str, depth: int) -> None:
        """Build everything of the last word below a depth, and leave the path open down to there."""
        edges, ends, leaves, own = self._edges, self._ends, self._leaves, self._own
        for _ in range(own, depth):
            edges.append([])
            ends.append(False)
        at = max(own, depth)
        if len(word) > at:
            edges[at] += (leaves[word[at]], self._literal(word[at + 1 :]))
        else:
            ends[at] = True
        for at in range(own, depth, -1):
            node = self._build.choice(ends.pop(), edges.pop())
            edges[-1] += (leaves[word[at - 1]], node)

    def _literal(self, text: str) -> Node:
        """A text; short ones are remembered with all their ends."""
        node = self._literals.get(text)
        if node is None:
            rest = self._literal(text[1:]) if len(text) < _SHORT else self._build.literal(text[1:])
            node = self._build.concat(self._leaves[text[0]], rest)
            if len(text) < _SHORT:
                self._literals[text] = node
        return node


_SHORT = 32


class _Leaves(dict[str, Node]):
    """The node of every character."""

    def __init__(self, build: Expressions) -> None:
        super().__init__()
        self._build = build

    def __missing__(self, character: str) -> Node:
        node = self[character] = self._build.chars(CharSet.single(ord(character)))
        return node


def substrings(build: Expressions, text: str) -> Node:
    """The substrings of a text, the empty one included: its suffix automaton, all of whose states accept."""
    edges, lengths = _suffix_automaton(text, build)
    nodes: dict[int, Node] = {}
    leaves = _Leaves(build)
    for state in sorted(range(len(edges)), key=lambda s: -lengths[s]):
        found: list[Node] = []
        for character, to in edges[state].items():
            found += (leaves[character], nodes[to])
        nodes[state] = build.choice(True, found)
    return nodes[0]


def _suffix_automaton(text: str, build: Expressions) -> tuple[list[dict[str, int]], list[int]]:
    """Edges and longest texts of the states of the suffix automaton, by Blumer's construction; every edge leads to a longer text."""
    edges: list[dict[str, int]] = [{}]
    links, lengths, last = [-1], [0], 0
    for character in text:
        build.spend(4)
        new, at = len(edges), last
        edges.append({})
        lengths.append(lengths[last] + 1)
        links.append(0)
        while at != -1 and character not in edges[at]:
            edges[at][character] = new
            at = links[at]
        if at != -1:
            to = edges[at][character]
            links[new] = to if lengths[to] == lengths[at] + 1 else _split(edges, links, lengths, at, character)
        last = new
    return edges, lengths


def _split(edges: list[dict[str, int]], links: list[int], lengths: list[int], at: int, character: str) -> int:
    """A copy of the state after `at` for the texts that end there only by way of `at` and its links."""
    to, clone = edges[at][character], len(edges)
    edges.append(dict(edges[to]))
    lengths.append(lengths[at] + 1)
    links.append(links[to])
    while at != -1 and edges[at].get(character) == to:
        edges[at][character] = clone
        at = links[at]
    links[to] = clone
    return clone


class Machine(Protocol):
    """A ready-made automaton, whose states are nodes (`Expressions.table`)."""

    def row(self, state: int, partition: Partition) -> Row:
        """The derivative of a state."""
        ...


class Search:
    """The automaton of Aho and Corasick (1975) for some texts, none of them empty. A state is the longest beginning of a text that ends
    here; state 0 is the empty one.

    keep: the automaton of texts that contain one of `texts` anywhere; else of those that end with one.
    """

    def __init__(self, build: Expressions, texts: tuple[str, ...], keep: bool) -> None:
        self._build = build
        self._keep = keep
        self._next: list[dict[str, int]] = [{}]
        self._ends = [False]
        self._fail = [0]
        for text in texts:
            self._add(text)
        self._link()
        self._rows: dict[int, dict[str, tuple[int, Node]]] = {}

    def _add(self, text: str) -> None:
        self._build.spend(len(text) >> 1)
        state = 0
        for character in text:
            if self._keep and self._ends[state]:
                return  # a beginning of it is enough
            after = self._next[state].get(character)
            if after is None:
                after = self._next[state][character] = len(self._next)
                self._next.append({})
                self._ends.append(False)
                self._fail.append(0)
            state = after
        self._ends[state] = True

    def _link(self) -> None:
        """Find the longest proper end of every state that is a state too, shortest first."""
        order = list(self._next[0].values())
        for state in order:
            for character, after in self._next[state].items():
                order.append(after)
                at = self._fail[state]
                while at and character not in self._next[at]:
                    at = self._fail[at]
                    self._build.step(1)
                self._fail[after] = found = self._next[at].get(character, 0)
                self._ends[after] |= self._ends[found]

    def node(self, state: int) -> Node:
        done = self._ends[state]
        return self._build.anything if done and self._keep else self._build.table(self, state, done)

    def row(self, state: int, partition: Partition) -> Row:
        row, rest, found = [], partition.full, 0
        for mask, then in self._row(state, partition).values():
            rest ^= mask
            if then is self._build.anything:
                found |= mask
            else:
                row.append((mask, then))
        if found:
            row.append((found, self._build.anything))
        return [*row, (rest, self.node(0))] if rest else row

    def _row(self, state: int, partition: Partition) -> dict[str, tuple[int, Node]]:
        """The moves of a state that do not lead to state 0, by character: those of its longest end, and its own."""
        pending = []
        while state not in self._rows:
            pending.append(state)
            if state == 0:
                break
            state = self._fail[state]
        for at in reversed(pending):
            row = dict(self._rows[self._fail[at]]) if at else {}
            for character, after in self._next[at].items():
                row[character] = partition.mask(CharSet.single(ord(character))), self.node(after)
            self._build.spend(len(row) >> 2)
            self._rows[at] = row
        return self._rows[pending[0] if pending else state]


def _search(build: Expressions, texts: tuple[str, ...], keep: bool) -> Node:
    key = (texts, keep)
    machine = build.machines.get(key)
    if machine is None:
        for character in set().union(*texts):
            build.chars(CharSet.single(ord(character)))
        machine = build.machines[key] = Search(build, texts, keep)
    assert isinstance(machine, Search)
    return machine.node(0)


def containing(build: Expressions, texts: Iterable[str]) -> Node:
    """The texts with one of `texts` in them."""
    found = tuple(dict.fromkeys(filter(writable, texts)))
    return build.anything if "" in found else _search(build, found, True) if found else build.empty


def ending(build: Expressions, texts: Iterable[str]) -> Node:
    """The texts that end with one of `texts`."""
    found = tuple(dict.fromkeys(filter(writable, texts)))
    return build.anything if "" in found else _search(build, found, False) if found else build.empty
