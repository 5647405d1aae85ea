"""Every code that a finding can carry is listed once, and documented."""

from __future__ import annotations

import re
from pathlib import Path

from lmqlc.compiler.codes import CODES as COMPILER
from lmqlc.grammar.codes import CODES as GRAMMAR

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("grammar", "compiler", "runtime", "backends", "lmqlc")


def used() -> set[str]:
    files = (path for room in ROOMS for path in (ROOT / room).rglob("*.py") if path.name != "codes.py")
    return {code for path in files for code in re.findall(r'"(L0\d{3})"', path.read_text(encoding="utf-8"))}


def test_codes_are_listed_once() -> None:
    assert GRAMMAR.keys() & COMPILER.keys() == set()
    assert used() == GRAMMAR.keys() | COMPILER.keys()


def test_codes_are_documented() -> None:
    documented = re.findall(r"^\| `(L0\d{3})` \| (.*) \|$", (ROOT / "docs" / "diagnostics.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert dict(documented) == GRAMMAR | COMPILER
