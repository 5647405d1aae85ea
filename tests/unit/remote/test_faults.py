"""What goes wrong at servers, in words that name the server and what to do; and servers that misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx2 as httpx
import pytest

import lmqlc
from lmqlc.backends.remote import client as client_module
from lmqlc.backends.remote.client import address, retry_after
from lmqlc.grammar.errors import BackendUnavailable, ConstraintViolated, ContextOverflow, LmqlError, ModelNotFound, StreamBroken

Made = Callable[..., Any]


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "_BACKOFF", 0.001)


def test_refused_connections() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(BackendUnavailable, match=f"no vLLM server answers at http://127.0.0.1:{port}/v1; start it"):
            lmqlc.run_sync('"a[X]"', model=lmqlc.model("vllm/m", endpoint=f"127.0.0.1:{port}"))


def test_wrong_keys(openai: Made) -> None:
    server = openai(httpx.Response(401, json={"error": {"message": "Incorrect API key provided: sk-secret"}}))
    with pytest.raises(BackendUnavailable, match="refused the API key") as found:
        server.run('"a[X]"')
    assert "sk-secret" not in str(found.value)
    assert "OPENAI_API_KEY" in str(found.value)
    assert "sk-secret" not in repr(server.model())


def test_keys_are_taken_out_of_what_servers_say(openai: Made) -> None:
    server = openai(httpx.Response(400, json={"error": {"message": "strange header: Bearer sk-secret"}}))
    with pytest.raises(BackendUnavailable, match="strange header") as found:
        server.run('"a[X]"')
    assert "sk-secret" not in str(found.value)


def test_a_missing_model_is_answered_with_those_there_are(vllm: Made, openai: Made) -> None:
    server = vllm()
    server.values["/v1/models"] = {"data": [{"id": "llama"}, {"id": "qwen"}]}
    with pytest.raises(ModelNotFound, match=r"'m'.*llama, qwen"):
        server.run('"a[X]"')
    server = openai(httpx.Response(404, json={"error": {"message": "The model `gpt-9` does not exist"}}))
    with pytest.raises(ModelNotFound, match=r"does not exist; it has: m"):
        server.run('"a[X]"')


def test_busy_servers_are_waited_for(openai: Made, say: Made) -> None:
    busy = httpx.Response(429, headers={"retry-after": "0.01"}, json={"error": {"message": "Rate limit"}})
    server = openai(busy, busy, busy, busy, say("ok"))
    assert server.run('"a[X]"').variables == {"X": "ok"}
    server = openai(httpx.Response(429, headers={"retry-after": "3600"}, json={"error": {"message": "Rate limit"}}))
    with pytest.raises(BackendUnavailable, match="busy"):
        server.run('"a[X]"')
    server = openai(httpx.Response(429, json={"error": {"message": "no money", "code": "insufficient_quota"}}))
    with pytest.raises(BackendUnavailable, match="no money"):
        server.run('"a[X]"')
    assert len(server.requests) == 1


def test_failures_are_tried_again(vllm: Made, say: Made) -> None:
    server = vllm(httpx.Response(503, text="loading"), httpx.ConnectError("gone"), say("ok"))
    assert server.run('"a[X]"').variables == {"X": "ok"}
    server = vllm(*(httpx.Response(500, json={"detail": "CUDA error"}) for _ in range(9)))
    with pytest.raises(BackendUnavailable, match=r"failed \(500\): CUDA error"):
        server.run('"a[X]"')
    assert len(server.requests) == client_module.RETRIES


@pytest.mark.parametrize("text", ["data: {not json}\n\n", "data: [1]\n\n", 'data: {"choices": 5}\n\n', 'data: {"other": 1}\n\n'])
def test_malformed_answers(text: str, vllm: Made) -> None:
    server = vllm(httpx.Response(200, text=text))
    with pytest.raises(BackendUnavailable, match="malformed"):
        server.run('"a[X]"')


@pytest.mark.parametrize("text", ["", "data: [DONE]\n\n", 'data: {"choices": []}\n\n', 'data: {"choices": [{"text": "x"}]}\n\n'])
def test_answers_without_an_end_are_broken(text: str, vllm: Made) -> None:
    server = vllm(*(httpx.Response(200, text=text) for _ in range(9)))
    with pytest.raises(StreamBroken, match="too early"):
        server.run('"a[X]"')


def test_errors_inside_of_streams(vllm: Made, llama_cpp: Made) -> None:
    server = vllm(*(httpx.Response(200, text='data: {"error": {"message": "engine died"}}\n\n') for _ in range(9)))
    with pytest.raises(BackendUnavailable, match="engine died"):
        server.run('"a[X]"')
    server = llama_cpp(*(httpx.Response(200, text='error: {"message": "slot died"}\n\n') for _ in range(9)))
    with pytest.raises(BackendUnavailable, match="slot died"):
        server.run('"a[X]"')


def test_long_prompts(vllm: Made, llama_cpp: Made) -> None:
    with pytest.raises(ContextOverflow, match=r"5 tokens long.*takes 5"):
        vllm(room=5).run('"abcde[X]"')
    refused = {"error": {"code": 400, "message": "the request exceeds the available context size", "type": "exceed_context_size_error"}}
    with pytest.raises(ContextOverflow, match="available context size"):
        llama_cpp(httpx.Response(400, json=refused)).run('"a[X]"')
    with pytest.raises(ContextOverflow, match=r"3 tokens long.*takes 3"):
        llama_cpp(context=3).run('"abc[X]"')


def test_text_that_the_grammar_does_not_allow(vllm: Made, say: Made) -> None:
    server = vllm(say("4", "2", " apples"))
    with pytest.raises(ConstraintViolated, match="let through ' apples'") as found:
        server.run('"Age:[X]" where INT(X)')
    assert found.value.result.prompt == "Age:"
    server = vllm(say("-"))
    with pytest.raises(ConstraintViolated, match="not complete"):
        server.run('"Age:[X]" where INT(X)')
    server = vllm(say('{"a": 1}'))
    with pytest.raises(ConstraintViolated, match="schema"):
        server.run('"p:[X]" where JSON(X, {"type": "object", "properties": {"a": {"type": "string"}}})')


def test_a_stream_that_breaks_goes_on_where_it_broke(vllm: Made, say: Made) -> None:
    broken = httpx.Response(200, text='data: {"choices": [{"text": "ab"}]}\n\n')
    server = vllm(broken, say("cd", "!"))
    result = server.run('"p:[X]" where STOPS_AT(X, "!") and REGEX(X, "[a-d]*!")')
    assert result.variables == {"X": "abcd!"}
    assert server.prompts[1] == "p:ab"
    assert [token.text for token in result.holes[0].tokens] == ["ab", "cd", "!"]


def test_an_answer_that_cannot_go_on_is_not_mixed_with_another(openai: Made) -> None:
    event = {"choices": [{"delta": {"content": "ab"}}]}
    server = openai(httpx.Response(200, text=f"data: {json.dumps(event)}\n\n"))
    with pytest.raises(StreamBroken):
        server.run('"p:[X]"')


def test_fields_that_a_model_does_not_take_are_left_out_where_that_changes_nothing(openai: Made, say: Made) -> None:
    server = openai(httpx.Response(400, json={"error": {"message": "'logprobs' is not supported with this model"}}), say("ok"))
    assert server.run('"a[X]"').variables == {"X": "ok"}
    assert "logprobs" not in server.requests[1]
    server = openai(httpx.Response(400, json={"error": {"message": "Unsupported value: 'temperature'"}}))
    with pytest.raises(BackendUnavailable, match="temperature"):
        server.run('"a[X]"')


def test_servers_that_report_few_other_tokens_are_asked_for_few(compatible: Made, say: Made) -> None:
    server = compatible(httpx.Response(400, json={"error": {"message": "logprobs must be at most 5"}}), say("4"), say("5"))
    model = server.model()
    assert server.run('"a[X]" where REGEX(X, "[0-9]")', model).variables == {"X": "4"}
    server.run('"a[X]" where REGEX(X, "[0-9]")', model)
    assert [body["logprobs"] for body in server.requests] == [20, 5, 5]


@pytest.mark.parametrize("endpoint", ["", " ", "ftp://x", "http://", "a b", "host:0", "host:99999"])
def test_endpoints_that_are_none(endpoint: str) -> None:
    with pytest.raises(LmqlError, match="endpoint"):
        address(endpoint)


def test_endpoints() -> None:
    assert address("localhost:8000") == "http://localhost:8000/v1"
    assert address("https://host/v1/") == "https://host/v1"
    assert address("https://host/api/openai") == "https://host/api/openai"


def test_passwords_in_endpoints_are_not_shown() -> None:
    with pytest.raises(BackendUnavailable) as found:
        lmqlc.run_sync('"a[X]"', model=lmqlc.model("vllm/m", endpoint="http://user:pass@127.0.0.1:9"))
    assert "pass" not in str(found.value)


def test_unknown_options() -> None:
    with pytest.raises(LmqlError, match="take no option `endpiont`"):
        lmqlc.run_sync('"a[X]"', model=lmqlc.model("vllm/m", endpiont="x"))


def test_retry_after() -> None:
    assert retry_after({"retry-after": "2"}) == 2.0
    assert retry_after({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0.0
    assert retry_after({"retry-after": "soon"}) is None
    assert retry_after({}) is None


class Wire:
    """A server on a socket of its own, for what a line does: each connection gets the next of the scripts."""

    def __init__(self, *scripts: list[bytes | float]) -> None:
        self._scripts = list(scripts)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self._closed = threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                line, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(line,), daemon=True).start()

    def _answer(self, line: socket.socket) -> None:
        with line, line.makefile("rb") as reader:
            length = 0
            while (header := reader.readline().strip()) != b"":
                if header.lower().startswith(b"content-length:"):
                    length = int(header.partition(b":")[2])
            reader.read(length)
            with contextlib.suppress(OSError):
                line.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
                for part in self._scripts.pop(0):
                    if isinstance(part, bytes):
                        line.sendall(part)
                    else:
                        self._closed.wait(part)

    def close(self) -> None:
        self._closed.set()
        self._socket.close()


@pytest.fixture
def wire() -> Iterator[Callable[..., Wire]]:
    made: list[Wire] = []

    def make(*scripts: list[bytes | float]) -> Wire:
        made.append(Wire(*scripts))
        return made[-1]

    yield make
    for server in made:
        server.close()


def event(text: str, finish: str | None = None) -> bytes:
    return f"data: {json.dumps({'choices': [{'text': text, 'finish_reason': finish}]}, ensure_ascii=False)}\n\n".encode()


def run(server: Wire, program: str = '"p:[X]"', **options: Any) -> Any:
    return lmqlc.run_sync(program, model=lmqlc.model("openai/m", endpoint=server.endpoint, server="compatible"), **options)


def test_characters_split_over_packets(wire: Made) -> None:
    data = event("caf\u00e9 \u2028 \U0001f600", "stop")
    server = wire([part for i in range(0, len(data), 3) for part in (data[i : i + 3], 0.001)])
    assert run(server).variables == {"X": "caf\u00e9 \u2028 \U0001f600"}


def test_a_line_that_closes_in_the_middle(wire: Made) -> None:
    server = wire([event("ab")], [event("cd", "stop")])
    assert run(server).variables == {"X": "abcd"}


def test_silence_is_bounded_by_chunk_timeout(wire: Made) -> None:
    server = wire([9.0], [event("x", "stop")])
    assert run(server, chunk_timeout=1.0).variables == {"X": "x"}
    server = wire([event("a"), 9.0], [event("b", "stop")])
    assert run(server, chunk_timeout=1.0).variables == {"X": "ab"}
    server = wire(*([9.0] for _ in range(client_module.RETRIES)))
    with pytest.raises(BackendUnavailable, match=r"silent for 0.1 seconds; raise `chunk_timeout`"):
        run(server, chunk_timeout=0.1)


def test_slow_answers_are_not_silent_ones(wire: Made) -> None:
    server = wire([part for text in "abcde" for part in (event(text), 0.4)] + [event("", "stop")])
    assert run(server, chunk_timeout=1.0).variables == {"X": "abcde"}


def test_a_run_that_is_cancelled_ends_the_request(wire: Made) -> None:
    server = wire([event("a"), 5.0])

    async def cancelled() -> None:
        model = lmqlc.model("openai/m", endpoint=server.endpoint, server="compatible")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(lmqlc.run('"p:[X]"', model=model), 0.3)

    asyncio.run(cancelled())


def test_certificates_hold_no_keys(vllm: Made, say: Made, tmp_path: Any) -> None:
    server, file = vllm(say("ok")), tmp_path / "run.json"
    with lmqlc.traced("t", certificate=str(file)):
        server.run('"a[X]"', model=server.model(api_key="sk-secret"))
    text = file.read_text(encoding="utf-8")
    assert "vllm/m" in text
    assert "sk-secret" not in text


def test_halves_of_surrogate_pairs(vllm: Made, llama_cpp: Made) -> None:
    """JSON can hold them; text cannot."""
    text = 'data: {"choices": [{"text": "a\\ud800b", "finish_reason": "stop"}]}\n\n'
    result = vllm(httpx.Response(200, text=text)).run('"p[X]"')
    assert result.prompt == "pa\ufffdb"
    text = 'data: {"content": "\\ud83d\\ude00\\udc00", "stop": true, "stop_type": "eos"}\n\n'
    assert llama_cpp(httpx.Response(200, text=text)).run('"p[X]"').variables == {"X": "\U0001f600\ufffd"}


def test_long_answers(vllm: Made, say: Made) -> None:
    result = vllm(say(*["word " * 50] * 400)).run('"p[X]" where not "z" in X', max_len=5_000)
    assert len(result.variables["X"]) == 100_000
