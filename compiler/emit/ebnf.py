"""Automata as grammars: the EBNF of xgrammar (vLLM, SGLang), the GBNF of llama.cpp, the Lark dialect of llguidance.

The grammars are right-linear: one rule per state, except that states in a chain share one. Every rule begins with different characters
in each alternative, so no parser has a choice.
"""

from __future__ import annotations

from lmqlc.compiler.automata.automaton import TextAutomaton
from lmqlc.compiler.automata.charset import CharSet
from lmqlc.compiler.emit.char_graph import CharGraph, char_graph
from lmqlc.compiler.emit.regex import char_class, pattern_of


def emit_ebnf(automaton: TextAutomaton) -> str:
    """A grammar in the dialect of xgrammar, with the rule `root`. Raises LmqlCompileError as `char_graph` does."""
    return grammar_of(char_graph(automaton))


def emit_gbnf(automaton: TextAutomaton) -> str:
    """A grammar in the dialect of llama.cpp, with the rule `root`. Raises LmqlCompileError as `char_graph` does."""
    return grammar_of(char_graph(automaton))


def emit_lark(automaton: TextAutomaton) -> str:
    """A grammar in the dialect of llguidance: one terminal where that is short, else a rule per state and a terminal per set of characters.
    Raises LmqlCompileError as `char_graph` does."""
    graph = char_graph(automaton)
    pattern = pattern_of(graph, _SHORT) if len(graph.ends) <= _ONE_TERMINAL else None
    if pattern is None:
        return _lark_rules(graph)
    return f"start: /{pattern}/\n" if pattern else 'start: ""\n'


_ONE_TERMINAL = 100
"""States up to which a grammar is tried as one pattern."""
_SHORT = 1_000
"""Characters of a pattern that llguidance reads without fail."""


def _lark_rules(graph: CharGraph) -> str:
    terminals: dict[CharSet, str] = {}
    lines = ["start: s0"]
    for state, edges in enumerate(graph.edges):
        options = [f"{terminals.setdefault(chars, f'C{len(terminals)}')} s{to}" for to, chars in edges.items()]
        if graph.ends[state] or not options:
            options.append('""')
        lines.append(f"s{state}: {' | '.join(options)}")
    lines += [f"{name}: /{char_class(chars)}/" for chars, name in terminals.items()]
    return "\n".join(lines) + "\n"


def grammar_of(graph: CharGraph) -> str:
    """A graph as right-linear rules, with the rule `root`."""
    entries = [0] * len(graph.ends)
    for edges in graph.edges:
        for to in edges:
            entries[to] += 1
    own = [state for state in range(len(entries)) if state == 0 or (entries[state] > 1 and graph.edges[state]) or _branches(graph, state)]
    names = {state: f"s{number}" if number else "root" for number, state in enumerate(own)}
    return "".join(f"{names[state]} ::= {' | '.join(_alternatives(graph, state, names))}\n" for state in own)


def _branches(graph: CharGraph, state: int) -> bool:
    """Whether a state has more than one thing to do: then a chain ends there."""
    return bool(graph.edges[state]) and (graph.ends[state] or len(graph.edges[state]) > 1)


def _alternatives(graph: CharGraph, state: int, names: dict[int, str]) -> list[str]:
    found = []
    for to, chars in graph.edges[state].items():
        chain = [chars]
        while to not in names and graph.edges[to]:
            ((to, more),) = graph.edges[to].items()
            chain.append(more)
        found.append(" ".join([*_terms(chain), *([names[to]] if to in names else [])]))
    return [*found, '""'] if graph.ends[state] or not found else found


def _terms(chain: list[CharSet]) -> list[str]:
    """Sets of characters one after the other; single characters side by side become one string."""
    terms: list[str] = []
    for chars in chain:
        spans = list(chars.ranges())
        if len(spans) == 1 and spans[0][0] == spans[0][1]:
            character = _escaped(spans[0][0])
            if terms and terms[-1].startswith('"'):
                terms[-1] = f'{terms[-1][:-1]}{character}"'
            else:
                terms.append(f'"{character}"')
        else:
            inside = "".join(_escaped(low) if low == high else f"{_escaped(low)}-{_escaped(high)}" for low, high in spans)
            terms.append(f"[{inside}]")
    return terms


def _escaped(code: int) -> str:
    """One character; whatever may have a meaning in strings or classes by its number, with four or eight digits: in `\\x2Db` some readers
    take all three hexadecimal digits."""
    character = chr(code)
    if character.isascii() and (character.isalnum() or character in " _.,;:!?()@"):
        return character
    if code in (9, 10, 13):
        return {9: "\\t", 10: "\\n", 13: "\\r"}[code]
    return f"\\u{code:04X}" if code < 0x10000 else f"\\U{code:08X}"
