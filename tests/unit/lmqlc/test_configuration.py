"""Settings: where they come from, what goes before what, and what is said about those that mean nothing."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from lmqlc.__main__ import main
from lmqlc.configuration import SETTINGS, applied, find
from lmqlc.grammar.errors import LmqlError

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for setting in SETTINGS:
        monkeypatch.delenv(setting.variable, raising=False)
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")
    return tmp_path


def write(folder: Path, text: str) -> None:
    (folder / "pyproject.toml").write_text(text, encoding="utf-8")


def test_nearest_table_and_environment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder, '[tool.lmqlc]\nmodel = "random:1"\nline-length = 80\ncache = "kept"\n')
    write(folder / "a", '[project]\nname = "lmqlc-of-somebody"\n')
    found = find()
    assert (found.text("model"), found.number("line-length")) == ("random:1", 80)
    assert found.text("cache") == str(folder / "kept")
    assert found.text("decoder") is None
    assert found.warnings == ()
    monkeypatch.setenv("LMQL_DEFAULT_MODEL", "random:2")
    assert find().text("model") == "random:2"
    assert find().values["model"].origin == "$LMQL_DEFAULT_MODEL"
    with applied() as configuration:
        assert configuration.file == folder / "pyproject.toml"
        assert (os.environ["LMQL_DEFAULT_MODEL"], os.environ["LMQLC_LINE_LENGTH"]) == ("random:2", "80")
    assert "LMQLC_LINE_LENGTH" not in os.environ
    write(folder / "a", '[tool.lmqlc]\nmodel = "random:3"\n')
    assert find().number("line-length") is None


def test_unknown_keys_are_warnings(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write(folder, '[tool.lmqlc]\nmodle = "demo"\nLine_Length = 80\nzzz = 1\n')
    first, second, third = find().warnings
    assert first == f"{folder / 'pyproject.toml'}: [tool.lmqlc] has no setting `modle`; did you mean `model`?"
    assert "did you mean `line-length`?" in second
    assert "its settings are: model," in third
    assert main(["cache", "ls"]) == 0
    assert capfd.readouterr().err.count("lmqlc: warning: ") == 3


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("model = 1", "model is a text, not 1"),
        ('model = " "', "model is a text, not ' '"),
        ('line-length = "x"', "line-length is a whole number above 0, not 'x'"),
        ("line-length = true", "not True"),
        ("line-length = 0", "not 0"),
    ],
)
def test_values_of_the_wrong_kind(folder: Path, line: str, message: str, capfd: pytest.CaptureFixture[str]) -> None:
    write(folder, f"[tool.lmqlc]\n{line}\n")
    with pytest.raises(LmqlError, match=re.escape(message)):
        find()
    assert main(["cache"]) == 1
    assert message in capfd.readouterr().err


def test_files_that_cannot_be_read(folder: Path) -> None:
    write(folder, "[tool.lmqlc\n")
    assert "cannot be read" in find().warnings[0]
    (folder / "pyproject.toml").write_bytes(b"[tool.lmqlc]\nmodel = '\xff'\n")
    assert "cannot be read" in find().warnings[0]
    write(folder, "tool = 1 # lmqlc\n")
    assert find().warnings == () and find().file is None
    assert find(environment={"LMQLC_DECODER": ""}).values == {}


def test_what_goes_before_what(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write(folder, '[tool.lmqlc]\nmodel = "scripted:from settings"\ndecoder = "sample(n=2)"\n')
    Path("q.lmql").write_text('"[X]" where len(X) > 3\n')
    Path("m.lmql").write_text('argmax\n    "[X]"\nfrom "scripted:from the program"\n')
    assert main(["run", "q.lmql", "--no-stream"]) == 0
    assert capfd.readouterr().out.count("X = 'from settings'") == 2
    assert main(["run", "m.lmql", "--no-stream"]) == 0
    assert capfd.readouterr().out == "X = 'from the program'\n"
    assert main(["run", "q.lmql", "--no-stream", "--model", "scripted:given", "--decoder", "argmax"]) == 0
    assert capfd.readouterr().out == "X = 'given'\n"


def test_format_takes_the_line_length(folder: Path) -> None:
    write(folder, "[tool.lmqlc]\nline-length = 40\n")
    Path("q.lmql").write_text('"A prompt with [X]" where len(X) > 3 and len(X) < 9\n')
    assert main(["fmt", "--check", "q.lmql"]) == 1
    assert main(["fmt", "--check", "--line-length", "100", "q.lmql"]) == 0


def test_settings_are_documented() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z-]+)` \| `(\w+)` \| (.*?) \| (.*?) \|$", text, re.MULTILINE)
    assert [(key, variable) for key, variable, _, _ in rows] == [(one.key, one.variable) for one in SETTINGS]
    assert [meaning.replace("`", "") for *_, meaning in rows] == [one.meaning.replace("`", "") for one in SETTINGS]
    assert [default.strip("`") for *_, default, _ in rows] == [one.default.replace("`", "") for one in SETTINGS]
