"""One space may stand before the text of a number or of a plain-text type: it is in the prompt, and no part of the text."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from lmqlc.compiler.automata.automaton import TextAutomaton

SPACE = 0x20


def with_leading_space(automaton: TextAutomaton) -> TextAutomaton:
    """The automaton with an optional space before its texts; the space is no character of the text.

    The same automaton where its texts may begin with a space themselves: which space is meant could not be told. And where its only text is
    empty: a space before it would end nowhere else.
    """
    moves = automaton.delta[:, automaton.start]
    if (moves[:, automaton.byte_class[SPACE]] != 0).any() or not moves.any():
        return automaton
    automaton = _counting_inside(automaton)
    regions, states, classes = automaton.delta.shape
    delta = np.zeros((regions, states + 1, classes + 1), np.int32)
    delta[:, :states, :classes] = automaton.delta
    delta[:, :states, classes] = automaton.delta[:, :, automaton.byte_class[SPACE]]
    delta[:, states, :classes] = automaton.delta[:, automaton.start]
    delta[:, states, classes] = automaton.start
    byte_class = automaton.byte_class.copy()
    byte_class[SPACE] = classes
    return replace(
        automaton,
        delta=delta,
        byte_class=byte_class,
        start=states,
        accepts=_repeat_start(automaton.accepts, automaton.start),
        stops=_repeat_start(automaton.stops, automaton.start),
        holds=None if automaton.holds is None else _repeat_start(automaton.holds, automaton.start),
    )


def _repeat_start(rows: npt.NDArray[np.bool_], start: int) -> npt.NDArray[np.bool_]:
    return np.concatenate([rows, rows[:, start : start + 1]], axis=1)


def _counting_inside(automaton: TextAutomaton) -> TextAutomaton:
    """The automaton with its character limit in the states: a counter beside them would count the space too."""
    if automaton.char_limit is None:
        return automaton
    leads = np.array([byte & 0xC0 != 0x80 for byte in range(256)])
    pairs, byte_class = np.unique(automaton.byte_class.astype(np.int64) * 2 + leads, return_inverse=True)
    order, rows = _counted(automaton, automaton.char_limit, pairs)
    states = [state for state, _ in order]
    return replace(
        automaton,
        delta=np.stack(rows, axis=1),
        byte_class=byte_class.astype(np.uint8),
        start=1,
        accepts=automaton.accepts[:, states],
        stops=automaton.stops[:, states],
        holds=None if automaton.holds is None else automaton.holds[:, states],
        char_limit=None,
    )


def _counted(
    automaton: TextAutomaton, limit: int, pairs: npt.NDArray[np.int64]
) -> tuple[list[tuple[int, int]], list[npt.NDArray[np.int32]]]:
    """The reachable pairs of a state and the characters so far (0 is dead, 1 the start), and the row int32[D, B] of each.

    pairs: byte classes by whether their bytes begin a character: `2 * class + begins`.
    """
    order = [(0, 0), (automaton.start, 0)]
    seen = {pair: number for number, pair in enumerate(order)}

    def number(state: int, chars: int) -> int:
        pair = (state, chars) if state and chars <= limit else (0, 0)
        if pair not in seen:
            seen[pair] = len(order)
            order.append(pair)
        return seen[pair]

    rows: list[npt.NDArray[np.int32]] = []
    while len(rows) < len(order):
        state, chars = order[len(rows)]
        after = automaton.delta[:, state][:, pairs // 2]
        rows.append(np.array([[number(int(q), chars + int(pairs[b] % 2)) for b, q in enumerate(row)] for row in after], np.int32))
    return order, rows
