"""Stops at servers: sent where the server may end by itself, always cut here."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

Made = Callable[..., Any]

CASES = [
    ('STOPS_AT(X, ".")', ("a", "b.c", "d"), "ab.", ["."]),
    ('STOPS_BEFORE(X, ".")', ("a", "b.c", "d"), "ab", ["."]),
    ('STOPS_BEFORE(X, "\\n") and STOPS_AT(X, "END\\n")', ("aEND", "\n"), "aEND\n", ["\n", "END\n"]),
    ('STOPS_AT(X, re.compile("[0-9]+!"))', ("ab", "12", "!", "x"), "ab12!", []),
    ('STOPS_BEFORE(X, ".") and len(X) > 3', ("a", ".", "bc", ".", "x"), "a.bc", []),
    ('STOPS_AT(X, "é")', ("caf", "é", "s"), "café", ["é"]),
]


@pytest.mark.parametrize(("where", "tokens", "text", "stops"), CASES)
def test_the_same_text_whatever_the_server_does_with_stops(
    where: str, tokens: tuple[str, ...], text: str, stops: list[str], vllm: Made, compatible: Made, llama_cpp: Made, say: Made
) -> None:
    for made in (vllm, compatible, llama_cpp):
        server = made(say(*tokens))
        hole = server.run(f'import re\n"p:[X]!" where {where}').holes[0]
        assert (hole.text, hole.finish_reason) == (text, "stop")
    server = vllm(say(*tokens))
    server.run(f'import re\n"p:[X]!" where {where}')
    assert server.requests[0].get("stop", []) == stops


def test_a_server_that_takes_the_phrase_away(compatible: Made, say: Made) -> None:
    server = compatible(say("ab"))
    hole = server.run('"p:[X]" where STOPS_BEFORE(X, "\\n")').holes[0]
    assert server.requests[0]["stop"] == ["\n"]
    assert (hole.text, hole.finish_reason) == ("ab", "stop")


def test_phrases_that_stay_are_not_sent_to_a_server_that_takes_them_away(compatible: Made, say: Made) -> None:
    server = compatible(say("ab", "."))
    server.run('"p:[X]" where STOPS_BEFORE(X, "\\n") and STOPS_AT(X, ".")')
    assert server.requests[0]["stop"] == ["\n"]
    server = compatible(say("ab", "\n"))
    server.run('"p:[X]" where STOPS_BEFORE(X, "\\n") and STOPS_AT(X, "END\\n")')
    assert "stop" not in server.requests[0]


def test_stops_are_not_sent_to_llama_cpp(llama_cpp: Made, say: Made) -> None:
    """Where its answer reaches its length, it keeps back what could have become one of them, and never says it."""
    server = llama_cpp(say("ab", " of", finish="length"))
    result = server.run('"p:[X]" where STOPS_AT(X, " of the") and STOPS_AT(X, "of a")', max_tokens=2)
    assert result.variables == {"X": "ab of"}
    assert "stop" not in server.requests[0]


def test_llama_cpp_stopped_by_a_phrase_of_the_user(llama_cpp: Made, say: Made) -> None:
    server = llama_cpp(say("ab", finish="word:."))
    assert server.run('"p:[X]" where STOPS_AT(X, ".")', model=server.model(body={"stop": ["."]})).variables == {"X": "ab."}


def test_the_grammar_lets_a_token_run_past_a_stop(vllm: Made, say: Made) -> None:
    server = vllm(say("ab", ".\n\n"))
    assert server.run('"p:[X]" where STOPS_AT(X, ".") and REGEX(X, "[a-z]+[.]")').variables == {"X": "ab."}
    assert re.fullmatch(server.requests[0]["structured_outputs"]["regex"], "ab.\n\n")
