"""Programs with their trees (`tests/cases/parse`) and findings (`tests/cases/errors/syntax_*`); `LMQLC_UPDATE=1` writes them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lmqlc.grammar.codes import CODES
from lmqlc.grammar.diagnostics import render_all
from lmqlc.grammar.dump import dump, same
from lmqlc.grammar.errors import LmqlSyntaxError
from lmqlc.grammar.parse import parse, parse_with_diagnostics
from lmqlc.grammar.source import Source
from lmqlc.grammar.unparse import unparse

CASES = Path(__file__).parents[2] / "cases"
GOOD = sorted((CASES / "parse").glob("*.lmql"))
BAD = sorted((CASES / "errors").glob("syntax_*.lmql"))


def text_of(path: Path) -> str:
    return path.read_bytes().decode("utf-8")


def compare(path: Path, shown: str) -> None:
    expected = path.with_suffix(".expected")
    if os.environ.get("LMQLC_UPDATE"):
        expected.write_bytes(shown.encode("utf-8"))
    assert shown == expected.read_bytes().decode("utf-8")


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_tree(path: Path) -> None:
    compare(path, dump(parse(text_of(path), path.name)))


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_printed_program_is_the_same(path: Path) -> None:
    query = parse(text_of(path), path.name)
    printed = unparse(query)
    assert same(parse(printed), query)
    assert unparse(parse(printed)) == printed


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_findings(path: Path) -> None:
    text = text_of(path)
    query, findings = parse_with_diagnostics(text, path.name)
    assert findings
    assert (query is None) == any(finding.severity == "error" for finding in findings)
    assert all(finding.code in CODES and finding.hint for finding in findings)
    compare(path, render_all(findings, Source(path.name, text)) + "\n")


@pytest.mark.parametrize("path", [path for path in BAD if "warning" not in path.stem], ids=lambda path: path.stem)
def test_parse_raises_all_findings(path: Path) -> None:
    text = text_of(path)
    with pytest.raises(LmqlSyntaxError) as caught:
        parse(text, path.name)
    assert list(caught.value.diagnostics) == parse_with_diagnostics(text, path.name)[1]
    assert caught.value.source == Source(path.name, text)


def test_there_are_many_error_cases() -> None:
    assert len(BAD) >= 60
