"""Scores and distributions heal every text as a hole is healed: by the model's own numbers, text by text, in process and at a server.

The tokenizers are those of `test_healed_runs`. The oracle takes the prompt's ids apart itself: as much of their end as is one token, and
begins a longer one, is taken back for a text whose first token, as the tokenizer writes both together, begins with it and goes on.
"""

from __future__ import annotations

import importlib.util
import math
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import lmqlc
from lmqlc.backends.base import Tokenizer
from lmqlc.backends.scripted import RandomBackend, log_softmax
from lmqlc.backends.serve.server import Server
from lmqlc.backends.serve.settings import Settings

CASES = 600 if os.environ.get("LMQLC_LONG") else 24
ENDS = ["http:", "the answer is ", "the", "say hel", "naïve caf", '{"', '{"name": ', "1", "12:", "yes,  ", "t", "the answer is"]
OPTIONS = [
    "",
    "//example.org",
    "42",
    " yes",
    "yes",
    "no",
    "lo",
    "é",
    "name",
    '"Ann"',
    "12",
    ":30",
    " the",
    "here",
    "/",
    "2",
    " ",
    "he",
    "en",
]


def load(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


tokenizer = load("test_healed_runs").tokenizer


def total(model: RandomBackend, before: list[int], ids: list[int]) -> float:
    return math.fsum(float(log_softmax(model.row((*before, *ids[:i])))[token]) for i, token in enumerate(ids))


def taken_back(reader: Tokenizer, ids: list[int]) -> int:
    """How many ids at the end of a prompt may be taken back; one stays."""
    texts = [token for i, token in enumerate(reader.vocabulary.tokens) if token and i not in reader.vocabulary.special]
    best, end = 0, b""
    for count, token_id in enumerate(reversed(ids[len(reader.prefix()) or 1 :]), 1):
        end = reader.vocabulary.tokens[token_id] + end
        if not reader.vocabulary.tokens[token_id] or len(end) > 24:
            break
        if end in texts and any(token.startswith(end) and token != end for token in texts):
            best = count
    return best


def expected(model: RandomBackend, prompt: str, text: str) -> float:
    """A text's log-probability given the prompt's text, as the tokens that a healed hole would say."""
    reader, pieces = model.tokenizer, model.vocabulary.tokens
    ids = reader.encode(prompt, first=True)
    ids = ids or [model.vocabulary.eos_ids[0]]
    count = taken_back(reader, ids)
    kept, tail = ids[: len(ids) - count], ids[len(ids) - count :]
    end = b"".join(pieces[i] for i in tail)
    joined = reader.encode((end + text.encode()).decode(), first=False) if count else []
    if joined and pieces[joined[0]].startswith(end) and pieces[joined[0]] != end:
        return total(model, kept, joined) - total(model, kept, tail)
    return total(model, ids, reader.encode(text, first=False))


def check(model: Any, own: RandomBackend, seed: int) -> int:
    rng = random.Random(seed)
    prompt, options = rng.choice(["", "the ", "say "]) + rng.choice(ENDS), rng.sample(OPTIONS, 4)
    wanted = [expected(own, prompt, text) for text in options]
    scores = model.score_sync(prompt, options)
    assert scores.scores() == pytest.approx(wanted, abs=1e-3), (prompt, options)
    alone = [model.score_sync(prompt, text).scores()[0] for text in options]
    assert alone == pytest.approx(wanted, abs=1e-3), (prompt, options)
    result: Any = lmqlc.run_sync("'{p}[X]'\ndistribution X in options", p=prompt, options=options, model=model)
    weights = [math.exp(value - max(wanted)) for value in wanted]
    shares = [weight / math.fsum(weights) for weight in weights]
    assert [share for _, share in result.distribution_values] == pytest.approx(shares, abs=1e-3), (prompt, options)
    best = options[wanted.index(max(wanted))]
    assert result.prompt == prompt + result.variables["X"]
    assert wanted[options.index(result.variables["X"])] == pytest.approx(wanted[options.index(best)], abs=1e-3)
    return bool(scores.healed)


@pytest.fixture(scope="module", params=["bytes", "sentencepiece"])
def models(request: pytest.FixtureRequest) -> Iterator[tuple[Any, Any, RandomBackend]]:
    own = RandomBackend(11, tokenizer=tokenizer(request.param))
    with Server(own, Settings(names=("m",), host="127.0.0.1", port=0)) as server:
        yield lmqlc.LLM(own), lmqlc.model("m", endpoint=server.url), own


@pytest.mark.parametrize("served", [False, True])
def test_every_text_is_healed_by_itself(models: tuple[Any, Any, RandomBackend], served: bool) -> None:
    healed = sum(check(models[served], models[2], seed) for seed in range(CASES))
    assert healed > CASES / 6
