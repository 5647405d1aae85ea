"""Holes at servers that hold no grammar: checked as they arrive, cut at the first violation, and helped on within bounds."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from tokenizers import Tokenizer, models

from lmqlc.grammar.errors import ConstraintViolated
from lmqlc.runtime import text_answer

Made = Callable[..., Any]


def test_what_fits_is_one_request(compatible: Made, say: Made) -> None:
    server = compatible(say("4", "2", "\n"))
    result = server.run('"Age:[X]\\n" where INT(X)')
    assert result.variables == {"X": 42}
    assert len(server.requests) == 1
    assert server.requests[0]["max_tokens"] == 64


def test_a_complete_text_is_cut_where_the_model_goes_on(compatible: Made, say: Made) -> None:
    server = compatible(say("4", "2", " apples", " and"))
    hole = server.run('"Age:[X]" where INT(X)').holes[0]
    assert (hole.text, hole.finish_reason) == ("42", "cut")


def test_the_likeliest_other_token_that_is_allowed_stands_in(compatible: Made, say: Made) -> None:
    server = compatible(say(" Madrid", others={0: {" Berlin": -3.0, " Rome": -1.0, " Ro": -2.0}}), say(" is it"))
    result = server.run('"Capital:[X]." where X in [" Rome", " Berlin"]')
    assert result.variables == {"X": " Rome"}
    assert result.holes[0].tokens[0].logprob == -1.0
    assert result.holes[0].finish_reason == "closed"


def test_after_another_token_the_server_goes_on_from_there(compatible: Made, say: Made) -> None:
    server = compatible(say("x", others={0: {"ab": -2.0}}), say("cd", " and more"))
    result = server.run('"p:[X]" where X in ["abcd", "abce"]')
    assert result.variables == {"X": "abcd"}
    assert [body["prompt"] for body in server.requests] == ["p:", "p:ab"]


def test_sampling_draws_among_the_other_tokens(compatible: Made, say: Made) -> None:
    drawn = set()
    for seed in range(12):
        server = compatible(say("x", others={0: {"a": -1.0, "b": -1.0, "c": -0.1}}))
        drawn.add(server.run('"p:[X]" where X in ["a", "b"]', decoder="sample", seed=seed).variables["X"])
    assert drawn == {"a", "b"}


def test_forced_text_is_written(compatible: Made, say: Made) -> None:
    server = compatible(say("ab", "zz"))
    result = server.run('"p:[X]" where X in ["abcd", "xy"]')
    assert result.variables == {"X": "abcd"}
    assert [token.forced for token in result.holes[0].tokens] == [False, True]
    assert result.usage.forced == 1


def test_an_end_before_the_text_is_complete(compatible: Made, say: Made) -> None:
    server = compatible(say("a"), say("b"))
    assert server.run('"p:[X]" where REGEX(X, "a[bc]")').variables == {"X": "ab"}
    assert server.requests[1]["temperature"] == 1.0


def test_tries_are_bounded(compatible: Made, say: Made) -> None:
    server = compatible(*(say("?") for _ in range(9)))
    with pytest.raises(ConstraintViolated, match=r"`X`.*\n?.*'\?'") as found:
        server.run('"so far:[X]" where REGEX(X, "[ab]{2}")')
    assert len(server.requests) == text_answer.TRIES
    assert found.value.result.prompt == "so far:"


def test_what_is_not_allowed_is_never_returned(compatible: Made, say: Made) -> None:
    server = compatible(say("ok", "bad"), *(say("bad") for _ in range(9)))
    with pytest.raises(ConstraintViolated):
        server.run('"p:[X]" where REGEX(X, "ok[0-9]{3}")')


def test_chunks(compatible: Made, say: Made) -> None:
    server = compatible(say("one ", "two ", finish="length"), say("three", "."))
    result = server.run('"p:[X]" where STOPS_AT(X, ".") and len(X) < 50', chunksize=2)
    assert result.variables == {"X": "one two three."}
    assert [body["max_tokens"] for body in server.requests] == [2, 2]
    assert server.requests[1]["prompt"] == "p:one two "


def test_budgets(compatible: Made, say: Made) -> None:
    server = compatible(say("aa", "aa", finish="length"))
    hole = server.run('"p:[X]" where REGEX(X, "a*")', max_tokens=2).holes[0]
    assert (hole.text, hole.finish_reason, hole.count, hole.squeezed) == ("aaaa", "budget", 2, True)
    server = compatible(say("aa", "aa", finish="length"))
    with pytest.raises(ConstraintViolated, match="budget of 2 tokens"):
        server.run('"p:[X]" where REGEX(X, "a*b")', max_tokens=2)
    server = compatible(say("aa", "aa", finish="length"))
    hole = server.run('"p:[X]" where len(TOKENS(X)) <= 2').holes[0]
    assert (server.requests[0]["max_tokens"], hole.finish_reason, hole.squeezed) == (2, "closed", False)


def test_python_constraints_are_checked(compatible: Made, say: Made) -> None:
    program = """
@lmql.constraint
def even(text, final):
    return text.isdigit() and int(text) % 2 == 0 if final else not text or text.isdigit()
"n: [X]." where even(X)
"""
    server = compatible(say(" 1", "2", "."))
    assert server.run(program).variables == {"X": "12"}


def test_python_constraints_are_checked_at_servers_with_grammars_too(vllm: Made, say: Made) -> None:
    program = """
