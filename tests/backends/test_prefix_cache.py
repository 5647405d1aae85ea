"""The cache of prefixes: hundreds of sequences, memory that stays within its budget, and cuts that go back instead of reading again."""

from __future__ import annotations

import asyncio
import gc
import os
import random
from pathlib import Path
from typing import Any

import numpy as np

import lmqlc
from lmqlc.backends.base import ModelSpec
from lmqlc.backends.inprocess import InProcessBackend
from lmqlc.backends.registry import load
from lmqlc.compiler.driver import compile_source
from lmqlc.grammar.source import Source
from lmqlc.queries import run_program
from lmqlc.runtime.results import Result

QUERIES = 10_000 if os.environ.get("LMQLC_LONG") else 400


def backend_of(checkpoints: Path, number: int, name: str = "gpt2") -> InProcessBackend:
    backend = load(ModelSpec("local", str(checkpoints / name), (("cache_bytes", number),)))  # its own, by its number
    assert isinstance(backend, InProcessBackend)
    return backend


def test_hundreds_of_sequences_are_kept_and_answer_as_fresh_ones_do(checkpoints: Path) -> None:
    backend, rng = backend_of(checkpoints, 1 << 29), random.Random(3)
    common = rng.choices(range(1, 250), k=30)
    sequences = [[*common[: rng.randint(2, 30)], *rng.choices(range(1, 250), k=5)] for _ in range(300)]

    async def run() -> tuple[list[np.ndarray], list[np.ndarray], Any]:
        session = await backend.open()
        first = [(await session.logits([ids]))[0] for ids in sequences]
        before = session.usage.tokens_computed
        again = [(await session.logits([ids]))[0] for ids in sequences]
        return first, again, session.usage.tokens_computed - before

    first, again, computed = asyncio.run(run())
    assert len(backend._opened().branches) == len({tuple(ids) for ids in sequences})
    assert computed == len(sequences)  # one position each: what follows must be worked out
    assert np.allclose(first, again, atol=1e-4)


def test_memory_is_flat_over_many_queries(checkpoints: Path) -> None:
    backend = backend_of(checkpoints, 300_000)
    program = compile_source(Source("q", "'{p}[X]{p}[Y]' where STOPS_BEFORE(X, 'e') and len(TOKENS(X)) < 5 and len(TOKENS(Y)) < 3"))

    async def run() -> None:
        for i in range(QUERIES):
            await run_program(program, (), {"p": f"the cat {i} ", "model": backend})
            branches = backend._opened().branches
            assert branches.bytes() <= 300_000 + 30_000

    asyncio.run(run())
    branches = backend._opened().branches
    kept = sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in _tensors(branches)}.values())
    assert branches.bytes() == kept
    branches.clear()
    gc.collect()
    assert branches.bytes() == 0
    assert len(branches) == 0


def _tensors(branches: Any) -> list[Any]:
    return [t for branch in branches._places for layer in branch.cache.layers for t in (layer.keys, layer.values)]


def test_what_was_used_longest_ago_goes_first(checkpoints: Path) -> None:
    backend = backend_of(checkpoints, 150_001)
    one, others = [7, *range(30, 60)], [[i, *range(60, 90)] for i in range(100, 112)]

    async def run() -> tuple[int, int]:
        session = await backend.open()
        for ids in others:
            await session.logits([ids])
            await session.logits([one])  # stays the one used last
        before = session.usage.tokens_computed
        await session.logits([one])
        kept = session.usage.tokens_computed - before
        await session.logits([others[0]])
        return kept, session.usage.tokens_computed - before - kept

    kept, gone = asyncio.run(run())
    assert (kept, gone) == (1, len(others[0]))


def test_a_cut_stop_goes_back_and_what_follows_is_all_that_is_read(checkpoints: Path) -> None:
    """Positions by hand: the prompt and all tokens but the last of X, then what stands after the cut."""
    backend = backend_of(checkpoints, (1 << 20) + 77)
    source = "argmax(token_healing=False)\n    'the cat[X], said[Y]' where STOPS_BEFORE(X, S) and len(TOKENS(Y)) == 3\n"
    free = lmqlc.run_sync("argmax(token_healing=False, max_tokens=6)\n    'the cat[X]'\n", model=backend)
    assert isinstance(free, Result)
    said = free.holes[0].text
    backend._opened().branches.clear()
    result: Any = lmqlc.run_sync(source, model=backend, S=said[-1])
    x, y = result.holes
    assert x.finish_reason == "stop"
    encode = backend.tokenizer.encode
    prompt, written = len(encode("the cat", first=True)), x.text.encode()
    kept: list[int] = []
    for token in x.tokens:  # whole tokens of X that stay
        if len(b"".join(backend.tokenizer.vocabulary.tokens[i] for i in [*kept, token.id])) > len(written):
            break
        kept.append(token.id)
    tail = len(y.prompt_ids) - prompt - len(kept)
    assert result.usage.forward_passes == len(x.tokens) + len(y.tokens)
    assert result.usage.tokens_computed == prompt + len(x.tokens) - 1 + tail + len(y.tokens) - 1
