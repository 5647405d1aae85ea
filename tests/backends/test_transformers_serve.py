"""`transformers serve`, a server that nobody here wrote, with the embedded model: the same programs, the same greedy text as in process."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator
from typing import Any

import httpx2 as httpx
import pytest

import lmqlc
from lmqlc.backends.inprocess import DEMO_DIRECTORY
from lmqlc.grammar.errors import BackendUnavailable, LmqlError, UnsupportedConstraint

PROGRAMS = [
    '"Q: What is the capital of Italy?\\nA:[X]" where STOPS_BEFORE(X, "\\n")',
    '"Q: What is the capital of Italy?\\nA:[X]" where STOPS_AT(X, "m")',
    '"Q: What is the capital of Italy?\\nA:[X]" where X in [" Paris", " Rome"]',
    '"Q: What is 3 + 4?\\nA:[X]" where INT(X)',
    '"Q: What is 3 + 4?\\nA:[X]\\nQ: What is 5 + 1?\\nA:[Y]" where INT(X) and INT(Y)',
    '"Hello[X]"',
    '"Hello[X]" where len(TOKENS(X)) < 6',
    '"{:user}What is the capital of Italy?{:assistant}[X]" where STOPS_BEFORE(X, "\\n")',
    '"{:user}What is the capital of Italy?{:assistant}[X]"',
]


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    from transformers.cli.serve import Serve

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server: Any = Serve(force_model=str(DEMO_DIRECTORY), host="127.0.0.1", port=port, non_blocking=True, log_level="error", device="cpu")
    try:
        _wait(f"http://127.0.0.1:{port}/health")
        yield f"127.0.0.1:{port}"
    finally:
        server.kill_server()


def _wait(url: str) -> None:
    for _ in range(300):
        try:
            if httpx.get(url).is_success:
                return
        except httpx.HTTPError:
            time.sleep(0.1)
    pytest.fail("the server did not start")


@pytest.fixture
def model(endpoint: str) -> Any:
    return lmqlc.model(f"openai/{DEMO_DIRECTORY}", endpoint=endpoint)


@pytest.mark.parametrize("program", PROGRAMS)
def test_greedy_text_is_that_of_this_process(program: str, model: Any) -> None:
    here = lmqlc.run_sync(program, model="demo", max_tokens=24, token_healing=False)
    there = lmqlc.run_sync(program, model=model, max_tokens=24)
    assert there.variables == here.variables
    assert there.prompt == here.prompt


def test_a_limit_inside_of_a_token_cuts_it(model: Any) -> None:
    """Masks would have chosen a shorter token instead."""
    result = lmqlc.run_sync('"Hello[X]" where len(X) < 9', model=model, max_tokens=24)
    assert result.variables["X"] == ", my name"[:8]


def test_constraints_that_the_model_does_not_want_are_met_or_refused(model: Any) -> None:
    met = 0
    for pattern in ("[0-9]{3}", "[A-Z]{2}-[0-9]", "(xyz)+"):
        try:
            result = lmqlc.run_sync(f'"Hello[X]" where REGEX(X, r"{pattern}")', model=model, max_tokens=24)
        except LmqlError as error:
            assert "not complete" in str(error) or "times" in str(error)
        else:
            met += 1
            assert re.fullmatch(pattern, result.variables["X"])
    assert met >= 1  # `xyz` leaves no choice


def test_sampling_is_seeded(model: Any) -> None:
    def said(seed: int) -> str:
        return str(
            lmqlc.run_sync('"Hello[X]"', model=model, decoder="sample", temperature=2.0, top_k=40, seed=seed, max_tokens=12).variables["X"]
        )

    assert said(1) == said(1)
    assert len({said(seed) for seed in range(4)}) > 1


def test_what_the_server_lacks_is_refused(model: Any) -> None:
    with pytest.raises(UnsupportedConstraint, match="frequency_penalty"):
        lmqlc.run_sync('"Hello[X]"', model=model, frequency_penalty=0.5)
    with pytest.raises(UnsupportedConstraint, match="distribution"):
        lmqlc.run_sync('"Hello[X]" distribution X in ["a", "b"]', model=model)


def test_another_model_than_the_server_has(endpoint: str) -> None:
    with pytest.raises(BackendUnavailable, match="pinned to"):
        lmqlc.run_sync('"Hello[X]"', model=lmqlc.model("openai/other", endpoint=endpoint, server="transformers"))
