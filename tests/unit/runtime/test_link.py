"""Linking holes: the space before numbers, what is kept, values of number constraints."""

from __future__ import annotations

import itertools
import re
from typing import Any

import pytest

from lmqlc.backends.byte_tokenizer import ByteTokenizer
from lmqlc.compiler.automata.build import build
from lmqlc.compiler.automata.query import matches
from lmqlc.compiler.constraints import And, Const, Constraint, Count, Equals, InSet, Matches, Number, NumberCompare, Or, Stop
from lmqlc.compiler.masks.leading import with_leading_space
from lmqlc.grammar.errors import UnsatisfiableConstraint
from lmqlc.runtime.link import Place, link_hole, number_kind, whole_constraint

INT, FLOAT = Number("int"), Number("float")


def most(count: int) -> Count:
    return Count("chars", "<=", Const(count))


@pytest.mark.parametrize(
    "constraint",
    [
        INT,
        And((INT, most(2))),
        NumberCompare("int", "<", Const(12)),
        InSet(Const(("é1", "2"))),
        And((Matches(Const("[12é]*")), most(3))),
        And((Matches(Const("[12]*")), Count("tokens", "<", Const(3)))),
    ],
)
def test_one_space_may_stand_before_and_is_not_counted(constraint: Constraint) -> None:
    plain = build(constraint)
    spaced = with_leading_space(plain)
    for size in range(5):
        for letters in itertools.product(" 12é-", repeat=size):
            text = "".join(letters)
            expected = matches(plain, text) or (text[:1] == " " and matches(plain, text[1:]))
            assert matches(spaced, text) == expected, text


def test_texts_that_begin_with_a_space_stay_as_they_are() -> None:
    automaton = build(InSet(Const((" a", "b"))))
    assert with_leading_space(automaton) is automaton
    empty = build(Matches(Const("")))  # a space would make no other text
    assert with_leading_space(empty) is empty


def test_every_state_is_reachable() -> None:
    spaced = with_leading_space(build(And((Matches(Const("[a-cé]*")), most(4)))))
    reached, pending = {spaced.start}, [spaced.start]
    while pending:
        fresh = set(spaced.delta[:, pending.pop()].ravel().tolist()) - reached
        reached |= fresh
        pending += fresh
    assert reached | {0} == set(range(spaced.delta.shape[1]))


def test_the_same_hole_is_linked_once() -> None:
    tokenizer = ByteTokenizer()
    first = link_hole(InSet(Const(["a", "b"])), tokenizer, Place(budget=9))
    assert link_hole(InSet(Const(["a", "b"])), tokenizer, Place(budget=9)) is first
    assert link_hole(InSet(Const(["a", "c"])), tokenizer, Place(budget=9)) is not first
    assert link_hole(InSet(Const(["a", "b"])), tokenizer, Place(budget=9, follow=".")) is not first
    assert link_hole(InSet(Const(["a", "b"])), ByteTokenizer(("x",)), Place(budget=9)) is not first


def test_what_looks_alike_is_told_apart() -> None:
    tokenizer = ByteTokenizer()

    def kept(*values: Any) -> int:
        return len({id(link_hole(Matches(Const(value)), tokenizer, Place(budget=9))) for value in values})

    assert kept("a", re.compile("a"), re.compile("a", re.IGNORECASE)) == 3


def test_a_budget_that_nothing_fits_is_refused() -> None:
    with pytest.raises(UnsatisfiableConstraint, match="at most 2 tokens"):
        link_hole(Equals(Const("xyz")), ByteTokenizer(), Place(budget=2))


def test_number_kinds() -> None:
    stop = Stop(Const("."), True)
    assert number_kind(And((INT, stop))) is int
    assert number_kind(NumberCompare("float", "<", Const(1))) is float
    assert number_kind(Or((INT, FLOAT))) is float
    assert number_kind(Or((INT, stop))) is None
    assert number_kind(stop) is None


def test_types_join_the_constraint() -> None:
    assert whole_constraint(most(3), (), None) == whole_constraint(most(3), (), str)
    assert whole_constraint(most(3), (), int) != whole_constraint(most(3), (), None)
