"""Results as text and as JSON."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import json
import math

import pytest

from lmqlc.output import as_json, as_text
from lmqlc.runtime.plain import plain
from lmqlc.runtime.results import HoleResult, Result, TokenResult


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Point:
    x: int
    tags: set[str]


def result() -> Result:
    holes = [HoleResult("X", "7", 7, (TokenResult(3, "7", -0.5), TokenResult(0, "", -math.inf)), "eos")]
    return Result("n: 7", {"X": 7}, holes)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Colour.RED, "red"),
        (Point(1, {"b", "a"}), {"x": 1, "tags": ["a", "b"]}),
        (datetime.date(2024, 2, 29), "2024-02-29"),
        ((1, None, True), [1, None, True]),
        (float("nan"), None),
        (-math.inf, None),
        ({1: [2.5]}, {"1": [2.5]}),
        (b"x", "b'x'"),
    ],
)
def test_plain_values(value: object, expected: object) -> None:
    assert plain(value) == expected


def test_json_is_strict_and_whole() -> None:
    shown = json.loads(as_json([result()]), parse_constant=pytest.fail)
    assert shown["variables"] == {"X": 7}
    assert shown["holes"][0]["tokens"][0] == {"id": 3, "text": "7", "logprob": -0.5, "forced": False}
    assert shown["holes"][0]["tokens"][1]["logprob"] is None
    assert shown["usage"]["forward_passes"] == 0
    assert "value" not in shown


def test_several_branches_are_a_list() -> None:
    assert [one["prompt"] for one in json.loads(as_json([result(), result()]))] == ["n: 7", "n: 7"]
    assert as_text([result(), result()]).count("--- result") == 2


def test_a_returned_value_stands_for_the_variables() -> None:
    returned = dataclasses.replace(result(), returned=True, value="é\n")
    assert as_text([returned]) == "é\n"
    assert json.loads(as_json([returned]))["value"] == "é\n"
    assert as_text([result()]) == "X = 7"
    assert as_text([dataclasses.replace(result(), returned=True, value=[1, "a"])]) == "[1, 'a']"


def test_distribution() -> None:
    ranked = dataclasses.replace(result(), distribution_variable="X", distribution_values=[("a", 0.25), ("b", 0.75)])
    assert as_text([ranked]).splitlines()[1:] == ["P(X = 'a') = 0.250000", "P(X = 'b') = 0.750000"]
    assert json.loads(as_json([ranked]))["distribution"]["values"][1] == {"value": "b", "probability": 0.75}
