"""How much room a program has: the window, `max_len`, and what a hole gets that nothing bounds; and that nothing ends in silence."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

import lmqlc
from lmqlc.backends.scripted import RandomBackend, scripted
from lmqlc.errors import ContextOverflow, LmqlError, RunEnded, UnsatisfiableConstraint

LONG = "tokens " * 6000
"""A text of 30,000 tokens and more, for models whose tokens are bytes (and a few words)."""

SEARCHING = (
    {"decoder": "beam", "n": 2},
    {"decoder": "var", "b": 2, "n": 2},
    {"decoder": "best_k", "k": 2},
    {"decoder": "beam_var", "n": 2},
)


class Talker(RandomBackend):
    """A model that says `a` for ever, and takes no time to find that out."""

    def row(self, sequence: tuple[int, ...], rest: bytes = b"", taken: bytes = b"") -> Any:
        row = np.linspace(0.0, -1.0, len(self.vocabulary), dtype=np.float32)
        row[[self.vocabulary.tokens.index(b"a"), *self.vocabulary.eos_ids]] = 9.0, -90.0
        return row


def talker(context_length: int | None = None) -> Talker:
    return Talker(context_length=context_length)


class TestLongPrompts:
    @pytest.mark.parametrize("decoder", [{}, {"decoder": "sample", "seed": 1}, *SEARCHING])
    def test_a_long_prompt_is_a_prompt_like_any_other(self, decoder: dict[str, Any]) -> None:
        model = scripted(after={"name: ": "Bob.", "years: ": "12."})
        text = "'{long} name: [X].'\n' years: [N: int].'\nreturn X, N"
        assert lmqlc.run_sync(f"{text}", long=LONG, model=model, **decoder) is not None
        x, n = lmqlc.run_sync(text.replace("[X].'", "[X].' where len(X) == 3"), long=LONG, model=model)
        assert (x, n) == ("Bob", 12)

    def test_the_cost_of_a_token_grows_no_faster_than_the_prompt(self) -> None:
        def seconds(words: int) -> float:
            best = 1e9
            for _ in range(3):
                started = time.process_time()
                lmqlc.run_sync("'{long}[X]' where len(X) == 60", long="tokens " * words, model="random:1")
                best = min(best, time.process_time() - started)
            return best

        seconds(100)
        assert seconds(8000) < 12 * seconds(2000) + 1.0

    def test_the_window_bounds_it(self) -> None:
        with pytest.raises(ContextOverflow, match=r"`X` is \d+ tokens long, mostly a value at <string>:1 .* window holds 20000"):
            lmqlc.run_sync("'{long}[X]'", long=LONG, model=talker(context_length=20_000))


class TestAHoleThatNothingBounds:
    def test_it_has_2048_tokens_and_the_program_goes_on(self, capsys: pytest.CaptureFixture[str]) -> None:
        result = lmqlc.run_sync("'a[X]'\n'b[Y]' where len(Y) < 3", model=talker(), token_healing=False)
        x, y = result.holes
        assert (len(x.tokens), x.finish_reason, x.bound) == (2048, "length", "default")
        assert (result.finish_reason, y.name) == ("end", "Y")
        assert result.warnings == [result.to_dict()["warnings"][0]]
        said = capsys.readouterr().err
        assert said.startswith("lmqlc: warning: hole `X` was ended after 2048 tokens") and said.count("\n") == 1

    def test_a_loop_says_it_once(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("LMQLC_MAX_TOKENS", "5")
        assert lmqlc.run_sync("for i in range(4):\n    'a[X]'\nreturn len(X)", model=talker()) == 5
        assert capsys.readouterr().err.count("\n") == 1

    @pytest.mark.parametrize(
        "where", ["STOPS_AT(X, '!')", "REGEX(X, '[a-z]+')", "not 'b' in X", "len(WORDS(X)) < 3", "JSON(X) or 'a' in X"]
    )
    def test_conditions_that_bound_nothing(self, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("LMQLC_MAX_TOKENS", "7")
        result = lmqlc.run_sync(f"'a[X]' where {where}\n'b[Y]' where Y == 'c'", model=talker(), token_healing=False)
        assert (len(result.holes[0].tokens), result.holes[0].finish_reason, result.finish_reason) == (7, "length", "end")

    @pytest.mark.parametrize(
        "where",
        ["len(X) == 40", "len(TOKENS(X)) == 40", "REGEX(X, 'a{40}')", "X in ['a' * 40]", "len(X) == 40 and JSON(X) or X == 'a' * 40"],
    )
    def test_conditions_that_bound_it(self, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("LMQLC_MAX_TOKENS", "7")
        result = lmqlc.run_sync(f"'a[X]' where {where}", model=talker(), token_healing=False)
        assert (result.holes[0].text, result.warnings) == ("a" * 40, [])

    def test_its_own_bound_is_no_matter_of_warnings(self, capsys: pytest.CaptureFixture[str]) -> None:
        result = lmqlc.run_sync("'a[X]'", model=talker(), max_tokens=3000)
        assert (len(result.holes[0].tokens), result.holes[0].finish_reason) == (3000, "budget")
        assert capsys.readouterr().err == ""

    @pytest.mark.parametrize("decoder", SEARCHING)
    def test_searches_say_it_too(
        self, decoder: dict[str, Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("LMQLC_MAX_TOKENS", "4")
        lmqlc.run_sync("'a[X]'", model=talker(), **decoder)
        assert "hole `X` was ended after 4 tokens" in capsys.readouterr().err

    @pytest.mark.parametrize("value", ["0", "-3", "many", "1.5", "9" * 30])
    def test_nonsense_is_an_error(self, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("LMQLC_MAX_TOKENS", value)
        with pytest.raises(LmqlError, match="LMQLC_MAX_TOKENS is a whole number of tokens above 0"):
            lmqlc.run_sync("'a[X]'", model=talker())


NESTED = """
import lmqlc

