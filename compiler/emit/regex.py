"""Automata as regular expressions, by state elimination. The text is understood alike by Python's `re` and by Rust's `regex`."""

from __future__ import annotations

from collections import defaultdict

from lmqlc.compiler.automata.automaton import TextAutomaton
from lmqlc.compiler.automata.charset import CharSet
from lmqlc.compiler.automata.problems import TOO_LARGE, error
from lmqlc.compiler.emit.char_graph import CharGraph, char_graph

_MAX_LENGTH = 2_000_000
_SEQUENCE, _UNION, _ATOM = "sequence", "union", "atom"
_Text = tuple[str, str]
"""A pattern and how tightly it binds."""
_EMPTY: _Text = ("", _SEQUENCE)


def emit_regex(automaton: TextAutomaton) -> str:
    """A pattern with the automaton's language, for full matches. Raises LmqlCompileError where it would be too long."""
    pattern = pattern_of(char_graph(automaton), _MAX_LENGTH)
    if pattern is None:
        hint = "emit it as a grammar: ebnf, gbnf"
        raise error(TOO_LARGE, f"the pattern would be longer than {_MAX_LENGTH:,} characters", None, hint)
    return pattern


def pattern_of(graph: CharGraph, longest: int) -> str | None:
    """The pattern of a graph, None where it would be longer than some characters."""
    try:
        return _eliminate(graph, longest)[0] if any(graph.ends) else "[^\\s\\S]"
    except _TooLong:
        return None


class _TooLong(Exception):
    """Some part of a pattern is longer than the whole may be."""


class _Arrows:
    """A graph with patterns on its arrows; -1 is the entry, -2 the exit."""

    def __init__(self, graph: CharGraph, longest: int) -> None:
        self._longest = longest
        self.out: defaultdict[int, dict[int, _Text]] = defaultdict(dict)
        self._into: defaultdict[int, set[int]] = defaultdict(set)
        for state, edges in enumerate(graph.edges):
            for to, chars in edges.items():
                self._connect(state, to, (char_class(chars), _ATOM))
            if graph.ends[state]:
                self._connect(state, -2, _EMPTY)
        self._connect(-1, 0, _EMPTY)

    def _connect(self, state: int, to: int, text: _Text) -> None:
        self.out[state][to] = _either(self.out[state][to], text) if to in self.out[state] else text
        self._into[to].add(state)
        if len(self.out[state][to][0]) > self._longest:
            raise _TooLong

    def cost(self, state: int) -> tuple[int, int, int]:
        """What taking a state out would add."""
        ways = len(self._into[state] - {state}) * len(self.out[state])
        return ways, sum(len(text) for text, _ in self.out[state].values()), -state

    def take_out(self, state: int) -> None:
        loop = _star(self.out[state].pop(state)) if state in self.out[state] else _EMPTY
        after, before = self.out.pop(state), self._into.pop(state) - {state}
        for to in after:
            self._into[to].discard(state)
        for source in sorted(before):
            head = _then(self.out[source].pop(state), loop)
            for to, text in after.items():
                self._connect(source, to, _then(head, text))


def _eliminate(graph: CharGraph, longest: int) -> _Text:
    """Take states out, cheapest first, until only the entry and the exit are left."""
    arrows, left = _Arrows(graph, longest), set(range(len(graph.ends)))
    while left:
        state = min(left, key=arrows.cost)
        left.remove(state)
        arrows.take_out(state)
    return arrows.out[-1][-2]


def _then(head: _Text, tail: _Text) -> _Text:
    if not head[0]:
        return tail
    if not tail[0]:
        return head
    return "".join(f"(?:{text})" if kind == _UNION else text for text, kind in (head, tail)), _SEQUENCE


def _either(one: _Text, other: _Text) -> _Text:
    """Alternatives; one with the empty text becomes optional."""
    if one[0] == other[0]:
        return one
    if not one[0] or not other[0]:
        return _group(one if one[0] else other) + "?", _ATOM + "?"
    return f"{one[0]}|{other[0]}", _UNION


def _group(text: _Text) -> str:
    return text[0] if text[1] == _ATOM else f"(?:{text[0]})"


def _star(text: _Text) -> _Text:
    return (_group(text) + "*", _ATOM + "*") if text[0] else _EMPTY


def char_class(chars: CharSet) -> str:
    """A set of characters as a class; one character as itself."""
    spans = list(chars.ranges())
    if len(spans) == 1 and spans[0][0] == spans[0][1]:
        return escaped(spans[0][0])
    inside = "".join(escaped(low) if low == high else f"{escaped(low)}-{escaped(high)}" for low, high in spans)
    return f"[{inside}]"


def escaped(code: int) -> str:
    """One character, written so that it stands for itself inside and outside of classes."""
    character = chr(code)
    if character.isascii() and (character.isalnum() or character in " _,;:!@%'\""):
        return character
    if 0x20 < code < 0x7F:
        return "\\" + character if character in "\\.^$*+?{}[]|()-&~#/" else character
    named = {9: "\\t", 10: "\\n", 13: "\\r"}.get(code)
    return named or (character if character.isprintable() and code > 0xA0 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")
