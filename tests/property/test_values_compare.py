"""Comparisons of typed holes against Python's own comparison of the decoded value."""

from __future__ import annotations

import datetime
import enum
from decimal import Decimal
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lmqlc.compiler.automata.build import build
from lmqlc.compiler.automata.query import matches
from lmqlc.compiler.constraints import And, Compared, Const, Constraint, Not, TypeIs
from lmqlc.compiler.passes.bind import bind
from lmqlc.compiler.types import decode
from lmqlc.grammar.errors import LmqlCompileError, UnsatisfiableConstraint


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


TESTS: dict[str, Any] = {
    "<": lambda a, b: a < b, "<=": lambda a, b: a <= b, "==": lambda a, b: a == b, "!=": lambda a, b: a != b, ">=": lambda a, b: a >= b,
    ">": lambda a, b: a > b,
}  # fmt: skip


def takes(hole_type: Any, op: str, value: Any, text: str, negated: bool = False) -> bool:
    atom: Constraint = Compared(op, Const(value))
    whole = And((Not(atom) if negated else atom, TypeIs(Const(hole_type))))
    try:
        return matches(build(bind(whole, (), hole_type)), text)
    except UnsatisfiableConstraint:
        return False


decimals = st.decimals(-50, 50, places=2).map(lambda d: d + 0)
dates = st.dates(datetime.date(1990, 1, 1), datetime.date(2030, 1, 1))
CASES = st.one_of(
    st.tuples(st.just(int), st.integers(-130, 130).map(str), st.integers(-130, 130) | st.floats(-50, 50)),
    st.tuples(st.just(float), decimals.map(str), st.integers(-50, 50) | decimals.map(float)),
    st.tuples(st.just(Decimal), decimals.map(str), decimals),
    st.tuples(st.just(datetime.date), dates.map(str), dates),
    st.tuples(st.just(Literal[1, 2, 7]), st.sampled_from(["1", "2", "7"]), st.integers(0, 8)),
)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(CASES, st.sampled_from(sorted(TESTS)), st.booleans())
def test_comparisons_are_pythons(case: tuple[Any, str, Any], op: str, negated: bool) -> None:
    hole_type, text, value = case
    expected = bool(TESTS[op](decode(hole_type, text), value)) != negated
    assert takes(hole_type, op, value, text, negated) == expected


@pytest.mark.parametrize(
    ("hole_type", "op", "value", "good", "bad"),
    [
        (int, "in", [1, 2, 3], ["1", "3"], ["0", "4"]),
        (int, "in", range(9), ["0", "8"], ["9", "-1"]),
        (int, "in", range(0, 10**9, 5), ["5", "999999995"], ["6", "1000000000"]),
        (int, "not in", {1, 2}, ["3"], ["1"]),
        (Color, "==", Color.RED, ["red"], ["blue"]),
        (Color, "!=", Color.RED, ["blue"], ["red"]),
        (bool, "==", True, ["True"], ["False"]),
        (int | str, "<", 5, ["4"], ["5", "x"]),
        (int | None, "!=", 3, ["4"], ["3", "None"]),
        (int | None, "!=", None, ["4"], ["None"]),
        (int | list[int], "<", 5, ["4"], ["5", "[1]"]),
        (int, "==", "3", ["3"], ["4"]),
        (list[int] | datetime.date, ">=", datetime.date(2024, 1, 1), ['"2024-01-01"'], ['"2023-12-31"', "[1]"]),
    ],
)
def test_values_of_the_type(hole_type: Any, op: str, value: Any, good: list[str], bad: list[str]) -> None:
    assert [takes(hole_type, op, value, text) for text in good] == [True] * len(good)
    assert [takes(hole_type, op, value, text) for text in bad] == [False] * len(bad)


@pytest.mark.parametrize(("hole_type", "value"), [(datetime.date, 3), (int, datetime.date(2024, 1, 1)), (list[int], 3)])
def test_values_that_cannot_be_compared(hole_type: Any, value: Any) -> None:
    with pytest.raises(LmqlCompileError, match="cannot be compared"):
        takes(hole_type, "<", value, "")
