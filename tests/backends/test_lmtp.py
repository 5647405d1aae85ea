"""LMTP in both directions: our server's websocket, and queries over it; also against a server with the quirks of existing ones."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.sync.client import ClientConnection, connect

import lmqlc
from lmqlc.backends.base import ModelSpec
from lmqlc.backends.inprocess import DEMO_DIRECTORY
from lmqlc.backends.registry import load
from lmqlc.backends.serve.server import Server
from lmqlc.backends.serve.settings import Settings
from lmqlc.errors import BackendUnavailable, ModelNotFound

DEMO = load(ModelSpec("demo", ""))
IDS = DEMO.tokenizer.encode("Once upon a time", first=True)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(DEMO, Settings(names=("demo", "small"), host="127.0.0.1", port=0)) as running:
        yield running


@pytest.fixture
def socket(server: Server) -> Iterator[ClientConnection]:
    with connect(f"ws://127.0.0.1:{server.port}/", max_size=1 << 26) as connection:
        yield connection


def ask(socket: ClientConnection, kind: str, **payload: Any) -> None:
    socket.send(f"{kind} {json.dumps({'model': 'demo', **payload})}")


def entries(socket: ClientConnection, count: int = 1) -> dict[int, list[dict[str, Any]]]:
    """The entries of so many streams, to the end of each."""
    found: dict[int, list[dict[str, Any]]] = {}
    while count:
        kind, _, rest = str(socket.recv(timeout=20)).partition(" ")
        for entry in json.loads(rest):
            assert kind == "TOKEN" or "model_info" in entry or "error" in entry
            found.setdefault(entry.get("stream_id"), []).append(entry)
            count -= entry.get("finish_reason") is not None or "error" in entry or "model_info" in entry
    return found


def log_softmax(ids: list[int]) -> np.ndarray:
    row = DEMO._engine.logits([ids])[0][0].astype(np.float64)  # type: ignore[attr-defined]
    return np.asarray(row - row.max() - np.log(np.exp(row - row.max()).sum()))


def test_generate_streams_the_likeliest_tokens(socket: ClientConnection) -> None:
    ask(socket, "GENERATE", stream_id=3, prompt=IDS, max_tokens=4, temperature=0.0, top_logprobs=3)
    (stream,) = entries(socket).values()
    assert [entry["finish_reason"] for entry in stream] == [None, None, None, "length"]
    ids = list(IDS)
    for entry in stream:
        expected = log_softmax(ids)
        assert entry["token"] == int(expected.argmax())
        assert entry["logprob"] == pytest.approx(expected.max(), abs=1e-4)
        assert {int(key) for key in entry["top_logprobs"]} == set(np.argsort(-expected)[:3].tolist())
        ids.append(entry["token"])


def test_biases_are_masks_and_streams_interleave(socket: ClientConnection) -> None:
    allowed = {str(i): 100 for i in (40, 41)}
    ask(socket, "GENERATE", stream_id=1, prompt=IDS, max_tokens=6, logit_bias=allowed, temperature=1.0)
    ask(socket, "GENERATE", stream_id=2, prompt=IDS, max_tokens=3)
    ask(socket, "SCORE", stream_id=4, prompt=IDS[:2], scored=IDS[2:])
    ask(socket, "MODEL_INFO", stream_id=5, data={})
    found = entries(socket, 4)
    assert {entry["token"] for entry in found[1]} <= {40, 41}
    assert len(found[2]) == 3
    assert [entry["token"] for entry in found[4]] == IDS[2:]
    assert [e["logprob"] for e in found[4]] == pytest.approx([log_softmax(IDS[:i])[IDS[i]] for i in range(2, len(IDS))], abs=1e-4)
    assert found[5][0]["model_info"]["model"] == "demo"


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ('GENERATE {"stream_id": 9, "model": "gpt2", "prompt": [1]}', "not loaded"),
        ('GENERATE {"stream_id": 9, "model": "demo"}', "prompt"),
        ('GENERATE {"stream_id": 9, "model": "demo", "prompt": [1], "max_tokens": -1}', "max_tokens"),
        ('GENERATE {"stream_id": 9, "model": "demo", "prompt": [1], "logit_bias": {"x": 1}}', "logit_bias"),
        ('GENERATE {"stream_id": 9, "model": "demo", "prompt": [1], "logit_bias": {"99999999": 1}}', "logit_bias"),
        ('SCORE {"stream_id": 9, "model": "demo", "prompt": [1]}', "scored"),
        ('LOAD {"stream_id": 9, "model": "demo"}', "Unknown command"),
        ("GENERATE [1, 2]", "JSON object"),
        ("nonsense", "JSON object"),
        ("GENERATE " + "[" * 100_000, "JSON object"),
    ],
)
def test_bad_messages_are_answered_and_the_connection_goes_on(socket: ClientConnection, message: str, said: str) -> None:
    socket.send(message)
    (found,) = entries(socket).values()
    assert said in found[0]["error"]
    ask(socket, "GENERATE", stream_id=10, prompt=IDS, max_tokens=1)
    assert len(entries(socket)[10]) == 1


PROGRAMS = {
    "free": 'argmax(max_tokens=12) "Hello[A]"',
    "healed": 'argmax(max_tokens=12) "The capital of Fra[A]"',
    "put back": 'argmax(max_tokens=3) "Once upon a time[A]"',
    "put back in chunks": 'argmax(max_tokens=4, chunksize=2) "Once upon a time[A]"',
    "stop": '"Hello[WHO]" where STOPS_AT(WHO, "\\n") and len(TOKENS(WHO)) < 10',
    "number": '"2 + 2 =[N]" where INT(N) and 0 <= int(N) <= 500',
    "choice": '"Is the sky blue? [X]" where X in ["yes", "no", "perhaps"]',
    "forced": '"[X]" where X == "Bazinga, said the cat"',
    "sampled": 'sample(temperature=1.3, seed=7) "Hello[A]" where len(TOKENS(A)) < 12',
    "penalties": 'argmax(repetition_penalty=1.4, max_tokens=12) "a a a b[A]"',
    "beam": 'beam(n=2) "The capital of[A]" where len(TOKENS(A)) < 6',
    "distribution": '"The answer is[X]" distribution X in [" yes", " no", " perhaps so"]',
    "grammar": '"[X]" where GRAMMAR(X, \'start: "a" start "b" | "ab"\') and len(X) < 9',
}


def check_the_same(name: str, model: Any, **options: Any) -> None:
    here, there = lmqlc.run_sync(PROGRAMS[name], model="demo"), lmqlc.run_sync(PROGRAMS[name], model=model, **options)
    for one, other in zip(*((found if isinstance(found, list) else [found]) for found in (here, there)), strict=True):
        assert one.prompt == other.prompt
        assert [hole.finish_reason for hole in one.holes] == [hole.finish_reason for hole in other.holes]
        assert [t.id for hole in one.holes for t in hole.tokens] == [t.id for hole in other.holes for t in hole.tokens]
        expected = [token.logprob for hole in one.holes for token in hole.tokens]
        assert [token.logprob for hole in other.holes for token in hole.tokens] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_same_as_in_process(server: Server, name: str) -> None:
    check_the_same(name, lmqlc.model("demo", endpoint=f"ws://127.0.0.1:{server.port}"), backend="lmtp")


class ExistingServer:
    """What existing servers do otherwise: the last token comes a second time, with the finish reason; likeliest tokens are given for the
    chosen one first; errors of models that are not loaded come as messages."""

    def __init__(self) -> None:
        self.port = 0
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(self._run()), daemon=True)

    def __enter__(self) -> ExistingServer:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set_result, None)
        self._thread.join(10)

    async def _run(self) -> None:
        self._end: asyncio.Future[None] = self._loop.create_future()
        async with serve(self._answer, "127.0.0.1", 0, max_size=1 << 26) as server:
            self.port = next(iter(server.sockets)).getsockname()[1]
            self._ready.set()
            await self._end

    async def _answer(self, socket: ServerConnection) -> None:
        async for message in socket:
            kind, _, rest = str(message).partition(" ")
            asked = json.loads(rest)
            head = {"stream_id": asked["stream_id"]}
            if kind == "SCORE":
                ids = asked["prompt"] + asked["scored"]
                for place in range(len(asked["prompt"]), len(ids)):
                    last = place == len(ids) - 1
                    entry = {
                        "token": ids[place],
                        "logprob": log_softmax(ids[:place])[ids[place]],
                        "finish_reason": "stop" if last else None,
                    }
                    await socket.send(f"TOKEN {json.dumps([head | entry])}")
                continue
            ids = asked["prompt"]
            for left in range(asked["max_tokens"], 0, -1):
                row = log_softmax(ids)
                token = int(row.argmax())
                ids = [*ids, token]
                top = {str(i): row[i] for i in np.argsort(-row)[: asked["top_logprobs"]].tolist()}
                ended = token in DEMO.tokenizer.vocabulary.eos_ids
                entry = {"token": token, "logprob": row[token], "finish_reason": "stop" if ended else None, "top_logprobs": top}
                await socket.send(f"TOKEN {json.dumps([head | entry])}")
                if ended:
                    break
                if left == 1:
                    await socket.send(f"TOKEN {json.dumps([head | entry | {'finish_reason': 'length'}])}")


@pytest.fixture(scope="module")
def existing() -> Iterator[ExistingServer]:
    with ExistingServer() as running:
        yield running


@pytest.mark.parametrize("name", PROGRAMS)
def test_existing_servers_give_the_same(existing: ExistingServer, name: str) -> None:
    check_the_same(name, lmqlc.model("demo", endpoint=f"ws://127.0.0.1:{existing.port}", tokenizer=str(DEMO_DIRECTORY)), backend="lmtp")


def test_errors_say_what_to_do(server: Server) -> None:
    program = '"Hello[WHO]" where len(TOKENS(WHO)) < 4'
    with pytest.raises(ModelNotFound, match="not loaded"):
        model = ModelSpec("lmtp", "gpt9", (("endpoint", f"127.0.0.1:{server.port}"), ("tokenizer", str(DEMO_DIRECTORY))))
        lmqlc.run_sync(program, model=model)
    with pytest.raises(BackendUnavailable, match=r"ws://127\.0\.0\.1:9/ .*serve-model demo"):
        lmqlc.run_sync(program, model=ModelSpec("lmtp", "demo", (("endpoint", "127.0.0.1:9"), ("tokenizer", str(DEMO_DIRECTORY)))))
    with (
        Server(DEMO, Settings(names=("demo",), host="127.0.0.1", port=0, api_key="k")) as locked,
        pytest.raises(BackendUnavailable, match="key"),
    ):
        options = (("endpoint", f"127.0.0.1:{locked.port}"), ("tokenizer", str(DEMO_DIRECTORY)), ("api_key", "wrong"))
        lmqlc.run_sync(program, model=ModelSpec("lmtp", "demo", options))


def test_an_existing_server_is_found_behind_its_address(existing: ExistingServer) -> None:
    at = lmqlc.model("demo", endpoint=f"ws://127.0.0.1:{existing.port}", tokenizer=str(DEMO_DIRECTORY))
    assert lmqlc.run_sync('"Hello[A]" where len(TOKENS(A)) < 4', model=at).variables["A"]
    with pytest.raises(BackendUnavailable, match=r"no lmqlc server.*ws://"):
        lmqlc.run_sync('"Hello[A]" where len(TOKENS(A)) < 4', model=lmqlc.model("demo", endpoint=f"127.0.0.1:{existing.port}"))
