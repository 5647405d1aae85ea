"""Several continuations scored together: the numbers of one by one, in few passes."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmqlc.backends.base import ModelSpec, ScoresOptions
from lmqlc.backends.inprocess import InProcessBackend
from lmqlc.backends.option_scores import longest_beginnings
from lmqlc.backends.registry import load
from lmqlc.grammar.errors import ContextOverflow

PROMPT = [5, 6, 7, 8]
OPTIONS = [(9,), (9, 10), (9, 10, 11, 12), (9, 10, 13), (20, 21), (), (9, 10), (30, 31, 32, 33, 34)]


def opened(checkpoints: Path, name: str) -> InProcessBackend:
    backend = load(ModelSpec("local", str(checkpoints / name)))
    assert isinstance(backend, InProcessBackend)
    return backend


def expected(checkpoints: Path, name: str, prompt: list[int], options: list[tuple[int, ...]]) -> list[list[float]]:
    """What the whole model says of every option, one by one and without a cache."""
    import torch
    from transformers import AutoModelForCausalLM

    model, found = AutoModelForCausalLM.from_pretrained(checkpoints / name).eval(), []
    with torch.inference_mode():
        for option in options:
            ids = [*prompt, *option]
            scores = torch.log_softmax(model(torch.tensor([ids])).logits[0].double(), dim=-1)
            found.append([float(scores[i - 1, ids[i]]) for i in range(len(prompt), len(ids))])
    return found


async def scored(backend: InProcessBackend, prompt: list[int], options: list[tuple[int, ...]], *, warm: bool) -> tuple[Any, Any, Any]:
    """Scores together and one by one, and the passes that scoring together took."""
    session = await backend.open()
    assert isinstance(session, ScoresOptions)
    if warm:
        await session.logits([[*prompt, 9, 10, 77], [*prompt[:2], 3]])
    before = session.usage.forward_passes
    together = await session.score_options(prompt, options)
    passes = session.usage.forward_passes - before
    return together, [await session.score([*prompt, *option], len(prompt)) for option in options], passes


@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize("name", ["gpt2", "llama", "qwen2", "neox", "mistral", "mamba"])
def test_scores_together_are_those_one_by_one(checkpoints: Path, name: str, warm: bool) -> None:
    together, alone, passes = asyncio.run(scored(opened(checkpoints, name), PROMPT, OPTIONS, warm=warm))
    for row, one, true in zip(together, alone, expected(checkpoints, name, PROMPT, OPTIONS), strict=True):
        assert row.shape == one.shape
        np.testing.assert_allclose(row, one, atol=1e-4)
        np.testing.assert_allclose(row, true, atol=1e-4)
    assert passes <= {"gpt2": 1, "llama": 1, "qwen2": 1, "neox": 2}.get(name, 99)


def test_options_of_one_token_need_one_pass(checkpoints: Path) -> None:
    options = [(i,) for i in range(9, 29)]
    together, _, passes = asyncio.run(scored(opened(checkpoints, "gpt2"), [1, 2, 3], options, warm=False))
    assert passes == 1
    np.testing.assert_allclose(np.concatenate(together), np.concatenate(expected(checkpoints, "gpt2", [1, 2, 3], options)), atol=1e-4)


def test_many_options_run_in_batches_and_leave_the_cache_right(checkpoints: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lmqlc.backends import engine

    rng = random.Random(3)
    options = [tuple(rng.randrange(1, 12) for _ in range(rng.randrange(0, 6))) for _ in range(60)]
    monkeypatch.setattr(engine, "SCORE_CHUNK", 16)
    together, alone, _ = asyncio.run(scored(opened(checkpoints, "llama"), PROMPT, options, warm=True))
    for row, one, true in zip(together, alone, expected(checkpoints, "llama", PROMPT, options), strict=True):
        np.testing.assert_allclose(row, one, atol=1e-4)
        np.testing.assert_allclose(row, true, atol=1e-4)


@pytest.mark.parametrize("name", ["gpt2", "qwen2", "neox"])
def test_random_trees_of_options_after_whatever_was_read(checkpoints: Path, name: str) -> None:
    """Scores after prompts that are known in part, and text that goes on from them."""
    rng, backend = random.Random(5), opened(checkpoints, name)

    async def run() -> None:
        session, prompt = await backend.open(), [4, 4]
        for _ in range(6):
            prompt = [*prompt[: rng.randrange(1, len(prompt) + 1)], *(rng.randrange(1, 9) for _ in range(rng.randrange(1, 5)))]
            options = [tuple(rng.randrange(1, 4) for _ in range(rng.randrange(0, 5))) for _ in range(rng.randrange(1, 9))]
            for row, true in zip(await session.score_options(prompt, options), expected(checkpoints, name, prompt, options), strict=True):
                np.testing.assert_allclose(row, true, atol=1e-4)
            prompt = [*prompt, *max(options)]
            true = expected(checkpoints, name, prompt, [(7,)])[0][0]
            logits = (await session.logits([prompt]))[0].astype(np.float64)
            assert abs(logits[7] - np.logaddexp.reduce(logits) - true) < 1e-4

    asyncio.run(run())


def test_an_option_beyond_the_context_is_an_error(checkpoints: Path) -> None:
    async def run() -> None:
        session = await opened(checkpoints, "gpt2").open()
        await session.score_options([1] * 100, [(2,), (3,) * 60])

    with pytest.raises(ContextOverflow):
        asyncio.run(run())


def test_longest_beginnings_leave_out_what_begins_another() -> None:
    assert longest_beginnings(OPTIONS) == [(9, 10, 11), (20,), (30, 31, 32, 33)]
    assert longest_beginnings([(1, 2, 3), (1, 2), (1, 5, 6)]) == [(1, 2), (1, 5)]
    assert longest_beginnings([(1,), ()]) == []


TAILS = [(9,), (), (9, 10, 11, 12), (9, 10, 13), (20, 21), (30, 31, 32, 33, 34), (9, 10)]


@pytest.mark.parametrize("first", [[()], [(9,), (9, 10)], TAILS])
@pytest.mark.parametrize("name", ["gpt2", "llama", "qwen2", "neox", "mistral", "mamba"])
def test_logits_after_tails_are_those_one_by_one(checkpoints: Path, name: str, first: list[tuple[int, ...]]) -> None:
    prompt = [*range(5, 40)]  # longer than the sliding window of some

    async def asked() -> tuple[Any, int, Any]:
        session = await opened(checkpoints, name).open()
        await session.logits_after(prompt, first)
        before = session.usage.forward_passes
        tails = [tail for tail in TAILS if tail or first == TAILS]
        together = await session.logits_after(prompt, tails)
        passes = session.usage.forward_passes - before
        return together, passes, np.concatenate([await session.logits([[*prompt, *tail]]) for tail in tails])

    together, passes, alone = asyncio.run(asked())
    assert together.dtype == np.float32
    np.testing.assert_allclose(together, alone, atol=1e-4)
    assert passes <= {"gpt2": 1, "llama": 1, "qwen2": 1, "neox": 2, "mistral": 1 + (first != [()])}.get(name, 99)
