"""Requests made up from the server's own OpenAPI document, and messages made up for its websocket: no 500, no lost connection, answers as
the document says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance
from websockets.sync.client import ClientConnection, connect

from lmqlc.backends.scripted import RandomBackend
from lmqlc.backends.serve.server import Server
from lmqlc.backends.serve.settings import Settings


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(RandomBackend(1), Settings(names=("m",), host="127.0.0.1", port=0, legacy=True, seconds=1.0)) as running:
        yield running


PATHS = ("/health", "/metrics", "/v1/models", "/v1/completions", "/v1/chat/completions", "/tokenize", "/detokenize", "/lmqlc/v1/model",
         "/lmqlc/v1/tokenizer", "/lmqlc/v1/hole", "/lmqlc/v1/logits", "/lmqlc/v1/score", "/queue", "/results/{client}")  # fmt: skip


@pytest.fixture(scope="module")
def document(server: Server) -> Any:
    return schemathesis.openapi.from_url(f"{server.url}/openapi.json")


def test_the_document_has_every_path(document: Any) -> None:
    assert {operation.ok().path for operation in document.get_all_operations()} == set(PATHS)


@pytest.mark.parametrize("path", PATHS)
def test_requests_of_the_document(document: Any, path: str) -> None:
    (operation,) = (found.ok() for found in document.get_all_operations() if found.ok().path == path)

    @given(case=operation.as_strategy())
    @settings(max_examples=15, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    def ask(case: Any) -> None:
        answer = case.call_and_validate(checks=[status_code_conformance, response_schema_conformance])
        assert answer.status_code < 500 or answer.status_code == 504  # the deadline is short

    ask()


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 300) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ("model", "stream_id", "prompt", "scored", "max_tokens", "temperature", "logit_bias", "top_logprobs", "top_p", "data")
FINE = {"model": "m", "stream_id": 1, "prompt": [5], "scored": [6], "max_tokens": 2}
MESSAGES = st.one_of(
    st.text(max_size=40),
    st.builds(
        lambda kind, changed: f"{kind} {json.dumps(FINE | changed)}",
        st.sampled_from(["GENERATE", "SCORE", "MODEL_INFO", "TOKEN", ""]),
        st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=3),
    ),
)


@pytest.fixture(scope="module")
def socket(server: Server) -> Iterator[ClientConnection]:
    with connect(f"ws://127.0.0.1:{server.port}/") as connection:
        yield connection


@given(messages=st.lists(MESSAGES, min_size=1, max_size=5))
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_messages_leave_the_websocket_usable(messages: list[str], socket: ClientConnection) -> None:
    for message in messages:
        socket.send(message)
    socket.send('MODEL_INFO {"model": "m", "stream_id": "last"}')
    while True:
        kind, _, rest = str(socket.recv(timeout=30)).partition(" ")
        entries = json.loads(rest)
        assert kind in ("TOKEN", "MSG")
        if any(entry.get("stream_id") == "last" and "model_info" in entry for entry in entries):
            return
