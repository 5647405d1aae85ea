"""What a server may write for a hole, as a grammar: the hole's language, and what may come after a text of it.

The language of a hole's *final* texts (`char_graph`) is not what a model says: it also says the stop phrase that ends the hole and is
removed, the rest of the token that the phrase stands in, and the literal that follows. A server that enforces a grammar must allow all of
these, else its masks would push the model off what it wants to say. So, beyond the final texts:

- where a stop ends the hole, anything may follow (it is cut);
- where the text may end, the literal after the hole may begin, unless its first character goes on with the text; after all of it, anything;
- where white space ends the text (see `closing` in `compiler/masks`), anything may follow that.
"""

from __future__ import annotations

from dataclasses import replace

from lmqlc.compiler.automata.automaton import StopPhrase, TextAutomaton
from lmqlc.compiler.automata.charset import SURROGATES, CharSet, category
from lmqlc.compiler.automata.problems import TOO_LARGE, UNSUPPORTED, error
from lmqlc.compiler.emit.char_graph import MAX_STATES, CharGraph, Edges, Reader, minimal, trimmed
from lmqlc.compiler.emit.ebnf import grammar_of
from lmqlc.compiler.emit.regex import pattern_of

ANYTHING = ~SURROGATES
_COUNTED = 256
"""Longer limits of characters are left out of grammars: the text is cut where it reaches them."""
_NESTED = 40
"""Groups inside groups that every engine takes in a pattern."""


class GenerationGrammar:
    """What a server may write for a hole, in the notations of servers. All of them raise LmqlCompileError where it is too large. before: a
    text that must be written first, the end of a prompt that was taken back."""

    def __init__(self, automaton: TextAutomaton, follow: str = "", *, before: str = "", counted: bool = True) -> None:
        limit = automaton.char_limit
        if limit is not None and (limit > _COUNTED or not counted):
            automaton = replace(automaton, char_limit=None)
        self._automaton = automaton
        self._follow = follow
        self._before = before
        self._graph: CharGraph | None = None

    @property
    def graph(self) -> CharGraph:
        if self._graph is None:
            self._graph = _behind(self._before, generation_graph(self._automaton, self._follow))
        return self._graph

    def behind(self, text: str) -> GenerationGrammar:
        """The same after a text that must be written first."""
        return GenerationGrammar(self._automaton, self._follow, before=text)

    def after(self, text: str) -> GenerationGrammar | None:
        """What may be written after a text; None where nothing may."""
        if len(text) < len(self._before):
            return self.behind(self._before[len(text) :]) if self._before.startswith(text) else None
        text = text[len(self._before) :]
        state, automaton = self._automaton.start, self._automaton
        for byte in text.encode():
            state = int(automaton.delta[0, state, automaton.byte_class[byte]])
        if state == 0:
            return None
        limit = None if automaton.char_limit is None else automaton.char_limit - len(text)
        return GenerationGrammar(replace(automaton, start=state, char_limit=limit), self._follow)

    def to_an_end(self, text: str) -> list[int]:
        """The fewest characters that end the text after each beginning of what was written, the empty one first."""
        graph, state = self.graph, 0
        left = _to_an_end(graph)
        found = [left[0]]
        for character in text:
            after = [to for to, chars in graph.edges[state].items() if ord(character) in chars]
            if not after:
                break
            state = after[0]
            found.append(left[state])
        return found

    def within(self, characters: int) -> GenerationGrammar:
        """What ends within so many characters; where nothing does, the shortest texts."""
        made = GenerationGrammar(self._automaton)
        made._graph = _within(self.graph, characters)
        return made

    def regex(self, longest: int = 2_000) -> str | None:
        """A pattern for full matches, in the syntax that `re` and Rust's `regex` share; None where it would be longer than `longest`
        characters, or nested deeper than engines take."""
        pattern = pattern_of(self.graph, longest)
        return pattern if pattern is not None and _depth(pattern) <= _NESTED else None

    def ebnf(self) -> str:
        """The dialect of xgrammar, with the rule `root`."""
        return grammar_of(self.graph)

    def gbnf(self) -> str:
        """The dialect of llama.cpp, with the rule `root`."""
        return grammar_of(self.graph)


def generation_graph(automaton: TextAutomaton, follow: str = "") -> CharGraph:
    """The graph of what may be written. Raises UnsupportedConstraint where token counts matter, LmqlCompileError past 20,000 states."""
    if len(automaton.token_bounds) > 1:
        hint = "leave len(TOKENS(…)) out, or bound characters instead"
        raise error(UNSUPPORTED, "a count of tokens cannot be written as a grammar", None, hint)
    graph = trimmed(_unfolded(automaton))
    if automaton.spaces_end:
        _allow_spaces(graph)
    if follow:
        _allow_follow(graph, follow)
    return minimal(graph)


