"""What is too large is a clear error, in bounded time; what looks large but is not compiles."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import pytest

from lmqlc.compiler import constraints as c
from lmqlc.compiler.automata import limits
from lmqlc.compiler.automata.build import build
from lmqlc.compiler.automata.limits import MAX_STATES
from lmqlc.compiler.automata.query import matches
from lmqlc.grammar.errors import LmqlCompileError

STEPS = 600_000
"""A lower bound than the real one, which some of these need seconds to reach."""


def pattern(text: str) -> c.Constraint:
    return c.Matches(c.Const(text))


def letters(seed: int, count: int, length: int, first: int, last: int) -> list[str]:
    rng = random.Random(seed)
    return ["".join(chr(rng.randint(first, last)) for _ in range(length)) for _ in range(count)]


TOO_LARGE: dict[str, Callable[[], c.Constraint]] = {
    "determinised": lambda: pattern("(a|b)*a(a|b){20}"),
    "nested counters": lambda: pattern("(((a{1,100}){1,100}){1,100}){1,100}"),
    "counters in counters": lambda: pattern("((a{1,30}b?){1,30}c?){1,30}"),
    "a long repetition": lambda: pattern("(ab){100000}"),
    "a minimum length": lambda: c.Count("chars", ">=", c.Const(10**6)),
    "many substrings at once": lambda: c.And(tuple(c.Contains(c.Const(chr(97 + i) * 3)) for i in range(16))),
    "deep parentheses": lambda: pattern("(" * 3000 + "a" + ")" * 3000),
    "deep formulas": lambda: _deep(5000),
    "many token counts": lambda: c.Or(tuple(c.Count("tokens", "==", c.Const(i)) for i in range(0, 2000, 2))),
}


def _deep(depth: int) -> c.Constraint:
    found: c.Constraint = c.Equals(c.Const("a"))
    for _ in range(depth):
        found = c.Not(c.And((found, c.Contains(c.Const("b")))))
    return found


@pytest.mark.parametrize("name", TOO_LARGE)
def test_too_large(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_STEPS", STEPS)
    constraint = TOO_LARGE[name]()
    begin = time.thread_time()
    with pytest.raises(LmqlCompileError, match="too large") as caught:
        build(constraint)
    assert time.thread_time() - begin < 3
    assert caught.value.diagnostics[0].code == "L0405"


FINE: dict[str, tuple[Callable[[], c.Constraint], str, int]] = {
    "a length of a billion": (lambda: c.Count("chars", "<=", c.Const(10**9)), "abc", 20),
    "ten thousand words": (lambda: c.InSet(c.Const(letters(1, 10_000, 8, 97, 106))), letters(1, 1, 8, 97, 106)[0], MAX_STATES),
    "a thousand words of CJK": (
        lambda: c.InSet(c.Const(letters(2, 1_000, 4, 0x4E00, 0x9FFF))),
        letters(2, 1, 4, 0x4E00, 0x9FFF)[0],
        20_000,
    ),
    "a long literal": (lambda: c.Equals(c.Const("ab" * 20_000)), "ab" * 20_000, 40_002),
    "substrings of a long text": (lambda: c.InSet(c.Const("".join(letters(3, 1, 5_000, 97, 100)))), "", 20_000),
    "many optional letters": (lambda: pattern("a?" * 300 + "b"), "aab", 400),
    "many optional parts": (lambda: pattern("a?b?" * 100 + "c"), "aabc", 1_000),
    "a long search": (lambda: c.Contains(c.Const("ab" * 2_000)), "ab" * 2_000, 4_100),
    "many exceptions": (lambda: c.And(tuple(c.Not(c.Contains(c.Const(chr(97 + i) * 3))) for i in range(26))), "aab", 100),
    "look-ahead in a loop": (lambda: pattern("(?:(?=.*a)(?!.*c{3}).)*"), "bba", 50),
    "bounds on big numbers": (lambda: c.NumberCompare("int", "<", c.Const(10**1000)), "9" * 999, 5_000),
    "tiny decimals": (lambda: c.NumberCompare("float", "<", c.Const(1e-300)), "0", 1_000),
}


@pytest.mark.parametrize("name", FINE)
def test_fine(name: str) -> None:
    make, text, states = FINE[name]
    automaton = build(make())
    assert matches(automaton, text)
    assert automaton.delta.shape[1] <= states
