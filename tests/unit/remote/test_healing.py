"""Healing at servers of others: the prompt goes without its last token, and the answer begins with it.

The pretended tokenizers write every character as a token of its own; answers are of tokens as real ones have them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models

import lmqlc

Made = Callable[..., Any]


def healing(server: Any) -> Any:
    """The server tells what the text of an id is."""

    def text(body: Any) -> Any:
        written = bytes(body["tokens"]).decode()
        return {"prompt": written, "text": written, "content": written}

    server.values["/detokenize"] = text
    return server


def test_a_grammar_begins_with_the_end_of_the_prompt(vllm: Made, sglang: Made, llama_cpp: Made, say: Made) -> None:
    program = '"Capital: [X]." where X in ["Paris", "Rome"]'
    for made in (vllm, sglang, llama_cpp):
        server = healing(made(say(" Paris")))
        result = server.run(program, greedy=True)
        assert result.prompt == "Capital: Paris."
        hole = result.holes[0]
        assert (hole.text, hole.healed, hole.prompt_text) == ("Paris", " ", "Capital:")
        assert [token.text for token in hole.tokens] == [" Paris"]
        assert server.prompts == ["Capital:"]
    pattern = re.compile(healed_pattern(healing(vllm(say(" Paris"))), program))
    assert pattern.fullmatch(" Paris")
    assert not pattern.fullmatch("Paris")


def healed_pattern(server: Any, program: str) -> str:
    server.run(program, greedy=True)
    pattern: str = server.requests[0]["structured_outputs"]["regex"]
    return pattern


def test_a_token_that_puts_the_end_back_is_the_prompts(vllm: Made, say: Made) -> None:
    """White space is listed, as in process; other ends only where the hole is free to go on from them."""
    server = healing(vllm(say(" ", "4", "2", ".")))
    result = server.run('"n: [X]." where REGEX(X, "[0-9]{2}") and len(TOKENS(X)) < 3')
    assert server.requests[0]["max_tokens"] == 3  # one more, which counts nothing
    hole = result.holes[0]
    assert (hole.text, hole.healed, hole.count) == ("42", " ", 2)
    assert [token.text for token in hole.tokens] == [" ", "4", "2"]
    server = healing(vllm(say(":", "4", "2", ".")))
    hole = server.run('"n:[X]." where REGEX(X, "[0-9]{2}")').holes[0]
    assert ([token.text for token in hole.tokens], hole.healed) == (["4", "2"], "")
    assert hole.logprob == pytest.approx(-0.13)
    hole = healing(vllm(say(":", "4"))).run('"n:[X]"').holes[0]
    assert ([token.text for token in hole.tokens], hole.healed) == ([":", "4"], ":")


def test_a_budget_is_the_holes_own(vllm: Made, say: Made) -> None:
    """A first token that goes on from the prompt's end is one of the hole's."""
    server = healing(vllm(say(" a", "b", "c", "d", finish="length")))
    hole = server.run('"n: [X]"', max_tokens=3).holes[0]
    assert (server.requests[0]["max_tokens"], hole.text, hole.finish_reason) == (4, "abc", "budget")
    server = healing(vllm(say(" ", "b", "c", "d", finish="length")))
    hole = server.run('"n: [X]"', max_tokens=3).holes[0]
    assert (hole.text, hole.finish_reason) == ("bcd", "budget")


def test_a_free_hole_is_asked_for_freely(vllm: Made, say: Made) -> None:
    server = healing(vllm(say(" Rome", "\n")))
    hole = server.run('"Capital: [X]" where STOPS_AT(X, "\\n")').holes[0]
    (body,) = server.requests
    assert "structured_outputs" not in body
    assert body["stop"] == ["\n"]
    assert [(token.text, token.logprob) for token in hole.tokens] == [(" Rome", -0.5), ("\n", -0.5)]


def test_the_likeliest_token_that_begins_so_stands_in(vllm: Made, say: Made) -> None:
    server = healing(vllm(say("\n", others={0: {"x": -0.6, " Rome": -2.0, " ": -1.0}}), say("B", "\n")))
    hole = server.run('"Capital: [X]" where STOPS_AT(X, "\\n")').holes[0]
    assert [(token.text, token.logprob) for token in hole.tokens] == [(" ", -1.0), ("B", -0.5), ("\n", -0.5)]
    assert server.prompts == ["Capital:", "Capital: "]
    assert hole.text == "B\n"


def test_else_one_token_is_asked_for_under_a_grammar(vllm: Made, say: Made) -> None:
    server = healing(vllm(say("x", others={0: {"y": -1.0}}), say(" Ro", finish="length"), say("me", finish="stop")))
    hole = server.run('"Capital: [X]"').holes[0]
    opening = server.requests[1]
    assert opening["max_tokens"] == 1
    assert re.fullmatch(opening["structured_outputs"]["regex"], " whatever\nfollows")
    assert not re.fullmatch(opening["structured_outputs"]["regex"], "whatever")
    assert server.prompts == ["Capital:", "Capital:", "Capital: Ro"]
    assert "structured_outputs" not in server.requests[2]
    assert hole.text == "Rome"
    assert hole.tokens[0].logprob == pytest.approx(-0.05)  # scored by the model itself


def test_a_sampled_first_token_is_drawn_under_the_grammar(vllm: Made, say: Made) -> None:
    """Others than those reported may come."""
    server = healing(vllm(say("x", others={0: {" a": -1.0}}), say(" b", finish="length"), say("c")))
    assert server.run('"p: [X]"', decoder="sample", seed=1).variables == {"X": "bc"}


def test_an_end_that_the_model_does_not_say_stays_with_the_prompt(compatible: Made, say: Made) -> None:
    server = compatible(say("Rome"), say("Paris"))
    result = server.run('"Capital: [X]" where X in ["Paris", "Berlin"]')
    assert result.variables == {"X": "Paris"}
    assert server.prompts == ["Capital:", "Capital: "]
    assert result.holes[0].healed == ""


def test_a_first_token_that_is_less_than_the_end(vllm: Made, say: Made) -> None:
    server = healing(vllm(say("I", "s", " it"), say(" it")))
    server.values["/tokenize"] = lambda body: {"tokens": [1, 2] if body["prompt"] == "ThIs" else [2], "count": 2, "max_model_len": 99}
    server.values["/detokenize"] = lambda body: {"prompt": "".join({1: "Th", 2: "Is"}[i] for i in body["tokens"])}
    result = server.run('"ThIs[X]" where X in [" it", " at"]', greedy=True)
    assert result.prompt == "ThIs it"
    assert [body["prompt"] for body in server.requests] == [[1], [1, 2]]
    first, second = (body["structured_outputs"]["regex"] for body in server.requests)
    assert re.fullmatch(first, "Is it")
    assert re.fullmatch(second, " it")


def test_servers_that_tell_nothing_of_tokens(compatible: Made, say: Made) -> None:
    """White space is what models do not end a text with; other ends stay."""
    server = compatible(say(" Paris", "."), say("x"))
    hole = server.run('"Capital: [X]." where X in ["Paris", "Rome"]').holes[0]
    assert (server.prompts[0], hole.healed, hole.text) == ("Capital:", " ", "Paris")
    server.run('"Capital:\\n[Y]"')
    assert server.prompts[1] == "Capital:\n"


def test_a_tokenizer_that_the_user_names(compatible: Made, say: Made, tmp_path: Path) -> None:
    words = ["<s>", ":", "/", "s", "a", ":/", ":s"]
    tokenizer = Tokenizer(models.BPE({word: i for i, word in enumerate(words)}, [(":", "/"), (":", "s")]))
    tokenizer.add_special_tokens(["<s>"])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    server = compatible(say(":/", "a"), say("a"))
    model = server.model(tokenizer=str(tmp_path / "tokenizer.json"))
    assert server.run('"a:[X]" where X in ["/a", "s"]', model).variables == {"X": "/a"}
    assert server.run('"a:[X]" where X in ["a", "aa"]', model).variables == {"X": "a"}  # no longer token could come
    assert server.prompts == ["a", "a:"]


def test_what_was_said_is_not_taken_back(vllm: Made, say: Made) -> None:
    server = healing(vllm(say(":", "ab", "c"), say("d"), say("!", "e")))
    result = server.run('"p:[X][Y]!!![Z]" where len(TOKENS(X)) < 9')
    assert result.prompt == "p:abcd!!!e"
    assert server.requests[1]["prompt"] == [*b"p", 5, 6, 7]  # in the tokens that it was said in
    assert server.requests[2]["prompt"] == [*b"p", 5, 6, 7, 5, *b"!!"]  # and what is written then is tokenised by itself
    assert result.variables["Z"] == "e"


def test_not_wanted(vllm: Made, say: Made) -> None:
    server = healing(vllm(say("Rome")))
    hole = server.run('"Capital: [X]"', token_healing=False).holes[0]
    assert (server.prompts, hole.text) == (["Capital: "], "Rome")


def test_chats_are_healed_in_the_open_turn(vllm: Made, say: Made) -> None:
    server = healing(vllm(say(" Rome"), say("Rome")))
    assert server.run('"{:user}Capital?{:assistant}It is [X]"').variables == {"X": "Rome"}
    assert server.requests[0]["messages"][-1] == {"role": "assistant", "content": "It is"}
    assert server.run('"{:user}Capital? {:assistant}[X]"').variables == {"X": "Rome"}
    assert server.requests[1]["messages"] == [{"role": "user", "content": "Capital? "}]


def test_a_stop_inside_of_the_end_is_not_sent(vllm: Made, say: Made) -> None:
    server = healing(vllm(say("\n", "a", "\n", "b")))
    hole = server.run('"p:\\n[X]" where STOPS_AT(X, "\\n") and STOPS_AT(X, "\\n\\n")').holes[0]
    assert "stop" not in server.requests[0]
    assert hole.text == "a\n"


def test_options_are_scored_as_the_tokenizer_writes_them(vllm: Made) -> None:
    """A score is that of prompt and text less that of the prompt, whatever the other options are."""

    def tokenized(body: Any) -> Any:
        text = body["prompt"].replace(" P", "P")  # " P" is one token
        return {"tokens": list(text.encode()), "count": len(text), "max_model_len": 999}

    server = healing(vllm())
    server.values["/tokenize"] = tokenized
    server.values["/detokenize"] = lambda body: {"prompt": bytes(body["tokens"]).decode().replace("P", " P")}
    model = server.model()
    both = lmqlc.score_sync("is ", ["Pa", "Ro"], model=model)
    assert both.scores() == pytest.approx([-0.80 - 0.97 + 0.32, -0.82 - 1.11])
    assert both.healed == " "
    assert [[token.id for token in row] for row in both.tokens] == [[ord("P"), ord("a")], [ord("R"), ord("o")]]
    assert lmqlc.score_sync("is ", ["Ro"], model=model).scores() == both.scores()[1:]
    assert lmqlc.score_sync("is ", ["Pa"], model=model).scores() == both.scores()[:1]
    assert lmqlc.score_sync("is ", ["Pa"], model=model, token_healing=False).scores() == pytest.approx([-0.80 - 0.97])


def test_masked_numbers_are_never_reported(vllm: Made, say: Made) -> None:
    """Scored again where that is cheap, else NaN: the prompt is long here."""
    server = healing(vllm(say(":", "ab"), room=100_000))
    hole = server.run('"{p}:[X]" where X in ["ab", "c"]', p="word " * 500, greedy=True)
    assert math.isnan(hole.holes[0].logprob)
    assert not [body for _, body in server.asked if body.get("prompt_logprobs") is not None]
