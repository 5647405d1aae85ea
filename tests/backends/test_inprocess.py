"""Models in process: the same numbers as transformers', with prefixes computed once."""

from __future__ import annotations

import asyncio
import copy
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from lmqlc.backends.base import ModelSpec
from lmqlc.backends.inprocess import InProcessBackend, InProcessSession
from lmqlc.backends.registry import load
from lmqlc.grammar.errors import BackendUnavailable, ContextOverflow

if TYPE_CHECKING:
    from lmqlc.backends.engine import Engine

ALL = ["gpt2", "llama", "qwen2", "mistral", "mamba", "neox"]
SHARING = ["gpt2", "llama", "qwen2", "neox"]


def backend_of(checkpoints: Path, name: str, **options: object) -> InProcessBackend:
    backend = load(ModelSpec("local", str(checkpoints / name), tuple(options.items())))
    assert isinstance(backend, InProcessBackend)
    return backend


def reference(checkpoints: Path, name: str) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(checkpoints / name).eval()


def plain_logits(model: Any, sequences: Sequence[Sequence[int]]) -> np.ndarray:
    """Logits without any cache, one sequence after another."""
    import torch

    with torch.inference_mode():
        return np.stack([model(torch.tensor([list(ids)])).logits[0, -1].float().numpy() for ids in sequences])


async def greedy(session: InProcessSession, ids: list[int], count: int) -> list[int]:
    for _ in range(count):
        ids = [*ids, int((await session.logits([ids]))[0].argmax())]
    return ids


def generate(model: Any, ids: list[int], count: int) -> list[int]:
    import torch

    prompt = torch.tensor([ids])
    mask = torch.ones_like(prompt)
    out = model.generate(
        prompt, attention_mask=mask, do_sample=False, min_new_tokens=count, max_new_tokens=count, eos_token_id=[], pad_token_id=0
    )
    return [int(i) for i in out[0]]


@pytest.mark.parametrize("name", ALL)
def test_greedy_text_equals_generate(checkpoints: Path, name: str) -> None:
    """A prompt of several pieces: text, decoded tokens, text, decoded tokens."""
    backend, model = backend_of(checkpoints, name), reference(checkpoints, name)

    async def run() -> list[int]:
        session = await backend.open()
        ids = await greedy(session, backend.tokenizer.encode("the cat said", first=True), 12)
        return await greedy(session, ids + backend.tokenizer.encode(" hello to\n", first=False), 12)

    ids = generate(model, backend.tokenizer.encode("the cat said", first=True), 12)
    assert asyncio.run(run()) == generate(model, ids + backend.tokenizer.encode(" hello to\n", first=False), 12)


@pytest.mark.parametrize("name", ALL)
def test_alternating_sequences(checkpoints: Path, name: str) -> None:
    backend, model = backend_of(checkpoints, name), reference(checkpoints, name)
    one, two = [5, 6, 7, 8], [5, 6, 9]

    async def run() -> tuple[list[int], list[int]]:
        first, second = await backend.open(), await backend.open()
        a, b = one, two
        for _ in range(8):
            a, b = await greedy(first, a, 1), await greedy(second, b, 1)
        return a, b

    assert asyncio.run(run()) == (generate(model, one, 8), generate(model, two, 8))


@pytest.mark.parametrize("name", ALL)
def test_batches_of_different_lengths_equal_single_calls(checkpoints: Path, name: str) -> None:
    backend, model = backend_of(checkpoints, name), reference(checkpoints, name)
    sequences = [[5, 6, 7, 8, 9, 10, 11], [5, 6, 7], [12, 13], [5, 6, 7, 8, 20], [12, 13]]

    async def run() -> None:
        session = await backend.open()
        current = [list(ids) for ids in sequences]
        for step in range(4):
            rows = await session.logits(current)
            assert rows.dtype == np.float32
            assert rows.flags.writeable
            np.testing.assert_allclose(rows, plain_logits(model, current), atol=1e-4, rtol=0)
            current = [[*ids, 30 + step + i] for i, ids in enumerate(current)]
        np.testing.assert_allclose(await session.logits([[3]]), plain_logits(model, [[3]]), atol=1e-4, rtol=0)
        np.testing.assert_allclose(await session.logits([[3], [4, 5]]), plain_logits(model, [[3], [4, 5]]), atol=1e-4, rtol=0)

    asyncio.run(run())


