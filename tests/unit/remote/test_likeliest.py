"""The likeliest of few texts at servers that score given texts. Pretended tokens are bytes, of log-probability -code/100."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import httpx2 as httpx
import pytest

Made = Callable[..., Any]
CHOICE = '"Answer:[X]!" where X in ["no", "y", "maybe"]'


def test_all_texts_are_scored_and_the_likeliest_is_taken(vllm: Made) -> None:
    server = vllm()
    result = server.run(CHOICE)
    hole = result.holes[0]
    assert (hole.text, hole.finish_reason, hole.exact, result.prompt) == ("y", "closed", True, "Answer:y!")
    assert [(token.id, token.logprob) for token in hole.tokens] == [(ord("y"), -1.21)]
    assert server.requests == []  # nothing was asked for but scores
    assert result.usage.forward_passes == 1


def test_a_text_that_begins_others(vllm: Made) -> None:
    """What the model gives the longer text is taken off the shorter one's; only a vocabulary could tell all of it."""

    def scored(body: Any) -> Any:
        rows = [[None, *({str(t): {"logprob": -0.1, "decoded_token": chr(t)}} for t in ids[1:])] for ids in body["prompt"]]
        return {"choices": [{"index": i, "prompt_logprobs": row} for i, row in enumerate(rows)]}

    server = vllm()
    server.values["/v1/completions"] = scored
    hole = server.run('"p:[X]" where X in ["ab", "abc"]').holes[0]
    assert (hole.text, hole.exact) == ("abc", False)
    assert hole.logprob == pytest.approx(-0.3)


@pytest.mark.parametrize(
    "where", ['X in ["y", "no"]', 'X in ["y", "no"] and STOPS_BEFORE(X, "\\n")', 'REGEX(X, "y|no")', 'X == "y" or X == "no"']
)
def test_every_way_to_have_few_texts(where: str, vllm: Made) -> None:
    assert vllm().run(f'"Answer:[X]!" where {where}').variables == {"X": "y"}


def test_token_by_token_where_it_is_asked_for_or_too_dear(vllm: Made, compatible: Made, say: Made) -> None:
    for program, options in (
        (CHOICE, {"greedy": True}),
        (CHOICE, {"decoder": "sample", "seed": 1}),
        (CHOICE, {"repetition_penalty": 1.5}),
        (CHOICE, {"max_tokens": 4}),
        (CHOICE.replace("Answer", "word " * 20_000), {}),
        ('"Answer:[X]!" where REGEX(X, "n[a-z]*")', {}),
    ):
        server = vllm(say("no", "!"), room=200_000)
        hole = server.run(program, **options).holes[0]
        assert (hole.text, hole.exact) == ("no", False)
        assert len(server.requests) == 1
    assert compatible(say("no", "!")).run(CHOICE).holes[0].exact is False


def test_a_server_that_will_not_score_is_asked_for_the_text(vllm: Made, say: Made) -> None:
    server = vllm(say("no", "!"))
    server.scores = lambda body: httpx.Response(400, json={"error": {"message": "prompt_logprobs are off"}})
    hole = server.run(CHOICE).holes[0]
    assert (hole.text, hole.exact) == ("no", False)
    assert math.isnan(hole.logprob)
