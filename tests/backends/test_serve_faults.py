"""Clients that go away, servers that go away, too many requests, wrong keys, hostile input: nobody else notices, and nothing is lost."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx2 as httpx
import pytest

import lmqlc
from lmqlc.backends.base import ModelSpec
from lmqlc.backends.http import load_server
from lmqlc.backends.scripted import RandomBackend
from lmqlc.backends.serve.app import build_app
from lmqlc.backends.serve.server import Server
from lmqlc.backends.serve.settings import Settings
from lmqlc.errors import BackendUnavailable, LmqlError, ModelNotFound
from lmqlc.queries import program_of, run_program
from lmqlc.runtime.stream import Event, TokenEvent

LONG = '"Go[X]" where len(TOKENS(X)) < 40'
EXPECTED = RandomBackend(1)


class Slow(RandomBackend):
    """A random model that takes its time."""

    def __init__(self, seconds: float = 0.01) -> None:
        super().__init__(1)
        self.seconds = seconds

    def row(self, *args: Any) -> Any:
        time.sleep(self.seconds)
        return super().row(*args)


def serving(pause: float = 0.0, **fields: Any) -> Server:
    return Server(Slow(pause), Settings(**{"names": ("m",), "host": "127.0.0.1", "port": 0, **fields}))


def run(model: Any, text: str = LONG, **arguments: Any) -> Any:
    chosen = {} if text.startswith("argmax") else {"decoder": "sample", "temperature": 1.0, "seed": 4}
    return asyncio.run(run_program(program_of(text), (), {"model": model, **chosen, **arguments}))[0]


class Seen:
    """An output writer that keeps the tokens it is told of."""

    def __init__(self, then: Callable[[int], None] = lambda count: None) -> None:
        self.ids: list[int] = []
        self._then = then

    def write(self, event: Event) -> None:
        if isinstance(event, TokenEvent):
            self.ids.append(event.token.id)
            self._then(len(self.ids))


def wait_for(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.01)


def hole(**fields: Any) -> dict[str, Any]:
    return {"prompt": [5, 6], "budget": 300, **fields}


# -- clients that go away ------------------------------------------------------------------------------------------------


def test_a_client_that_goes_away_is_dropped_within_a_step_and_others_go_on() -> None:
    with serving(0.02) as server:
        scheduler = server.served.ready().scheduler
        with httpx.Client(base_url=server.url) as one, one.stream("POST", "/lmqlc/v1/hole", json=hole()) as stream:
            next(stream.iter_lines())
            assert scheduler.active == 1
            started = time.monotonic()
        wait_for(lambda: scheduler.active == 0)
        assert time.monotonic() - started < 300 * 0.02  # the whole hole would take longer
        assert scheduler.counts.cancelled == 1
        expected = run(EXPECTED)
        assert run(lmqlc.model("m", endpoint=server.endpoint)).prompt == expected.prompt


@pytest.mark.parametrize("path", ["/lmqlc/v1/logits", "/lmqlc/v1/score", "/v1/completions"])
def test_whoever_waits_for_a_whole_answer_can_go_away_too(path: str) -> None:
    with serving(0.03) as server:
        scheduler = server.served.ready().scheduler
        bodies = {
            "/lmqlc/v1/logits": {"sequences": [[5, i] for i in range(250)]},
            "/lmqlc/v1/score": {"prompt": [5], "options": [[i] for i in range(250)]},
            "/v1/completions": {"prompt": "a", "max_tokens": 300, "temperature": 0},
        }
        with contextlib.suppress(httpx.TimeoutException):
            httpx.post(server.url + path, json=bodies[path], timeout=1.0)
        assert run(lmqlc.model("m", endpoint=server.endpoint), '"a[X]" where len(TOKENS(X)) < 2').prompt.startswith("a")
        wait_for(lambda: scheduler.active == 0)
        assert scheduler.counts.cancelled == 1  # the whole answer was not computed


def test_connections_that_are_opened_and_dropped_leave_nothing() -> None:
    with serving() as server:
        for _ in range(500):
            with socket.create_connection(("127.0.0.1", server.port)) as sock:
                sock.sendall(
                    b"POST /lmqlc/v1/hole HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{"
                )
        wait_for(lambda: not server._uvicorn.server_state.connections)
        assert httpx.get(server.url + "/health").json() == {"status": "ready"}


def test_a_head_that_does_not_end_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    from lmqlc.backends.serve import connections

    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.3)
    with serving() as server:
        with socket.create_connection(("127.0.0.1", server.port)) as silent:
            assert silent.recv(1) == b""
        with socket.create_connection(("127.0.0.1", server.port)) as endless:
            endless.sendall(b"GET /health HTTP/1.1\r\n")
            with contextlib.suppress(OSError):
                for _ in range(200):
                    endless.sendall(b"x-more: " + b"y" * 1000 + b"\r\n")
            with contextlib.suppress(OSError):
                assert endless.recv(100) == b""


# -- servers that go away ------------------------------------------------------------------------------------------------


def test_a_server_that_is_restarted_in_the_middle_of_a_hole() -> None:
    expected = run(EXPECTED)
    first = serving(0.01, drain=0.1).start()
    port = first.port
    servers = [first]

    def restart(count: int) -> None:
        if count == 10:
            first._uvicorn.force_exit = True
            first.served.close(0.1)
            first.stop()
            servers.append(serving(port=port).start())

    seen = Seen(restart)
    try:
        result = run(lmqlc.model("m", endpoint=f"127.0.0.1:{port}"), output_writer=seen)
    finally:
        servers[-1].stop()
    assert len(servers) == 2
    tokens = [(token.id, token.logprob) for token in expected.holes[0].tokens]
    assert [(token.id, token.logprob) for token in result.holes[0].tokens] == tokens
    assert seen.ids == [token_id for token_id, _ in tokens]


class Flaky:
    """A relay to a server that breaks connections after a random number of bytes of the answer."""

    def __init__(self, port: int, seed: int) -> None:
        self._target = port
        self._random = random.Random(seed)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.broken = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._relay, args=(client,), daemon=True).start()

    def _relay(self, client: socket.socket) -> None:
        left = self._random.choice([10, 150, 300, 400, 500, 700, 2000, 10**9])
        with contextlib.suppress(OSError), client, socket.create_connection(("127.0.0.1", self._target)) as server:
            threading.Thread(target=_pump, args=(client, server), daemon=True).start()
            while left > 0 and (data := server.recv(min(left, 4096))):
                client.sendall(data)
                left -= len(data)
            self.broken += left <= 0
            client.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.close()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(4096):
            target.sendall(data)


@pytest.mark.parametrize("seed", range(3))
def test_connections_that_break_lose_and_repeat_nothing(seed: int) -> None:
    text = LONG + '\n"; then[N]" where INT(N) and len(N) < 9\n"; or[Y]" where STOPS_BEFORE(Y, "e") and len(TOKENS(Y)) < 30'
    expected = run(EXPECTED, text)
    with serving() as server:
        relay = Flaky(server.port, seed)
        backend = load_server(ModelSpec("server", "m", (("endpoint", f"127.0.0.1:{relay.port}"),)))
        seen = Seen()
        result = run(backend, text, output_writer=seen)
        relay.close()
    assert relay.broken > 0
    assert result.prompt == expected.prompt
    assert seen.ids == [token.id for one in expected.holes for token in one.tokens]


def test_logits_and_scores_over_connections_that_break() -> None:
    async def ask(backend: Any) -> tuple[Any, Any]:
        session = await backend.open()
        return await session.logits([[5, 6], [7]]), await session.score_options([5], [[6, 7], [], [8]])

    with serving() as server:
        relay = Flaky(server.port, 11)
        backend = load_server(ModelSpec("server", "m", (("endpoint", f"127.0.0.1:{relay.port}"),)))
        for _ in range(5):
            rows, scores = asyncio.run(ask(backend))
            assert (rows[1] == EXPECTED.row((7,))).all()
            assert [len(row) for row in scores] == [2, 0, 1]
        relay.close()


def test_a_silent_server_is_asked_again_and_then_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(0.0) as server:
        model = lmqlc.model("m", endpoint=server.endpoint)
        run(model, '"a[X]" where len(TOKENS(X)) < 2')
        slow = server.served.ready().backend
        slow.seconds = 1.0  # type: ignore[attr-defined]
        monkeypatch.setattr("lmqlc.backends.http_client.TRIES", 2)
        started = time.monotonic()
        with pytest.raises(BackendUnavailable, match=r"does not answer: nothing came for 0\.2 seconds, 2 times; raise chunk_timeout"):
            run(model, 'argmax(chunk_timeout=0.2) "b[X]" where len(TOKENS(X)) < 9')
        assert time.monotonic() - started < 30


# -- too much ------------------------------------------------------------------------------------------------------------


def test_a_full_queue_says_so_and_clients_come_again() -> None:
    with serving(0.05, batch=1, queue=1) as server:
        with httpx.Client(base_url=server.url) as client:
            streams = [client.stream("POST", "/lmqlc/v1/hole", json=hole()) for _ in range(2)]
            for stream in streams:
                stream.__enter__()
            wait_for(lambda: server.served.ready().scheduler.waiting == 1)
            refused = client.post("/v1/completions", json={"prompt": "a"})
            assert refused.status_code == 429
            assert int(refused.headers["retry-after"]) >= 1
            assert refused.json()["error"]["code"] == "queue_full"
            for stream in streams:
                stream.__exit__(None, None, None)
        assert run(lmqlc.model("m", endpoint=server.endpoint)).prompt == run(EXPECTED).prompt


def test_many_queries_at_once_in_a_short_queue() -> None:
    async def all_of_them(model: Any) -> list[Any]:
        text = 'argmax "{i}[X]" where len(TOKENS(X)) < 8'
        return await asyncio.gather(*(run_program(program_of(text), (), {"model": model, "i": i}) for i in range(30)))

    with serving(0.001, batch=4, queue=8) as server:
        found = asyncio.run(all_of_them(lmqlc.model("m", endpoint=server.endpoint)))
    expected = asyncio.run(all_of_them(EXPECTED))
    assert [results[0].prompt for results in found] == [results[0].prompt for results in expected]


def test_the_queue_is_fair() -> None:
    """A client with one request does not wait for all of another one's."""
    with serving(0.005, batch=1, queue=100) as server, httpx.Client(base_url=server.url) as other:
        done: list[str] = []

        async def greedy() -> None:
            async with httpx.AsyncClient(base_url=server.url, limits=httpx.Limits(max_connections=12)) as client:

                async def one() -> None:
                    await client.post("/v1/completions", json={"prompt": "a", "max_tokens": 20, "temperature": 0})
                    done.append("greedy")

                await asyncio.gather(*(one() for _ in range(12)))

        thread = threading.Thread(target=lambda: asyncio.run(greedy()))
        thread.start()
        wait_for(lambda: server.served.ready().scheduler.waiting >= 8)
        other.post("/v1/completions", json={"prompt": "b", "max_tokens": 2})
        done.append("other")
        thread.join()
    assert done.index("other") <= 12