@pytest.mark.parametrize("name", ALL)
def test_random_walks_over_a_tree_of_sequences(checkpoints: Path, name: str) -> None:
    """Whatever was computed before, and in whatever batches, a row is the row of its sequence."""
    backend, model = backend_of(checkpoints, name, cache_bytes=40_000), reference(checkpoints, name)
    source = random.Random(name)

    async def run() -> None:
        session = await backend.open()
        known = [[1, 2], [3]]
        for _ in range(25):
            asked = []
            for _ in range(source.choice([1, 1, 2, 3, 5])):
                old = source.choice(known)
                asked.append(old[: source.randint(1, len(old))] + [source.randrange(280) for _ in range(source.randint(0, 3))])
            np.testing.assert_allclose(await session.logits(asked), plain_logits(model, asked), atol=1e-4, rtol=0)
            known += asked

    asyncio.run(run())


@pytest.mark.parametrize("small", [0, 1 << 15])
@pytest.mark.parametrize("name", SHARING)
def test_beams_that_copy_and_drop_each_other(checkpoints: Path, name: str, small: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of different lengths, each step going on from rows in another order, some of them twice; in room set aside, and without."""
    from lmqlc.backends import growing

    monkeypatch.setattr(growing, "_SMALL", small)
    backend, model = backend_of(checkpoints, name, cache_bytes=90_000_000 + small), reference(checkpoints, name)
    source = random.Random(11)

    async def run() -> None:
        session = await backend.open()
        current = [[5, 6, 7, 8, 9], [5, 6, 7], [3, 2, 1, 4, 4], [8, 8, 8, 8, 1]]
        for step in range(9):
            np.testing.assert_allclose(await session.logits(current), plain_logits(model, current), atol=1e-4, rtol=0)
            parents = [source.choice(current) for _ in range(4)] if step != 4 else current[::-1]
            current = [[*ids, 20 + 4 * step + i] for i, ids in enumerate(parents)]

    asyncio.run(run())


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("start", [1, 3, 9, 10])
def test_scores_are_the_models_log_probabilities(checkpoints: Path, name: str, start: int) -> None:
    import torch

    backend, model = backend_of(checkpoints, name), reference(checkpoints, name)
    ids = [5, 6, 7, 8, 9, 4, 3, 2, 1, 250]
    with torch.inference_mode():
        all_scores = torch.log_softmax(model(torch.tensor([ids])).logits[0].double(), dim=-1)
    expected = [float(all_scores[i - 1, ids[i]]) for i in range(start, len(ids))]

    async def run() -> np.ndarray:
        session = await backend.open()
        await session.logits([ids[:4]])
        return await session.score(ids, start)

    scores = asyncio.run(run())
    assert scores.dtype == np.float64
    np.testing.assert_allclose(scores, expected, atol=1e-4)


def test_long_scores_are_computed_in_pieces(checkpoints: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lmqlc.backends import engine

    backend = backend_of(checkpoints, "llama")
    ids = [(i * 37) % 280 for i in range(60)]

    async def run() -> np.ndarray:
        return await (await backend.open()).score(ids, 1)

    whole = asyncio.run(run())
    monkeypatch.setattr(engine, "SCORE_CHUNK", 7)
    np.testing.assert_allclose(asyncio.run(run()), whole, atol=1e-5)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("piece", [1, 5, 16])
def test_long_prompts_are_read_in_pieces(checkpoints: Path, name: str, piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from lmqlc.backends import engine

    backend, model = backend_of(checkpoints, name), reference(checkpoints, name)
    ids = [(i * 37) % 280 for i in range(41)]
    monkeypatch.setattr(engine, "PIECE", piece)

    async def run() -> None:
        session = await backend.open()
        np.testing.assert_allclose(await session.logits([ids]), plain_logits(model, [ids]), atol=1e-4)
        longer = [[*ids, 7, 8, *range(20)], [*ids[:9], *range(30)]]
        np.testing.assert_allclose(await session.logits(longer), plain_logits(model, longer), atol=1e-4)
        scores = await (await backend.open()).score([*ids, *range(60)], 38)
        assert len(scores) == len(ids) + 60 - 38
        monkeypatch.undo()
        np.testing.assert_allclose(scores, await (await backend_of(checkpoints, name).open()).score([*ids, *range(60)], 38), atol=1e-4)

    asyncio.run(run())


@pytest.mark.parametrize("anchor", [1, 3, 8])
def test_prompts_stay_where_layers_forget(checkpoints: Path, anchor: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from lmqlc.backends import engine

    monkeypatch.setattr(engine, "ANCHOR", anchor)
    monkeypatch.setattr(engine, "PIECE", 7)
    backend, model = backend_of(checkpoints, "mistral"), reference(checkpoints, "mistral")
    choose = random.Random(anchor)
    prompts = [[choose.randrange(280) for _ in range(choose.choice([9, 20, 33]))] for _ in range(3)]

    async def run() -> None:
        session = await backend.open()
        known = list(prompts)
        for _ in range(60):
            ids = [*choose.choice(known), *(choose.randrange(280) for _ in range(choose.choice([0, 1, 1, 2, 9])))][:90]
            np.testing.assert_allclose(await session.logits([ids]), plain_logits(model, [ids]), atol=2e-4)
            known.append(ids)

    asyncio.run(run())


def test_what_follows_a_prompt_is_taken_back_without_reading_it_again(checkpoints: Path) -> None:
    backend = backend_of(checkpoints, "mistral")
    prompt = [(i * 37) % 280 for i in range(80)]

    async def run() -> None:
        session = await backend.open()
        await session.forget()
        for ids, computed in (([], 80), ([7], 1), ([7, 8], 1), ([9, 9], 3), ([], 1), ([7, 8, 5], 1), ([1] * 9, 9)):
            before = session.usage.tokens_computed
            await session.logits([[*prompt, *ids]])
            assert session.usage.tokens_computed - before == computed, ids
        other = await backend.open()
        await other.logits([prompt])
        assert (other.usage.tokens_computed, other.usage.tokens_reused) == (1, 79)
        assert len(backend._opened().branches) < 8

    asyncio.run(run())


@pytest.mark.parametrize("name", SHARING)
def test_only_new_tokens_are_computed(checkpoints: Path, name: str) -> None:
    backend = backend_of(checkpoints, name, cache_bytes=1 << 20)
    prompt = [40, 41, 42, 43, 44, 45]

    async def run() -> None:
        session = await backend.open()
        await session.logits([prompt])
        assert (session.usage.forward_passes, session.usage.tokens_computed, session.usage.tokens_reused) == (1, 6, 0)
        await session.logits([[*prompt, 50]])
        assert (session.usage.forward_passes, session.usage.tokens_computed, session.usage.tokens_reused) == (2, 7, 6)
        await session.logits([[*prompt[:4], 60, 61]])  # a cut and other text: the common part is not read again
        assert (session.usage.forward_passes, session.usage.tokens_computed, session.usage.tokens_reused) == (3, 9, 10)
        await session.logits([[*prompt, 50, 51], [*prompt, 50, 52], [*prompt, 50, 53]])
        assert (session.usage.forward_passes, session.usage.tokens_computed, session.usage.tokens_reused) == (4, 12, 31)
        await session.logits([[*prompt, 50, 52, i] for i in (1, 2)])
        assert (session.usage.forward_passes, session.usage.tokens_computed) == (5, 14)
        other = await backend.open()
        await other.score([*prompt, 50, 51, 52], 8)
        assert (other.usage.forward_passes, other.usage.tokens_computed, other.usage.tokens_reused) == (1, 1, 7)

    asyncio.run(run())


def test_memory_of_the_cache_is_bounded(checkpoints: Path) -> None:
    backend = backend_of(checkpoints, "gpt2", cache_bytes=100_000)

    async def run() -> None:
        session = await backend.open()
        for i in range(100):
            await session.logits([[i, *range(1, 60)]])

    asyncio.run(run())
    branches = backend._opened().branches
    one = 2 * 2 * 60 * 32 * 4
    assert branches.bytes() <= 100_000 + 16 * one


def test_two_queries_interleave(checkpoints: Path) -> None:
    backend = backend_of(checkpoints, "qwen2")

    async def run() -> list[list[int]]:
        sessions = [await backend.open() for _ in range(4)]
        return await asyncio.gather(*(greedy(session, [i + 1, 2, 3], 10) for i, session in enumerate(sessions)))

    model = reference(checkpoints, "qwen2")
    assert asyncio.run(run()) == [generate(model, [i + 1, 2, 3], 10) for i in range(4)]


def test_a_cancelled_call_ends_at_once_and_harms_nobody(checkpoints: Path) -> None:
    backend, model = backend_of(checkpoints, "gpt2"), reference(checkpoints, "gpt2")
    engine = backend._opened()
    original = engine.forward

    def slow(*arguments: Any) -> Any:
        time.sleep(2)
        return original(*arguments)

    async def run() -> float:
        session = await backend.open()
        engine.forward = slow
        started = time.perf_counter()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(session.logits([[1, 2, 3]]), 0.05)
        waited = time.perf_counter() - started
        engine.forward = original
        np.testing.assert_allclose(await session.logits([[1, 2, 3, 4]]), plain_logits(model, [[1, 2, 3, 4]]), atol=1e-4)
        return waited

    assert asyncio.run(run()) < 1.8


@contextmanager
def layers_through(engine: Engine, direct: bool, around: Callable[[int, Any], Any]) -> Iterator[None]:
    """Every layer `i` of an engine's model is called through `around(i, layer)`, in the pass of this project or in that of transformers."""
    from lmqlc.backends.forward import ModelForward

    before = engine.forward
    layers = engine._model.model.layers
    originals = [layer.forward for layer in layers]
    if direct:
        engine.forward = copy.copy(before)
        engine.forward._blocks = [around(i, block) for i, block in enumerate(before._blocks)]  # type: ignore[attr-defined]
    else:
        engine.forward = ModelForward(engine._model, keeps=True)
        for index, layer in enumerate(layers):
            layer.forward = around(index, originals[index])
    try:
        yield
    finally:
        engine.forward = before
        for layer, original in zip(layers, originals, strict=True):
            layer.forward = original


@pytest.mark.parametrize("direct", [False, True])
def test_a_cancelled_pass_is_given_up(checkpoints: Path, direct: bool) -> None:
    backend = backend_of(checkpoints, "llama", cache_bytes=(5 + direct) << 20)  # one of its own: its steps are not known to be short
    model = reference(checkpoints, "llama")
    engine = backend._opened()
    reached: list[int] = []

    def slow(index: int, original: Any) -> Any:
        def forward(*args: Any, **kwargs: Any) -> Any:
            reached.append(index)
            time.sleep(0.3)
            return original(*args, **kwargs)

        return forward

    async def run() -> None:
        session = await backend.open()
        await session.logits([[1, 2, 3]])
        with layers_through(engine, direct, slow):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(session.logits([[1, 2, 3, 4]]), 0.1)
            await asyncio.sleep(0.5)
        for asked in ([[1, 2, 3, 4]], [[1, 2, 3, 4, 5], [1, 2, 3, 7]]):
            np.testing.assert_allclose(await session.logits(asked), plain_logits(model, asked), atol=1e-4)

    asyncio.run(run())
    assert reached == [0]


@pytest.mark.parametrize("direct", [False, True])
def test_a_failing_pass_leaves_no_broken_cache(checkpoints: Path, direct: bool) -> None:
    backend, model = backend_of(checkpoints, "llama"), reference(checkpoints, "llama")
    engine = backend._opened()

    def broken(index: int, original: Any) -> Any:
        def forward(*args: Any, **kwargs: Any) -> Any:
            if index == 1:
                raise RuntimeError("kernel panic")
            return original(*args, **kwargs)

        return forward

    async def run() -> None:
        session = await backend.open()
        await session.logits([[1, 2, 3]])
        with layers_through(engine, direct, broken), pytest.raises(BackendUnavailable, match="kernel panic"):
            await session.logits([[1, 2, 3, 4]])
        for asked in ([[1, 2, 3, 4]], [[1, 2, 3, 4, 5], [1, 2, 3, 7]]):
            np.testing.assert_allclose(await session.logits(asked), plain_logits(model, asked), atol=1e-4)

    asyncio.run(run())


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")]
)
def test_no_memory_left(checkpoints: Path, error: Exception) -> None:
    backend = backend_of(checkpoints, "gpt2")
    engine = backend._opened()
    original = engine.forward

    def starving(*arguments: Any) -> Any:
        raise error

    async def run() -> None:
        session = await backend.open()
        engine.forward = starving
        with pytest.raises(BackendUnavailable, match="not enough memory"):
            await session.logits([[1, 2, 3]])
        engine.forward = original
        await session.logits([[1, 2, 3]])

    asyncio.run(run())


