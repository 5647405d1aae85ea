"""The public face: names, runs from Python, query functions, models."""

from __future__ import annotations

import asyncio
import inspect
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import lmqlc
from lmqlc.backends.byte_tokenizer import ByteTokenizer
from lmqlc.backends.scripted import scripted

HI = '"Hi [X]" where len(X) == 3\n'


def test_every_public_name_is_there_and_documented() -> None:
    for name in lmqlc.__all__:
        assert inspect.getdoc(getattr(lmqlc, name)), name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        lmqlc.nothing  # type: ignore[attr-defined] # noqa: B018
    assert set(lmqlc.__all__) <= set(dir(lmqlc))


def test_every_public_name_is_in_the_documents() -> None:
    text = (Path(__file__).parents[3] / "docs" / "python.md").read_text(encoding="utf-8")
    assert [name for name in lmqlc.__all__ if not re.search(rf"\b{name}\b", text)] == []


def test_importing_is_cheap() -> None:
    script = "import sys, lmqlc; print([m for m in ('torch', 'transformers', 'numpy', 'click', 'ast', 'asyncio') if m in sys.modules])"
    shown = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path[:0] = {sys.path!r}; {script}"], capture_output=True, text=True
    )
    assert shown.stdout == "[]\n", shown.stderr


def test_compiling_imports_no_torch() -> None:
    script = f"import sys, lmqlc; lmqlc.compile({HI!r}); print('torch' in sys.modules, 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout == "False False\n"


