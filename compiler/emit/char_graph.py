"""The automaton of a hole's text read back as a graph over characters, for emitters.

The graph's language is that of final texts: what may end, and what a kept stop ends; removed phrases are no part of it. A limit on
characters becomes states. Counts of tokens have no form in a grammar, so an automaton that depends on them is refused.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from lmqlc.compiler.automata.automaton import TextAutomaton
from lmqlc.compiler.automata.charset import CharSet
from lmqlc.compiler.automata.problems import TOO_LARGE, UNSUPPORTED, error

MAX_STATES = 20_000
"""States of a graph; larger automata are refused."""

_REFINED = 3_000
"""Graphs with more states are not minimised."""

Edges = dict[int, CharSet]
"""Disjoint sets of characters by the state after them."""
_Spans = list[tuple[int, int, int]]


@dataclass(frozen=True, slots=True)
class CharGraph:
    """A deterministic graph; states are numbered from 0, the start, in order of discovery. From every state an end can be reached."""

    edges: list[Edges]
    ends: list[bool]


def char_graph(automaton: TextAutomaton, region: int | None = None) -> CharGraph:
    """Read the graph, in one region of token counts if `region` names one. Raises UnsupportedConstraint where token counts matter and it
    does not, LmqlCompileError where the graph is too large."""
    if region is None and len(automaton.token_bounds) > 1:
        hint = "leave len(TOKENS(…)) out, or bound characters instead"
        raise error(UNSUPPORTED, "a count of tokens cannot be written as a grammar or pattern", None, hint)
    return minimal(trimmed(_unfolded(automaton, region or 0)))


_STEPS = 5_000


def few_texts(automaton: TextAutomaton, most: int) -> list[str] | None:
    """All texts of an automaton, sorted; None where there are more than `most`, or they are long. Errors as for `char_graph`."""
    graph = char_graph(automaton)
    found: list[str] = []
    pending = [(0, "")]
    for _ in range(_STEPS):
        if not pending:
            return sorted(found)
        state, text = pending.pop()
        if graph.ends[state]:
            found.append(text)
        for to, chars in graph.edges[state].items():
            if sum(high - low + 1 for low, high in chars.ranges()) > most:
                return None
            pending += [(to, text + chr(code)) for low, high in chars.ranges() for code in range(low, high + 1)]
        if len(found) > most or len(pending) > _STEPS:
            return None
    return None


class Reader:
    """Reads the characters that lead out of a state."""

    def __init__(self, automaton: TextAutomaton, region: int) -> None:
        self._rows = automaton.delta[min(region, len(automaton.delta) - 1)][:, automaton.byte_class]
        self._spans: dict[tuple[int, int], _Spans] = {}

    def edges(self, state: int) -> Edges:
        row = self._rows[state].tolist()
        spans: _Spans = []
        for first, end, lead, length in ((0, 0x80, 0, 0), (0xC2, 0xE0, 0xC0, 1), (0xE0, 0xF0, 0xE0, 2), (0xF0, 0xF5, 0xF0, 3)):
            for byte in range(first, end):
                if row[byte]:
                    base = (byte - lead) << (6 * length)
                    spans += [(base + low, base + high, to) for low, high, to in self._inside(row[byte], length)]
        found: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
        for low, high, to in spans:
            found[to].append((low, high))
        return {to: CharSet.of(ranges) for to, ranges in found.items()}

    def _inside(self, state: int, left: int) -> _Spans:
        """What `left` more bytes lead to, as inclusive ranges of their payload."""
        if left == 0:
            return [(0, 0, state)]
        spans = self._spans.get((state, left))
        if spans is None:
            spans = []
            row = self._rows[state].tolist()
            for at in range(64):
                if row[0x80 + at]:
                    base = at << (6 * (left - 1))
                    for low, high, to in self._inside(row[0x80 + at], left - 1):
                        if spans and spans[-1][1] == base + low - 1 and spans[-1][2] == to:
                            spans[-1] = (spans[-1][0], base + high, to)
                        else:
                            spans.append((base + low, base + high, to))
            self._spans[(state, left)] = spans
        return spans


def _unfolded(automaton: TextAutomaton, region: int) -> CharGraph:
    """All states reached, with the number of characters read so far where there is a limit."""
    reader, limit = Reader(automaton, region), automaton.char_limit
    kept = all(phrase.keep for phrase in automaton.phrases)
    known: dict[int, Edges] = {}
    numbers = {(automaton.start, 0): 0}
    order = [(automaton.start, 0)]
    graph = CharGraph([], [])
    for state, count in order:
        if state not in known:
            known[state] = reader.edges(state)
        graph.ends.append(bool(automaton.accepts[region, state] or (kept and automaton.stops[region, state])))
        edges: Edges = {}
        for to, chars in known[state].items() if limit is None or count < limit else ():
            key = (to, 0 if limit is None else count + 1)
            if key not in numbers:
                numbers[key] = len(numbers)
                order.append(key)
            edges[numbers[key]] = chars
        graph.edges.append(edges)
        if len(order) > MAX_STATES:
            hint = "bound repetitions and lengths lower"
            raise error(TOO_LARGE, f"the constraint is too large to be written out: more than {MAX_STATES:,} states", None, hint)
    return graph


def trimmed(graph: CharGraph) -> CharGraph:
    """Without states from which no end is reached."""
    before: list[list[int]] = [[] for _ in graph.ends]
    for state, edges in enumerate(graph.edges):
        for to in edges:
            before[to].append(state)
    alive = list(graph.ends)
    pending = [state for state, end in enumerate(alive) if end]
    while pending:
        for state in before[pending.pop()]:
            if not alive[state]:
                alive[state] = True
                pending.append(state)
    alive[0] = True
    return _renumbered(graph, [state if alive[state] else -1 for state in range(len(alive))])


def _renumbered(graph: CharGraph, block: list[int]) -> CharGraph:
    """The graph of blocks of states that are alike (-1: left out), numbered in order of discovery."""
    first: dict[int, int] = {}
    for state, name in enumerate(block):
        first.setdefault(name, state)
    numbers, order = {block[0]: 0}, [block[0]]
    found = CharGraph([], [])
    for name in order:
        state = first[name]
        edges: Edges = {}
        for to, chars in graph.edges[state].items():
            if block[to] < 0:
                continue
            if block[to] not in numbers:
                numbers[block[to]] = len(numbers)
                order.append(block[to])
            number = numbers[block[to]]
            edges[number] = edges[number] | chars if number in edges else chars
        found.edges.append(edges)
        found.ends.append(graph.ends[state])
    return found


def minimal(graph: CharGraph) -> CharGraph:
    """The smallest graph of the language (Moore), unless it would take long to find."""
    if len(graph.ends) > _REFINED:
        return graph
    block, count = [int(end) for end in graph.ends], 1
    while True:
        signatures: dict[object, int] = {}
        refined = []
        for state, edges in enumerate(graph.edges):
            joined: dict[int, CharSet] = {}
            for to, chars in edges.items():
                joined[block[to]] = joined[block[to]] | chars if block[to] in joined else chars
            signature = (block[state], frozenset(joined.items()))
            refined.append(signatures.setdefault(signature, len(signatures)))
        if len(signatures) == count:
            return _renumbered(graph, refined)
        block, count = refined, len(signatures)
