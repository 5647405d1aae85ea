"""`lmqlc test`: tests as they are written, what they claim, recordings, and the pytest plugin."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest

import lmqlc
from lmqlc.__main__ import main
from lmqlc.grammar.errors import LmqlError
from lmqlc.grammar.source import Source
from lmqlc.testing import cassettes
from lmqlc.testing.cases import written_tests
from lmqlc.testing.running import Choices, TestedQuery

QUERY = """\
# Asks for a capital.
#
# test: knows Japan
#   args: country="Japan"
#   assert CAPITAL == "Tokyo"
#   assert prompt.endswith("A: Tokyo")
#
# test: says what it is told
#   args: country="Spain"
#   says: "Paris\\n"
#   assert CAPITAL == "Paris" and
#     len(holes) == 1
"Q: What is the capital of {country}?\\nA: [CAPITAL]" where STOPS_BEFORE(CAPITAL, "\\n") and len(TOKENS(CAPITAL)) < 10
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LMQL_DEFAULT_MODEL", "scripted:Tokyo")
    (tmp_path / "q.lmql").write_text(QUERY)
    return tmp_path


def outcomes(text: str, **choices: Any) -> dict[str, tuple[str, ...]]:
    """The failures of every test of a query."""
    path = Path("other.lmql")
    path.write_text(text)
    query = TestedQuery.read(path)
    return {test.name: query.run(test, Choices(**choices)).failures for test in query.tests}


def refusal(text: str) -> str:
    with pytest.raises(LmqlError) as error:
        written_tests(Source("t.lmql", text), Path("t.lmql"))
    return str(error.value.message)


class TestWritten:
    def test_lines(self) -> None:
        first, second = written_tests(Source("q.lmql", QUERY), Path("q.lmql"))
        assert (first.name, first.line, first.args) == ("knows Japan", 3, {"country": "'Japan'"})
        assert [(check.text, check.line) for check in first.checks][1] == ('prompt.endswith("A: Tokyo")', 6)
        assert second.says == ("Paris\n",)
        assert second.checks[0].text == 'CAPITAL == "Paris" and\nlen(holes) == 1'

    def test_all_keys(self) -> None:
        text = (
            '# test:\n#  args: a=[1, {"b": 2}],\n#       c="x, y=1"\n#  model: local:gpt2\n'
            '#  decoder: sample(n=2)\n#  raises: ValueError "no, no"\nx = 1\n'
        )
        (test,) = written_tests(Source("t", text), Path("t.lmql"))
        assert test.name == "line 1"
        assert test.args == {"a": "[1, {'b': 2}]", "c": "'x, y=1'"}
        assert (test.model, test.decoder, test.raises) == ("local:gpt2", "sample(n=2)", ("ValueError", "no, no"))

    @pytest.mark.parametrize(
        ("lines", "message"),
        [
            ("#   asert X == 1", "t.lmql:2:5: error[L0901]: test 'a': there is no key `asert`"),
            ("#   asert X == 1", "did you mean `assert`?"),
            ("#   assert X ==", "not a Python expression"),
            ("#   args: 1", "name every argument"),
            ("#   args: **x", "name every argument"),
            ("#   args: a=", "arguments that cannot be read"),
            ("#   args: a=1\n#   args: b=1", "`args` stands twice"),
            ("#   says: 1", "something in it is no text"),
            ("#   says: X", "texts that cannot be read"),
            ("#   model:", "`model` without a value"),
            ("#   args: a=1", "it claims nothing"),
            ("#   == 1", "a line without a key"),
        ],
    )
    def test_what_cannot_be_read(self, lines: str, message: str) -> None:
        assert message in refusal(f"# test: a\n{lines}\nx = 1\n")

    def test_names_differ(self) -> None:
        assert "there are two tests 'a'" in refusal("# test: a\n#  assert 1\n\n# test: a\n#  assert 1\n")

    def test_companion_files(self) -> None:
        Path("tests").mkdir()
        Path("tests/q.toml").write_text(
            '[[test]]\nname = "more"\nargs = { country = "Italy", n = 1 }\nsays = ["Rome"]\nassert = ["CAPITAL == \'Rome\'", "1"]\n'
        )
        Path("q.tests.toml").write_text('[[test]]\nassert = "1"\n')
        found = written_tests(Source("q.lmql", QUERY), Path("q.lmql"))
        assert [test.name for test in found] == ["knows Japan", "says what it is told", "q.tests.toml 1", "more"]
        assert found[3].args == {"country": "'Italy'", "n": "1"}
        assert len(found[3].checks) == 2
        Path("tests/q.toml").write_text('[[test]]\nasert = "1"\n')
        assert "did you mean `assert`?" in refusal_of("q.lmql")
        Path("tests/q.toml").write_text("name = 1")
        assert "a table `[[test]]`" in refusal_of("q.lmql")
        Path("tests/q.toml").write_text("][")
        assert "cannot be read" in refusal_of("q.lmql")


