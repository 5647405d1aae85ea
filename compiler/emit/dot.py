"""Automata as drawings: the DOT language of Graphviz."""

from __future__ import annotations

from lmqlc.compiler.automata.automaton import TextAutomaton
from lmqlc.compiler.automata.charset import SURROGATES, CharSet
from lmqlc.compiler.emit.char_graph import char_graph
from lmqlc.compiler.emit.regex import char_class, escaped

_MAX_LABEL = 40


def emit_dot(automaton: TextAutomaton) -> str:
    """A graph with a double circle for every state where the text may end; where counts of tokens matter, as it is for no tokens.

    Raises LmqlCompileError as `char_graph` does.
    """
    graph = char_graph(automaton, region=0)
    lines = ["digraph {", "  rankdir=LR;", '  start [shape=point, label=""];', "  start -> 0;"]
    lines += [f"  {state} [shape={'doublecircle' if end else 'circle'}];" for state, end in enumerate(graph.ends)]
    for state, edges in enumerate(graph.edges):
        lines += [f'  {state} -> {to} [label="{_quoted(edge_label(chars))}"];' for to, chars in edges.items()]
    return "\n".join([*lines, "}", ""])


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def edge_label(chars: CharSet) -> str:
    """A set for people: the shorter of the set and its complement, cut where it is long."""
    written = char_class(chars)
    others = ~(chars | SURROGATES)
    if not others:
        written = "any"
    elif len(list(others.ranges())) < len(list(chars.ranges())):
        inside = "".join(escaped(low) if low == high else f"{escaped(low)}-{escaped(high)}" for low, high in others.ranges())
        written = f"[^{inside}]"
    return written if len(written) <= _MAX_LABEL else written[: _MAX_LABEL - 1] + "…"