def test_deadlines() -> None:
    with serving(0.01) as server:
        answer = httpx.post(server.url + "/lmqlc/v1/logits", json={"sequences": [[5]] * 250, "deadline": 0.01}, timeout=30)
        late = httpx.post(server.url + "/lmqlc/v1/hole", json=hole(deadline=0.2), timeout=30)
        assert (answer.status_code, answer.json()["error"]["code"]) == (504, "deadline_exceeded")
        assert json.loads(late.text.splitlines()[-1])["error"]["code"] == "deadline_exceeded"


def test_a_server_that_stops_finishes_what_it_has() -> None:
    server = serving(0.01).start()
    texts: list[str] = []

    def ask() -> None:
        with httpx.stream("POST", server.url + "/lmqlc/v1/hole", json=hole(budget=60), timeout=30) as stream:
            texts.extend(stream.iter_lines())

    thread = threading.Thread(target=ask)
    thread.start()
    wait_for(lambda: server.served.ready().scheduler.active == 1)
    server.stop()
    thread.join()
    assert "end" in json.loads(texts[-1])
    with pytest.raises(httpx.ConnectError):
        httpx.get(server.url + "/health")


def test_out_of_memory_makes_batches_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    from lmqlc.backends.pretrained import OutOfMemory
    from lmqlc.backends.scripted import ScriptedSession

    real, sizes = ScriptedSession.logits, []

    async def short(self: Any, sequences: Any) -> Any:
        sizes.append(len(sequences))
        if len(sequences) > 3:
            raise OutOfMemory("not enough memory")
        return await real(self, sequences)

    monkeypatch.setattr(ScriptedSession, "logits", short)
    with serving() as server:
        answer = httpx.post(server.url + "/lmqlc/v1/logits", json={"sequences": [[5, i] for i in range(16)]})
        assert answer.status_code == 200
        assert len(answer.content) == 16 * 4 * len(EXPECTED.vocabulary)
        sizes.clear()
        httpx.post(server.url + "/lmqlc/v1/logits", json={"sequences": [[5, i] for i in range(16)]})
        assert max(sizes) <= 3