@lmql.constraint
def short(text, final):
    return len(text) < 4
"n: [X]." where short(X) and REGEX(X, "[a-z]+")
"""
    server = vllm(say(" ", "ab", "c", "defg"))
    assert server.run(program).variables == {"X": "abc"}
    assert "structured_outputs" not in server.requests[0]


def test_few_allowed_tokens_are_asked_for_by_bias(compatible: Made, say: Made, tmp_path: Path) -> None:
    """With a tokenizer that the user names."""
    words = {"<s>": 0, "a": 1, "b": 2, "c": 3, "?": 4}
    tokenizer = Tokenizer(models.BPE(words, []))
    tokenizer.add_special_tokens(["<s>"])
    file = tmp_path / "tokenizer.json"
    tokenizer.save(str(file))
    server = compatible(say("a", "?"), say("c"))
    model = server.model(tokenizer=str(file))
    assert server.run('"p:[X]" where X in ["ab", "ac"]', model).variables == {"X": "ac"}
    assert server.requests[1]["logit_bias"] == {"2": 100.0, "3": 100.0}
    assert server.requests[1]["max_tokens"] == 1


def test_chat_answers_are_asked_for_again(openai: Made, say: Made) -> None:
    server = openai(say("I think ", "so"), say("Yes", ", it is"))
    result = server.run('"{:user}Is it?{:assistant}[X]" where REGEX(X, "(Yes|No)[!]*")')
    assert result.variables == {"X": "Yes"}
    assert [body["temperature"] for body in server.requests] == [0.0, 1.0]


@pytest.mark.parametrize(
    ("where", "schema", "answer", "value"),
    [
        ('X in ["Yes", "No"]', {"type": "string", "enum": ["No", "Yes"]}, '{"answer":"Yes"}', "Yes"),
        ('X in ["é!", "a"] and X != "a"', {"type": "string", "enum": ["é!"]}, '{"answer": "é!"}', "é!"),
        ("INT(X)", {"type": "integer"}, '{"answer": 42}', 42),
        ("FLOAT(X)", {"type": "number"}, '{"answer": 1.50}', 1.5),
        ("int(X) < 50", {"type": "integer"}, "42", 42),
        ('X in ["Yes", "No"]', {"type": "string", "enum": ["No", "Yes"]}, "Yes, it is", "Yes"),
    ],
)
def test_few_texts_and_numbers_travel_as_schemas(
    where: str, schema: dict[str, Any], answer: str, value: object, openai: Made, say: Made
) -> None:
    """At chats with schemas: the text is one value of an object. A server that does not care is checked all the same."""
    server = openai(say(answer))
    if value == "é!":
        server.answers.clear()  # one text is written without asking
    assert server.run(f'"{{:user}}Is it?{{:assistant}}[X]" where {where}').variables == {"X": value}
    for body in server.requests:
        assert body["response_format"]["json_schema"]["schema"]["properties"] == {"answer": schema}
        assert body["response_format"]["json_schema"]["strict"] is True


def test_models_without_schemas_are_asked_without(openai: Made, say: Made) -> None:
    refusal = httpx.Response(400, json={"error": {"message": "response_format of type json_schema is not supported with this model"}})
    server = openai(refusal, say("Yes"))
    assert server.run('"{:user}Is it?{:assistant}[X]" where X in ["Yes", "No"]').variables == {"X": "Yes"}
    assert "response_format" not in server.requests[1]


def test_chat_answers_that_never_fit(openai: Made, say: Made) -> None:
    server = openai(*(say("I think so") for _ in range(9)))
    with pytest.raises(ConstraintViolated, match="4 times"):
        server.run('"{:user}Is it?{:assistant}[X]" where X in ["Yes", "No"]')


def test_json_answers_are_laid_out_as_programs_have_it(openai: Made, say: Made) -> None:
    server = openai(say('{\n  "a" : "x: , y",\n  "b":[1.50,2]\n}'))
    program = """
from typing import TypedDict
class Pair(TypedDict):
    a: str
    b: list[float]
"p:[X: Pair]"
"""
    hole = server.run(program).holes[0]
    assert hole.text == '{"a": "x: , y", "b": [1.50, 2]}'
    assert hole.value == {"a": "x: , y", "b": [1.5, 2.0]}


def test_json_answers_that_do_not_fit_are_asked_for_again(openai: Made, say: Made) -> None:
    server = openai(say('{"a": 1'), say('{"a": "1"}'))
    program = 'from typing import TypedDict\nclass One(TypedDict):\n    a: str\n"p:[X: One]"'
    assert server.run(program).variables["X"] == {"a": "1"}


def test_servers_without_log_probabilities(compatible: Made) -> None:
    text = 'data: {"choices": [{"text": "ab", "finish_reason": "stop"}]}\n\n'
    result = compatible(httpx.Response(200, text=text)).run('"p:[X]"')
    assert math.isnan(result.holes[0].tokens[0].logprob)
    assert result.holes[0].tokens[0].id == -1
    several = compatible(*(httpx.Response(200, text=text) for _ in range(2)))
    assert [result.variables["X"] for result in several.run('"p:[X]"', decoder="sample", n=2)] == ["ab", "ab"]
