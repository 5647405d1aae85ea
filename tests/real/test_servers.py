"""Servers of others on real weights: what they are sent is taken, and the numbers are the model's own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import lmqlc
from tests.real.engines import ENGINES, available, folder

pytestmark = pytest.mark.real
WEIGHTS = folder()
CLOSE = 5e-3
"""How far log-probabilities may lie apart: kernels of different engines round differently."""


@pytest.fixture(scope="module")
def here() -> Iterator[Any]:
    if WEIGHTS is None:
        pytest.skip("LMQLC_REAL names no folder with real weights")
    with ENGINES["inprocess"](WEIGHTS) as model:
        yield model


@pytest.fixture(scope="module", params=["llama.cpp", "vllm"])
def there(request: pytest.FixtureRequest) -> Iterator[Any]:
    if WEIGHTS is None or not available(request.param, WEIGHTS):
        pytest.skip(f"{request.param} is not in the folder that LMQLC_REAL names")
    with ENGINES[request.param](WEIGHTS) as model:
        yield model


@pytest.mark.parametrize("end", ["is", "is "])
def test_options_have_the_numbers_of_this_process(end: str, here: Any, there: Any) -> None:
    prompt, options = f"The capital of France {end}", ["Paris", " Rome", "land", "New York City"]
    mine, theirs = (lmqlc.score_sync(prompt, options, model=model) for model in (here, there))
    assert theirs.scores() == pytest.approx(mine.scores(), abs=CLOSE * 4)
    assert theirs.healed == mine.healed
    for option, score in zip(options, theirs.scores(), strict=True):
        assert lmqlc.score_sync(prompt, [option], model=there).scores() == pytest.approx([score], abs=CLOSE)


@pytest.mark.parametrize(
    "where", ['X in ["Paris", "Rome", "Berlin"]', 'REGEX(X, "[A-Z][a-z]{2,6}")', 'STOPS_BEFORE(X, ".")', "len(TOKENS(X)) < 5"]
)
def test_holes_after_a_space_are_those_of_this_process(where: str, here: Any, there: Any) -> None:
    program = f'"The capital of France is [X]." where {where}'
    mine, theirs = (lmqlc.run_sync(program, model=model, max_tokens=12).holes[0] for model in (here, there))
    assert (theirs.text, theirs.healed) == (mine.text, mine.healed)
    assert theirs.tokens[0].logprob == pytest.approx(mine.tokens[0].logprob, abs=CLOSE)
