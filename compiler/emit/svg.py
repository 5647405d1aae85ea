"""Automata as drawings: SVG, without help of other programs. States stand in columns by their distance from the start."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from html import escape
from math import hypot

from lmqlc.compiler.automata.automaton import TextAutomaton
from lmqlc.compiler.automata.problems import TOO_LARGE, error
from lmqlc.compiler.emit.char_graph import CharGraph, char_graph
from lmqlc.compiler.emit.dot import edge_label

MAX_STATES = 300
"""States of all graphs together; larger drawings say nothing to anybody."""
_COLUMN, _ROW, _RADIUS, _MARGIN = 150, 90, 18, 60
_STYLE = (
    "circle{fill:#fff;stroke:#333}path{fill:none;stroke:#666}text{font:12px monospace;text-anchor:middle}"
    ".title{font-weight:bold;text-anchor:start}.edge{fill:#205080;paint-order:stroke;stroke:#fff;stroke-width:4px}"
)
_ARROW = (
    '<defs><marker id="a" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
    '<path d="M0 0L8 4L0 8"/></marker></defs>'
)
_Point = tuple[float, float]


def emit_svg(automata: Sequence[tuple[str, TextAutomaton]]) -> str:
    """Named automata one below the other; a double circle where the text may end. Where counts of tokens matter, as it is for no tokens.

    Raises LmqlCompileError for more than `MAX_STATES` states.
    """
    graphs = [(name, char_graph(automaton, region=0)) for name, automaton in automata]
    states = sum(len(graph.ends) for _, graph in graphs)
    if states > MAX_STATES:
        hint = "emit `dot` and give it to a program that lays out large graphs"
        raise error(TOO_LARGE, f"a drawing of {states:,} states cannot be read; at most {MAX_STATES} are drawn", None, hint)
    parts: list[str] = []
    width, top = 0.0, 0.0
    for name, graph in graphs:
        places = _places(graph, top + _MARGIN + 20)
        parts += _drawn(name, graph, places, top)
        width = max(width, max(x for x, _ in places) + _MARGIN)
        top = max(y for _, y in places) + _MARGIN
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{top:.0f}"><style>{_STYLE}</style>{_ARROW}'
    return "\n".join([head, *parts, "</svg>", ""])


def _places(graph: CharGraph, top: float) -> list[_Point]:
    """A place for every state: the column is its distance from the start, the row its number within the column."""
    column, order = {0: 0}, [0]
    for state in order:
        for to in graph.edges[state]:
            if to not in column:
                column[to] = column[state] + 1
                order.append(to)
    rows: defaultdict[int, int] = defaultdict(int)
    places: dict[int, _Point] = {}
    for state in order:
        places[state] = (_MARGIN + _COLUMN * column[state], top + _ROW * rows[column[state]])
        rows[column[state]] += 1
    return [places[state] for state in range(len(graph.ends))]


def _drawn(name: str, graph: CharGraph, places: list[_Point], top: float) -> Iterator[str]:
    x, y = places[0]
    yield f'<text class="title" x="10" y="{top + 24:.0f}">{escape(name)}</text>'
    yield f'<path d="M{x - 2 * _RADIUS:.0f} {y:.0f}H{x - _RADIUS:.0f}" marker-end="url(#a)"/>'
    for state, edges in enumerate(graph.edges):
        for to, chars in edges.items():
            yield from _edge(places[state], places[to], edge_label(chars))
    for state, (x, y) in enumerate(places):
        yield f'<circle cx="{x:.0f}" cy="{y:.0f}" r="{_RADIUS}"/>'
        if graph.ends[state]:
            yield f'<circle cx="{x:.0f}" cy="{y:.0f}" r="{_RADIUS - 4}"/>'
        yield f'<text x="{x:.0f}" y="{y + 4:.0f}">{state}</text>'


def _edge(start: _Point, end: _Point, label: str) -> Iterator[str]:
    """A bent arrow, so that arrows there and back do not cover each other; a loop stands above its state."""
    (x, y), (u, v) = start, end
    if start == end:
        curve = f"C{x - 26:.0f} {y - 48:.0f} {x + 26:.0f} {y - 48:.0f} {x + 8:.0f} {y - 16:.0f}"
        yield f'<path d="M{x - 8:.0f} {y - 16:.0f}{curve}" marker-end="url(#a)"/>'
        yield _label(x, y - 44, label)
        return
    length = hypot(u - x, v - y)
    along, across = ((u - x) / length, (v - y) / length), ((v - y) / length, (x - u) / length)
    bend = 0.16 * length if u > x else 0.3 * length
    middle = (x + u) / 2 + bend * across[0], (y + v) / 2 + bend * across[1]
    first, last = (x + _RADIUS * along[0], y + _RADIUS * along[1]), (u - _RADIUS * along[0], v - _RADIUS * along[1])
    yield f'<path d="M{first[0]:.1f} {first[1]:.1f}Q{middle[0]:.1f} {middle[1]:.1f} {last[0]:.1f} {last[1]:.1f}" marker-end="url(#a)"/>'
    yield _label((x + u) / 4 + middle[0] / 2, (y + v) / 4 + middle[1] / 2 - 3, label)


def _label(x: float, y: float, text: str) -> str:
    return f'<text class="edge" x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'
