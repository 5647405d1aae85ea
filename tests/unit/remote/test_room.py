"""Room at servers that decode by themselves: what a hole is asked for, and what ends with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from lmqlc.errors import ContextOverflow, RunEnded

Made = Callable[..., Any]


def test_a_hole_that_nothing_bounds_is_asked_for_2048_tokens_and_the_program_goes_on(
    compatible: Made, say: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    server = compatible(say("so", " on", finish="length"), say("12", "."))
    result = server.run('"p:[X]"\n" n:[N: int]."')
    assert server.requests[0]["max_tokens"] == 2048
    assert (result.holes[0].finish_reason, result.holes[0].bound, result.finish_reason) == ("length", "default", "end")
    assert result.variables == {"X": "so on", "N": 12}
    assert capsys.readouterr().err.startswith("lmqlc: warning: hole `X` was ended after 2")


def test_the_environment_changes_that(compatible: Made, say: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LMQLC_MAX_TOKENS", "77")
    server = compatible(say("so"), say("aaa"))
    server.run('"p:[X]"\n"[Y]" where len(TOKENS(Y)) < 100')
    assert [body["max_tokens"] for body in server.requests][:1] == [77]


def test_the_window_ends_the_run(vllm: Made, say: Made) -> None:
    server = vllm(say("a" * 40, finish="length"), room=50)
    with pytest.raises(RunEnded, match="fill the model's context window") as caught:
        server.run('"p:[X]"\n"q[Y]"\nreturn X')
    assert server.requests[0]["max_tokens"] == 48
    assert caught.value.result.variables == {"X": "a" * 40}
    result = vllm(say("a" * 40, finish="length"), room=50).run('"p:[X]"\n"q[Y]"')
    assert (result.finish_reason, result.prompt) == ("length", "p:" + "a" * 40)
    with pytest.raises(ContextOverflow):
        vllm(room=50).run(f'"{"p" * 50}[X]"')


def test_a_long_bounded_hole_has_the_window(vllm: Made, say: Made) -> None:
    server = vllm(say("abc"), room=40_000)
    server.run('"p:[X]" where len(X) < 3000')
    assert server.requests[0]["max_tokens"] > 3000


def test_max_len_and_all_tokens_of_a_run(compatible: Made, say: Made) -> None:
    server = compatible(say("one", " two", finish="length"))
    with pytest.raises(RunEnded, match="2 tokens of `max_len`"):
        server.run('"p:[X]"\nreturn X', max_len=2)
    server = compatible(say("one", " two", finish="length"))
    with pytest.raises(RunEnded, match="`max_total_tokens`"):
        server.run('"p:[X]"\nreturn X', max_total_tokens=2)
    assert server.requests[0]["max_tokens"] == 2


def test_max_len_counts_the_prompt_where_the_tokenizer_is_known(compatible: Made, say: Made) -> None:
    from pathlib import Path

    import lmqlc.backends.demo

    server = compatible(say("so"))
    tokenizer = Path(lmqlc.backends.demo.__path__[0]) / "model" / "tokenizer.json"
    server.run('"one two three[X]"', model=server.model(tokenizer=str(tokenizer)), max_len=30)
    assert server.requests[0]["max_tokens"] < 28
