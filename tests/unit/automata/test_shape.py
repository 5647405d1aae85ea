"""What `TextAutomaton` promises: a dead state, all states reachable, ends at whole characters only, UTF-8 and nothing else."""

from __future__ import annotations

import re

import numpy as np
import pytest

from lmqlc.compiler import constraints as c
from lmqlc.compiler.automata.automaton import TextAutomaton
from lmqlc.compiler.automata.build import build

CONSTRAINTS = [
    c.Matches(c.Const(r"\w{2,5}")),
    c.Matches(c.Const("(?s).*é.*")),
    c.Matches(c.Const(re.compile("[α-ω]+|[^x]"))),
    c.Not(c.Matches(c.Const("[日-本]*"))),
    c.InSet(c.Const(["日本", "日😀", "z"])),
    c.And((c.Stop(c.Const("é日"), False), c.Count("tokens", "<", c.Const(4)), c.TextIs("isupper"))),
    c.And((c.Stop(c.Const(["。", "!"]), True), c.Count("words", ">", c.Const(1)))),
    c.Count("chars", "==", c.Const(3)),
    c.Truth(c.Const(True)),
]
CONTINUATION = range(0x80, 0xC0)


@pytest.mark.parametrize("constraint", CONSTRAINTS, ids=range(len(CONSTRAINTS)))
def test_promises(constraint: c.Constraint) -> None:
    automaton = build(constraint)
    regions, states, classes = len(automaton.token_bounds), automaton.delta.shape[1], automaton.delta.shape[2]
    assert automaton.delta.dtype == np.int32
    assert automaton.delta.shape[0] in (1, regions)
    assert automaton.byte_class.shape == (256,)
    assert automaton.byte_class.max() < classes
    assert automaton.accepts.shape == automaton.stops.shape == (regions, states)
    assert not automaton.delta[:, 0].any()
    assert not automaton.accepts[:, 0].any()
    assert automaton.token_bounds[0] == 0
    assert len(_reached(automaton)) == states - 1


def _reached(automaton: TextAutomaton) -> set[int]:
    seen, pending = {automaton.start}, [automaton.start]
    while pending:
        for to in np.unique(automaton.delta[:, pending.pop()]).tolist():
            if to and to not in seen:
                seen.add(to)
                pending.append(to)
    return seen


@pytest.mark.parametrize("constraint", CONSTRAINTS, ids=range(len(CONSTRAINTS)))
def test_bytes_are_utf8(constraint: c.Constraint) -> None:
    automaton = build(constraint)
    inside = _inside_characters(automaton)
    for state in range(1, automaton.delta.shape[1]):
        for region in range(len(automaton.delta)):
            row = automaton.delta[region, state][automaton.byte_class]
            allowed = np.flatnonzero(row)
            if state in inside:
                assert set(allowed.tolist()) <= set(CONTINUATION)
                assert not automaton.accepts[:, state].any()
                assert not automaton.stops[:, state].any()
            else:
                assert not set(allowed.tolist()) & {*CONTINUATION, 0xC0, 0xC1, *range(0xF5, 0x100)}


def _inside_characters(automaton: TextAutomaton) -> set[int]:
    """The states that stand between two bytes of a character. No state stands both inside and between characters."""
    inside: dict[int, int] = {}
    pending = [(automaton.start, 0)]
    while pending:
        state, left = pending.pop()
        if state in inside:
            assert inside[state] == left
            continue
        inside[state] = left
        for region in range(len(automaton.delta)):
            row = automaton.delta[region, state][automaton.byte_class].tolist()
            for byte, to in enumerate(row):
                if to:
                    more = left - 1 if left else 0 if byte < 0x80 else 1 if byte < 0xE0 else 2 if byte < 0xF0 else 3
                    pending.append((to, more))
    return {state for state, left in inside.items() if left}


def test_surrogates_and_overlong_forms_are_dead() -> None:
    automaton = build(c.Truth(c.Const(True)))
    for data in (b"\xed\xa0\x80", b"\xc0\x80", b"\xe0\x80\x80", b"\xf0\x80\x80\x80", b"\xf4\x90\x80\x80", b"\x80", b"\xff"):
        state = automaton.start
        for byte in data:
            state = int(automaton.delta[0, state, automaton.byte_class[byte]])
        assert state == 0
    for text in ("\ud7ff", "\ue000", "\U0010ffff", "\x80", "\u0800"):
        state = automaton.start
        for byte in text.encode():
            state = int(automaton.delta[0, state, automaton.byte_class[byte]])
        assert automaton.accepts[0, state]


def test_deterministic() -> None:
    for constraint in CONSTRAINTS:
        one, other = build(constraint), build(constraint)
        assert (one.delta == other.delta).all()
        assert (one.byte_class == other.byte_class).all()
        assert (one.accepts == other.accepts).all()
