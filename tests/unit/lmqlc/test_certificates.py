"""Traces, certificates, and whether runs repeat."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lmqlc
from lmqlc.backends.scripted import scripted
from lmqlc.cli import run_cli
from lmqlc.runtime.certificate import read_certificate, sha256
from lmqlc.runtime.redact import REMOVED, Redaction

TEXT = '"{greeting} [X]," where len(X) == 3\n" [Y]"\nreturn X, Y\n'
RANDOM = "'{start}[X]' where len(X) < 12\n'-[Y]'\n"


def made(text: Any, *args: Any, **kwargs: Any) -> Any:
    found: list[Any] = []
    lmqlc.run_sync(text, *args, certificate=found.append, **kwargs)
    return found[0].to_dict()


def test_a_certificate_holds_what_the_run_did() -> None:
    model = scripted("Bob", "42")
    found: list[Any] = []
    lmqlc.run_sync(TEXT, greeting="Hi", model=model, max_tokens=5, certificate=found.append)
    content = json.loads(str(found[0]))
    assert content == found[0].to_dict()
    assert (content["type"], content["format"], content["versions"]["lmqlc"]) == ("lmqlc.Certificate", 1, lmqlc.__version__)
    (run,) = content["runs"]
    assert run["program"] == {"name": "<string>", "text": TEXT, "sha256": sha256(TEXT.encode())}
    assert run["arguments"] == {"greeting": {"value": "Hi"}}
    assert run["decoder"]["name"] == "argmax"
    assert run["decoder"]["arguments"] == {"max_tokens": 5}
    assert run["tokenizer"]["fingerprint"] == model.vocabulary.fingerprint
    (result,) = run["results"]
    assert result["value"] == ["Bob", "42"]
    one, two = result["holes"]
    assert one["prompt_ids"] == model.tokenizer.encode("Hi", first=True)  # the space is taken back, and said again
    assert two["prompt_ids"] == model.tokenizer.encode("Hi Bob, ", first=True) or len(two["prompt_ids"]) > len(one["prompt_ids"])
    assert two["prompt_sha256"] == sha256(np.array(two["prompt_ids"], "<i8").tobytes())
    asked = [list(call.sequences[0]) for call in model.calls]
    assert asked[0] == one["prompt_ids"]
    assert two["prompt_ids"] in asked
    assert [token["text"] for token in one["tokens"]] == [" ", "B", "o", "b"]
    assert content["metrics"]["tokens"] == run["results"][0]["usage"]["tokens"] == len(one["tokens"]) + len(two["tokens"])


def test_a_sampled_run_without_a_seed_repeats_from_its_certificate(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    results = lmqlc.run_sync(RANDOM, start="ab", model="random:3", decoder="sample", n=3, temperature=2.0, max_tokens=6, certificate=path)
    assert [len(run["results"]) for run in json.loads(path.read_text())["runs"]] == [3] == [len(results)]
    outcome = lmqlc.verify_sync(path)
    assert outcome, str(outcome)
    assert str(outcome) == "1 run repeated, with the same outcome"
    other = lmqlc.verify_sync(path, model="random:4")
    assert not other
    assert "hole `X`" in str(other)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["run.json"]


def test_what_was_changed_is_found(tmp_path: Path) -> None:
    content = made(RANDOM, start="ab", model="random:3", decoder="sample", seed=1, max_tokens=6)
    hole = content["runs"][0]["results"][0]["holes"][0]
    changes: list[tuple[Any, str, Any, str]] = [
        (hole, "value", "other", "its value was 'other'"),
        (hole["tokens"][2], "logprob", hole["tokens"][2]["logprob"] + 0.001, "log-probability of token 3"),
        (hole["tokens"][1], "id", 7, "token 2 was 7"),
        (hole, "prompt_sha256", "0", "another prompt before it"),
        (content["runs"][0]["program"], "sha256", "0", "the program is another one"),
        (content["runs"][0]["tokenizer"], "fingerprint", "0", "another vocabulary"),
        (content["runs"][0], "error", {"type": "ValueError", "message": ""}, "ended with ValueError, now with no error"),
    ]
    for place, key, value, message in changes:
        before = place[key]
        place[key] = value
        (tmp_path / "changed.json").write_text(json.dumps(content))
        assert message in str(lmqlc.verify_sync(tmp_path / "changed.json"))
        place[key] = before
    assert lmqlc.verify_sync(lmqlc.InferenceCertificate(content))


def test_traces_collect_the_runs_of_a_context() -> None:
    model = scripted(after={"a: ": "x", "b: ": "y"})
    text = '"{word}: [X]" where len(X) == 1'

    async def several() -> None:
        await asyncio.gather(*(lmqlc.run(text, word=word, model=model) for word in "ab"))

    with lmqlc.traced("outer") as trace:
        asyncio.run(several())
        with lmqlc.traced("inner"):
            lmqlc.generate_sync("a: ", model=model)
        lmqlc.run_sync(text, word="a", model=model)
    lmqlc.run_sync(text, word="a", model=model)
    content = lmqlc.certificate(trace).to_dict()
    assert [run["arguments"]["word"]["value"] for run in content["runs"]] == ["a", "b", "a"]
    assert [child["name"] for child in content["children"]] == ["inner"]
    assert content["metrics"]["runs"] == 4
    assert len(trace.runs) == 3


def test_traced_functions_synchronous_and_not(tmp_path: Path) -> None:
    model, found = scripted(after={"a: ": "x"}), []

    @lmqlc.traced(certificate=found.append)
    def work(word: str) -> Any:
        return lmqlc.run_sync('"{word}: [X]" where len(X) == 1', word=word, model=model).variables["X"]

    @lmqlc.traced("later", certificate=tmp_path / "later.json")
    async def later(word: str) -> Any:
        return (await lmqlc.run('"{word}: [X]" where len(X) == 1', word=word, model=model)).variables["X"]

    assert (work("a"), asyncio.run(later("a"))) == ("x", "x")
    assert [certificate.to_dict()["name"] for certificate in found] == ["work"]
    assert read_certificate(tmp_path / "later.json").to_dict()["name"] == "later"


def test_threads_and_runs_inside_of_programs_are_recorded() -> None:
    model = scripted(after={"a: ": "x", "b: ": "y"})

    @lmqlc.query
    def inner(word: str) -> str:
        """lmql
        "{word}: [X]" where len(X) == 1
        return X
        """
        return ""

    with lmqlc.traced("notebook") as trace:
        assert lmqlc.run_sync('"a: [X]" where len(X) == 1\nreturn X, tool()', tool=lambda: inner("b"), model=model) == ("x", "y")
    assert [run.program.source.name[:12] for run in trace.runs] == ["<query inner", "<string>"]
    outside = threading.Thread(target=lambda: inner("a", model=model))
    with lmqlc.traced("other") as empty:
        outside.start()
        outside.join()
    assert empty.runs == []


def test_failed_runs_have_certificates_too() -> None:
    found: list[Any] = []
    with pytest.raises(KeyError):
        lmqlc.run_sync(TEXT.replace("return X, Y", "{}[X]"), greeting="Hi", model=scripted("Bob", "42"), certificate=found.append)
    (run,) = found[0].to_dict()["runs"]
    assert run["error"] == {"type": "KeyError", "message": "'Bob'"}
    assert run["results"][0]["variables"] == {"X": "Bob", "Y": "42"}
    assert lmqlc.verify_sync(found[0], model=scripted("Bob", "42"))


def test_query_functions_repeat_with_the_function(tmp_path: Path) -> None:
    class Thing:
        size = 3

    @lmqlc.query(model="random:5", decoder="sample", temperature=1.5)
    def ask(word: str, *more: str, thing: Any, **rest: Any) -> Any:
        """lmql
        "{word}{''.join(more)}: [X]" where len(X) == thing.size
        return X
        """
        return ""

    ask("why", "a", "b", thing=Thing(), other=1, certificate=tmp_path / "q.json")
    with pytest.raises(lmqlc.errors.LmqlError, match="does not hold the argument `thing`"):
        lmqlc.verify_sync(tmp_path / "q.json", ask)
    with pytest.raises(lmqlc.errors.LmqlError, match="is needed to run it again"):
        lmqlc.verify_sync(tmp_path / "q.json", arguments={"thing": Thing()})
    assert lmqlc.verify_sync(tmp_path / "q.json", ask, arguments={"thing": Thing()})


class TestSecrets:
    def test_arguments_options_and_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OPENAI_API_KEY", "not-a-known-form-1234")
        key = "sk-" + "a1B2" * 8
        model = scripted("x", "y")
        text = '"{api_key} and {other} [X]" where len(X) == 1\n"{headers} [Y]" where len(Y) == 1\n'
        content = made(
            text,
            api_key="correct horse battery",
            other=f"{key} not-a-known-form-1234",
            headers={"Authorization": "Bearer zzzzzzzzzz", "max_tokens": 5},
            model=model,
        )
        shown = json.dumps(content)
        for secret in ("correct horse", key, "not-a-known-form", "zzzzzzzz"):
            assert secret not in shown
        (run,) = content["runs"]
        assert run["arguments"]["headers"] == {"value": {"Authorization": REMOVED, "max_tokens": 5}}
        one, _ = run["results"][0]["holes"]
        assert one["prompt_ids"] is None
        assert one["tokens"] is None
        assert len(one["prompt_sha256"]) == 64
        with pytest.raises(lmqlc.errors.LmqlError, match="does not hold the argument `api_key`"):
            lmqlc.verify_sync(lmqlc.InferenceCertificate(content), model=model)
        given = {"api_key": "correct horse battery", "other": f"{key} not-a-known-form-1234"}
        headers = {"Authorization": "Bearer zzzzzzzzzz", "max_tokens": 5}
        assert lmqlc.verify_sync(lmqlc.InferenceCertificate(content), model=scripted("x", "y"), arguments=given | {"headers": headers})

    def test_what_the_model_says_and_what_programs_spell_out(self) -> None:
        key = "hf_" + "a1B2" * 8
        content = made(f'key = "{key}"\n"say [X]" where STOPS_BEFORE(X, "!")\n', model=scripted(f"{key}!"))
        assert key not in json.dumps(content)
        assert content["runs"][0]["results"][0]["holes"][0]["tokens"] is None
        with pytest.raises(lmqlc.errors.LmqlError, match="give it as the query"):
            lmqlc.verify_sync(lmqlc.InferenceCertificate(content), model=scripted("x"))

    def test_names(self) -> None:
        redaction = Redaction(["patient"], {})
        secret = [
            "api_key",
            "apikey",
            "OPENAI_API_KEY",
            "Authorization",
            "password",
            "client_secret",
            "hf_token",
            "token",
            "auth",
            "patient",
        ]
        plain = ["max_tokens", "tokenizer", "key", "keyboard", "author", "path", "PWD", "pattern", "monkey", "cookies", "sort_key"]
        assert [name for name in secret if not redaction.is_secret_name(name)] == []
        assert [name for name in plain if redaction.is_secret_name(name)] == []


class TestCommandLine:
    def test_run_and_verify(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "q.lmql").write_text(RANDOM)
        run = ["run", "q.lmql", "--model", "random:3", "--arg", "start=ab", "--decoder", "sample(temperature=2.0, max_tokens=5, seed=1)"]
        assert run_cli([*run, "--certificate", "c.json"]) == 0
        capsys.readouterr()
        assert run_cli(["verify", "c.json"]) == 0
        assert capsys.readouterr().out == "1 run repeated, with the same outcome\n"
        assert run_cli(["verify", "c.json", "--model", "random:4"]) == 1
        assert "run 1, result 1: hole `X`: token" in capsys.readouterr().out
        assert run_cli(["verify", "c.json", "--query", "q.lmql"]) == 0

    def test_what_is_no_certificate(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        for name, content in {"a.json": "{", "b.json": "[]", "c.json": '{"type": "lmqlc.Certificate", "format": 2}'}.items():
            (tmp_path / name).write_text(content)
            assert run_cli(["verify", str(tmp_path / name)]) == 1
        assert run_cli(["verify", str(tmp_path / "missing.json")]) == 1
        shown = capsys.readouterr().err
        assert shown.count("is no certificate") == 2
        assert "this version reads format 1" in shown
        assert "No such file" in shown
        (tmp_path / "q.lmql").write_text('"[X]" where len(X) == 1')
        assert run_cli(["run", str(tmp_path / "q.lmql"), "--model", "random", "--certificate", str(tmp_path / "no" / "c.json")]) == 1
        assert "cannot write the certificate" in capsys.readouterr().err
