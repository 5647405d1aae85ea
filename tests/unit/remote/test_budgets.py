"""Budgets at servers that enforce grammars: where one is used up, the hole goes back to where it may still end, and is asked for that."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from lmqlc.compiler.automata.build import build
from lmqlc.compiler.constraints import Const, Matches
from lmqlc.compiler.emit.generation import GenerationGrammar
from lmqlc.grammar.errors import ConstraintViolated

Made = Callable[..., Any]


def test_the_shortest_end_is_asked_for(vllm: Made, say: Made) -> None:
    server = vllm(say("ab", "cd", "ef", finish="length"), say("!"))
    hole = server.run('"p:[X]" where REGEX(X, "[a-z]+!")', max_tokens=3).holes[0]
    assert (hole.text, hole.squeezed) == ("abcd!", True)
    assert [token.text for token in hole.tokens] == ["ab", "cd", "!"]
    assert server.prompts[1] == "p:abcd"
    assert server.requests[1]["max_tokens"] == 1
    pattern = server.requests[1]["structured_outputs"]["regex"]
    assert re.fullmatch(pattern, "!")
    assert not re.fullmatch(pattern, "e!")


def test_it_goes_back_further_where_the_guess_was_wrong(llama_cpp: Made, say: Made) -> None:
    """First a token is taken to have four characters, then two, then one."""
    server = llama_cpp(
        say("a", "b", "c", "d", finish="length"), say("X", finish="length"), say("X", "Y", finish="length"), say("XY", "Z", finish="length")
    )
    hole = server.run('"p:[X]" where REGEX(X, "[a-z]+XYZ")', max_tokens=4).holes[0]
    assert hole.text == "aXYZ"
    assert [body["n_predict"] for body in server.requests] == [4, 1, 2, 3]


def test_what_cannot_end_in_time_says_so(vllm: Made, say: Made) -> None:
    server = vllm(*(say("a", "b", "c", finish="length") for _ in range(9)))
    with pytest.raises(ConstraintViolated, match=r"budget of 3 tokens is used up") as found:
        server.run('"p:[X]" where REGEX(X, "[a-c]{20}")', max_tokens=3)
    assert len(server.requests) <= 4
    assert found.value.result.prompt == "p:"


def test_schemas_have_no_shorter_end(vllm: Made, say: Made) -> None:
    program = """
schema = {"type": "object", "properties": {"next": {"anyOf": [{"type": "null"}, {"$ref": "#"}]}}, "required": ["next"]}
"List:[P]" where JSON(P, schema)
"""
    server = vllm(say('{"next": {', finish="length"))
    with pytest.raises(ConstraintViolated, match=r"budget of 2 tokens is used up"):
        server.run(program, max_tokens=2)


def test_limits_of_tokens(vllm: Made, say: Made) -> None:
    server = vllm(say("<", "1", ", ", finish="length"), say(">"))
    hole = server.run('"p:[X]" where REGEX(X, "<[0-9](, [0-9])*>") and len(TOKENS(X)) < 4').holes[0]
    assert (hole.text, hole.count) == ("<1>", 3)


def test_a_grammar_within_a_bound() -> None:
    """What ends within some characters, of a pattern whose texts have 2 to 6."""
    whole = GenerationGrammar(build(Matches(Const("a[bc]{1,3}(de)?"))))
    assert whole.to_an_end("abcd") == [2, 1, 0, 0, 1]
    for bound in range(8):
        pattern = whole.within(bound).regex()
        assert pattern is not None
        for text in ("ab", "abc", "abcb", "acde", "abcde", "abbbde"):
            assert bool(re.fullmatch(pattern, text)) == (len(text) <= max(bound, 2)), (bound, text)
    rest = whole.after("abcd")
    assert rest is not None
    assert rest.within(1).regex() == "e"
