"""Questions to a finished automaton: does it accept a text, which texts does it accept."""

from __future__ import annotations

import numpy as np
from lmqlc.compiler.automata.automaton import TextAutomaton


def region_of(automaton: TextAutomaton, tokens: int) -> int:
    """The region of a count of tokens."""
    return int(np.searchsorted(automaton.token_bounds, tokens, side="right")) - 1


def matches(automaton: TextAutomaton, text: str, tokens: int = 0) -> bool:
    """Whether a text may be the whole text, or ends with a stop and did not stop before; every character is judged in the region of
    `tokens`. Texts with lone surrogates are none."""
    region = region_of(automaton, tokens)
    delta = automaton.delta[region if len(automaton.delta) > 1 else 0]
    try:
        encoded = text.encode()
    except UnicodeEncodeError:
        return False
    state = automaton.start
    for byte in encoded:
        state = int(delta[state, automaton.byte_class[byte]])
        if state == 0:
            return False
    if automaton.char_limit is not None and len(text) > automaton.char_limit:
        return False
    return bool(automaton.accepts[region, state] or automaton.stops[region, state])