# -- who may ask, and what ------------------------------------------------------------------------------------------------


def test_a_key_is_asked_for_everywhere_but_for_health() -> None:
    with serving(api_key="sesame") as server, httpx.Client(base_url=server.url) as client:
        paths = ["/v1/models", "/metrics", "/openapi.json", "/lmqlc/v1/model", "/lmqlc/v1/tokenizer", "/nowhere", "/"]
        for headers in ({}, {"authorization": "Bearer sesam"}, {"authorization": "Basic sesame"}, {"authorization": "Bearer sesame2"}):
            assert [client.get(path, headers=headers).status_code for path in paths] == [401] * len(paths)
            for path in ("/v1/completions", "/v1/chat/completions", "/tokenize", "/detokenize", "/lmqlc/v1/hole"):
                answer = client.post(path, json={}, headers=headers)
                assert answer.status_code == 401
                assert answer.json()["error"]["code"] == "invalid_api_key"
        assert client.get("/health").status_code == 200
        assert client.get("/v1/models", headers={"authorization": "Bearer sesame"}).status_code == 200
        with pytest.raises(BackendUnavailable, match="asks for an API key; set LMQL_API_KEY"):
            run(lmqlc.model("m", endpoint=server.endpoint))
        with pytest.raises(BackendUnavailable, match="the key is wrong"):
            run(lmqlc.model("m", endpoint=server.endpoint, api_key="x"))
        assert run(lmqlc.model("m", endpoint=server.endpoint, api_key="sesame")).prompt == run(EXPECTED).prompt


