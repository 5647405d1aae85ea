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
    graph = char_graph(automaton)
    if not any(graph.ends):
        return "[^\\s\\S]"
    return _eliminate(graph)[0]


def _eliminate(graph: CharGraph) -> _Text:
    """Take states out, cheapest first, until only an entry (-1) and an exit (-2) are left."""
    out: defaultdict[int, dict[int, _Text]] = defaultdict(dict)
    into: defaultdict[int, set[int]] = defaultdict(set)

    def connect(state: int, to: int, text: _Text) -> None:
        out[state][to] = _either(out[state][to], text) if to in out[state] else text
        into[to].add(state)

    for state, edges in enumerate(graph.edges):
        for to, chars in edges.items():
            connect(state, to, (char_class(chars), _ATOM))
        if graph.ends[state]:
            connect(state, -2, _EMPTY)
    connect(-1, 0, _EMPTY)
    left = set(range(len(graph.ends)))
    while left:
        state = min(left, key=lambda s: (len(into[s] - {s}) * len(out[s]), sum(len(text) for text, _ in out[s].values()), -s))
        left.remove(state)
        loop = _star(out[state].pop(state)) if state in out[state] else _EMPTY
        after, before = out.pop(state), into.pop(state) - {state}
        for to in after:
            into[to].discard(state)
        for source in sorted(before):
            head = _then(out[source].pop(state), loop)
            for to, text in after.items():
                connect(source, to, _then(head, text))
                _check(out[source][to][0])
    return out[-1][-2]


def _check(text: str) -> None:
    if len(text) > _MAX_LENGTH:
        hint = "emit it as a grammar: ebnf, gbnf"
        raise error(TOO_LARGE, f"the pattern would be longer than {_MAX_LENGTH:,} characters", None, hint)


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