def refusal_of(path: str) -> str:
    with pytest.raises(LmqlError) as error:
        TestedQuery.read(Path(path))
    return str(error.value.message)


class TestClaims:
    def test_what_claims_may_speak_about(self) -> None:
        text = (
            '# test: all\n#  args: who="Ann"\n#  says: "Bob"\n#  assert result == 3 == len(WHO) and results == [3]\n'
            '#  assert variables["WHO"] == WHO and who == "Ann" and holes[0].text == WHO and lmql.F\n'
            '"Hi {who}: [WHO]" where len(WHO) == 3\nreturn len(WHO)\n'
        )
        assert outcomes(text) == {"all": ()}

    def test_distributions_and_branches(self) -> None:
        text = (
            '# test: d\n#  assert abs(sum(probabilities.values()) - 1) < 1e-6 and set(probabilities) == {"a", "b"}\n'
            '"[X]" distribution X in ["a", "b"]\n'
        )
        assert outcomes(text, model="random:1") == {"d": ()}
        text = '# test: n\n#  decoder: sample(n=3, seed=1)\n#  assert len(results) == 3\n"[X]" where len(X) == 2\n'
        assert outcomes(text, model="random:1") == {"n": ()}

    def test_failures_show_values(self) -> None:
        text = '# test: no\n#  says: "Bob"\n#  assert len(WHO) == 4\n#  assert WHO.absent\nprint("seen")\n"Hi [WHO]" where len(WHO) == 3\n'
        first, second = outcomes(text)["no"]
        assert first == "line 3: assert len(WHO) == 4\n  len(WHO) = 3\n  WHO = 'Bob'"
        assert second.startswith("line 4: assert WHO.absent\n  AttributeError")

    def test_errors(self) -> None:
        text = '# test: e\n#  {}\n"[X]" where X in options\nraise ValueError("no good")\n'
        named = text.replace("# test: e", '# test: e\n#  args: options=["a"]\n#  says: "a"')
        assert outcomes(named.format('raises: ValueError "no good"'))["e"] == ()
        assert "'bad' is not in its message" in outcomes(named.format('raises: ValueError "bad"'))["e"][0]
        assert "expected KeyError, but ValueError was raised" in outcomes(named.format("raises: KeyError"))["e"][0]
        assert 'line 6, in <module>\n    raise ValueError("no good")' in outcomes(named.format("assert 1"))["e"][0]
        assert "event loop" not in outcomes(named.format("assert 1"))["e"][0]
        assert "needs a value for `options`" in outcomes(text.format("assert 1"))["e"][0]
        empty = "# test: e\n#  raises: ValueError\nx = 1\n"
        assert outcomes(empty)["e"] == ("expected ValueError, but nothing was raised",)
        assert "is no decoder" in outcomes("# test: e\n#  decoder: 1\n#  assert 1\nx = 1\n")["e"][0]

    def test_modules_beside_the_query(self) -> None:
        Path("beside_the_query.py").write_text("value = 5\n")
        assert outcomes("# test: m\n#  assert v == 5\nfrom beside_the_query import value as v\nreturn v\n")["m"] != ()
        assert outcomes("# test: m\n#  assert result == 5\nfrom beside_the_query import value as v\nreturn v\n")["m"] == ()


