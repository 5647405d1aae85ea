"""Programs of `tests/cases/errors/compile_*.lmql` with everything the compiler finds in them; `LMQLC_UPDATE=1` writes the expectations."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lmqlc.compiler.driver import check_source, compile_source
from lmqlc.grammar.diagnostics import render_all
from lmqlc.grammar.errors import LmqlCompileError
from lmqlc.grammar.source import Source

CASES = sorted((Path(__file__).parents[2] / "cases" / "errors").glob("compile_*.lmql"))


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_findings(path: Path) -> None:
    source = Source(path.name, path.read_text("utf-8"))
    found = check_source(source)
    assert found
    shown = render_all(found, source) + "\n"
    expected = path.with_suffix(".txt")
    if os.environ.get("LMQLC_UPDATE"):
        expected.write_text(shown, "utf-8")
    assert shown == expected.read_text("utf-8")


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_errors_are_raised_with_all_findings(path: Path) -> None:
    source = Source(path.name, path.read_text("utf-8"))
    found = check_source(source)
    if any(finding.severity == "error" for finding in found):
        with pytest.raises(LmqlCompileError) as raised:
            compile_source(source)
        assert sorted(raised.value.diagnostics, key=repr) == sorted(found, key=repr)
    else:
        assert compile_source(source).holes


def test_there_are_enough_cases() -> None:
    assert len(CASES) >= 50
