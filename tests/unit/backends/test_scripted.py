"""The models that are not learned: what they say, and what they count."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import numpy as np
import pytest

from lmqlc.backends.base import Session
from lmqlc.backends.byte_tokenizer import EOS, ByteTokenizer
from lmqlc.backends.scripted import RandomBackend, ScriptedBackend, ScriptedSession, log_softmax, scripted
from lmqlc.grammar.errors import LmqlError


async def greedy(session: Session, backend: ScriptedBackend, prompt: str, stop: str = "", tokens: int = 40) -> str:
    """What a session says greedily after a prompt, up to end-of-text or a stop phrase."""
    ids = backend.tokenizer.encode(prompt, first=True)
    said: list[int] = []
    for _ in range(tokens):
        chosen = int((await session.logits([ids + said]))[0].argmax())
        if chosen in backend.vocabulary.eos_ids:
            break
        said.append(chosen)
        if stop and stop in backend.tokenizer.decode(said):
            break
    return backend.tokenizer.decode(said)


def test_completions_are_said_hole_by_hole() -> None:
    backend = scripted(" Paris.\nAnd", "Bérlin 🙂")

    async def run() -> list[str]:
        session = await backend.open()
        first = await greedy(session, backend, "France:", stop=".")
        second = await greedy(session, backend, f"France:{first}\nGermany:")
        return [first, second, await greedy(session, backend, "Spain:")]

    assert asyncio.run(run()) == [" Paris.\n", "Bérlin 🙂", ""]


def test_each_session_begins_the_script_anew() -> None:
    backend = scripted("one", "two")

    async def run() -> list[str]:
        return [await greedy(await backend.open(), backend, "x") for _ in range(2)]

    assert asyncio.run(run()) == ["one", "one"]


def test_announced_holes_need_no_guess() -> None:
    backend = scripted("abc", "abd")

    async def run() -> list[str]:
        session = await backend.open()
        assert isinstance(session, ScriptedSession)
        session.begin_hole("X")
        first = await greedy(session, backend, ">", tokens=1)
        session.begin_hole("Y")
        return [first, await greedy(session, backend, ">" + first)]

    assert asyncio.run(run()) == ["a", "abd"]


def test_branches_read_the_script_each_for_itself() -> None:
    """Two branches fill X together and go on alone: each one's second hole is the script's second."""
    backend = scripted("ab", "cd")

    async def run() -> list[str]:
        session = await backend.open()
        assert isinstance(session, ScriptedSession)
        prompt = backend.tokenizer.encode(">", first=True)
        session.begin_hole("X")
        session.begin_hole("X")
        rows = await session.logits([prompt, prompt])
        assert [backend.tokenizer.decode([int(row.argmax())]) for row in rows] == ["a", "a"]
        answers = []
        for said in ("ab;", "x;"):
            session.begin_hole("Y")
            answers.append(await greedy(session, backend, ">" + said))
        return answers

    assert asyncio.run(run()) == ["cd", "cd"]


def test_holes_that_need_no_model_count() -> None:
    backend = scripted("forced", "second")

    async def run() -> str:
        session = await backend.open()
        assert isinstance(session, ScriptedSession)
        session.begin_hole("X")
        session.begin_hole("Y")
        return await greedy(session, backend, "forced;")

    assert asyncio.run(run()) == "second"


def test_answers_by_the_end_of_the_prompt() -> None:
    backend = scripted(after={"France:": " Paris", "Germany:": " Berlin"})

    async def run() -> list[str]:
        session = await backend.open()
        return [await greedy(session, backend, p) for p in ("Q Germany:", "Q France:", "France: Paris Germany:", "Spain:")]

    assert asyncio.run(run()) == [" Berlin", " Paris", " Berlin", ""]


def test_what_comes_next_where_the_script_is_forbidden() -> None:
    backend = scripted("The end")
    tokens = backend.vocabulary.tokens
    row = asyncio.run(ask(backend, "x"))
    order = [tokens[i] if i != EOS else b"EOS" for i in np.argsort(-row, kind="stable")[:5]]
    assert order == [b"The", b"T", b"EOS", b"\x00", b"\x01"]


async def ask(backend: ScriptedBackend | RandomBackend, prompt: str) -> np.ndarray:
    session = await backend.open()
    return (await session.logits([backend.tokenizer.encode(prompt, first=True)]))[0]


def test_calls_and_usage_are_recorded() -> None:
    backend = scripted("yes")

    async def run() -> Session:
        session = await backend.open()
        await session.logits([[5, 6, 7]])
        await session.logits([[5, 6, 7, 8], [5, 6, 9]])
        await session.score([5, 6, 7, 8], 2)
        return session

    usage = asyncio.run(run()).usage
    assert [(call.kind, call.sequences, call.start) for call in backend.calls] == [
        ("logits", ((5, 6, 7),), None),
        ("logits", ((5, 6, 7, 8), (5, 6, 9)), None),
        ("score", ((5, 6, 7, 8),), 2),
    ]
    assert (usage.forward_passes, usage.tokens_computed, usage.tokens_reused) == (3, 3 + 1 + 1 + 1, 3 + 2 + 3)


@pytest.mark.parametrize("make", [lambda: scripted("hello"), lambda: RandomBackend(3)])
def test_scores_are_log_probabilities_of_the_logits(make: Callable[[], ScriptedBackend | RandomBackend]) -> None:
    async def run() -> None:
        session = await make().open()
        scores = await session.score([7, 8, 9], 1)
        rows = await session.logits([[7], [7, 8]])
        assert scores.dtype == np.float64
        expected = [log_softmax(rows[0])[8], log_softmax(rows[1])[9]]
        if isinstance(make(), RandomBackend):
            np.testing.assert_allclose(scores, expected)
        assert (scores < 0).all()

    asyncio.run(run())


def test_random_rows_depend_on_seed_and_sequence_alone() -> None:
    rows = [asyncio.run(ask(RandomBackend(seed), prompt)) for seed, prompt in ((1, "a"), (1, "a"), (2, "a"), (1, "b"))]
    assert rows[0].dtype == np.float32
    np.testing.assert_array_equal(rows[0], rows[1])
    assert not np.array_equal(rows[0], rows[2])
    assert not np.array_equal(rows[0], rows[3])


@pytest.mark.parametrize("text", ["", "Hello the world", "naïve 🙂\n\n", "10 + 20", "\x00\x7f"])
def test_byte_tokenizer_writes_what_it_reads(text: str) -> None:
    tokenizer = ByteTokenizer()
    ids = tokenizer.encode(text, first=True)
    assert tokenizer.decode(ids) == text
    assert not tokenizer.vocabulary.special & set(ids)


def test_byte_tokenizer_prefers_words() -> None:
    tokenizer = ByteTokenizer()
    assert [tokenizer.vocabulary.tokens[i] for i in tokenizer.encode("Hello the 42", first=True)] == [b"Hello", b" the", b" ", b"42"]


def test_byte_tokenizer_turns() -> None:
    assert ByteTokenizer().chat([], generation_prompt=True) is None
    tokenizer = ByteTokenizer(chat=True)
    ids = tokenizer.chat([{"role": "user", "content": "Hello"}], generation_prompt=True)
    assert ids is not None
    assert len(ids) == 4
    assert len(tokenizer.vocabulary.special & set(ids)) == 3
    assert ids[2] in tokenizer.vocabulary.eos_ids
    with pytest.raises(LmqlError, match="unknown chat role 'tool'"):
        tokenizer.chat([{"role": "tool", "content": ""}], generation_prompt=False)