class TestRecordings:
    def test_record_and_replay(self, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        assert main(["test", "--record"]) == 0
        assert "ok   knows Japan (recorded)" in capfd.readouterr().out
        first = Path("cassettes/q.json").read_text()
        monkeypatch.setenv("LMQL_DEFAULT_MODEL", "local:there-is-none")
        assert main(["test"]) == 0
        assert "ok   knows Japan (replayed)\n  ok   says what it is told\n2 tests: 2 passed, 0 failed" in capfd.readouterr().out
        assert main(["test", "--live"]) == 1
        monkeypatch.setenv("LMQL_DEFAULT_MODEL", "scripted:Tokyo")
        assert main(["test", "--record"]) == 0
        assert Path("cassettes/q.json").read_text() == first
        assert list(json.loads(first)["tests"]) == ["knows Japan"]

    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            ("What is", "Which is", "before hole CAPITAL the prompt is now 'Q: Which is the capital"),
            ("CAPITAL", "OTHER", "the program fills a hole OTHER, which was not recorded"),
            ("< 10", "< 10 and 'T' not in CAPITAL", "hole CAPITAL is now '', but CAPITAL 'Tokyo' was recorded: its constraint has changed"),
            ("< 10", "< 10 and CAPITAL.startswith('Ky')", "the recorded answer is not allowed any more"),
            ("< 10", "< 10\n'[X]'", "the program fills a hole X, which was not recorded"),
            ("< 10", "< 2", "hole CAPITAL is now 'T', but CAPITAL 'Tokyo' was recorded: its constraint has changed"),
        ],
    )
    def test_a_program_that_changed(self, old: str, new: str, message: str, capfd: pytest.CaptureFixture[str]) -> None:
        assert main(["test", "--record"]) == 0
        Path("q.lmql").write_text(QUERY.replace(old, new).replace('assert CAPITAL == "Tokyo"', "assert 1"))
        capfd.readouterr()
        assert main(["test", "-k", "japan"]) == 1
        out = capfd.readouterr().out
        assert message in out
        assert "hint: record again: lmqlc test q.lmql --record" in out

    def test_comments_and_layout_may_change(self) -> None:
        assert main(["test", "--record"]) == 0
        Path("q.lmql").write_text("# one more comment\n" + QUERY.replace(" where ", "\n    where ").replace("< 10", "< 11"))
        query = TestedQuery.read(Path("q.lmql"))
        assert [query.run(test, Choices()).how for test in query.tests] == ["replay", "script"]
        assert all(query.run(test, Choices()).passed for test in query.tests)

    PROGRAMS: ClassVar = {
        "chat": '"{:system}Be short.{:user}What is the capital of Greece?{:assistant}[A]" where len(TOKENS(A)) < 12\n'
        '"{:user}And now?{:assistant}[B]" where len(TOKENS(B)) < 5\n',
        "branches": '"Say hi: [A]" where len(TOKENS(A)) < 6 and STOPS_AT(A, "!")\n"-[B]" where INT(B) and len(B) < 4\n',
        "distribution": '"Review: good food.\\nSentiment: [A]" distribution A in ["positive", "negative"]\n',
        "types and nesting": '@lmql.query\ndef q():\n    """lmql\n    "date [D]" where REGEX(D, r"[0-9]{4}")\n    return D\n    """\n'
        '"On [A: q]: [B: bool], [C: list[int]]" where len(TOKENS(C)) < 9\n',
        "begun by others": '"I say [A]." where A in ["ab", "abc", "a", "b"]\n" then [B]" where REGEX(B, "[0-9]{1,3}")\n',
        "multi-byte": '"é😀 [A]" where REGEX(A, r"[é😀ü]{3}")\n',
        "empty prompt": '"[A]" where len(A) == 3\n',
    }

    @pytest.mark.parametrize("name", PROGRAMS)
    @pytest.mark.parametrize("decoder", ["argmax", "sample(n=3, seed=5, temperature=1.3)", "beam(n=3)", "var(b=2, n=2)", "best_k(k=2)"])
    def test_replay_gives_what_the_model_gave(self, name: str, decoder: str) -> None:
        head = (
            f"# test: t\n#  decoder: {decoder}\n#  assert seen([[(h.text, h.value) for h in r.holes] for r in results], "
            "[round(r.score, 3) for r in results])\n"
        )
        Path("p.lmql").write_text(head + "seen = lambda *x: x\n" + self.PROGRAMS[name])
        model = "demo" if name in ("chat", "branches") else "random:3"
        if name == "chat":  # a conversation that nobody records must not be missing from one that is recorded
            lmqlc.run_sync('"{:user}Hi{:assistant}[A]" where len(TOKENS(A)) < 2', model=model)
        seen: list[Any] = []
        for mode in ("record", "replay"):
            query = TestedQuery.read(Path("p.lmql"))
            builtins_of_claims(query, seen)
            outcome = query.run(query.tests[0], Choices(model=model, mode=mode))  # type: ignore[arg-type]
            assert outcome.passed, outcome.failures
            query.save()
        assert outcome.how == "replay"
        assert seen[0][0] == seen[1][0]
        if decoder.startswith(("argmax", "sample")):  # searches also score text that is forced
            assert sum(seen[0][1]) == pytest.approx(sum(seen[1][1]), abs=2e-3)

    @pytest.mark.parametrize("decoder", ["argmax", "sample(n=2, seed=3)", "beam(n=2)"])
    def test_a_served_model_is_recorded(self, decoder: str) -> None:
        import lmqlc
        from lmqlc.backends.scripted import scripted

        holes = '"Say: [WORD]" where len(TOKENS(WORD)) < 9 and STOPS_BEFORE(WORD, ".")\n" and [N: int]" where int(N) < 100\n'
        Path("s.lmql").write_text(
            f'# test: t\n#   decoder: {decoder}\n#   assert WORD and N < 100\n{holes}"or [Z]" where Z in ["a", "bc"]\n'
        )
        server = lmqlc.serve(scripted("Hello.", "12", "bc"), port=0, block=False)
        assert server is not None
        with server:
            query = TestedQuery.read(Path("s.lmql"))
            outcome = query.run(query.tests[0], Choices(model=server.url, mode="record"))
            assert outcome.passed, outcome.failures
            query.save()
        query = TestedQuery.read(Path("s.lmql"))
        outcome = query.run(query.tests[0], Choices())
        assert (outcome.how, outcome.failures) == ("replay", ())

    def test_files_that_are_no_cassettes(self) -> None:
        Path("cassettes").mkdir()
        for text, message in (("{", "is no cassette"), ('{"format": 2, "tests": {}}', "this version reads 1"), ("[]", "is no cassette")):
            Path("cassettes/q.json").write_text(text)
            assert message in refusal_of("q.lmql")

    def test_recordings_of_absent_tests_go(self) -> None:
        assert main(["test", "--record"]) == 0
        Path("q.lmql").write_text(QUERY.replace("test: knows Japan", "test: renamed"))
        assert main(["test", "--record"]) == 0
        assert list(cassettes.load(Path("q.lmql"))) == ["renamed"]


