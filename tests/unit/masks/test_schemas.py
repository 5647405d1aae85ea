"""Schemas of types that contain themselves, and objects read as closed."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import json
from typing import Annotated, Any, Literal, NotRequired, Optional, Required, TypedDict

import annotated_types
import pytest
from pydantic import BaseModel, Field

from lmqlc.backends.base import Vocabulary
from lmqlc.compiler import constraints as c
from lmqlc.compiler.masks.combine import Combination
from lmqlc.compiler.masks.compose import compose, is_regular
from lmqlc.compiler.masks.schemas import close_objects, schema_of
from lmqlc.grammar.errors import LmqlCompileError

VOCABULARY = Vocabulary.build([*(bytes([i]) for i in range(256)), b"<e>"], [256])


class Color(enum.Enum):
    RED = "red"
    TWO = 2
    PAIR = (1, 2)


@dataclasses.dataclass
class Tree:
    value: int
    color: Color
    kids: list[Tree]
    note: str = "x"


class Chain(TypedDict, total=False):
    size: Required[Literal["s", "l"]]
    rest: Chain | None


class Partial(TypedDict):
    name: str
    inner: NotRequired[Partial]


class Person(BaseModel):
    name: str = Field(min_length=1, max_length=3, alias="Name")
    age: Annotated[int, annotated_types.Ge(0), annotated_types.Lt(10)]
    born: Optional[datetime.date] = None  # noqa: UP045 - both spellings are in use
    friends: Annotated[list[Person], annotated_types.MaxLen(1)]


@dataclasses.dataclass
class Mixed:
    one: tuple[int, Mixed] | None
    two: dict[str, Mixed]
    three: tuple[Mixed, ...]
    any: Any


CASES: list[tuple[Any, list[str], list[str]]] = [
    (
        Tree,
        [
            '{"value": 1, "color": "red", "kids": [{"value": -2, "color": 2, "kids": [], "note": ""}], "note": "é"}',
            '{"value": 0, "color": "PAIR", "kids": [], "note": ""}',
            '{"value": 1, "color": "red", "kids": []}',
        ],
        ['{"value": 1, "color": "red"}', '{"value": 1, "color": "green", "kids": [], "note": ""}', '{"color": "red"}', "[]"],
    ),
    (Chain, ['{"size": "s"}', '{"size": "l", "rest": {"size": "s", "rest": null}}'], ["{}", '{"rest": null}', '{"size": "m"}']),
    (Partial, ['{"name": "a", "inner": {"name": ""}}'], ['{"inner": {"name": ""}}', '{"name": "a", "inner": null}']),
    (
        Person,
        [
            '{"Name": "abc", "age": 9, "friends": [{"Name": "a", "age": 0, "friends": []}]}',
            '{"Name": "a", "age": 1, "born": "2024-02-29", "friends": []}',
        ],
        [
            '{"Name": "abcd", "age": 9, "friends": []}',
            '{"Name": "", "age": 1, "friends": []}',
            '{"Name": "a", "age": 10, "friends": []}',
            '{"name": "a", "age": 1, "friends": []}',
        ],
    ),
    (
        Mixed,
        ['{"one": [1, {"one": null, "two": {}, "three": [], "any": 1}], "two": {}, "three": [], "any": {"x": []}}'],
        ['{"one": [1], "two": {}, "three": [], "any": 1}'],
    ),
    (list[Chain], ['[{"size": "s"}, {"size": "l"}]', "[]"], ['[{"size": "s"},{"size": "l"}]', '[{"size": 1}]']),
    (dict[str, Any], ['{"a": [1]}', "{}"], ["[]", "1"]),
]  # fmt: skip


def verdict(made: Any, text: str) -> bool:
    state = made.start()
    for byte in text.encode():
        state = made.advance(state, byte)
        if state is None:
            return False
    return bool(made.is_final(state))


@pytest.mark.parametrize(("given", "good", "bad"), CASES, ids=lambda value: getattr(value, "__name__", None))
def test_types_that_contain_themselves(given: Any, good: list[str], bad: list[str]) -> None:
    constraint = c.TypeIs(c.Const(given))
    made = compose(constraint, VOCABULARY)
    assert not is_regular(constraint) and not made.exact
    for text in good:
        json.loads(text)
        assert verdict(made, text), text
    for text in bad:
        assert not verdict(made, text), text


def test_a_type_as_schema_is_the_type() -> None:
    @dataclasses.dataclass
    class Point:
        x: int
        y: int

    made = compose(c.Json(c.Const(Point)), VOCABULARY)
    assert made.exact and not isinstance(made, Combination)
    assert verdict(made, '{"x": 1, "y": 2}') and not verdict(made, '{"x": 1}')
    assert verdict(compose(c.Json(c.Const(Chain)), VOCABULARY), '{"size": "s"}')
    with pytest.raises(LmqlCompileError, match="a type with parts, not int"):
        compose(c.Json(c.Const(int)), VOCABULARY)


def test_classes_of_one_name_are_told_apart() -> None:
    def make(field: Any) -> Any:
        return dataclasses.make_dataclass("Same", [("a", field), ("b", Any)])

    inner = make(int)
    found = schema_of(list[make(inner) | inner])  # type: ignore[misc]
    assert set(found["$defs"]) == {"Same", "Same2"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (dataclasses.make_dataclass("A", [("a", "Nowhere"), ("b", Any)]), "unknown type"),
        (dataclasses.make_dataclass("B", [("a", complex), ("b", Any)]), "complex is no type of a hole"),
        (dict[int, Any], "cannot stand|must be strings|no type"),
    ],
)
def test_what_has_no_json_is_refused(given: Any, message: str) -> None:
    with pytest.raises(LmqlCompileError, match=message):
        schema_of(given)


def test_objects_that_name_their_properties_are_closed() -> None:
    point = {"type": "object", "properties": {"x": {"type": "object", "properties": {"y": {}}}}}
    closed = close_objects({"anyOf": [point, {"type": "object"}], "$defs": {"p": point}})
    assert closed["anyOf"][0]["additionalProperties"] is False
    assert closed["anyOf"][0]["properties"]["x"]["additionalProperties"] is False
    assert closed["$defs"]["p"]["additionalProperties"] is False
    assert "additionalProperties" not in closed["anyOf"][1]
    assert "additionalProperties" not in point
    open_one = {**point, "additionalProperties": {"type": "integer"}}
    assert close_objects(open_one)["additionalProperties"] == {"type": "integer"}
    assert close_objects({"allOf": [point]}) == {"allOf": [point]}