@lmqlc.query
def inner():
    '''lmql
    "x[W]"
    return W
    '''

"a"
try:
    "[X: inner]"
except lmqlc.errors.RunEnded as error:
    partial = error.result
    "-[Y]" where len(Y) == 2
    return Y, partial
return X
"""


class TestTheEndOfARun:
    def test_without_return_everything_is_kept(self, capsys: pytest.CaptureFixture[str]) -> None:
        result = lmqlc.run_sync("'ab[X]'\n'c[Y]'", model=talker(), max_len=8, token_healing=False)
        assert (result.prompt, result.variables, result.finish_reason) == ("abaaaaaa", {"X": "aaaaaa"}, "length")
        assert capsys.readouterr().err.startswith(
            "lmqlc: warning: the run ended in hole `X`: prompt and output fill the 8 tokens of `max_len`"
        )

    @pytest.mark.parametrize("decoder", [{}, {"decoder": "sample", "n": 3, "seed": 2}, *SEARCHING])
    @pytest.mark.parametrize(
        ("bound", "said"),
        [({"max_len": 8}, "`max_len`"), ({"max_total_tokens": 9}, "`max_total_tokens`"), ({"context": 8}, "context window of 8 tokens")],
    )
    def test_before_its_return_it_raises(self, decoder: dict[str, Any], bound: dict[str, int], said: str) -> None:
        options = {**bound}
        model = talker(context_length=options.pop("context", None))
        with pytest.raises(RunEnded, match=said) as caught:
            lmqlc.run_sync("'ab[X]'\n'c[Y]'\nreturn Y", model=model, token_healing=False, **decoder, **options)
        error = caught.value
        assert error.result is error.results[0] and len(error.results) == decoder.get("n", decoder.get("k", 1))
        assert error.result.prompt.startswith("ab") and error.result.variables.keys() == {"X"}
        assert [found.code for found in error.diagnostics] == ["L0803"]
        assert error.exit_code == 1

    def test_a_return_that_is_reached_counts(self) -> None:
        assert lmqlc.run_sync("'ab[X]' where len(X) == 6\nreturn X", model=talker(), max_len=8, token_healing=False) == "a" * 6

    def test_of_several_branches_the_ended_ones_stand_in_their_places(self) -> None:
        text = "'ab[X]' where X in ['c', 'd']\nif X == 'c':\n    'e[Y]'\nreturn X"
        found = lmqlc.run_sync(text, model="random:3", decoder="sample", n=8, seed=3, max_len=5, token_healing=False)
        ended = [one for one in found if isinstance(one, lmqlc.LMQLResult)]
        assert {"d"} == {one for one in found if isinstance(one, str)}
        assert ended and all(one.finish_reason == "length" and one.variables["X"] == "c" for one in ended)

    def test_a_program_cannot_go_on_after_its_own_end(self) -> None:
        text = "while True:\n    try:\n        'a[X]'\n    except Exception:\n        pass\nreturn 1"
        with pytest.raises(RunEnded):
            lmqlc.run_sync(text, model=talker(), max_len=50)

    def test_a_query_in_the_place_of_a_hole_can_be_given_up(self) -> None:
        y, partial = lmqlc.run_sync(NESTED, model=talker(), max_len=20, token_healing=False)
        assert (y, partial.finish_reason, partial.variables) == ("aa", "length", {"W": "a" * 18})
        assert partial.prompt == "ax" + "a" * 18

    def test_or_ends_the_run_around_it(self) -> None:
        text = NESTED.replace("except lmqlc.errors.RunEnded", "except ZeroDivisionError")
        with pytest.raises(RunEnded) as caught:
            lmqlc.run_sync(text, model=talker(), max_len=20, token_healing=False)
        assert caught.value.result.prompt == "ax" + "a" * 18
        plain = lmqlc.run_sync(text.partition("try:")[0] + "'[X: inner]'\n'more[Z]'", model=talker(), max_len=20, token_healing=False)
        assert (plain.prompt, plain.finish_reason) == ("ax" + "a" * 18, "length")

    def test_a_query_that_is_called_has_room_of_its_own(self) -> None:
        text = NESTED.replace('"[X: inner]"', "X = inner(max_len=9)")
        y, partial = lmqlc.run_sync(text, model=talker(), max_len=20, token_healing=False)
        assert (y, partial.prompt) == ("aa", "x" + "a" * 8)

    def test_functions_and_texts_that_give_values(self) -> None:
        @lmqlc.query(model=talker(), max_len=9)
        def named() -> Any:
            """lmql
            "x[W]"
            return W
            """

        for call in (
            named,
            lambda: lmqlc.F("abc[X]")(model=talker(), max_len=9),
            lambda: lmqlc.generate_sync("abc", model=talker(), max_len=9),
        ):
            with pytest.raises(RunEnded) as caught:
                call()
            assert caught.value.result.finish_reason == "length"
        assert lmqlc.generate_sync("abc", model=talker(), max_tokens=6, max_len=9) == "abc" + "a" * 6

    def test_a_stream_raises_it(self) -> None:
        events = lmqlc.stream("'ab[X]'\nreturn X", model=talker(), max_len=9)
        with pytest.raises(RunEnded):
            for event in events:
                assert not isinstance(event, lmqlc.events.RunEnd)

    def test_prompts_that_leave_no_room(self) -> None:
        model = talker()
        with pytest.raises(ContextOverflow, match=r"12 tokens long, .* and `max_len` is 10"):
            lmqlc.run_sync("'{x}[X]'", x="b" * 12, model=model, max_len=10)
        assert model.calls == []
        result = lmqlc.run_sync("'b[X]' where len(X) == 4\n'{x}[Y]'", x="b" * 12, model=model, max_len=10)
        assert (result.finish_reason, result.variables) == ("length", {"X": "aaaa"})  # the run has used up its room

    def test_conditions_that_fit_no_text(self) -> None:
        for where in ("len(X) > 90", "JSON(X) and len(X) > 90"):
            with pytest.raises(UnsatisfiableConstraint, match="of at most 8 tokens"):
                lmqlc.run_sync(f"'ab[X]' where {where}", model=talker(), max_len=10)


class TestLinking:
    def test_prompts_of_different_lengths_share_what_is_linked(self) -> None:
        from lmqlc.backends.byte_tokenizer import ByteTokenizer
        from lmqlc.compiler.constraints import Const, Json, Matches
        from lmqlc.runtime.link import Place, link_hole

        tokenizer = ByteTokenizer()
        date = link_hole(Matches(Const(r"[0-9]{4}-[0-9]{2}")), tokenizer, Place())
        assert date.longest == 7
        assert {id(date.within(budget)) for budget in range(7, 40_000, 1000)} == {id(date)}
        assert date.within(6_000).constraint is date.constraint
        words = link_hole(Matches(Const("[a-z]+")), tokenizer, Place())
        assert words.longest is None
        near = words.within(3)
        assert near is words.within(3) and near.constraint is not None and near.constraint.start() is not None
        schema = Json(Const({"type": "object", "properties": {"a": {"$ref": "#"}}}))
        engine = link_hole(schema, tokenizer, Place())
        started = time.process_time()
        for budget in range(100, 200):
            engine.within(budget)
        assert time.process_time() - started < 2.0