def builtins_of_claims(query: TestedQuery, seen: list[Any]) -> None:
    """Let the claims of a query's tests tell what they see."""
    import lmqlc.testing.running as running

    original = running.names_of

    def names_of(results: Any, arguments: Any) -> dict[str, Any]:
        return {**original(results, arguments), "seen": lambda *what: seen.append(what) or True}

    query.run.__func__.__globals__["names_of"] = names_of  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def _own_names() -> Any:
    import lmqlc.testing.running as running

    original = running.names_of
    yield
    running.names_of = original


class TestCommand:
    def test_failures_and_exit_codes(self, capfd: pytest.CaptureFixture[str]) -> None:
        Path("q.lmql").write_text(QUERY.replace('"Tokyo"\n', '"Kyoto"\n'))
        assert main(["test"]) == 1
        out = capfd.readouterr().out
        assert "  FAIL knows Japan\n       line 5: assert CAPITAL == \"Kyoto\"\n         CAPITAL = 'Tokyo'\n" in out
        assert out.endswith("2 tests: 1 passed, 1 failed\n")
        assert main(["test", "-k", "told", "-v"]) == 0
        assert main(["test", "-k", "nothing"]) == 2
        assert main(["test", "--record", "--live"]) == 2
        assert main(["test", "absent.lmql"]) == 1
        assert "there is no file 'absent.lmql'" in capfd.readouterr().out

    def test_queries_are_found_in_folders(self, capfd: pytest.CaptureFixture[str]) -> None:
        for place in ("a/b", ".hidden", "node_modules"):
            Path(place).mkdir(parents=True)
            Path(place, "x.lmql").write_text('# test: x\n#  says: "a"\n#  assert X == "a"\n"[X]" where len(X) == 1\n')
        Path("a/none.lmql").write_text('"[X]"\n')
        Path("a/bad.lmql").write_text('# test: x\n#  assert 1\n"[X"\n')
        assert main(["test"]) == 1
        out = capfd.readouterr().out
        assert [line for line in out.splitlines() if line.endswith(".lmql")] == ["q.lmql", "a/bad.lmql", "a/b/x.lmql"]
        assert "3 tests: 3 passed, 0 failed, 1 file that cannot be tested" in out


def run_pytest(*arguments: str) -> tuple[int, str]:
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, "-m", "pytest", "-p", "lmqlc.testing.plugin", "-p", "no:cacheprovider", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    return done.returncode, done.stdout + done.stderr


class TestPlugin:
    def test_collects_runs_and_records(self) -> None:
        Path("plain.lmql").write_text('"[X]"\n')
        code, out = run_pytest("-v", "--lmql-record")
        assert code == 0, out
        assert "q.lmql::knows Japan PASSED" in out
        assert "2 passed" in out
        assert Path("cassettes/q.json").exists()
        code, out = run_pytest("-q", "--lmql-model=local:there-is-none")
        assert (code, "2 passed" in out) == (0, True), out

    def test_failures(self) -> None:
        Path("q.lmql").write_text(QUERY.replace('"Tokyo"\n', '"Kyoto"\n') + 'print("seen")\n')
        Path("bad.lmql").write_text('# test: x\n#  assert 1\n"[X"\n')
        code, out = run_pytest("--continue-on-collection-errors")
        assert code == 1
        assert 'line 5: assert CAPITAL == "Kyoto"' in out
        assert "seen" in out
        assert "bad.lmql:3:2: error[L0201]" in out
        assert "Traceback" not in out and "running.py" not in out
        assert run_pytest("--no-lmql")[0] == 5

    def test_reads_settings(self) -> None:
        Path("pyproject.toml").write_text('[tool.lmqlc]\ntest-model = "scripted:Kyoto"\n')
        code, out = run_pytest("q.lmql")
        assert code == 1
        assert "CAPITAL = 'Kyoto'" in out
