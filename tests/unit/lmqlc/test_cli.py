"""The command line: what goes where, exit codes, and errors a person understands."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lmqlc.__main__ import main
from lmqlc.run_command import parse_arguments, parse_decoder

MODEL = ("--model", "scripted:Bob\nand Ann")
HELLO = '"Say hi: [WHO]" where STOPS_BEFORE(WHO, "\\n")\n'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hello.lmql").write_text(HELLO)
    return tmp_path


def write(name: str, text: str) -> str:
    Path(name).write_text(text, encoding="utf-8")
    return name


def process(*arguments: str, **more: object) -> subprocess.Popen[str]:
    environment = {**os.environ, "NO_COLOR": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "lmqlc", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, **more
    )  # type: ignore[call-overload,no-any-return]


@pytest.mark.usefixtures("folder")
class TestRun:
    def test_variables_on_stdout_and_nothing_else(self, capfd: pytest.CaptureFixture[str]) -> None:
        assert main(["run", "hello.lmql", *MODEL]) == 0
        assert capfd.readouterr() == ("WHO = 'Bob'\n", "")

    def test_stream_on_stderr(self, capfd: pytest.CaptureFixture[str]) -> None:
        assert main(["run", "hello.lmql", *MODEL, "--stream"]) == 0
        assert capfd.readouterr() == ("WHO = 'Bob'\n", "Say hi: [WHO|Bob]\n")

    def test_json(self, capfd: pytest.CaptureFixture[str]) -> None:
        assert main(["run", "hello.lmql", *MODEL, "--json", "--time"]) == 0
        out, err = capfd.readouterr()
        shown = json.loads(out)
        assert shown["prompt"] == "Say hi: Bob"
        assert [hole["finish_reason"] for hole in shown["holes"]] == ["stop"]
        assert shown["usage"]["forward_passes"] == 4
        assert "4 model calls" in err

    def test_returned_value_arguments_and_stdin(self) -> None:
        running = process("run", "-", *MODEL, "--arg", "n=2", "--arg", "word=é", stdin=subprocess.PIPE)
        out, err = running.communicate('"[X]" where len(X) == 3\nreturn word * n + X\n', timeout=60)
        assert (out, err, running.returncode) == ("ééBob\n", "", 0)

    def test_several_branches(self, capfd: pytest.CaptureFixture[str]) -> None:
        assert main(["run", "hello.lmql", *MODEL, "--decoder", "sample(n=2, temperature=0, seed=1)"]) == 0
        assert "--- result 2 of 2" in capfd.readouterr().out

    def test_an_exception_shows_the_lines_of_the_program_only(self, capfd: pytest.CaptureFixture[str]) -> None:
        program = write("bad.lmql", "def half(x):\n    return x / 0\n'a [X]'\nhalf(len(X))\n")
        assert main(["run", program, *MODEL]) == 1
        err = capfd.readouterr().err
        assert 'File "bad.lmql", line 4, in <module>' in err
        assert 'File "bad.lmql", line 2, in half' in err
        assert err.rstrip().endswith("ZeroDivisionError: division by zero")
        assert "lmqlc" not in err

    def test_a_fault_of_a_library_is_the_programs(self, capfd: pytest.CaptureFixture[str]) -> None:
        program = write("bad.lmql", "import json\njson.loads('{')\n")
        assert main(["run", program]) == 1
        err = capfd.readouterr().err
        assert 'File "bad.lmql", line 2' in err
        assert "JSONDecodeError" in err

    def test_decorators_that_fail_are_the_programs(self, capfd: pytest.CaptureFixture[str]) -> None:
        for decorator in ("int", "json.loads", "lambda value: value / 2"):
            program = write("bad.lmql", f"import json\nf = {decorator}\n'[@f X]' where len(X) == 2\n")
            assert main(["run", program, *MODEL]) == 1
            assert "Error" in capfd.readouterr().err

    def test_modules_beside_the_program_can_be_imported(self, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "path", list(sys.path))
        Path("part").mkdir()
        write("part/beside_it.py", "WORD = 'beside'\n")
        program = write("part/uses.lmql", "import beside_it, os\nreturn beside_it.WORD, os.path.basename(__file__)\n")
        assert main(["run", program]) == 0
        assert capfd.readouterr().out == "('beside', 'uses.lmql')\n"

    def test_wrong_arguments_of_a_nested_query(self, capfd: pytest.CaptureFixture[str]) -> None:
        program = write("bad.lmql", "@lmql.query\ndef q(a):\n    '''lmql\n    '{a}'\n    '''\n'[X: q()]'\n".replace("\\'", "'"))
        assert main(["run", program, *MODEL]) == 1
        assert "q(): missing a required argument: 'a'" in capfd.readouterr().err

    def test_our_own_fault(self, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        def broken(*_: object) -> None:
            raise ZeroDivisionError("inside")

        monkeypatch.setattr("lmqlc.runtime.decode.whole_constraint", broken)
        assert main(["run", "hello.lmql", *MODEL]) == 70
        err = capfd.readouterr().err
        assert "internal error: ZeroDivisionError: inside" in err
        assert "LMQLC_DEBUG=1" in err
        assert "Traceback" not in err
        monkeypatch.setenv("LMQLC_DEBUG", "1")
        assert main(["run", "hello.lmql", *MODEL]) == 70
        assert "Traceback" in capfd.readouterr().err

    def test_exit_codes_of_a_program_are_its_own(self) -> None:
        with pytest.raises(SystemExit) as caught:
            main(["run", write("exits.lmql", "import sys\nsys.exit(5)\n")])
        assert caught.value.code == 5


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["run", "helo.lmql"], 1, "there is no file 'helo.lmql'; did you mean 'hello.lmql'?"),
        (["run"], 2, "Missing argument"),
        (["rnu", "hello.lmql"], 2, "No such command"),
        (["run", "hello.lmql", "--modle", "x"], 2, "No such option"),
        (["run", "hello.lmql", "--arg", "x"], 2, "not of the form NAME=VALUE"),
        (["run", "hello.lmql", "--arg", "x=1", *MODEL], 1, "the program has no argument `x`"),
        (["run", "hello.lmql", "--decoder", "sample(1)"], 2, "is no decoder"),
        (["run", "hello.lmql", "--decoder", "smaple", *MODEL], 1, "did you mean `sample`"),
        (["run", "hello.lmql", "--model", "local:no/such/model"], 3, "no/such/model"),
        (["run", "hello.lmql", "--model", "vllm/x"], 3, "no vLLM server answers at http://127.0.0.1:9/v1"),
        (["compile", "hello.lmql", "--emit", "irr"], 1, "did you mean 'ir'"),
        (["compile", "-"], 2, "needs -o FILE"),
        (["compile", "hello.lmql", "-o", "no/such/folder/x.lmqlc"], 1, "cannot write"),
        (["compile", "hello.lmql", "--tokenizer", "nowhere"], 3, "nowhere"),
    ],
)
def test_errors(arguments: list[str], code: int, message: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_BASE_URL", "127.0.0.1:9")
    assert main(arguments) == code
    out, err = capfd.readouterr()
    assert message in err
    assert out == ""


@pytest.mark.usefixtures("folder")
class TestCompileAndCheck:
    def test_artifact_runs_as_the_program_does(self, capfd: pytest.CaptureFixture[str]) -> None:
        assert main(["compile", "hello.lmql"]) == 0
        assert main(["run", "hello.lmqlc", *MODEL]) == 0
        assert capfd.readouterr().out == "WHO = 'Bob'\n"

    def test_a_damaged_artifact_is_an_error(self, capfd: pytest.CaptureFixture[str]) -> None:
        main(["compile", "hello.lmql"])
        data = Path("hello.lmqlc").read_bytes()
        Path("hello.lmqlc").write_bytes(data[: len(data) // 2])
        assert main(["run", "hello.lmqlc", *MODEL]) == 1
        assert "hello.lmqlc" in capfd.readouterr().err

    @pytest.mark.parametrize("stage", ["ast", "ir", "python"])
    def test_stages(self, stage: str, capfd: pytest.CaptureFixture[str]) -> None:
        assert main(["compile", "hello.lmql", "--emit", stage]) == 0
        assert "WHO" in capfd.readouterr().out
        assert not Path("hello.lmqlc").exists()

    def test_check_finds_errors_of_several_files(self, capfd: pytest.CaptureFixture[str]) -> None:
        write("one.lmql", '"[X" where\n')
        Path("two.lmql").write_bytes(b'"\xff"')
        assert main(["check", "one.lmql", "hello.lmql", "two.lmql", "three.lmql"]) == 1
        out, err = capfd.readouterr()
        assert "one.lmql:1:" in err
        assert "two.lmql: error[L0001]: the file is not UTF-8" in err
        assert "there is no file 'three.lmql'" in err
        assert err.splitlines()[-1].startswith("4 files checked: ")
        assert out == ""
        assert main(["check", "hello.lmql"]) == 0
        assert capfd.readouterr() == ("", "1 file checked: 0 errors, 0 warnings\n")


def test_arguments_are_json_where_they_read_as_json() -> None:
    pairs = ["a=1", "b=x=y", "c=[1, null]", "d=", 'e="1"', "f=True", "g=nan"]
    assert parse_arguments(pairs) == {"a": 1, "b": "x=y", "c": [1, None], "d": "", "e": "1", "f": "True", "g": "nan"}


def test_decoders_with_arguments() -> None:
    assert parse_decoder(None) == (None, {})
    assert parse_decoder("argmax") == ("argmax", {})
    assert parse_decoder("sample(temperature=0.5, n=2)") == ("sample", {"temperature": 0.5, "n": 2})


@pytest.mark.usefixtures("folder")
class TestProcess:
    def test_version(self) -> None:
        running = process("--version")
        out, err = running.communicate(timeout=60)
        assert (out.startswith("lmqlc 0."), err, running.returncode) == (True, "", 0)

    def test_a_closed_pipe_is_quiet(self) -> None:
        running = process("run", write("long.lmql", "for i in range(200000): print(i)\n"))
        assert running.stdout is not None
        assert running.stderr is not None
        assert running.stdout.readline() == "0\n"
        running.stdout.close()
        assert running.stderr.read() == ""
        running.wait(timeout=60)

    @pytest.mark.parametrize("wait", ["import time; time.sleep(60)", "import asyncio; await asyncio.sleep(60)"])
    def test_an_interrupt_ends_the_run_and_keeps_what_was_shown(self, wait: str) -> None:
        program = write("waits.lmql", f"'Hi [X]' where len(X) == 3\nprint('ready', flush=True)\n{wait}\n")
        running = process("run", program, *MODEL, "--stream")
        assert running.stdout is not None
        assert running.stdout.readline() == "ready\n"
        time.sleep(0.2)
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=20)
        assert err.startswith("Hi [X|Bob]\n")
        assert err.endswith("lmqlc: interrupted\n")
        assert running.returncode == 130


class TestCache:
    def test_what_is_kept_and_being_rid_of_it(
        self, folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("LMQLC_CACHE", str(folder))
        for name in ("automata/a.bin", "vocabularies/b.1.bin", "vocabularies/.c.bin.x1", "vocabularies/mine.txt"):
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(b"x" * 50_000)
        assert main(["cache"]) == 0
        assert capfd.readouterr().out == f"{folder}\nvocabularies: 2, 0.1 MB\nconstraints: 1, 0.1 MB\ntokenizers of servers: 0, 0.0 MB\n"
        assert main(["cache", "--clear"]) == 0
        assert capfd.readouterr().out.endswith("constraints: 1, 0.1 MB, deleted\ntokenizers of servers: 0, 0.0 MB, deleted\n")
        assert sorted(path.name for path in folder.rglob("*") if path.is_file()) == ["hello.lmql", "mine.txt"]

    def test_one_that_is_off_or_not_there(self, folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        for named, shown in (("off", "off"), ("nowhere", "nowhere")):
            monkeypatch.setenv("LMQLC_CACHE", named)
            assert main(["cache", "--clear"]) == 0
            kinds = ("vocabularies", "constraints", "tokenizers of servers")
            assert capfd.readouterr().out == f"{shown}\n" + "".join(f"{kind}: 0, 0.0 MB, deleted\n" for kind in kinds)
        assert [path.name for path in folder.iterdir()] == ["hello.lmql"]


@pytest.mark.usefixtures("folder")
class TestFiles:
    @pytest.mark.parametrize("command", ["run", "check", "compile", "explain"])
    def test_what_is_no_program(self, command: str, capfd: pytest.CaptureFixture[str]) -> None:
        Path("folder.lmql").mkdir()
        Path("large.lmql").write_bytes(b"#" * (1 << 20) + b"\n")
        Path("binary.lmql").write_bytes(bytes(range(256)))
        for name, message in (("folder", "Is a directory"), ("large", "longer than 1 MiB"), ("binary", "not UTF-8: byte 0x80")):
            assert main([command, f"{name}.lmql"]) == 1
            assert message in capfd.readouterr().err

    def test_files_without_end_are_not_read_to_it(self, capfd: pytest.CaptureFixture[str]) -> None:
        assert main(["check", "/dev/zero"]) == 1
        assert "longer than 1 MiB" in capfd.readouterr().err

    def test_an_empty_program_does_nothing(self, capfd: pytest.CaptureFixture[str]) -> None:
        assert main(["run", write("empty.lmql", "")]) == 0
        assert capfd.readouterr() == ("", "")

    def test_findings_cannot_steer_a_terminal(self, capfd: pytest.CaptureFixture[str]) -> None:
        assert main(["run", write("steers.lmql", '"\x1b[2J[X" where\n')]) == 1
        assert "\x1b" not in capfd.readouterr().err

    def test_an_interrupt_in_the_middle_of_a_hole(self) -> None:
        running = process("run", write("long.lmql", '"Say [X]" where len(X) > 1900\n'), "--model", "random:3", "--stream")
        assert running.stderr is not None
        shown = running.stderr.read(40)
        running.send_signal(signal.SIGINT)
        out, rest = running.communicate(timeout=20)
        assert shown.startswith("Say [X|")
        assert rest.endswith("\nlmqlc: interrupted\n")
        assert (out, running.returncode) == ("", 130)


def lmqlc(*arguments: str) -> subprocess.CompletedProcess[str]:
    running = process(*arguments)
    stdout, stderr = running.communicate(timeout=60)
    return subprocess.CompletedProcess(arguments, running.returncode, stdout, stderr)


class TestLimits:
    def test_bounds_in_tokens(self, tmp_path: Path) -> None:
        path = tmp_path / "two.lmql"
        path.write_text('"a[X]b[Y]"\n')
        done = lmqlc("run", str(path), "--model", "random", "--json", "--max-tokens", "4", "--max-total-tokens", "6")
        result = json.loads(done.stdout)
        assert [hole["finish_reason"] for hole in result["holes"]] == ["budget", "length"]
        assert result["finish_reason"] == "length"
        assert lmqlc("run", str(path), "--model", "random", "--timeout", "0").returncode == 1

    def test_a_run_that_ends_before_its_return(self, tmp_path: Path) -> None:
        path = tmp_path / "ends.lmql"
        path.write_text('"a[X]"\nreturn X\n')
        done = lmqlc("run", str(path), "--model", "random", "--no-stream", "--decoder", "argmax(max_len=6)")
        assert done.returncode == 1
        assert done.stdout.startswith("X = ")
        assert "error[L0803]: the run ended in hole `X`: prompt and output fill the 6 tokens of `max_len`" in done.stderr
        shown = json.loads(lmqlc("run", str(path), "--model", "random", "--json", "--decoder", "argmax(max_len=6)").stdout)
        assert (shown["finish_reason"], "value" in shown) == ("length", False)
        path.write_text('"a[X]"\n')
        done = lmqlc("run", str(path), "--model", "random", "--no-stream", "--decoder", "argmax(max_len=6)")
        assert (done.returncode, done.stderr.count("\n")) == (0, 1)
        assert done.stderr.startswith("lmqlc: warning: the run ended in hole `X`: ")

    def test_a_hole_that_nothing_bounds(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "free.lmql"
        path.write_text('"a[X]"\n"b[Y]" where len(Y) == 1\n')
        monkeypatch.setenv("LMQLC_MAX_TOKENS", "3")
        done = lmqlc("run", str(path), "--model", "random:2", "--stream")
        assert done.returncode == 0 and "Y = " in done.stdout
        assert done.stderr.splitlines()[-1].startswith("lmqlc: warning: hole `X` was ended after 3 tokens")
        monkeypatch.setenv("LMQLC_MAX_TOKENS", "none")
        done = lmqlc("run", str(path), "--model", "random:2")
        assert done.returncode == 1 and "LMQLC_MAX_TOKENS is a whole number above 0" in done.stderr

    def test_a_prompt_of_thirty_thousand_tokens(self, tmp_path: Path) -> None:
        path = tmp_path / "long.lmql"
        path.write_text("\"{'word ' * 6000}[X]\" where len(X) == 3\nreturn len(X)\n")
        assert lmqlc("run", str(path), "--model", "random").stdout == "3\n"

    @pytest.mark.parametrize("loop", ["for i in range(10**9):\n    '{i}[Y]'\n", "import time\n'x'\ntime.sleep(60)\n"])
    def test_a_query_past_its_time_shows_what_it_has_written(self, tmp_path: Path, loop: str) -> None:
        path = tmp_path / "long.lmql"
        path.write_text(f'"first: [X]\\n"\n{loop}')
        done = lmqlc(
            "run", str(path), "--model", "random", "--timeout", "2", "--max-tokens", "2", "--decoder", "argmax(max_len=1000000000)"
        )
        assert done.returncode == 1
        assert "first: [X|" in done.stderr
        assert done.stderr.splitlines()[-1].startswith("lmqlc: error: the query took longer than its timeout of 2 seconds")
        assert done.stdout == ""
