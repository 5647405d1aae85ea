"""The tools around programs: new projects, the doctor, completion, help, the cache."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from lmqlc import doctor_command
from lmqlc.__main__ import main
from lmqlc.cli import cli
from lmqlc.configuration import SETTINGS


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for setting in SETTINGS:
        monkeypatch.delenv(setting.variable, raising=False)
    monkeypatch.setenv("LMQLC_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


class TestNew:
    def test_project_runs_checks_and_is_formatted(self, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        assert main(["new", "some/my-capitals"]) == 0
        out, err = capfd.readouterr()
        assert out == ""
        assert "made some/my-capitals: capital.lmql, pyproject.toml, README.md" in err
        assert "cd some/my-capitals; lmqlc run capital.lmql --arg country=France" in err
        monkeypatch.chdir("some/my-capitals")
        assert main(["check", "capital.lmql"]) == 0
        assert main(["fmt", "--check", "."]) == 0
        assert main(["test", "-k", "whatever"]) == 0
        assert main(["run", "capital.lmql", "--arg", "country=France", "--no-stream", "--model", "scripted:Paris"]) == 0
        assert capfd.readouterr().out.endswith("Paris\n")
        assert 'name = "my-capitals"' in Path("pyproject.toml").read_text()

    def test_whole_folders_and_bad_names_are_refused(self, capfd: pytest.CaptureFixture[str]) -> None:
        Path("full").mkdir()
        Path("full/file").write_text("mine")
        assert main(["new", "full"]) == 1
        assert "is not empty; nothing was written" in capfd.readouterr().err
        assert [path.name for path in Path("full").iterdir()] == ["file"]
        assert main(["new", "full/file"]) == 1
        assert main(["new", "-bad-"]) == 2
        assert main(["new", "a b"]) == 2
        Path("empty").mkdir()
        assert main(["new", "empty"]) == 0


class TestDoctor:
    def test_reports_what_there_is(self, capfd: pytest.CaptureFixture[str], folder: Path) -> None:
        (folder / "pyproject.toml").write_text('[tool.lmqlc]\nmodel = "random:1"\nmodle = "x"\n')
        assert main(["doctor"]) == 0
        out = capfd.readouterr().out
        assert re.search(r"^ok   python +CPython 3\.", out, re.MULTILINE)
        assert re.search(r"^ok +model = random:1 \(.*pyproject\.toml\)$", out, re.MULTILINE)
        assert "warn" in out and "did you mean `model`?" in out
        assert f"cache          {folder / 'cache'}, 0.0 MB" in out

    def test_json(self, capfd: pytest.CaptureFixture[str]) -> None:
        assert main(["doctor", "--json"]) == 0
        names = [row["name"] for row in json.loads(capfd.readouterr().out)]
        assert names[:3] == ["python", "lmqlc", "packages"]
        assert {"device", "settings", "cache", "model", "server"} <= set(names)

    def test_server_of_the_default_model(self, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("LMQL_DEFAULT_MODEL", "some-model")
        with socket.create_server(("127.0.0.1", 0)) as server:
            place = f"127.0.0.1:{server.getsockname()[1]}"
            monkeypatch.setenv("LMQLC_ENDPOINT", place)
            assert main(["doctor"]) == 0
            assert f"{place} accepts connections" in capfd.readouterr().out
        assert main(["doctor"]) == 3
        assert f"FAIL server         {place} is not reachable" in capfd.readouterr().out
        monkeypatch.setenv("LMQL_DEFAULT_MODEL", "http://[bad")
        assert main(["doctor"]) == 3

    def test_what_is_wrong(self, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        Path("file").write_text("")
        monkeypatch.setenv("LMQLC_CACHE", "file/below")
        monkeypatch.setenv("LMQL_DEFAULT_MODEL", "lokal:x")
        monkeypatch.setattr(doctor_command, "NEEDED", ("click", "no-such-package"))
        assert main(["doctor"]) == 1
        out = capfd.readouterr().out
        assert "FAIL cache          file/below cannot be written" in out
        assert "did you mean local:x?" in out
        assert "missing: no-such-package" in out

    def test_a_model_in_process_without_torch(self, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(doctor_command, "_version", lambda name: None if name == "torch" else "1")
        assert main(["doctor"]) == 1
        assert "pip install 'lmqlc[hf]'" in capfd.readouterr().out


class TestCompletion:
    @pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
    def test_scripts(self, shell: str, capfd: pytest.CaptureFixture[str]) -> None:
        assert main(["completion", shell]) == 0
        out = capfd.readouterr().out
        assert out.startswith("# put this line into ")
        assert f"_LMQLC_COMPLETE={shell}_complete" in out
        assert "lmql" in out.replace("lmqlc", "")
        if shutil.which(shell):
            assert subprocess.run([shell, "-n"], input=out, text=True, capture_output=True, check=False).returncode == 0

    def test_completes_commands_options_and_files(self) -> None:
        def completions(line: str) -> str:
            words = line.split(" ")
            environment = {**os.environ, "_LMQLC_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
            done = subprocess.run([sys.executable, "-m", "lmqlc"], env=environment, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            return done.stdout

        assert completions("lmqlc comp").split() == ["plain,compile", "plain,completion"]
        assert "plain,--record" in completions("lmqlc test --re")
        assert completions("lmqlc run q").startswith("file,")

    def test_unknown_shells(self) -> None:
        assert main(["completion", "tcsh"]) == 2


class TestHelp:
    def test_sections_list_every_command(self, capfd: pytest.CaptureFixture[str]) -> None:
        assert main(["--help"]) == 0
        out = capfd.readouterr().out
        listed = re.findall(r"^  ([a-z-]+)  ", out, re.MULTILINE)
        assert sorted(listed) == sorted(cli.commands)
        assert out.index("Programs:") < out.index("Writing them:") < out.index("This installation:")
        assert "Examples:" in out

    @pytest.mark.parametrize("name", sorted(cli.commands))
    def test_every_command_shows_an_example(self, name: str, capfd: pytest.CaptureFixture[str]) -> None:
        assert main([name, "--help"]) == 0
        out = capfd.readouterr().out
        assert name == "cache" or f"lmqlc {name}" in out.partition("Example")[2]


class TestCache:
    def test_old_and_new_spellings(self, capfd: pytest.CaptureFixture[str], folder: Path) -> None:
        kept = folder / "cache" / "automata" / "x.bin"
        for arguments, stays in ((["ls"], True), ([], True), (["clear"], False), (["--clear"], False)):
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_bytes(b"1")
            assert main(["cache", *arguments]) == 0
            assert kept.exists() is stays
        assert capfd.readouterr().out.count("constraints: 1, 0.0 MB, deleted") == 2
        assert main(["cache", "--clear", "ls"]) == 2
        assert main(["cache", "lst"]) == 2
