"""`cached_tokens` of the server: what of a prompt was read before, whatever is said after it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest

from lmqlc.backends.base import Backend, ModelSpec
from lmqlc.backends.byte_tokenizer import ByteTokenizer
from lmqlc.backends.prefix_tree import shared_length
from lmqlc.backends.registry import load
from lmqlc.backends.scripted import RandomBackend
from lmqlc.backends.serve.server import Server
from lmqlc.backends.serve.settings import Settings


@pytest.fixture(params=["random", "demo"])
def served(request: pytest.FixtureRequest) -> Iterator[tuple[openai.OpenAI, Backend]]:
    random = request.param == "random"
    backend = RandomBackend(3, tokenizer=ByteTokenizer(chat=True), context_length=900) if random else load(ModelSpec("demo", ""))
    if not random:
        backend._engine.branches.clear()  # type: ignore[attr-defined]
    with (
        Server(backend, Settings(names=("m",), host="127.0.0.1", port=0)) as server,
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client,
    ):
        yield client, backend


CHOICE = {"extra_body": {"structured_outputs": {"choice": ["yes", "no"]}}}


def cached(answer: Any) -> int:
    return int(answer.usage.prompt_tokens_details.cached_tokens)


@pytest.mark.parametrize("most", [1, 2, 17])
def test_prompts(served: tuple[openai.OpenAI, Backend], most: int) -> None:
    client, backend = served
    read: list[list[int]] = []

    def known(ids: list[int]) -> int:
        """What earlier prompts have in common with one; its last id is read again, since the answer begins with what follows it."""
        found = max((shared_length(ids, other) for other in read), default=0)
        read.append(ids)
        return min(found, len(ids) - 1)

    def ask(prompt: Any, **options: Any) -> Any:
        return client.completions.create(model="m", prompt=prompt, max_tokens=most, temperature=0, **options)

    text = backend.tokenizer.encode("the quick brown fox jumps over the lazy dog. " * 30, first=True)
    first, other = text[:330], [*text[:290], *text[5:40]]
    assert cached(ask(first)) == known(first) == 0
    assert cached(ask(first)) == known(first) == 329
    assert cached(ask(other)) == known(other) >= 290
    for ids, options in ((text[101:160], {}), (text[200:230], {"n": 3}), (text[7:90], CHOICE)):
        assert cached(ask(ids, **options)) == known(ids) < 5
    assert cached(ask([text[9:60], text[9:60]])) == known(text[9:60]) + known(text[9:60]) > 45
    events = [*ask(first, stream=True, stream_options={"include_usage": True})]
    assert cached(events[-1]) == known(first)


def test_chats(served: tuple[openai.OpenAI, Backend]) -> None:
    client, backend = served
    if backend.tokenizer.chat([{"role": "user", "content": "a"}], generation_prompt=True) is None:
        return
    said = [{"role": "user", "content": "Once upon a time there was a cat"}]
    found = [client.chat.completions.create(model="m", messages=said, max_tokens=6, temperature=0) for _ in range(2)]  # type: ignore[call-overload]
    assert cached(found[0]) <= 1  # the chat begins as the texts of others did
    assert cached(found[1]) == found[1].usage.prompt_tokens - 1
