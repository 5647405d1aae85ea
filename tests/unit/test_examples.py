"""Every example runs on the demo model and gives what `examples/expected/` says; LMQLC_UPDATE=1 writes those files anew."""

from __future__ import annotations

import json
import os
import runpy
from pathlib import Path
from typing import Any

import pytest

import lmqlc

FOLDER = Path(__file__).resolve().parents[2] / "examples"
EXAMPLES = sorted(path.stem for path in FOLDER.glob("*.lmql"))
ORIGINAL = sorted(path.stem for path in (FOLDER / "original").glob("*.lmql"))
ARGUMENTS: dict[str, dict[str, Any]] = {"facts": {"country": "Japan"}}
CLOSE = 5e-3  # of probabilities: other processors round otherwise


def outcome(name: str) -> dict[str, Any]:
    """What a run gives, in terms of JSON: the returned value, else prompt, variables and distribution."""
    result = lmqlc.run_sync(FOLDER / f"{name}.lmql", model="demo", **ARGUMENTS.get(name, {}))
    if not isinstance(result, lmqlc.LMQLResult):
        return {"value": result}
    variables = {key: value for key, value in result.variables.items() if isinstance(value, str | int | float)}
    shown: dict[str, Any] = {"prompt": result.prompt, "variables": variables}
    if result.distribution_values is not None:
        shown["distribution"] = {value: round(share, 4) for value, share in result.distribution_values}
    return shown


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_gives_what_is_expected(name: str) -> None:
    found = outcome(name)
    path = FOLDER / "expected" / f"{name}.json"
    if os.environ.get("LMQLC_UPDATE"):
        path.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    expected = json.loads(path.read_text(encoding="utf-8"))
    assert found.pop("distribution", {}) == pytest.approx(expected.pop("distribution", {}), abs=CLOSE)
    assert found == expected


def test_every_expectation_has_its_example() -> None:
    assert sorted(path.stem for path in (FOLDER / "expected").glob("*.json")) == EXAMPLES
    assert len(EXAMPLES) >= 20


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_begins_with_a_comment(name: str) -> None:
    assert (FOLDER / f"{name}.lmql").read_text(encoding="utf-8").startswith("# ")


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.name)
def test_script_runs(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(path), run_name="__main__")
    assert capsys.readouterr().out.splitlines()[-1] == "end    {'CAPITAL': ' Rome'}"


@pytest.mark.parametrize("name", ORIGINAL)
def test_original_program_compiles(name: str) -> None:
    program = lmqlc.compile(FOLDER / "original" / f"{name}.lmql").program
    assert [hole.name for hole in program.holes] == ["WHO"]
    assert program.decoder == "argmax"


@pytest.mark.parametrize("name", ["inprocess", "local", "remote_endpoint", "served_by_name"])
def test_original_program_runs_on_another_model(name: str) -> None:
    result = lmqlc.run_sync(FOLDER / "original" / f"{name}.lmql", model="demo")
    assert result.prompt == "Hello" + result.variables["WHO"]
    assert len(result.holes[0].tokens) < 10


def test_original_programs_are_five() -> None:
    assert ORIGINAL == ["inprocess", "legacy_backend", "local", "remote_endpoint", "served_by_name"]
