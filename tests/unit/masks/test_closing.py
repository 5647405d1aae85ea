"""Closure where only a stop that is removed could follow, byte by byte; the property tests do it by tokens."""

from __future__ import annotations

import re

import pytest

from lmqlc.compiler import constraints as c
from lmqlc.compiler.masks.compose import compose
from lmqlc.compiler.masks.interface import State, TokenConstraint
from lmqlc.runtime.constraint import constraint
from lmqlc.runtime.text_hole import BYTES

CHOICE = c.InSet(c.Const(["yes", "no", "nope"]))


def before(*phrases: str | re.Pattern[str]) -> c.Stop:
    return c.Stop(c.Const(list(phrases)), keep=False)


def closed(formula: c.Constraint, text: str, budget: int | None = None) -> list[bool]:
    """Whether the text is closed after every character."""
    made: TokenConstraint = compose(formula, BYTES.vocabulary, max_tokens=budget)
    state: State | None = made.start()
    found = []
    for token_id in BYTES.encode(text, first=False):
        state = made.advance(state, token_id)
        assert state is not None
        found.append(made.is_closed(state))
    return found


@constraint
def anything(text: str, final: bool) -> bool | None:
    return final or None


@pytest.mark.parametrize("stop", [before("\n"), before("\n", "</a>"), before(re.compile(r"\s+x?\n"), "."), before(re.compile("a*b"))])
@pytest.mark.parametrize("more", [(), (c.Custom(c.Const(anything), ()),)])
def test_a_choice_before_a_stop_is_closed(stop: c.Stop, more: tuple[c.Constraint, ...]) -> None:
    formula = c.And((CHOICE, *more, stop))
    assert closed(formula, "yes") == [False, False, True]
    assert closed(formula, "nope") == [False, False, False, True]  # "no" may become "nope"


def test_a_phrase_that_began_before_takes_some_of_the_text_away() -> None:
    formula = c.And((c.InSet(c.Const(["a", "ab"])), before("bc", "x")))
    assert closed(formula, "ab") == [False, False]  # "abc" ends as "a"
    assert closed(formula, "ab", budget=2) == [False, True]
    assert closed(c.And((c.InSet(c.Const(["a", "ab"])), before("x"))), "ab") == [False, True]


def test_a_kept_phrase_gives_another_text() -> None:
    formula = c.And((c.InSet(c.Const(["a", "a;\n"])), before("\n", "x"), c.Stop(c.Const(";\n"), keep=True)))
    assert closed(formula, "a") == [False]
    assert closed(c.And((c.Equals(c.Const("a")), before("\n", "x"), c.Stop(c.Const(";\n"), keep=True))), "a") == [True]


def test_a_limit_of_characters_closes_a_text() -> None:
    formula = c.And((c.Count("chars", "<=", c.Const(3)), before("\n\n")))
    assert closed(formula, "abc") == [False, False, True]
    assert closed(formula, "a\n") == [False, False]  # the line end may be the text's