def test_a_full_gpu_is_tried_again_without_caches(checkpoints: Path) -> None:
    import torch

    backend = backend_of(checkpoints, "gpt2")
    engine = backend._opened()
    original, calls = engine.forward, []

    def full_once(*arguments: Any) -> Any:
        calls.append(len(engine.branches))
        if len(calls) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return original(*arguments)

    async def run() -> None:
        session = await backend.open()
        await session.logits([[9, 9, 9]])
        engine.forward = full_once
        await session.logits([[1, 2, 3]])
        engine.forward = original

    asyncio.run(run())
    assert len(calls) == 2
    assert calls[1] == 0


def test_sequences_that_make_no_sense(checkpoints: Path) -> None:
    backend = backend_of(checkpoints, "gpt2")
    width = len(backend.tokenizer.vocabulary)

    async def run() -> None:
        session = await backend.open()
        for bad in ([], [-1], [width]):
            with pytest.raises(ValueError, match="token ids below"):
                await session.logits([bad])
        with pytest.raises(ValueError, match="second token"):
            await session.score([1, 2], 0)
        with pytest.raises(ContextOverflow, match=r"129 tokens do not fit the context .* which is 128 tokens"):
            await session.logits([[1] * 129])
        assert (await session.logits([])).shape == (0, width)
        assert (await session.score([1, 2], 2)).shape == (0,)

    asyncio.run(run())


