"""Constraints from strangers that make an engine hang or crash: their request gets an error, and all others go on."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from lmqlc.backends.scripted import RandomBackend
from lmqlc.backends.serve.server import Server
from lmqlc.backends.serve.settings import Settings
from lmqlc.compiler.masks import external
from lmqlc.compiler.workers.pool import Answer, WorkerFailed

HANGS = {
    "forced without end": {"grammar": "start: A B\nA: /a+/\nB: /a+b/"},
    "chained rules": {"grammar": "\n".join(["start: r0", *(f"r{i}: r{i + 1} r{i + 1}" for i in range(4000)), 'r4000: "a"'])},
    "a large step": {"json": {"type": "integer", "multipleOf": 1000003}},
    "many patterns": {"json": {"type": "string", "allOf": [{"pattern": chr(97 + i % 26)} for i in range(29)]}},
    "exponential terminals": {"grammar": "\n".join(["start: A0", *(f"A{i}: A{i + 1} A{i + 1}" for i in range(60)), 'A60: "a" | "b"'])},
}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(RandomBackend(1), Settings(names=("m",), host="127.0.0.1", port=0)) as running:
        yield running


@pytest.fixture(autouse=True)
def nothing_remembered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(external, "READING", 1.0)
    external.forget()
    yield
    external.forget()


async def complete(client: httpx2.AsyncClient, structured: Any, *, tokens: int = 8) -> tuple[Any, float]:
    """The answer to a completion, and the seconds it took."""
    begun = time.monotonic()
    body = {"prompt": "x", "max_tokens": tokens, "temperature": 0}
    answer = await client.post("/v1/completions", json=body if structured is None else {**body, "structured_outputs": structured})
    return answer, time.monotonic() - begun


@pytest.mark.parametrize("name", HANGS)
def test_the_request_is_refused(server: Server, name: str) -> None:
    answer = httpx2.post(f"{server.url}/v1/completions", json={"prompt": "x", "structured_outputs": HANGS[name]}, timeout=60)
    assert answer.status_code in (400, 422), answer.text
    found = answer.json()["error"]
    assert found["type"] == "invalid_request_error"
    assert found["code"] in ("invalid_constraint", "unsatisfiable_constraint", "constraint_violated")
    assert "JSON" in found["message"] or "GRAMMAR" in found["message"]


def test_others_are_served_meanwhile(server: Server) -> None:
    """Plain, regular and grammar requests, while everything that hangs is under way."""
    good: list[Any] = [None, {"regex": "[ab]{3}"}, {"json": {"type": "array", "items": {"type": "boolean"}}}, {"choice": ["yes", "no"]}]

    async def run() -> tuple[list[Any], list[tuple[Any, float]]]:
        async with httpx2.AsyncClient(base_url=server.url, timeout=120) as client:
            for structured in good:
                await complete(client, structured, tokens=40)  # known from now on
            hanging = [asyncio.create_task(complete(client, structured)) for structured in HANGS.values()]
            await asyncio.sleep(0.05)
            served = []
            while not all(task.done() for task in hanging):
                served += [await complete(client, structured, tokens=40) for structured in good]
            return [await task for task in hanging], served

    hanging, served = asyncio.run(run())
    assert all(400 <= answer.status_code < 500 and answer.status_code != 429 for answer, _ in hanging)
    assert served and all(answer.status_code in (200, 422) for answer, _ in served)
    seconds = sorted(took for _, took in served)
    assert seconds[len(seconds) // 2] < 1.0 and seconds[-1] < 4.0


def test_one_that_hangs_in_the_middle_of_a_text_sits_out_the_steps(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others of the batch get their tokens while it is waited for, and it gets an error."""
    ask = external.workers().ask

    def hangs_later(request: Any, **more: Any) -> Answer:
        if len(request[2]) > 2 and request[2][:1] in (b"z", b"w"):
            time.sleep(2)
            raise WorkerFailed("time", "took more than 2 seconds of computing time")
        return ask(request, **more)

    monkeypatch.setattr(external.workers(), "ask", hangs_later)

    async def run() -> tuple[Any, float, list[float]]:
        async with httpx2.AsyncClient(base_url=server.url, timeout=60) as client:
            bad = asyncio.create_task(complete(client, {"grammar": 'start: ("z" | "w")~9 "!"'}))
            await asyncio.sleep(0.3)
            took = []
            while not bad.done():
                answer, seconds = await complete(client, {"grammar": 'start: "y"+ "!"'}, tokens=4)
                assert answer.status_code in (200, 422)
                took.append(seconds)
            return *(await bad), took

    answer, seconds, others = asyncio.run(run())
    assert answer.status_code == 422 and "the engine took more than 2 seconds" in answer.text
    assert seconds >= 2 and len(others) > 3 and max(others) < 1.5


def test_a_stream_ends_with_the_error(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was said before it is delivered."""
    ask = external.workers().ask

    def crashes_later(request: Any, **more: Any) -> Answer:
        if len(request[2]) > 5:
            raise WorkerFailed("crash", "crashed (SIGSEGV)")
        return ask(request, **more)

    monkeypatch.setattr(external.workers(), "ask", crashes_later)
    body = {"prompt": "x", "max_tokens": 20, "stream": True, "structured_outputs": {"grammar": 'start: ("q" | "w")~30'}}
    with httpx2.stream("POST", f"{server.url}/v1/completions", json=body, timeout=60) as answer:
        events = [json.loads(line[6:]) for line in answer.iter_lines() if line.startswith("data: {")]
    assert "the engine crashed (SIGSEGV)" in events[-1]["error"]["message"]
    said = "".join(event["choices"][0]["text"] for event in events[:-1])
    assert said and set(said) <= {"q", "w"}
