"""A pretended server of every kind: it holds each request against the published schema, and answers as told."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2 as httpx
import jsonschema
import pytest

import lmqlc

SCHEMAS = Path(__file__).parent / "schemas"
Body = dict[str, Any]


@dataclass(frozen=True)
class Say:
    """An answer: its tokens, how it ends, and what could have stood in the place of tokens (by number)."""

    tokens: tuple[str, ...]
    finish: str | None = "stop"
    others: dict[int, dict[str, float]] = field(default_factory=dict)
    usage: Body | None = None


def say(*tokens: str, finish: str | None = "stop", others: dict[int, dict[str, float]] | None = None, usage: Body | None = None) -> Say:
    return Say(tokens, finish, others or {}, usage)


Answer = Say | httpx.Response | Exception | Callable[[Body], Say]


class Pretended:
    """A server. kind: as in model strings; schema: the file with its requests. asked: paths and bodies, in order."""

    def __init__(self, kind: str, schema: str, answers: Iterable[Answer]) -> None:
        self.kind = kind
        self.schemas = json.loads((SCHEMAS / f"{schema}.json").read_text(encoding="utf-8"))["paths"]
        self.answers = list(answers)
        self.asked: list[tuple[str, Body]] = []
        self.gets: list[str] = []
        self.headers: list[Any] = []
        self.scores: Callable[[Body], httpx.Response] = lambda body: httpx.Response(200, json=scored(body))
        self.values: dict[str, Any] = {"/v1/models": {"object": "list", "data": [{"id": "m", "object": "model"}]}}

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        self.headers.append(request.headers)
        if request.method == "GET":
            self.gets.append(path)
            return httpx.Response(200, json=self.values[path]) if path in self.values else httpx.Response(404, json={"detail": "Not Found"})
        body = json.loads(request.content)
        if path not in self.schemas or (path == "/detokenize" and path not in self.values):
            return httpx.Response(404, json={"detail": "Not Found"})
        jsonschema.validate(body, self.schemas[path])
        self.asked.append((path, body))
        return self._posted(path, body)

    def _posted(self, path: str, body: Body) -> httpx.Response:
        if path in self.values:
            value = self.values[path]
            given = value(body) if callable(value) else value
            return given if isinstance(given, httpx.Response) else httpx.Response(200, json=given)
        if body.get("prompt_logprobs") is not None:
            return self.scores(body)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, httpx.Response):
            return answer
        said = answer if isinstance(answer, Say) else answer(body)
        events = (
            native(said)
            if path == "/completion"
            else chat(said)
            if path.endswith("chat/completions")
            else completion(said, ids=self.kind == "vllm")
        )
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=stream(events, done=path != "/completion"))

    @property
    def requests(self) -> list[Body]:
        """The bodies of requests for text."""
        texts = (body for path, body in self.asked if path.endswith("completions") or path == "/completion")
        return [body for body in texts if body.get("stream")]

    @property
    def prompts(self) -> list[str]:
        """Their prompts as text."""
        return [prompt_of(body) for body in self.requests]

    def model(self, **options: Any) -> Any:
        return lmqlc.model(f"{self.kind}/m", transport=httpx.MockTransport(self), endpoint="localhost:9", **options)

    def run(self, program: str, model: Any = None, **options: Any) -> Any:
        return lmqlc.run_sync(program, model=model or self.model(), **options)


def stream(events: Iterable[Body], *, done: bool = True) -> bytes:
    parts = [f"data: {json.dumps(event, ensure_ascii=False)}\n\n" for event in events]
    return "".join([*parts, "data: [DONE]\n\n" if done else ""]).encode()


def scored(body: Body) -> Body:
    """vLLM's answer where prompts are scored: -1 for the token 100, and so on."""
    prompts = body["prompt"] if isinstance(body["prompt"][0], list) else [body["prompt"]]
    rows = [[None, *({str(token): {"logprob": -token / 100, "decoded_token": chr(token)}} for token in ids[1:])] for ids in prompts]
    return {"choices": [{"index": i, "prompt_logprobs": row} for i, row in reversed(list(enumerate(rows)))]}


def completion(said: Say, *, ids: bool = False) -> Iterable[Body]:
    for number, token in enumerate(said.tokens):
        last = number == len(said.tokens) - 1
        others = said.others.get(number, {})
        logprobs = {"tokens": [token], "token_logprobs": [-0.5], "top_logprobs": [{token: -0.5, **others}], "text_offset": [0]}
        choice = {"index": 0, "text": token, "logprobs": logprobs, "finish_reason": said.finish if last else None}
        yield {"choices": [{**choice, "token_ids": [number + 5]} if ids else choice]}
    if not said.tokens:
        yield {"choices": [{"index": 0, "text": "", "finish_reason": said.finish}]}
    if said.usage:
        yield {"choices": [], "usage": said.usage}


def chat(said: Say) -> Iterable[Body]:
    yield {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]}
    for number, token in enumerate(said.tokens):
        others = [{"token": text, "bytes": list(text.encode()), "logprob": lp} for text, lp in said.others.get(number, {}).items()]
        report = {"token": token, "bytes": list(token.encode()), "logprob": -0.5, "top_logprobs": others}
        yield {"choices": [{"index": 0, "delta": {"content": token}, "logprobs": {"content": [report]}, "finish_reason": None}]}
    yield {"choices": [{"index": 0, "delta": {}, "finish_reason": said.finish}]}
    if said.usage:
        yield {"choices": [], "usage": said.usage}


