"""The Pygments lexer: what it marks, and that it loses nothing."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.token import Error, Keyword, Name, String

from lmqlc.pygments_lexer import LmqlLexer

ROOT = Path(__file__).resolve().parents[3]
PROGRAMS = sorted([*(ROOT / "examples").rglob("*.lmql"), *(ROOT / "tests" / "cases").rglob("*.lmql")])

PROGRAM = '''\
import re
def f():
    """A docstring about [nothing:  here"""
x = "[NOT]"
argmax(n=1)
    "Hi [NAME] and [@f(1) @g.h B: list[int]] [[no]] {x!r}\\n" where STOPS_AT(NAME, ".") and len(TOKENS(B)) < 3
from
    "local:gpt2"
where
    REGEX(NAME, r"[A-Z]")
distribution
    B in [1]
'''


def tokens(text: str) -> list[tuple[object, str]]:
    return [(kind, value) for kind, value in LmqlLexer().get_tokens(text) if value.strip()]


def test_marks_what_is_of_lmql() -> None:
    found = tokens(PROGRAM)
    assert [value for kind, value in found if kind is Name.Variable] == ["NAME", "B"]
    assert [value.strip() for kind, value in found if kind is Name.Decorator] == ["@f(1) @g.h"]
    assert (Name.Class, ": list[int]") in found
    assert [value for kind, value in found if kind is Name.Builtin and value.isupper()] == ["STOPS_AT", "TOKENS", "REGEX"]
    assert (Keyword.Reserved, "argmax") in found
    assert [value for kind, value in found if kind is Keyword and value in ("where", "distribution")] == ["where", "where", "distribution"]
    assert any(kind in String and "[NOT]" in value for kind, value in found), "a plain string has no holes"
    assert not any(kind is Error for kind, _ in found)


def test_one_line_query() -> None:
    found = tokens('argmax "Hello[WHO]" from "local:gpt2" where len(WHO) < 3')
    assert (Name.Variable, "WHO") in found and (Keyword, "where") in found


def test_python_stays_python() -> None:
    found = tokens("where = 1\nx = where[0]\nsample = f(sample)\nprint(x)\n")
    assert [value for kind, value in found if kind is Keyword.Reserved] == ["sample"]
    assert tokens("x = where")[-1][0] is Name


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.name)
def test_loses_nothing(path: Path) -> None:
    text = path.read_bytes().decode("utf-8", "replace")
    found = list(LmqlLexer().get_tokens_unprocessed(text))
    assert "".join(value for _, _, value in found) == text
    assert all(text.startswith(value, at) for at, _, value in found)


def test_is_registered_and_renders() -> None:
    points = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]
    assert points["pygments.lexers"] == {"lmql": "lmqlc.pygments_lexer:LmqlLexer"}
    assert points["pytest11"] == {"lmqlc": "lmqlc.testing.plugin"}
    assert '<span class="nv">NAME</span>' in highlight(PROGRAM, LmqlLexer(), HtmlFormatter())