class TestRun:
    def test_result(self) -> None:
        result = lmqlc.run_sync(HI, model=scripted("Bob"))
        assert isinstance(result, lmqlc.LMQLResult)
        assert (result.prompt, result.variables, result.holes[0].finish_reason) == ("Hi Bob", {"X": "Bob"}, "closed")
        assert result.usage.tokens == 4  # the space, which a longer token could begin with, and the three letters
        assert result.score == pytest.approx(sum(token.logprob for token in result.holes[0].tokens))

    def test_arguments_and_returned_values(self) -> None:
        text = '"{a}[X]" where X in options\nreturn X, a\n'
        assert lmqlc.run_sync(text, 7, ["b"], model=scripted("z")) == ("b", 7)
        assert lmqlc.run_sync(text, a=7, options=["b"], model=scripted("z")) == ("b", 7)

    def test_inside_a_running_loop_and_from_threads(self) -> None:
        async def notebook() -> Any:
            return lmqlc.run_sync(HI, model=scripted("Bob")).variables["X"]

        assert asyncio.run(notebook()) == "Bob"
        found: list[str] = []
        model = scripted(after={"Hi ": "Bob"})
        threads = [threading.Thread(target=lambda: found.append(lmqlc.run_sync(HI, model=model).variables["X"])) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == ["Bob"] * 4

    def test_many_at_once_on_one_model(self) -> None:
        async def many() -> list[Any]:
            model = scripted(after={f"{i}: ": f"answer {i}" for i in range(10)})
            return await asyncio.gather(*(lmqlc.run('"{i}: [X]"\nreturn X', i=i, model=model) for i in range(10)))

        assert asyncio.run(many()) == [f"answer {i}" for i in range(10)]

    def test_cancelling_ends_a_run(self) -> None:
        async def cancelled() -> bool:
            task = asyncio.create_task(lmqlc.run('"[X]"\nimport asyncio\nawait asyncio.sleep(60)\n', model=scripted("a")))
            await asyncio.sleep(0.2)
            task.cancel()
            try:
                await task
            except asyncio.CancelledError:
                return True
            return False

        assert asyncio.run(cancelled())

    def test_exceptions_come_out_unchanged_with_the_partial_result(self) -> None:
        with pytest.raises(KeyError) as caught:
            lmqlc.run_sync(HI + "{}[X]\n", model=scripted("Bob"))
        assert caught.value.args == ("Bob",)
        assert caught.value.lmql_result.prompt == "Hi Bob"  # type: ignore[attr-defined]
        with pytest.raises(lmqlc.errors.UnsatisfiableConstraint) as refused:
            lmqlc.run_sync(HI + '"[Y]" where Y in options\n', options=[], model=scripted("Bob"))
        assert refused.value.result.variables == {"X": "Bob"}

    def test_no_model_call_where_nothing_can_be_right(self) -> None:
        model = scripted("a")
        for text in ('"[X]" where X in options', '"[X]{missing}"', '"[X]" where len(X) > 3 and X in options'):
            with pytest.raises(lmqlc.errors.LmqlError):
                lmqlc.run_sync(text, model=model, **({"options": ["a"]} if "options" in text and "len" in text else {}))
        assert model.calls == []

    def test_sampling_is_reproducible_whatever_the_batch(self) -> None:
        def texts(n: int) -> set[str]:
            results = lmqlc.run_sync("'a[X]'", model="random:3", decoder="sample", n=n, seed=5, max_tokens=8, temperature=2.0)
            return {result.variables["X"] for result in (results if isinstance(results, list) else [results])}

        four = texts(4)
        assert four == texts(4)
        assert texts(1) <= four
        assert len(four) > 1

    def test_branches_are_batched(self) -> None:
        results = lmqlc.run_sync("'a[X]'", model="random:3", decoder="sample", n=4, seed=5, max_tokens=8)
        assert [result.score for result in results] == sorted((result.score for result in results), reverse=True)
        assert results[0].usage.forward_passes <= 10

    def test_the_callers_model_and_decoder_go_before_the_programs(self) -> None:
        text = 'argmax(max_tokens=2)\n    "[X]"\nfrom\n    lmql.model("scripted:xyz")\n'
        assert lmqlc.run_sync(text).variables["X"] == "xy"
        assert lmqlc.run_sync(text, model=scripted("abc")).variables["X"] == "ab"
        assert lmqlc.run_sync(text, max_tokens=1).variables["X"] == "x"
        assert lmqlc.run_sync(text, decoder="sample", temperature=0).variables["X"] == "xy"

    def test_import_lmql_is_this_package(self) -> None:
        text = "import lmql\nimport lmql.errors as e\nfrom lmql import LLM\nreturn lmql.__name__, e.LmqlError.__name__, LLM.__name__"
        assert lmqlc.run_sync(text) == ("lmqlc", "LmqlError", "LLM")

    def test_files_and_compiled_queries(self, tmp_path: Path) -> None:
        (tmp_path / "q.lmql").write_text(HI)
        assert asyncio.run(lmqlc.run_file(tmp_path / "q.lmql", model=scripted("Bob"))).prompt == "Hi Bob"
        compiled = lmqlc.compile(tmp_path / "q.lmql", tokenizer=ByteTokenizer())
        assert compiled.arrays
        compiled.save(tmp_path / "q.lmqlc")
        loaded = lmqlc.load(tmp_path / "q.lmqlc")
        assert loaded.program == compiled.program or loaded.emit("ir") == compiled.emit("ir")
        assert lmqlc.run_sync(loaded, model=scripted("Bob")).prompt == "Hi Bob"
        assert compiled.diagnostics == ()

    def test_writers_are_told_in_order(self) -> None:
        class Writer:
            def __init__(self) -> None:
                self.events: list[str] = []

            def write(self, event: Any) -> None:
                self.events.append(type(event).__name__)

        writer = Writer()
        lmqlc.run_sync(HI, model=scripted("Bob"), output_writer=writer)
        assert writer.events == ["TextEvent", "HoleStart", *["TokenEvent"] * 4, "HoleEnd", "ValueEvent", "RunEnd"]


LIMIT = 2


class TestQuery:
    def test_closure_arguments_globals_and_signature(self) -> None:
        suffix = "!"  # noqa: F841 - the program uses it

        @lmqlc.query(model=scripted("abcdef"))
        def shorten(text: str, *, extra: str = "?") -> str:
            """lmql
            "{text}: [SHORT]" where len(SHORT) <= LIMIT
            return SHORT + suffix + extra
            """
            return ""

        assert shorten("long") == "ab!?"
        assert shorten("long", extra=".", model=scripted("xyz")) == "xy!."
        assert shorten.__name__ == "shorten"
        assert list(inspect.signature(shorten).parameters) == ["text", "extra"]
        with pytest.raises(TypeError, match="missing a required argument"):
            shorten()

    def test_async_functions_methods_and_decoder_arguments(self) -> None:
        class Asker:
            word = "why"

            @lmqlc.query(model=scripted(after={"why: ": "because"}), max_tokens=3)
            async def ask(self) -> str:
                """lmql
                "{self.word}: [A]"
                return A
                """
                return ""

        assert asyncio.run(Asker().ask()) == "bec"

    def test_queries_call_queries_and_share_the_model(self) -> None:
        @lmqlc.query
        def inner(word: str) -> str:
            """lmql
            "{word}=[V]" where len(V) == 1
            return V
            """
            return ""

        @lmqlc.query
        def outer() -> str:
            """lmql
            first = inner("a")
            "so [X: inner('b')] and [Y]" where Y in [first]
            return first, X, Y
            """
            return ""

        assert outer(model=scripted(after={"a=": "1", "b=": "2"})) == ("1", "2", "1")

    def test_errors_name_the_function_and_its_line(self) -> None:
        with pytest.raises(lmqlc.errors.LmqlSyntaxError, match=r"<query broken in .*test_face.py>:\d+:\d+"):

            @lmqlc.query
            def broken() -> None:
                """lmql
                "[X"
                """

        with pytest.raises(lmqlc.errors.LmqlCompileError, match="has no docstring"):

            @lmqlc.query
            def empty() -> None:
                pass


def test_f_gives_the_value_of_its_hole() -> None:
    assert lmqlc.F("Hi {name}, [X]", "len(X) == 2", model=scripted("abc"))(name="Bob") == "ab"
    assert lmqlc.F("'[X] [Y]", "len(X) == 1 and len(Y) == 1", model=scripted("a", "b"))() == {"X": "a", "Y": "b"}
    assert asyncio.run(lmqlc.F("[X: int]", is_async=True, model=scripted("42 "))()) == 42


class TestModels:
    def test_generate_and_score(self) -> None:
        model = lmqlc.model("scripted:Bob")
        assert model.generate_sync("Hi ") == "Hi Bob"
        assert lmqlc.generate_sync("Hi {x} [Y] ", 2, model) == "Hi {x} [Y] Bo"
        assert asyncio.run(lmqlc.generate("Hi ", model=model, decoder="sample", n=2, temperature=0)) == ["Hi Bob", "Hi Bob"]
        scores = model.score_sync("Hi ", ["Bob", "Ann"])
        assert scores.argmax() in ("Bob", "Ann")
        assert sum(scores.probs()) == pytest.approx(1.0)
        assert scores.scores("mean")[0] == pytest.approx(scores.scores()[0] / len(scores.tokens[0]))

    def test_scores_are_those_of_the_session(self) -> None:
        one, two = lmqlc.model("random", seed=4).score_sync("abc", ["de", "x"]).scores()
        again = lmqlc.model("random", seed=4).score_sync("abc", ["x", "de"]).scores()
        assert [two, one] == pytest.approx(again)

    def test_default_model(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        monkeypatch.setenv("LMQL_DEFAULT_MODEL", "scripted:Eve")
        assert lmqlc.run_sync(HI).prompt == "Hi Eve"
        lmqlc.set_default_model("scripted:Dan")
        assert lmqlc.run_sync(HI).prompt == "Hi Dan"
        lmqlc.set_default_model(None)
        assert lmqlc.run_sync(HI).prompt == "Hi Eve"
        assert capsys.readouterr().err == ""

    def test_wrong_models(self) -> None:
        with pytest.raises(lmqlc.errors.LmqlError, match="a model is a string"):
            lmqlc.run_sync(HI, model=7)
        with pytest.raises(lmqlc.errors.LmqlError, match="is a way to a server"):
            lmqlc.run_sync('argmax(backend="legacy") "[X]"', model=scripted("a"))
        assert lmqlc.inprocess("gpt2", cuda=True, torch_dtype="float16").model.options == (("cuda", True), ("torch_dtype", "float16"))


class TestTokenAutomaton:
    def test_masks(self) -> None:
        tokenizer = ByteTokenizer()
        automaton = lmqlc.token_automaton("Y in words and len(Y) < 4", tokenizer=tokenizer, hole="Y", env={"words": ["yes", "no", "maybe"]})
        state = automaton.start()
        allowed = {i for i in range(len(tokenizer.vocabulary)) if automaton.mask(state)[i // 32] >> (i % 32) & 1}
        assert {tokenizer.vocabulary.tokens[i] for i in allowed} == {b"y", b"n", b"yes", b"no"}

    def test_budget_and_follow(self) -> None:
        tokenizer = ByteTokenizer()
        with pytest.raises(lmqlc.errors.UnsatisfiableConstraint):
            lmqlc.token_automaton("X == 'abc'", tokenizer=tokenizer, max_tokens=2)
        automaton = lmqlc.token_automaton("INT(X)", tokenizer=tokenizer, follow=", ")
        state = automaton.advance(automaton.start(), tokenizer.encode("7", first=False)[0])
        comma = tokenizer.encode(", ", first=False)[0]
        assert automaton.stopped(automaton.advance(state, comma)) == 2

    def test_errors(self) -> None:
        with pytest.raises(lmqlc.errors.LmqlSyntaxError):
            lmqlc.token_automaton("len(X <", tokenizer=ByteTokenizer())
        with pytest.raises(lmqlc.errors.LmqlError, match="`words`, which is not in `env`"):
            lmqlc.token_automaton("X in words", tokenizer=ByteTokenizer())
        with pytest.raises(lmqlc.errors.LmqlError, match="identifier"):
            lmqlc.token_automaton("True", tokenizer=ByteTokenizer(), hole="X Y")
