"""Ready-made automata for literals: sets of texts as trees, substrings of a text, and texts that contain or end with a text."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any

from lmqlc.compiler.automata.charset import CharSet
from lmqlc.compiler.automata.expression import Expressions, Node, Row
from lmqlc.compiler.automata.partition import Partition

_END = None


def words(build: Expressions, options: Iterable[str]) -> Node:
    """The texts of a finite set."""

    def leaf(character: Any) -> Node:
        return build.chars(CharSet.single(ord(character)))

    return tree(build, options, leaf)


def tree(build: Expressions, options: Iterable[Sequence[Hashable]], leaf: Callable[[Any], Node]) -> Node:
    """The sequences of a finite set as one tree with shared ends; `leaf` gives the CHARS node of a symbol. Different symbols must have
    disjoint sets."""
    root: dict[Any, Any] = {}
    for option in options:
        at = root
        for symbol in option:
            at = at.setdefault(symbol, {})
        at[_END] = True
    leaves: dict[Any, Node] = {}
    built: dict[int, Node] = {}
    pending = [root]
    while pending:
        at = pending[-1]
        below = [then for symbol, then in at.items() if symbol is not _END and id(then) not in built]
        if below:
            pending += below
            continue
        edges = []
        for symbol, then in at.items():
            if symbol is not _END:
                chars = leaves.get(symbol)
                if chars is None:
                    chars = leaves[symbol] = leaf(symbol)
                edges.append((chars, built[id(then)]))
        built[id(pending.pop())] = build.choice(_END in at, edges)
    return built[id(root)]


def substrings(build: Expressions, text: str) -> Node:
    """The substrings of a text, the empty one included: its suffix automaton, all of whose states accept."""
    edges, lengths = _suffix_automaton(text, build)
    nodes: dict[int, Node] = {}
    for state in sorted(range(len(edges)), key=lambda s: -lengths[s]):
        nodes[state] = build.choice(True, [(build.chars(CharSet.single(ord(c))), nodes[to]) for c, to in edges[state].items()])
    return nodes[0]


def _suffix_automaton(text: str, build: Expressions) -> tuple[list[dict[str, int]], list[int]]:
    """Edges and longest texts of the states of the suffix automaton, by Blumer's construction; every edge leads to a longer text."""
    edges: list[dict[str, int]] = [{}]
    links, lengths, last = [-1], [0], 0
    for character in text:
        build.spend(4)
        new = len(edges)
        edges.append({})
        lengths.append(lengths[last] + 1)
        links.append(0)
        at = last
        while at != -1 and character not in edges[at]:
            edges[at][character] = new
            at = links[at]
        if at != -1:
            to = edges[at][character]
            if lengths[to] == lengths[at] + 1:
                links[new] = to
            else:
                clone = len(edges)
                edges.append(dict(edges[to]))
                lengths.append(lengths[at] + 1)
                links.append(links[to])
                while at != -1 and edges[at].get(character) == to:
                    edges[at][character] = clone
                    at = links[at]
                links[to] = links[new] = clone
        last = new
    return edges, lengths


class Search:
    """The Knuth-Morris-Pratt automaton of a text. State k: the longest prefix of `text` that ends here has length k.

    keep: the automaton of texts that contain `text` anywhere; else of those that end with it.
    """

    def __init__(self, build: Expressions, text: str, keep: bool) -> None:
        self._build = build
        self._text = text
        self._keep = keep
        self._steps: list[dict[str, int]] = []
        fail: dict[str, int] = {}
        for at, character in enumerate((*text, "")):
            self._steps.append({**fail, character: at + 1} if character else fail)
            fail = self._steps[fail.get(character, 0) if at else 0]

    def node(self, state: int) -> Node:
        done = state == len(self._text)
        return self._build.anything if done and self._keep else self._build.table(self, state, done)

    def row(self, state: int, partition: Partition) -> Row:
        steps, rest, row = self._steps[state], partition.full, []
        for character, to in steps.items():
            mask = partition.mask(CharSet.single(ord(character)))
            rest &= ~mask
            row.append((mask, self.node(to)))
        return [*row, (rest, self.node(0))] if rest else row


def _search(build: Expressions, text: str, keep: bool) -> Node:
    key = (text, keep)
    machine = build.machines.get(key)
    if machine is None:
        for character in text:
            build.chars(CharSet.single(ord(character)))
        machine = build.machines[key] = Search(build, text, keep)
    assert isinstance(machine, Search)
    return machine.node(0)


def containing(build: Expressions, text: str) -> Node:
    """The texts with `text` in them."""
    return _search(build, text, True) if text else build.anything


def ending(build: Expressions, text: str) -> Node:
    """The texts that end with `text`."""
    return _search(build, text, False) if text else build.anything
