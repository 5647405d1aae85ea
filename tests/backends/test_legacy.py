"""The legacy inference API in both directions: our server's queue, and queries with `backend="legacy"`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx2 as httpx
import numpy as np
import pytest

import lmqlc
from lmqlc.backends.base import ModelSpec
from lmqlc.backends.registry import load
from lmqlc.backends.serve.server import Server
from lmqlc.backends.serve.settings import Settings
from lmqlc.errors import BackendUnavailable, LmqlError, ModelNotFound
from lmqlc.runtime.models import over_wire


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    settings = Settings(names=("demo", "small"), host="127.0.0.1", port=0, legacy=True)
    with Server(load(ModelSpec("demo", "")), settings) as running:
        yield running


@pytest.fixture
def api(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=20) as client:
        yield client


def ask(api: httpx.Client, **payload: Any) -> dict[str, Any]:
    """A request's result, by polling."""
    queued = api.post("/queue", json={"sample_id": 7, "client_id": "me", **payload})
    assert (queued.status_code, queued.json()) == (200, {"sample_id": 7}), queued.text
    for _ in range(500):
        results = api.get("/results/me").json()
        if results:
            (result,) = results
            assert (result.pop("client_id"), result.pop("sample_id")) == ("me", 7)
            return dict(result)
        time.sleep(0.01)
    raise AssertionError("no result came")


def logits_of(*sequences: list[int]) -> np.ndarray:
    backend = load(ModelSpec("demo", ""))
    return np.concatenate([backend._engine.logits([ids])[0] for ids in sequences])  # type: ignore[attr-defined]


def test_forward_gives_the_logits_of_one_sequence_or_a_batch(api: httpx.Client) -> None:
    one = ask(api, action="forward", model_identifier="demo", input_ids=[40, 41, 42])["next_token_logits"]
    assert np.allclose(one, logits_of([40, 41, 42])[0], atol=1e-4)
    mask = [[0, 1, 1], [1, 1, 1]]
    batch = ask(api, action="forward", model_identifier="small", input_ids=[[0, 40, 41], [42, 43, 44]], attention_mask=mask)
    assert np.allclose(batch["next_token_logits"], logits_of([40, 41], [42, 43, 44]), atol=1e-4)


def test_tokenize_and_detokenize(api: httpx.Client) -> None:
    tokenizer = load(ModelSpec("demo", "")).tokenizer
    ids = ask(api, action="tokenize", text="Hello, World!")["input_ids"]
    assert ids == tokenizer.encode("Hello, World!", first=True)
    assert ask(api, action="detokenize", input_ids=ids) == {"text": "Hello, World!"}
    assert ask(api, action="tokenize", text="<EOS>") == {"input_ids": [tokenizer.vocabulary.eos_ids[0]]}
    assert ask(api, action="tokenize", text="<BOS>") == {"input_ids": [tokenizer.bos_id]}


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        ({"action": "forward", "model_identifier": "gpt2", "input_ids": [1]}, "serves model demo or small not gpt2"),
        ({"action": "forward", "model_identifier": "demo"}, "list of at most"),
        ({"action": "forward", "model_identifier": "demo", "input_ids": []}, "empty"),
        ({"action": "forward", "model_identifier": "demo", "input_ids": [10**9]}, "token ids from 0"),
        ({"action": "forward", "model_identifier": "demo", "input_ids": [1, 2], "attention_mask": [1, 0]}, "beginning"),
        ({"action": "forward", "model_identifier": "demo", "input_ids": [[1]], "attention_mask": 3}, "same shape"),
        ({"action": "tokenize"}, "needs a `text`"),
        ({"action": "detokenize"}, "needs `input_ids`"),
        ({"action": "train"}, "Unknown action: train"),
        ({"action": "tokenize", "text": "a", "client_id": None}, "client_id"),
        ({"action": "tokenize", "text": "a", "sample_id": [1]}, "sample_id"),
    ],
)
def test_bad_requests_are_refused_with_a_reason(api: httpx.Client, payload: dict[str, Any], said: str) -> None:
    answer = api.post("/queue", json={"sample_id": 1, "client_id": "bad", **payload})
    assert answer.status_code == 400
    assert said in answer.text
    assert api.get("/results/bad").json() == []


