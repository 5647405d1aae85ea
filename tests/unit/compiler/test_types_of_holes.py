"""Types of holes: the texts they allow, the values these become, and what is no type."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import json
import random
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import annotated_types as at
import pydantic
import pytest

from lmqlc.compiler.automata.build import build
from lmqlc.compiler.automata.query import examples, matches, sample
from lmqlc.compiler.constraints import Const, TypeIs
from lmqlc.compiler.types import decode, is_plain_text, is_recursive
from lmqlc.grammar.errors import ConstraintViolated, LmqlCompileError, UnsupportedConstraint


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.Enum):
    LOW = 1
    ODD = (2, 3)


@dataclasses.dataclass
class Point:
    x: int
    label: str | None = None


@dataclasses.dataclass
class Line:
    start: Point
    rest: list[Point]


@dataclasses.dataclass
class Tree:
    value: int
    below: Tree | None = None


class Keys(TypedDict):
    a: int
    b: NotRequired[str]
    c: NotRequired[bool]


class Model(pydantic.BaseModel):
    a: int = pydantic.Field(ge=0, le=5)
    b: str = pydantic.Field(default="x", pattern="^a", max_length=3)
    d: list[int] = pydantic.Field(min_length=1, max_length=2, default_factory=list)
    e: Literal["q", 1, None] = pydantic.Field(default=1, alias="E")


GOOD: list[tuple[Any, str, Any]] = [
    (int, "-12", -12),
    (float, "1.5e3", 1500.0),
    (float, "2", 2.0),
    (bool, "True", True),
    (str, "", ""),
    (None, "None", None),
    (Literal["a", 1, True], "1", 1),
    (Literal["a", 1, True], "True", True),
    (Colour, "red", Colour.RED),
    (Level, "1", Level.LOW),
    (Level, "ODD", Level.ODD),
    (int | None, "None", None),
    (str | int, "12", 12),
    (str | int, "x", "x"),
    (datetime.date, "2024-02-29", datetime.date(2024, 2, 29)),
    (datetime.date, "2000-02-29", datetime.date(2000, 2, 29)),
    (datetime.time, "23:59:59.120", datetime.time(23, 59, 59, 120000)),
    (datetime.datetime, "2024-01-01T00:00:00Z", datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)),
    (list[int], "[]", []),
    (list[int], "[1, -2]", [1, -2]),
    (set[int], "[1, 1]", {1}),
    (tuple[int, ...], "[1, 2]", (1, 2)),
    (tuple[int, str], '[1, "a\\n\\"é😀\\\\"]', (1, 'a\n"é😀\\')),
    (dict[str, int], '{"a": 1, "é": 2}', {"a": 1, "é": 2}),
    (dict[Literal["k"], bool], '{"k": true}', {"k": True}),
    (list[datetime.date], '["2024-02-29"]', [datetime.date(2024, 2, 29)]),
    (list[Colour | None], '["blue", null]', [Colour.BLUE, None]),
    (list[float], "[1, 2.5]", [1.0, 2.5]),
    (Point, '{"x": 1, "label": null}', Point(1, None)),
    (Point, '{"x": 1}', Point(1)),
    (Line, '{"start": {"x": 1, "label": "a"}, "rest": []}', Line(Point(1, "a"), [])),
    (Keys, '{"a": 1, "c": true}', {"a": 1, "c": True}),
    (Model, '{"a": 5}', Model(a=5)),
    (Model, '{"a": 0, "b": "abc", "d": [1, 2], "E": null}', Model(a=0, b="abc", d=[1, 2], E=None)),
    (r"[a-z]+\d", "abc1", "abc1"),
    (Annotated[int, at.Ge(3), at.Lt(10)], "9", 9),
    (Annotated[str, at.Len(1, 3)], "abc", "abc"),
    (int | list[int], "[3]", [3]),
    (int | list[int], "3", 3),
]


@pytest.mark.parametrize(("hole_type", "text", "value"), GOOD, ids=[f"{n}" for n in range(len(GOOD))])
def test_texts_and_values(hole_type: Any, text: str, value: Any) -> None:
    assert matches(build(TypeIs(Const(hole_type))), text)
    found = decode(hole_type, text)
    assert found == value
    assert type(found) is type(value)


BAD: list[tuple[Any, list[str]]] = [
    (int, ["", "01", "1.0", "+1", " 1", "1e3"]),
    (float, [".5", "1.", "nan", "inf", "0x1"]),
    (bool, ["true", "1"]),
    (Literal["a", 1], ["b", "'a'", "11"]),
    (datetime.date, ["2023-02-29", "1900-02-29", "0000-01-01", "2024-13-01", "2024-04-31", "2024-1-1"]),
    (datetime.time, ["24:00:00", "12:60:00", "12:00"]),
    (list[int], ["[1,2]", "[1, ]", "[ ]", "[1, 2", "1"]),
    (tuple[int, str], ["[1]", '[1, "\\u00e9"]', '[1, "\\/"]', '[1, "\\u001F"]', '[1, "a\nb"]', '[1, "a", 2]']),
    (dict[str, int], ['{"a":1}', "{a: 1}", '{"a": 1,}']),
    (Point, ["{}", '{"label": null, "x": 1}', '{"x": 1, "label": null, "z": 2}']),
    (Keys, ['{"b": ""}', '{"a": 1, "c": true, "b": ""}', '{"a": 1, }']),
    (
        Model,
        ['{"a": 6}', '{"a": 5, "b": "b"}', '{"a": 5, "b": "abcd"}', '{"a": 5, "d": []}', '{"a": 5, "d": [1, 2, 3]}', '{"a": 5, "e": 1}'],
    ),
    (Annotated[str, at.MaxLen(3)], ["abcd"]),
]


@pytest.mark.parametrize(("hole_type", "texts"), BAD, ids=[f"{n}" for n in range(len(BAD))])
def test_texts_of_no_value(hole_type: Any, texts: list[str]) -> None:
    automaton = build(TypeIs(Const(hole_type)))
    for text in texts:
        assert not matches(automaton, text), text


@pytest.mark.parametrize("hole_type", [case[0] for case in GOOD], ids=[f"{n}" for n in range(len(GOOD))])
def test_every_text_of_a_type_becomes_a_value(hole_type: Any) -> None:
    automaton = build(TypeIs(Const(hole_type)))
    for text in [*examples(automaton, 5), *(sample(automaton, random.Random(seed)) for seed in range(25))]:
        decode(hole_type, text)
        if not is_plain_text(hole_type):
            parsed = json.loads(text)
            assert json.loads(json.dumps(parsed)) == parsed


def test_every_day_is_a_date() -> None:
    automaton = build(TypeIs(Const(datetime.date)))
    for year in (1, 4, 99, 100, 400, 1900, 1996, 2000, 2023, 2024, 2100, 9999):
        for month in range(14):
            for day in (0, 1, 9, 10, 28, 29, 30, 31, 32):
                text = f"{year:04}-{month:02}-{day:02}"
                try:
                    expected = bool(datetime.date(year, month, day))
                except ValueError:
                    expected = False
                assert matches(automaton, text) == expected, text


def test_plain_text_and_json() -> None:
    assert all(is_plain_text(each) for each in (int, str, bool, Colour, int | None, datetime.date, "[a-z]", Literal["a"]))
    assert not any(is_plain_text(each) for each in (list[int], Point, int | list[int], Tree, dict[str, int], Model))


def test_recursive_types_are_not_regular() -> None:
    assert is_recursive(Tree)
    assert is_recursive(list[Any])
    assert is_recursive(dict)
    assert not is_recursive(Line)
    with pytest.raises(UnsupportedConstraint, match="contains itself"):
        build(TypeIs(Const(Tree)))
    assert decode(Tree, '{"value": 1, "below": {"value": 2, "below": null}}') == Tree(1, Tree(2))


@pytest.mark.parametrize("hole_type", [5, 3.5, complex, bytes, list[complex], dict[bytes, int], len, lambda x: x, [int], {"a": int}, ...])
def test_what_is_no_type(hole_type: Any) -> None:
    with pytest.raises(LmqlCompileError) as caught:
        build(TypeIs(Const(hole_type)))
    assert caught.value.diagnostics[0].code == "L0407"
    assert caught.value.diagnostics[0].hint


def test_conditions_that_are_not_supported_are_refused() -> None:
    with pytest.raises(UnsupportedConstraint, match="multiple_of"):
        build(TypeIs(Const(Annotated[int, at.MultipleOf(3_000_001)])))
    with pytest.raises(LmqlCompileError):
        build(TypeIs(Const("(unclosed")))


@pytest.mark.parametrize(
    ("hole_type", "text"),
    [
        (int, "x"),
        (int, "9" * 5000),
        (bool, "1"),
        (Colour, "green"),
        (datetime.date, "2023-02-29"),
        (Point, '{"label": null}'),
        (Model, '{"a": 9}'),
        (list[int], "[1"),
        (list[int], '["a"]'),
        (list[int], "[true]"),
        (tuple[int, str], "[1]"),
        (int | list[int], '"a"'),
    ],
)
def test_values_that_do_not_fit(hole_type: Any, text: str) -> None:
    with pytest.raises(ConstraintViolated, match="the text is no"):
        decode(hole_type, text)