def test_other_names_for_this_machine_are_turned_away() -> None:
    with serving() as server:
        assert httpx.get(server.url + "/v1/models", headers={"host": "evil.example:80"}).status_code == 421
        assert httpx.get(server.url + "/v1/models", headers={"host": f"localhost:{server.port}"}).status_code == 200
        answer = httpx.post(server.url + "/v1/completions", content=b'{"prompt": "a"}', headers={"content-type": "text/plain"})
        assert answer.status_code == 415


def test_a_body_has_its_bound() -> None:
    with serving(body=1000) as server:
        assert httpx.post(server.url + "/tokenize", json={"prompt": "a" * 2000}).status_code == 413


def test_errors_of_the_client_name_url_and_remedy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(BackendUnavailable, match=rf"no server answers at http://127.0.0.1:{port} .*lmqlc serve-model gpt2.*local:gpt2"):
        run(lmqlc.model("gpt2", endpoint=f"127.0.0.1:{port}"))
    with serving() as server:
        with pytest.raises(ModelNotFound, match=rf"the server at {server.url} has no model 'gpt2', it serves 'm'"):
            run(lmqlc.model("gpt2", endpoint=server.endpoint))
        with pytest.raises(LmqlError, match="no option 'cuda'; options of from_pretrained"):
            run(lmqlc.model("m", endpoint=server.endpoint, cuda=True))
    with pytest.raises(LmqlError, match="is no address of a server"):
        run(lmqlc.model("m", endpoint="localhost:notaport"))


