"""Types that are known before a program runs, and `lmqlc explain` for the holes that have them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import lmqlc
from lmqlc.__main__ import main
from lmqlc.static_types import static_types

DEFINITIONS = """\
import datetime, re, sys
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Annotated, Literal, NamedTuple, Optional, TypedDict
from pydantic import BaseModel, Field

Kind = Literal["a", "bb"]

@dataclass
class Point:
    \"\"\"Two numbers.\"\"\"
    x: int
    y: int = 0
    tags: list[str] = field(default_factory=list)

    def far(self, other: Kind = "a") -> bool:
        return sys.exit(3)

class Color(Enum):
    RED = "red"
    BLUE = "blue"

class Movie(TypedDict):
    title: str
    year: int

class Person(BaseModel):
    name: str = Field(max_length=3)
    kind: Kind

class Noisy:
    sys.exit(4)
    x: int

def shape():
    return int

twice = int
twice = str
"""
KNOWN = {
    "int": "0",
    "bool": "True",
    "Kind": "a",
    "Literal['x', 'yy']": "x",
    "list[int]": "[]",
    "Color": "red",
    "Point": '{"x": 0}',
    "Movie": '{"title": "", "year": 0}',
    "Person": '{"name": "", "kind": "a"}',
    "Optional[bool]": "None",
    "str | None": "",
    "list[int] | None": "[]",
    "[int][0]": "0",
    "tuple[int, bool]": "[0, true]",
    "dict[str, int]": "{}",
    "datetime.date": "0001-01-01",
    "Annotated[int, Field(ge=7, le=9)]": "7",
    "r'[b-d]{2}'": "bb",
    "re.compile('k')": "k",
}
UNKNOWN = ["Noisy", "shape()", "twice", "sys.version", "given", "eval('int')", "list[given]"]


def types(text: str) -> dict[int, object]:
    return static_types(lmqlc.compile(text).program)


def shortest(capfd: pytest.CaptureFixture[str], text: str) -> list[str]:
    Path("q.lmql").write_text(text)
    assert main(["explain", "q.lmql"]) == 0
    out = capfd.readouterr().out
    found = re.search(r"shortest: +(.+)\n((?: {15}.+\n)*)", out)
    return [] if found is None else [found[1], *found[2].split("\n")]


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("written", KNOWN)
def test_known_types_are_explained(written: str, capfd: pytest.CaptureFixture[str]) -> None:
    found = shortest(capfd, f'{DEFINITIONS}\n"[X: {written}]"\n')
    assert repr(KNOWN[written]) in [line.strip() for line in found]


@pytest.mark.parametrize("written", UNKNOWN)
def test_what_the_program_must_run_for_is_left_to_it(written: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Nothing of the program but definitions is evaluated: it would exit."""
    assert types(f'{DEFINITIONS}\n"[X: {written}]"\n') == {}
    assert shortest(capfd, f'{DEFINITIONS}\n"[X: {written}]"\n') == []


def test_holes_in_loops_and_functions() -> None:
    text = 'K = int\nfor i in range(2):\n    "[A: K]"\ndef f(K2):\n    1\n    "[B: K2]"\n    "[C: K]"\nf(int)\n'
    assert types(text) == {0: int, 2: int}


def test_a_name_bound_again_anywhere_is_not_known() -> None:
    assert types('K = int\n"[A: K]"\nif A == 3:\n    K = str\n') == {}
    assert types('"[int]"\n"[B: int]"\n') == {}
    assert types('def f(K):\n    1\n    "[A: K]"\nK = int\nf(str)\n') == {}


def test_the_constraint_holds_beside_the_type(capfd: pytest.CaptureFixture[str]) -> None:
    found = shortest(capfd, '"[A: int]" where len(A) == 3 and not A.startswith("-")\n')
    assert found[0] == "'100'"


def test_a_type_that_is_none(capfd: pytest.CaptureFixture[str]) -> None:
    Path("q.lmql").write_text('"[A: object()]"\n"[B: list[type]]"\n')
    assert main(["explain", "q.lmql"]) == 0
    assert re.search(r"B at q.lmql:2:2\n  problem: +\S", capfd.readouterr().out)


def test_masks_of_a_typed_hole(capfd: pytest.CaptureFixture[str]) -> None:
    Path("q.lmql").write_text('"[A: int]"\n')
    assert main(["compile", "q.lmql", "--emit", "ebnf"]) == 0
    assert capfd.readouterr().out.startswith("root ::= ")
