"""The most tokens that a text may take: exact where every byte is a token, None where texts have no bound."""

from __future__ import annotations

import itertools
import random
import re
from typing import Any

import pytest

from lmqlc.compiler import constraints as c
from lmqlc.compiler.automata.build import build
from lmqlc.compiler.automata.longest import longest_text


def of(*parts: Any) -> int | None:
    return longest_text(build(parts[0] if len(parts) == 1 else c.And(parts)))


def regex(pattern: str) -> c.Constraint:
    return c.Matches(c.Const(pattern))


def count(unit: Any, op: Any, bound: int) -> c.Constraint:
    return c.Count(unit, op, c.Const(bound))


@pytest.mark.parametrize(
    ("parts", "longest"),
    [
        ((regex("abc|de"),), 3),
        ((regex("a{5}é?"),), 7),
        ((regex("a*"),), None),
        ((regex("(ab)+c"),), None),
        ((regex("a*"), regex("(aa|aaa){0,3}")), 9),
        ((c.InSet(c.Const(["x", "héllo"])),), 6),
        ((c.Not(c.Contains(c.Const("z"))),), None),
        ((c.Stop(c.Const("END"), keep=False),), None),
        ((c.Stop(c.Const("END"), keep=False), regex("[ab]{4}")), 7),
        ((count("tokens", "<=", 12),), 13),
        ((count("tokens", "<=", 12), regex("a*")), 13),
        ((c.Or((count("tokens", "<=", 12), regex("a{30}"))),), 13 + 30),
        ((count("tokens", ">=", 3),), None),
        ((count("words", "<=", 3),), None),
    ],
)
def test_bounds(parts: tuple[Any, ...], longest: int | None) -> None:
    assert of(*parts) == longest


@pytest.mark.parametrize("bound", [3, 50, 100_000])
def test_counts_of_characters(bound: int) -> None:
    found = of(count("chars", "<=", bound))
    assert found is not None and bound <= found <= 4 * bound
    found = of(count("chars", "<=", bound), c.Stop(c.Const("xyz"), keep=False))
    assert found is not None and bound + 3 <= found <= 4 * (bound + 3)


def patterns(seed: int) -> str:
    """A random pattern over a and b."""
    choose = random.Random(seed)

    def one(depth: int) -> str:
        kind = choose.choice(["a", "b", "[ab]"] if depth == 0 else ["cat", "or", "opt", "star", "times", "a"])
        if kind in ("a", "b", "[ab]"):
            return kind
        inner = one(depth - 1)
        if kind == "cat":
            return inner + one(depth - 1)
        return {"or": f"({inner}|{one(depth - 1)})", "opt": f"({inner})?", "star": f"({inner})*", "times": f"({inner}){{1,2}}"}[kind]

    return one(3)


def test_as_many_as_the_longest_text_has() -> None:
    texts = ["".join(letters) for length in range(11) for letters in itertools.product("ab", repeat=length)]
    bounded = 0
    for seed in range(80):
        pattern = patterns(seed)
        automaton = build(regex(pattern))
        longest, most = longest_text(automaton), len(automaton.delta[0])
        compiled = re.compile(pattern)
        written = max(len(text) for text in texts if compiled.fullmatch(text))
        if longest is not None:
            bounded += 1
            assert written == min(longest, max(len(text) for text in texts)), pattern
        else:
            # a text as long as the automaton has states goes round a loop
            assert "*" in pattern and (most > 10 or written >= most - 1), pattern
    assert 15 < bounded < 70
