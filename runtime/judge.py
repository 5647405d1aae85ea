"""Whether a text that is complete meets a constraint: by the same automaton that would have guided it."""

from __future__ import annotations

from lmqlc.compiler.automata.automaton import TextAutomaton
from lmqlc.compiler.constraints import Constraint


def text_meets(constraint: Constraint, text: str, tokens: int) -> bool:
    """`constraint` (without slots) holds for a final text that took `tokens` tokens. Stops count as true."""
    from lmqlc.compiler.automata.build import build
    from lmqlc.grammar.errors import UnsatisfiableConstraint

    try:
        automaton = build(constraint)
    except UnsatisfiableConstraint:
        return False
    return accepts(automaton, text, tokens)


def accepts(automaton: TextAutomaton, text: str, tokens: int) -> bool:
    """The automaton accepts a text of `tokens` tokens."""
    region = int((automaton.token_bounds <= tokens).sum()) - 1
    delta = automaton.delta[min(region, len(automaton.delta) - 1)]
    state = automaton.start
    for byte in text.encode("utf-8", "surrogatepass"):
        state = int(delta[state, automaton.byte_class[byte]])
    within = automaton.char_limit is None or len(text) <= automaton.char_limit
    return within and bool(automaton.accepts[region, state] or automaton.stops[region, state])