def test_vocabulary_is_as_wide_as_the_logits(checkpoints: Path) -> None:
    for name in ALL:
        backend = backend_of(checkpoints, name)
        row = asyncio.run(one_row(backend))
        assert row.shape == (len(backend.tokenizer.vocabulary),)
        assert backend.tokenizer.vocabulary.eos_ids == (0,)
        assert backend.level == "exact"
        assert backend.context_length == (None if name == "mamba" else 128)


async def one_row(backend: InProcessBackend) -> np.ndarray:
    return (await (await backend.open()).logits([[1]]))[0]


def test_a_closed_model_is_loaded_anew(checkpoints: Path) -> None:
    backend = backend_of(checkpoints, "gpt2", cache_bytes=12345)
    assert backend_of(checkpoints, "gpt2", cache_bytes=12345) is backend
    asyncio.run(backend.close())
    with pytest.raises(BackendUnavailable, match="was closed"):
        asyncio.run(backend.open())
    assert backend_of(checkpoints, "gpt2", cache_bytes=12345) is not backend


@pytest.mark.gpu
@pytest.mark.parametrize("name", ALL)
def test_on_a_gpu(checkpoints: Path, name: str) -> None:
    backend, model = backend_of(checkpoints, name, cuda=True, dtype="float32"), reference(checkpoints, name)
    sequences = [[5, 6, 7, 8, 9], [5, 6], [7, 8, 9, 10]]

    async def run() -> tuple[np.ndarray, list[int]]:
        session = await backend.open()
        return await session.logits(sequences), await greedy(session, [5, 6, 7], 10)

    rows, ids = asyncio.run(run())
    np.testing.assert_allclose(rows, plain_logits(model, sequences), atol=1e-3)
    assert ids == generate(model, [5, 6, 7], 10)


def test_short_steps_are_taken_in_the_callers_thread_and_others_get_their_turn(checkpoints: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    from lmqlc.backends import inprocess

    backend, threads, turns = backend_of(checkpoints, "gpt2", cache_bytes=3 << 20), [], 0
    real = backend._step

    def seen(*arguments: Any) -> Any:
        threads.append(threading.current_thread())
        return real(*arguments)

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def run(ids: list[int]) -> list[int]:
        other = asyncio.create_task(others())
        found = await greedy(await backend.open(), ids, 12)
        other.cancel()
        return found

    monkeypatch.setattr(backend, "_step", seen)
    monkeypatch.setattr(inprocess, "SHORT", 0.0)
    always_handed_over = asyncio.run(run([3, 1, 4, 1, 5]))
    assert threading.current_thread() not in threads
    monkeypatch.setattr(inprocess, "SHORT", 60.0)
    backend._engine.branches.clear()  # type: ignore[union-attr]
    threads.clear()
    turns = 0
    assert asyncio.run(run([3, 1, 4, 1, 5])) == always_handed_over
    assert [thread is threading.current_thread() for thread in threads] == [False, *[True] * 11]
    assert turns >= 11
