"""The client for servers that say text, at lmqlc's own server through its OpenAI paths: a real server with log-probabilities."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

import lmqlc
from lmqlc.backends.base import ModelSpec
from lmqlc.backends.registry import load
from lmqlc.backends.serve.server import Server
from lmqlc.backends.serve.settings import Settings

PROGRAMS = [
    '"Q: What is the capital of Italy?\\nA:[X]" where STOPS_BEFORE(X, "\\n")',
    '"Q: What is the capital of Italy?\\nA:[X]\\n" where X in [" Paris", " Rome", " Berlin"]',
    '"Q: What is 3 + 4?\\nA:[X]\\nQ: What is 5 + 1?\\nA:[Y]\\n" where INT(X) and INT(Y)',
    '"Hello[X]" where len(TOKENS(X)) < 6',
    '"{:user}What is the capital of Italy?{:assistant}[X]" where STOPS_BEFORE(X, "\\n")',
]


@pytest.fixture(scope="module")
def model() -> Iterator[Any]:
    with Server(load(ModelSpec("demo", "")), Settings(names=("demo",), host="127.0.0.1", port=0)) as running:
        yield lmqlc.model("openai/demo", endpoint=f"127.0.0.1:{running.port}", server="compatible")


@pytest.mark.parametrize("program", PROGRAMS)
def test_greedy_text_and_scores_are_those_of_this_process(program: str, model: Any) -> None:
    here = lmqlc.run_sync(program, model="demo", max_tokens=24, token_healing=False)
    there = lmqlc.run_sync(program, model=model, max_tokens=24)
    assert there.variables == here.variables
    assert there.prompt == here.prompt
    for one, other in zip(here.holes, there.holes, strict=True):
        both = zip(one.tokens, other.tokens, strict=False)
        pairs = [(token, same) for token, same in both if token.text == same.text and not token.forced]
        assert [same.logprob for _, same in pairs] == pytest.approx([token.logprob for token, _ in pairs], abs=1e-3)


@pytest.mark.parametrize("options", [[" Paris", " Berlin"], [" Lyon", " Madrid"], [" the Paris", " Paris"], [" Athens", " Oslo"]])
def test_other_tokens_stand_in_as_masks_would_have_it(options: list[str], model: Any) -> None:
    """The masked choice is among the tokens that the server reports."""
    program = f'argmax(greedy=True) "Q: What is the capital of Italy?\\nA:[X]\\n" where X in {options!r}'
    here = lmqlc.run_sync(program, model="demo", token_healing=False)
    assert lmqlc.run_sync(program, model=model).variables == here.variables


def test_a_server_is_done_with_answers_that_nobody_reads_to_their_end() -> None:
    """Checked holes end requests early; the server closes at once all the same."""
    with Server(load(ModelSpec("demo", "")), Settings(names=("demo",), host="127.0.0.1", port=0)) as running:
        model = lmqlc.model("openai/demo", endpoint=f"127.0.0.1:{running.port}", server="compatible")
        for _ in range(3):
            lmqlc.run_sync('"Hello[X]" where len(X) < 3', model=model)
        started = time.monotonic()
    assert time.monotonic() - started < 5