def test_results_are_given_once_and_to_their_client_only(api: httpx.Client) -> None:
    for sample in (1, 2):
        api.post("/queue", json={"sample_id": sample, "client_id": "x", "action": "tokenize", "text": "a"})
    found: list[int] = []
    while len(found) < 2:
        assert api.get("/results/y").json() == []
        found += [result["sample_id"] for result in api.get("/results/x").json()]
    assert sorted(found) == [1, 2]
    assert api.get("/results/x").json() == []


PROGRAMS = {
    "stop": '"Hello[WHO]" where STOPS_AT(WHO, "\\n") and len(TOKENS(WHO)) < 10',
    "number": '"2 + 2 =[N]" where INT(N) and 0 <= int(N) <= 500',
    "choice": '"Is the sky blue? [X]" where X in ["yes", "no", "perhaps"]',
    "sampled": 'sample(temperature=1.3, seed=7) "Hello[A]" where len(TOKENS(A)) < 12',
    "beam": 'beam(n=2) "The capital of[A]" where len(TOKENS(A)) < 6',
    "distribution": '"The answer is[X]" distribution X in [" yes", " no", " perhaps so"]',
    "custom": 'import lmql\n@lmql.constraint\ndef short(text, final):\n    return len(text) < 9\n"Hello[X]" where short(X)',
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_same_as_in_process(server: Server, name: str) -> None:
    here = lmqlc.run_sync(PROGRAMS[name], model="demo")
    there = lmqlc.run_sync(PROGRAMS[name], model=lmqlc.model("demo", endpoint=f"127.0.0.1:{server.port}"), backend="legacy")
    for one, other in zip(*((found if isinstance(found, list) else [found]) for found in (here, there)), strict=True):
        assert one.prompt == other.prompt
        assert [hole.finish_reason for hole in one.holes] == [hole.finish_reason for hole in other.holes]
        assert [t.id for hole in one.holes for t in hole.tokens] == [t.id for hole in other.holes for t in hole.tokens]
        expected = [token.logprob for hole in one.holes for token in hole.tokens]
        assert [token.logprob for hole in other.holes for token in hole.tokens] == pytest.approx(expected, abs=1e-4)


def test_the_header_chooses_the_api(server: Server) -> None:
    program = (
        f'argmax(backend="legacy") "Hello[WHO]" from lmql.model("demo", endpoint="127.0.0.1:{server.port}") where len(TOKENS(WHO)) < 4'
    )
    assert lmqlc.run_sync(program).prompt == lmqlc.run_sync('"Hello[WHO]" where len(TOKENS(WHO)) < 4', model="demo").prompt


def test_errors_say_what_to_do(server: Server) -> None:
    program, at = '"Hello[WHO]" where len(TOKENS(WHO)) < 4', f"127.0.0.1:{server.port}"
    with pytest.raises(ModelNotFound, match="gpt9"):
        lmqlc.run_sync(program, model=lmqlc.model("gpt9", endpoint=at), backend="legacy")
    with pytest.raises(LmqlError, match="did you mean 'legacy'"):
        lmqlc.run_sync(program, model=lmqlc.model("demo", endpoint=at), backend="legasy")
    with pytest.raises(LmqlError, match="way to a server"):
        over_wire("local:gpt2", "legacy")
    nobody = ModelSpec("legacy", "demo", (("endpoint", "127.0.0.1:9"), ("tokenizer", str(demo_folder()))))
    with pytest.raises(BackendUnavailable, match=r"127\.0\.0\.1:9 .*serve-model demo --legacy"):
        lmqlc.run_sync(program, model=nobody)
    settings = Settings(names=("demo",), host="127.0.0.1", port=0)
    with Server(load(ModelSpec("demo", "")), settings) as plain, pytest.raises(BackendUnavailable, match="no legacy API"):
        lmqlc.run_sync(program, model=lmqlc.model("demo", endpoint=f"127.0.0.1:{plain.port}"), backend="legacy")


def demo_folder() -> Any:
    from lmqlc.backends.inprocess import DEMO_DIRECTORY

    return DEMO_DIRECTORY