def _unfolded(automaton: TextAutomaton) -> CharGraph:
    """The states reached, with the characters read so far where there is a limit; `(-1, 0)` stands for anything."""
    reader, limit = Reader(automaton, 0), automaton.char_limit
    most = None if limit is None else limit + _removed(automaton.phrases)
    known: dict[int, Edges] = {}
    order = [(-1 if automaton.stops[0, automaton.start] else automaton.start, 0)]
    numbers = {order[0]: 0}
    graph = CharGraph([], [])
    for state, count in order:
        graph.ends.append(state < 0 or (bool(automaton.accepts[0, state]) and (limit is None or count <= limit)))
        if state >= 0 and state not in known:
            known[state] = reader.edges(state)
        edges: Edges = {}
        for to, chars in ({-1: ANYTHING} if state < 0 else known[state]).items():
            after = count + 1 if most is not None and state >= 0 else 0
            if most is not None and after > most:
                continue
            key = (-1, 0) if to < 0 or automaton.stops[0, to] else (to, after)
            if key not in numbers:
                numbers[key] = len(numbers)
                order.append(key)
            number = numbers[key]
            edges[number] = edges[number] | chars if number in edges else chars
        graph.edges.append(edges)
        if len(order) > MAX_STATES:
            hint = "bound repetitions and lengths lower"
            raise error(TOO_LARGE, f"the constraint is too large to be written out: more than {MAX_STATES:,} states", None, hint)
    return graph


def _removed(phrases: tuple[StopPhrase, ...]) -> int:
    """Characters past a limit that a stop takes away again: all phrases take equally many where there is a limit beside the states."""
    return max((len(phrase.text or "") for phrase in phrases if not phrase.keep), default=0)


def _to_an_end(graph: CharGraph) -> list[int]:
    """The fewest characters from each state to an end."""
    before: list[list[int]] = [[] for _ in graph.ends]
    for state, edges in enumerate(graph.edges):
        for to in edges:
            before[to].append(state)
    left = [0 if end else -1 for end in graph.ends]
    order = [state for state, end in enumerate(graph.ends) if end]
    for state in order:
        for source in before[state]:
            if left[source] < 0:
                left[source] = left[state] + 1
                order.append(source)
    return left


def _within(graph: CharGraph, characters: int) -> CharGraph:
    """The part of a graph that ends within so many characters, or as soon as it can."""
    left = _to_an_end(graph)
    order = [(0, max(characters, left[0]))]
    numbers = {order[0]: 0}
    found = CharGraph([], [])
    for state, most in order:
        edges: Edges = {}
        for to, chars in graph.edges[state].items():
            key = to, most - 1
            if left[to] < most:
                if key not in numbers:
                    numbers[key] = len(numbers)
                    order.append(key)
                edges[numbers[key]] = chars
        found.edges.append(edges)
        found.ends.append(graph.ends[state])
        if len(order) > MAX_STATES:
            return graph if characters <= left[0] else _within(graph, left[0])
    return minimal(found)


def _behind(text: str, graph: CharGraph) -> CharGraph:
    """The graph after a text."""
    count = len(text)
    edges: list[Edges] = [{place + 1: CharSet.single(ord(character))} for place, character in enumerate(text)]
    edges += [{to + count: chars for to, chars in row.items()} for row in graph.edges]
    return CharGraph(edges, [False] * count + graph.ends)


def _allow_spaces(graph: CharGraph) -> None:
    """Let anything follow white space where some may stand behind a text, and nothing but that behind it."""
    spaces = category("s", False)
    over = {state for state, edges in enumerate(graph.edges) if edges == {state: ANYTHING}}
    blank = {state for state, edges in enumerate(graph.edges) if not any(chars - spaces for chars in edges.values())}
    while worse := {state for state in blank if not graph.edges[state].keys() <= blank | over}:
        blank -= worse
    last = len(graph.ends)
    ended = []
    for state, edges in enumerate(graph.edges):
        behind = {to for to, chars in edges.items() if chars & spaces}
        if graph.ends[state] and behind and behind <= blank | over:
            ended.append(state)
    for state in ended:
        rest = {to: chars - spaces for to, chars in graph.edges[state].items()}
        graph.edges[state] = {to: chars for to, chars in rest.items() if chars} | {last: spaces}
    if ended:
        graph.ends.append(True)
        graph.edges.append({last: ANYTHING})


def _allow_follow(graph: CharGraph, follow: str) -> None:
    """Let the literal after the hole begin wherever the text may end and does not go on with it."""
    first = ord(follow[0])
    ends = [state for state, end in enumerate(graph.ends) if end and not any(first in chars for chars in graph.edges[state].values())]
    start = len(graph.ends)
    for place, character in enumerate(follow[1:]):
        graph.ends.append(True)
        graph.edges.append({start + place + 1: CharSet.single(ord(character))})
    last = len(graph.ends)
    graph.ends.append(True)
    graph.edges.append({last: ANYTHING})
    for state in ends:
        graph.edges[state][start] = CharSet.single(first)


def _depth(pattern: str) -> int:
    """How deeply groups are nested."""
    depth = deepest = place = 0
    while place < len(pattern):
        if pattern[place] == "\\":
            place += 1
        elif pattern[place] == "(":
            depth += 1
            deepest = max(deepest, depth)
        elif pattern[place] == ")":
            depth -= 1
        place += 1
    return deepest
