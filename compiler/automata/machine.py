"""Ready-made automata for literals: sets of texts as trees, substrings of a text, and texts that contain or end with a text."""

from __future__ import annotations

from collections.abc import Iterable

from lmqlc.compiler.automata.charset import CharSet
from lmqlc.compiler.automata.expression import Expressions, Node, Row
from lmqlc.compiler.automata.partition import Partition


def words(build: Expressions, options: Iterable[str]) -> Node:
    """The texts of a finite set, as a tree whose equal ends are shared (Daciuk et al. 2000: sorted, one path open at a time)."""
    leaves: dict[str, Node] = {}
    path: list[tuple[list[tuple[Node, Node]], bool]] = [([], False)]
    before = ""
    for word in sorted(set(options)):
        build.spend(len(word) >> 2)
        shared = 0
        for one, other in zip(before, word, strict=False):
            if one != other:
                break
            shared += 1
        _close(build, path, before, shared, leaves)
        path += [([], False) for _ in range(len(word) - shared)]
        path[-1] = (path[-1][0], True)
        before = word
    _close(build, path, before, 0, leaves)
    return build.choice(path[0][1], path[0][0])


def _close(build: Expressions, path: list[tuple[list[tuple[Node, Node]], bool]], word: str, depth: int, leaves: dict[str, Node]) -> None:
    """Build the nodes of the open path below a depth."""
    for at in range(len(path) - 1, depth, -1):
        edges, ends = path.pop()
        node, character = build.choice(ends, edges), word[at - 1]
        chars = leaves.get(character)
        if chars is None:
            chars = leaves[character] = build.chars(CharSet.single(ord(character)))
        path[-1][0].append((chars, node))


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