def native(said: Say) -> Iterable[Body]:
    for number, token in enumerate(said.tokens):
        report = {"id": number + 5, "token": token, "bytes": list(token.encode()), "logprob": -0.5, "top_logprobs": []}
        event = {"content": token, "tokens": [number + 5], "stop": False, "tokens_predicted": number + 1}
        yield {**event, "completion_probabilities": [report]}
    kind = {"stop": "eos", "length": "limit"}.get(said.finish or "", said.finish)
    word = said.finish.removeprefix("word:") if said.finish and said.finish.startswith("word:") else ""
    end: Body = {"content": "", "tokens": [], "stop": True, "stop_type": "word" if word else kind, "stopping_word": word}
    yield {**end, "tokens_evaluated": 7, "tokens_predicted": len(said.tokens), "timings": {"cache_n": 3}}


def prompt_of(body: Body) -> str:
    """The prompt of a request as text: ids are bytes."""
    prompt = body.get("prompt", "") if "messages" not in body else written(body["messages"])
    return prompt if isinstance(prompt, str) else bytes(prompt).decode()


def tokenized(text: str, room: int) -> Body:
    """What `/tokenize` of vLLM and SGLang says."""
    return {"tokens": list(text.encode()), "count": len(text.encode()), "max_model_len": room}


def written(messages: list[Body]) -> str:
    """A chat template."""
    return "".join(f"<{message['role']}>{message['content']}" for message in messages)


@pytest.fixture
def vllm() -> Callable[..., Pretended]:
    def made(*answers: Answer, version: str = "0.33.1", schema: str = "vllm-0.33", room: int = 1000) -> Pretended:
        server = Pretended("vllm", schema, answers)
        server.values["/version"] = {"version": version}
        server.values["/tokenize"] = lambda body: tokenized(prompt_of(body), room)
        return server

    return made


@pytest.fixture
def sglang() -> Callable[..., Pretended]:
    def made(*answers: Answer) -> Pretended:
        server = Pretended("sglang", "sglang-0.5", answers)
        server.values["/tokenize"] = lambda body: tokenized(body["prompt"], 999)
        return server

    return made


@pytest.fixture
def chatml() -> str:
    """What llama.cpp (build 11549) says is the template of a model that has none."""
    return CHATML


CHATML = (
    "{%- for message in messages -%}\n  {{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' -}}\n"
    "{%- endfor -%}\n{%- if add_generation_prompt -%}\n  {{- '<|im_start|>assistant\n' -}}\n{%- endif -%}"
)
LLAMA_DEFAULTS = {
    "seed": 4294967295, "temperature": 0.800000011920929, "dynatemp_range": 0.0, "dynatemp_exponent": 1.0, "top_k": 40,
    "top_p": 0.949999988079071, "min_p": 0.05000000074505806, "top_n_sigma": -1.0, "xtc_probability": 0.0, "typical_p": 1.0,
    "repeat_last_n": 64, "repeat_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0, "dry_multiplier": 0.0, "mirostat": 0,
    "samplers": ["penalties", "dry", "top_n_sigma", "top_k", "typ_p", "top_p", "min_p", "xtc", "temperature"],
}  # fmt: skip
"""Some of its defaults, as its `/props` gives them."""


@pytest.fixture
def llama_cpp() -> Callable[..., Pretended]:
    def made(*answers: Answer, template: str = "{{ messages }}", context: int = 1000) -> Pretended:
        server = Pretended("llama.cpp", "llama.cpp-11549", answers)
        settings = {"n_ctx": context, "params": LLAMA_DEFAULTS}
        server.values["/props"] = {"total_slots": 1, "default_generation_settings": settings, "chat_template": template}
        server.values["/tokenize"] = lambda body: {"tokens": list(body["content"].encode())}
        server.values["/apply-template"] = lambda body: {"prompt": written(body["messages"]) + "<assistant>"}
        return server

    return made


@pytest.fixture
def llama_cpp_python() -> Callable[..., Pretended]:
    return lambda *answers: Pretended("llama.cpp", "llama-cpp-python-0.3", answers)


@pytest.fixture
def compatible() -> Callable[..., Pretended]:
    return lambda *answers: Pretended("openai", "compatible-2026", answers)


@pytest.fixture
def openai() -> Callable[..., Pretended]:
    class AtOpenAi(Pretended):
        def model(self, name: str = "gpt-4.1", **options: Any) -> Any:
            place = {"endpoint": "https://api.openai.com/v1", "api_key": "sk-secret"}
            return lmqlc.model(f"openai/{name}", transport=httpx.MockTransport(self), **{**place, **options})

    return lambda *answers: AtOpenAi("openai", "openai-2026", answers)


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in ("OPENAI", "VLLM", "SGLANG", "LLAMA_CPP"):
        monkeypatch.delenv(f"{kind}_BASE_URL", raising=False)
    for name in ("OPENAI_API_KEY", "VLLM_API_KEY", "SGLANG_API_KEY", "LLAMA_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(name="say")
def _say() -> Callable[..., Say]:
    return say
