"""Example texts for `lmqlc explain`."""

from __future__ import annotations

import random

import pytest

from lmqlc.compiler import constraints as c
from lmqlc.compiler.automata.build import build
from lmqlc.compiler.automata.query import examples, matches, sample

CONSTRAINTS = [
    c.Matches(c.Const(r"\d{4}-\d{2}-\d{2}")),
    c.Matches(c.Const("[日-本]{3,}")),
    c.Contains(c.Const("ab" * 50)),
    c.Count("chars", "==", c.Const(40)),
    c.Matches(c.Const("[a-z]{1,500}")),
    c.And((c.Count("tokens", ">", c.Const(3)), c.Number("int"))),
    c.TextIs("isupper"),
]


@pytest.mark.parametrize("constraint", CONSTRAINTS, ids=range(len(CONSTRAINTS)))
def test_examples_and_samples_are_texts_of_the_constraint(constraint: c.Constraint) -> None:
    automaton = build(constraint)
    found = examples(automaton, 3)
    assert len(found) == len(set(found)) == 3
    assert [len(text.encode()) for text in found] == sorted(len(text.encode()) for text in found)
    for text in [*found, *(sample(automaton, random.Random(seed)) for seed in range(20))]:
        assert matches(automaton, text, 5), text


def test_shortest_first_and_readable() -> None:
    assert examples(build(CONSTRAINTS[0]), 2) == ["0000-00-00", "0000-00-01"]
    assert examples(build(c.InSet(c.Const(["b", "abc", "é"]))), 9) == ["b", "abc"]
    assert examples(build(c.Equals(c.Const("é"))), 9) == ["é"]


def test_samples_repeat_with_their_seed_and_differ_without() -> None:
    automaton = build(c.Matches(c.Const("[a-z]{5}")))
    assert sample(automaton, random.Random(1)) == sample(automaton, random.Random(1))
    assert len({sample(automaton, random.Random(seed)) for seed in range(20)}) > 10


def test_removed_phrases_are_not_shown() -> None:
    automaton = build(c.And((c.Stop(c.Const("\n"), False), c.Matches(c.Const("[ab]{2}")))))
    assert sorted(examples(automaton, 9)) == ["aa", "ab", "ba", "bb"]
    kept = build(c.And((c.Stop(c.Const("."), True), c.Count("chars", "==", c.Const(2)))))
    assert all(len(sample(kept, random.Random(seed))) == 2 for seed in range(9))
