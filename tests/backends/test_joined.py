"""Many queries at once on one model: shared forward passes, the same outcome."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import numpy as np
import pytest

import lmqlc
from lmqlc.backends.inprocess import InProcessBackend
from lmqlc.backends.registry import load

QUERIES = {
    '"Q: What is the capital of France?\\nA:[X]" where STOPS_BEFORE(X, "\\n")': {},
    '"The number of days is [N: int]. And [Y]"': {"max_tokens": 12},
    '"a[X]"': {"decoder": "sample", "n": 3, "seed": 5, "max_tokens": 9},
    "for i in range(3):\n    '-[THING]' where STOPS_AT(THING, '\\n') and len(TOKENS(THING)) < 8\n": {},
    '"[X]" distribution X in ["yes", "no", "perhaps"]': {},
}


@pytest.fixture(scope="module")
def demo() -> InProcessBackend:
    backend = load("demo")
    assert isinstance(backend, InProcessBackend)
    return backend


def shown(results: Any) -> Any:
    listed = results if isinstance(results, list) else [results]
    return [(result.prompt, [[token.id for token in hole.tokens] for hole in result.holes]) for result in listed]


def logprobs(results: Any) -> list[float]:
    listed = results if isinstance(results, list) else [results]
    return [token.logprob for result in listed for hole in result.holes for token in hole.tokens]


def test_queries_at_once_give_what_they_give_alone(demo: InProcessBackend) -> None:
    alone = [lmqlc.run_sync(text, model=demo, **options) for text, options in QUERIES.items()]

    async def together() -> list[Any]:
        return await asyncio.gather(*(lmqlc.run(text, model=demo, **options) for _ in range(3) for text, options in QUERIES.items()))

    for number, result in enumerate(asyncio.run(together())):
        expected = alone[number % len(alone)]
        assert shown(result) == shown(expected)
        assert logprobs(result) == pytest.approx(logprobs(expected), abs=1e-4)


def test_they_share_forward_passes_and_each_counts_its_own(demo: InProcessBackend) -> None:
    passes: list[int] = []
    engine = demo._opened()
    forward = engine.forward

    def counted(*args: Any, **kwargs: Any) -> Any:
        passes.append(args[0].shape[0])
        return forward(*args, **kwargs)

    engine.forward = counted  # type: ignore[assignment]
    try:

        async def eight() -> list[Any]:
            return await asyncio.gather(*(lmqlc.run(f'"item {i}:[X]"', model=demo, max_tokens=10) for i in range(8)))

        results = asyncio.run(eight())
    finally:
        engine.forward = forward
    tokens = sum(result.usage.tokens for result in results)
    assert tokens >= 40
    assert max(passes) >= 6  # one may begin before the others are there
    assert len([rows for rows in passes if rows > 1]) < tokens / 2
    for result in results:
        usage = result.usage
        before = len(result.holes[0].prompt_ids)
        assert usage.tokens_computed + usage.tokens_reused == sum(range(before, before + usage.tokens))
        assert usage.tokens <= usage.tokens_computed < before + usage.tokens
        assert usage.tokens <= usage.forward_passes <= usage.tokens + 2


def test_threads_share_a_model(demo: InProcessBackend) -> None:
    text = '"Q: What is the capital of {country}?\\nA:[X]" where STOPS_BEFORE(X, "\\n")\nreturn X'
    countries = ["France", "Italy", "Spain", "Greece"] * 3
    alone = {country: lmqlc.run_sync(text, country=country, model=demo) for country in set(countries)}
    found: dict[int, str] = {}

    def work(number: int) -> None:
        found[number] = lmqlc.run_sync(text, country=countries[number], model=demo)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(countries))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[number] for number in range(len(countries))] == [alone[country] for country in countries]


def test_cancelled_queries_leave_the_others_alone(demo: InProcessBackend) -> None:
    text = '"Tell me about {i}:[X]"'
    alone = lmqlc.run_sync(text, i=3, model=demo, max_tokens=20)

    async def some() -> list[Any]:
        tasks = [asyncio.create_task(lmqlc.run(text, i=i, model=demo, max_tokens=20)) for i in range(6)]
        for number, task in enumerate(tasks):
            if number != 3:
                await asyncio.sleep(0.004)
                task.cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    results = asyncio.run(some())
    assert shown(results[3]) == shown(alone)
    assert all(isinstance(result, asyncio.CancelledError) or shown(result) for result in results)
    assert shown(lmqlc.run_sync(text, i=3, model=demo, max_tokens=20)) == shown(alone)


def test_one_questions_error_is_not_the_others(demo: InProcessBackend) -> None:
    engine = demo._opened()
    logits = engine.logits
    calls: list[int] = []

    def failing(sequences: Any) -> Any:
        calls.append(len(sequences))
        if len(sequences) > 1:
            raise RuntimeError("no batches today")
        if sequences[0][-1] == 7:
            raise RuntimeError("not this one")
        return logits(sequences)

    engine.logits = failing  # type: ignore[method-assign]
    try:

        async def three() -> list[Any]:
            sessions = [await demo.open() for _ in range(3)]
            try:
                questions = ([[5, 6, 8]], [[5, 6, 7]], [[5, 6, 9]])
                asked = (session.logits(ids) for session, ids in zip(sessions, questions, strict=True))
                return await asyncio.gather(*asked, return_exceptions=True)
            finally:
                for session in sessions:
                    await session.close()

        one, two, three_ = asyncio.run(three())
    finally:
        del engine.logits
    assert 3 in calls
    assert isinstance(two, lmqlc.errors.BackendUnavailable)
    assert isinstance(one, np.ndarray)
    assert one.shape == three_.shape == (1, engine.width)
    assert np.allclose(one, engine.logits([[5, 6, 8]])[0], atol=1e-4)


def test_a_tool_may_ask_the_model_that_waits_for_it(demo: InProcessBackend) -> None:
    def tool(word: str) -> str:
        return str(
            lmqlc.run_sync('"Q: What is the capital of {word}?\\nA:[X]" where STOPS_BEFORE(X, "\\n")\nreturn X', word=word, model=demo)
        )

    text = '"[A]" where len(A) == 3\n"{tool(word)}[B]" where len(B) == 3\nreturn tool(word)'

    async def several() -> list[Any]:
        return await asyncio.gather(*(lmqlc.run(text, tool=tool, word=word, model=demo) for word in ("France", "Italy", "Spain")))

    assert [answer.strip() for answer in asyncio.run(several())] == ["Paris", "Rome", "Madrid"]


def test_a_closed_model_answers_nobody() -> None:
    from lmqlc.backends.base import ModelSpec
    from lmqlc.backends.inprocess import load_demo

    backend = load_demo(ModelSpec("demo", ""))

    async def closing() -> list[Any]:
        sessions = [await backend.open() for _ in range(2)]
        first = [asyncio.ensure_future(session.logits([[5, 6, 7]])) for session in sessions]
        await asyncio.sleep(0)
        await backend.close()
        later = await asyncio.gather(*(session.logits([[5, 6]]) for session in sessions), return_exceptions=True)
        return [*await asyncio.gather(*first, return_exceptions=True), *later]

    results = asyncio.run(asyncio.wait_for(closing(), 30))
    assert all(isinstance(result, np.ndarray | lmqlc.errors.BackendUnavailable) for result in results)
    assert all(isinstance(result, lmqlc.errors.BackendUnavailable) for result in results[2:])