def test_another_version_of_the_protocol_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from lmqlc.backends.serve import holes

    monkeypatch.setattr(holes, "PROTOCOL", 9)
    with serving() as server, pytest.raises(BackendUnavailable, match="speaks version 9 of the protocol, this lmqlc version 1"):
        run(lmqlc.model("m", endpoint=server.endpoint))


def test_something_else_at_the_port() -> None:
    async def page(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 5\r\n\r\nhello")
        await writer.drain()
        writer.close()

    async def ask() -> None:
        async with await asyncio.start_server(page, "127.0.0.1", 0) as other:
            port = other.sockets[0].getsockname()[1]
            await asyncio.to_thread(load_server, ModelSpec("server", "m", (("endpoint", f"127.0.0.1:{port}"),)))

    with pytest.raises(BackendUnavailable, match=r"is no lmqlc server \(HTTP status 404\)"):
        asyncio.run(ask())


def test_a_model_that_fails_to_load_and_one_that_is_loading(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()

    def slow_load(spec: Any, progress: Any) -> Any:
        gate.wait(10)
        raise ModelNotFound("no such model")

    monkeypatch.setattr("lmqlc.backends.serve.served.load", slow_load)
    server = Server(ModelSpec("local", "m"), Settings(names=("m",), host="127.0.0.1", port=0))
    server.start(wait=False)
    try:
        wait_for(lambda: httpx.get(server.url + "/health").json() == {"status": "loading"})
        answer = httpx.post(server.url + "/v1/completions", json={"prompt": "a"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "model_loading")
        gate.set()
        wait_for(lambda: httpx.get(server.url + "/health").json() == {"status": "failing"})
        with pytest.raises(BackendUnavailable, match="no such model"):
            run(lmqlc.model("m", endpoint=server.endpoint))
    finally:
        server.stop()


def test_a_client_waits_for_a_model_that_is_loading(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow_load(spec: Any, progress: Any) -> Any:
        progress("reading", 0.5)
        time.sleep(1.0)
        return RandomBackend(1)

    monkeypatch.setattr("lmqlc.backends.serve.served.load", slow_load)
    server = Server(ModelSpec("local", "m"), Settings(names=("m",), host="127.0.0.1", port=0)).start(wait=False)
    try:
        assert run(lmqlc.model("m", endpoint=server.endpoint)).prompt == run(EXPECTED).prompt
    finally:
        server.stop()


def test_metrics() -> None:
    with serving() as server:
        run(lmqlc.model("m", endpoint=server.endpoint))
        text = httpx.get(server.url + "/metrics").text
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert values["lmqlc_ready"] == "1"
    assert float(values["lmqlc_tokens_total"]) == len(run(EXPECTED).holes[0].tokens)
    assert float(values["lmqlc_finished_total"]) == 1
    assert any(line.startswith('lmqlc_requests_total{route="/lmqlc/v1/hole",status="200"}') for line in text.splitlines())


def test_tokenize_and_back() -> None:
    with serving() as server:
        tokens = httpx.post(server.url + "/tokenize", json={"prompt": "Hello <|é|>"}).json()["tokens"]
        assert tokens == EXPECTED.tokenizer.encode("Hello <|é|>", first=True)
        assert httpx.post(server.url + "/detokenize", json={"tokens": tokens}).json() == {"prompt": "Hello <|é|>"}


def test_the_app_can_stand_in_another_server() -> None:
    from lmqlc.backends.serve.served import Served

    served = Served(Settings(names=("m",)))
    served.load(RandomBackend(1))

    async def ask() -> Any:
        transport = httpx.ASGITransport(app=build_app(served))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return (await client.post("/v1/completions", json={"prompt": "a", "temperature": 0, "max_tokens": 3})).json()

    assert asyncio.run(ask())["usage"]["completion_tokens"] == 3
    served.close(1)


@pytest.fixture(scope="module")
def hostile() -> Iterator[Server]:
    with serving(seconds=5.0) as server:
        yield server


ATOMS: list[Any] = [None, True, -1, 0, 1, 2**70, 1e308, "", "x", "\ud800", [], [1], ["a"], {}, {"a": 1}, [[1]], "a" * 5000, [[]] * 300]


@pytest.mark.parametrize(
    "path", ["/lmqlc/v1/hole", "/lmqlc/v1/logits", "/lmqlc/v1/score", "/v1/completions", "/v1/chat/completions", "/tokenize", "/detokenize"]
)
def test_any_json_is_answered_and_never_with_500(hostile: Server, path: str) -> None:
    known = {
        "/lmqlc/v1/hole": [
            "prompt",
            "budget",
            "sampling",
            "seed",
            "automaton",
            "packed",
            "formula",
            "leading_space",
            "follow",
            "known",
            "chunk",
            "healable",
        ],
        "/lmqlc/v1/logits": ["sequences", "model", "deadline"],
        "/lmqlc/v1/score": ["prompt", "start", "options"],
        "/v1/completions": [
            "prompt",
            "max_tokens",
            "temperature",
            "stop",
            "logprobs",
            "echo",
            "n",
            "logit_bias",
            "structured_outputs",
            "stream",
        ],
        "/v1/chat/completions": ["messages", "max_tokens", "response_format", "stop", "seed", "stream_options", "top_logprobs", "tools"],
        "/tokenize": ["prompt", "messages", "add_special_tokens"],
        "/detokenize": ["tokens", "model"],
    }[path]
    source = random.Random(path)
    fine = {"prompt": [5], "budget": 2, "sequences": [[5]], "options": [[5]], "messages": [{"role": "user", "content": "a"}], "tokens": [5]}
    with httpx.Client(base_url=hostile.url, timeout=60) as client:
        for _ in range(40):
            body = {
                name: source.choice(ATOMS) if source.random() < 0.4 else fine.get(name) for name in source.sample(known, min(3, len(known)))
            }
            body = {**{name: fine[name] for name in known if name in fine}, **body}
            answer = client.post(path, content=json.dumps(body), headers={"content-type": "application/json"})
            assert answer.status_code < 500, (body, answer.text)
        for content in (b"", b"{", b"[" * 100_000, b"\xff\xfe", b'{"a": NaN}', b"null", b"3", b'"x"', b'{"prompt": 1' + b"0" * 5000 + b"}"):
            answer = client.post(path, content=content, headers={"content-type": "application/json"})
            assert 400 <= answer.status_code < 500
            assert answer.json()["error"]["message"]


def test_a_server_with_too_many_connections_is_asked_again() -> None:
    """What it says then is no JSON."""
    with serving(connections=3) as server:
        held = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(3)]
        wait_for(lambda: len(server._uvicorn.server_state.connections) == 3)
        threading.Timer(0.5, lambda: [sock.close() for sock in held]).start()
        assert run(lmqlc.model("m", endpoint=server.endpoint)).prompt == run(EXPECTED).prompt
