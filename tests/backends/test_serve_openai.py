"""The official `openai` client against the server: completions, chats, streams, log-probabilities, constraints, errors."""

from __future__ import annotations

import asyncio
import base64
import json
import math
import re
from collections.abc import Iterator
from typing import Any

import jsonschema
import numpy as np
import openai
import pytest

from lmqlc.backends.byte_tokenizer import ByteTokenizer
from lmqlc.backends.scripted import RandomBackend, log_softmax
from lmqlc.backends.serve.server import Server
from lmqlc.backends.serve.settings import Settings
from lmqlc.backends.wire_automaton import pack_automaton
from lmqlc.compiler import constraints as c
from lmqlc.compiler.automata.build import build

MODEL = RandomBackend(3, tokenizer=ByteTokenizer(chat=True), context_length=400)
TOKENS = MODEL.vocabulary.tokens


@pytest.fixture(scope="module")
def client() -> Iterator[openai.OpenAI]:
    with (
        Server(MODEL, Settings(names=("random", "other"), host="127.0.0.1", port=0)) as server,
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as made,
    ):
        yield made


def greedy(ids: list[int], count: int) -> list[int]:
    """What the model says, token by token."""
    said: list[int] = []
    for _ in range(count):
        token = int(MODEL.row((*ids, *said)).argmax())
        said.append(token)
        if token in MODEL.vocabulary.eos_ids:
            break
    return said


def ids_of(text: str) -> list[int]:
    return MODEL.tokenizer.encode(text, first=True)


def test_greedy_text_is_the_models(client: openai.OpenAI) -> None:
    answer = client.completions.create(model="random", prompt="Hello", max_tokens=12, temperature=0)
    expected = greedy(ids_of("Hello"), 12)
    assert answer.choices[0].text == MODEL.tokenizer.decode(expected)
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (1, 12)
    by_ids = client.completions.create(model="random", prompt=ids_of("Hello"), max_tokens=12, temperature=0)
    assert by_ids.choices[0].text == answer.choices[0].text


def test_log_probabilities(client: openai.OpenAI) -> None:
    answer = client.completions.create(model="random", prompt="Hello", max_tokens=4, temperature=0, logprobs=3, echo=True)
    found = answer.choices[0].logprobs
    assert found is not None
    ids = [*ids_of("Hello"), *greedy(ids_of("Hello"), 4)]
    rows = [log_softmax(MODEL.row(tuple(ids[:i]))) for i in range(1, len(ids))]
    assert found.token_logprobs is not None
    assert found.token_logprobs[0] is None
    assert found.token_logprobs[1:] == pytest.approx([row[i] for row, i in zip(rows, ids[1:], strict=True)], abs=1e-4)
    assert found.top_logprobs is not None
    best = np.sort(rows[-1])[::-1][:3]
    assert sorted(found.top_logprobs[-1].values(), reverse=True) == pytest.approx(best, abs=1e-4)
    assert answer.choices[0].text.startswith("Hello")
    assert found.text_offset is not None
    assert found.text_offset[:2] == [0, 5]


def test_scoring_without_a_new_token(client: openai.OpenAI) -> None:
    answer = client.completions.create(model="random", prompt=[5, 6, 7], max_tokens=0, logprobs=1, echo=True)
    found = answer.choices[0].logprobs
    assert found is not None
    assert found.token_logprobs is not None
    assert len(found.token_logprobs) == 3
    assert found.token_logprobs[2] == pytest.approx(log_softmax(MODEL.row((5, 6)))[7], abs=1e-4)


@pytest.mark.parametrize("kind", ["completions", "chat"])
def test_streams_say_the_same(client: openai.OpenAI, kind: str) -> None:
    asked: dict[str, Any] = {"model": "random", "max_tokens": 40, "temperature": 0.8, "seed": 5, "n": 3, "stop": [" it", "e"]}
    texts, ends = ["", "", ""], [None, None, None]
    if kind == "completions":
        whole = [choice.text for choice in client.completions.create(prompt="Say", **asked).choices]
        for chunk in client.completions.create(prompt="Say", stream=True, **asked):
            texts[chunk.choices[0].index] += chunk.choices[0].text
            ends[chunk.choices[0].index] = chunk.choices[0].finish_reason  # type: ignore[call-overload]
    else:
        messages: Any = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": [{"type": "text", "text": "Hi"}]}]
        whole = [str(choice.message.content) for choice in client.chat.completions.create(messages=messages, **asked).choices]
        options: Any = {"include_usage": True}
        for part in client.chat.completions.create(messages=messages, stream=True, stream_options=options, **asked):
            for choice in part.choices:
                texts[choice.index] += choice.delta.content or ""
                ends[choice.index] = choice.finish_reason  # type: ignore[call-overload]
        assert part.usage is not None
    assert texts == whole
    assert set(ends) <= {"stop", "length"}
    assert not any("e" in text or " it" in text for text in texts)


def test_chat_log_probabilities(client: openai.OpenAI) -> None:
    messages: Any = [{"role": "user", "content": "Hi"}]
    answer = client.chat.completions.create(
        model="random", messages=messages, max_completion_tokens=3, temperature=0, logprobs=True, top_logprobs=2
    )
    prompt = MODEL.tokenizer.chat(messages, generation_prompt=True) or []
    said = greedy(prompt, 3)
    assert answer.choices[0].message.content == MODEL.tokenizer.decode(said)
    content = answer.choices[0].logprobs and answer.choices[0].logprobs.content
    assert content
    for i, entry in enumerate(content):
        row = log_softmax(MODEL.row((*prompt, *said[:i])))
        assert entry.logprob == pytest.approx(row[said[i]], abs=1e-4)
        assert bytes(entry.bytes or []) == TOKENS[said[i]]
        assert [top.logprob for top in entry.top_logprobs] == pytest.approx(np.sort(row)[::-1][:2], abs=1e-4)


FORMS: dict[str, tuple[dict[str, Any], Any]] = {
    "regex": ({"structured_outputs": {"regex": r"[a-c]{3}-\d+"}}, lambda text: re.fullmatch(r"[a-c]{3}-\d*", text)),
    "choice": ({"structured_outputs": {"choice": ["left", "right"]}}, lambda text: text in ("left", "right")),
    "grammar": ({"structured_outputs": {"grammar": 'start: "(" start ")" | "x"'}}, lambda text: re.fullmatch(r"\(*x?\)*", text)),
}
SCHEMA = {"type": "object", "properties": {"a": {"type": "boolean"}, "b": {"enum": ["x", "y"]}}, "required": ["a", "b"]}


AUTOMATON = base64.b64encode(pack_automaton(build(c.Matches(c.Const("b{50}"))))[1]).decode()
PARTS: dict[str, tuple[dict[str, Any], str]] = {
    "regex": ({"structured_outputs": {"regex": "a{50}"}}, "a+"),
    "schema": ({"response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": SCHEMA}}}, r'\{"a"?'),
    "grammar": ({"structured_outputs": {"grammar": 'start: "(" start ")" | "xxxxxxxxxx"'}}, r"\(*x*"),
    "automaton": ({"structured_outputs": {"automaton": AUTOMATON}}, "b+"),
}


@pytest.mark.parametrize("kind", ["completions", "chat"])
@pytest.mark.parametrize("form", PARTS)
def test_where_no_whole_text_fits_the_answer_is_what_fits(client: openai.OpenAI, kind: str, form: str) -> None:
    extra, pattern = PARTS[form]
    asked: Any = {"model": "random", "max_tokens": 3, "extra_body": extra, "temperature": 0}
    if kind == "completions":
        choice: Any = client.completions.create(prompt="x", **asked).choices[0]
        text = choice.text
    else:
        choice = client.chat.completions.create(messages=[{"role": "user", "content": "x"}], **asked).choices[0]
        text = choice.message.content
    assert choice.finish_reason == "length"
    assert re.fullmatch(pattern, text), text


@pytest.mark.parametrize(("most", "finish"), [(2, "length"), (3, "length"), (30, "stop")])
def test_a_text_that_its_budget_made_ends_by_length(client: openai.OpenAI, most: int, finish: str) -> None:
    extra, bias = {"structured_outputs": {"regex": r"(ab|c){1,9}!"}}, {str(TOKENS.index(b"!")): -50}
    choice = client.completions.create(model="random", prompt="x", max_tokens=most, extra_body=extra, logit_bias=bias).choices[0]
    assert re.fullmatch(r"(ab|c){1,9}!", choice.text)
    assert choice.finish_reason == finish


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("seed", [1, 2])
def test_constraints(client: openai.OpenAI, form: str, seed: int) -> None:
    extra, holds = FORMS[form]
    try:
        text = client.completions.create(model="random", prompt="", max_tokens=60, seed=seed, extra_body=extra).choices[0].text
    except openai.UnprocessableEntityError as error:
        assert form == "grammar"  # only a prefix is checked, and the budget was spent
        assert error.code == "constraint_violated"
        return
    assert holds(text), text


@pytest.mark.parametrize("schema_by", ["structured_outputs", "response_format"])
def test_json_schemas(client: openai.OpenAI, schema_by: str) -> None:
    wanted = {
        "structured_outputs": {"json": SCHEMA},
        "response_format": {"type": "json_schema", "json_schema": {"name": "r", "schema": SCHEMA}},
    }
    messages: Any = [{"role": "user", "content": "Go"}]
    answer = client.chat.completions.create(model="random", messages=messages, extra_body={schema_by: wanted[schema_by]})
    jsonschema.validate(json.loads(answer.choices[0].message.content or ""), SCHEMA)


def test_a_stop_beside_a_constraint(client: openai.OpenAI) -> None:
    extra = {"structured_outputs": {"regex": "[ab]{20}"}}
    text = client.completions.create(model="random", prompt="x", max_tokens=40, stop=["ab"], extra_body=extra).choices[0].text
    assert set(text) <= {"a", "b"}


def test_bias(client: openai.OpenAI) -> None:
    token = ByteTokenizer().encode("q", first=False)[0]
    answer = client.completions.create(model="random", prompt="x", max_tokens=5, temperature=0, logit_bias={str(token): 100})
    assert answer.choices[0].text == "qqqqq"


def test_models(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["random", "other"]
    assert client.models.retrieve("other").id == "other"
    with pytest.raises(openai.NotFoundError, match="is not served here; this server has 'random', 'other'"):
        client.models.retrieve("gpt-4")


BAD: list[tuple[dict[str, Any], str]] = [
    ({"temperature": -1}, "temperature"),
    ({"temperature": math.inf}, ""),
    ({"max_tokens": "many"}, "max_tokens"),
    ({"n": 1000}, "n"),
    ({"logit_bias": {"x": 1}}, "logit_bias"),
    ({"stop": ["a"] * 99}, "stop"),
    ({"prompt": [99999]}, "prompt"),
    ({"prompt": ["a", 5]}, "prompt"),
    ({"logprobs": 99}, "logprobs"),
    ({"extra_body": {"temprature": 1}}, "temprature"),
    ({"extra_body": {"structured_outputs": {"regex": "a", "choice": ["b"]}}}, "structured_outputs"),
    ({"extra_body": {"structured_outputs": {"regex": "(a"}}}, ""),
    ({"extra_body": {"structured_outputs": {"regex": r"(a)\1"}}}, ""),
    ({"extra_body": {"structured_outputs": {"json": {"type": "nonsense"}}}}, ""),
    ({"extra_body": {"structured_outputs": {"grammar": "start: nowhere"}}}, ""),
    ({"extra_body": {"structured_outputs": {"automaton": "AAAA"}}}, ""),
    ({"extra_body": {"structured_outputs": {"regex": "(?!)"}}, "max_tokens": 3}, ""),
    ({"prompt": "x " * 500}, ""),
]


@pytest.mark.parametrize(("fields", "param"), BAD, ids=[str(fields)[:40] for fields, _ in BAD])
def test_what_cannot_be_is_refused(client: openai.OpenAI, fields: dict[str, Any], param: str) -> None:
    try:
        client.completions.create(**{"model": "random", "prompt": "x", **fields})
    except (openai.BadRequestError, ValueError) as error:
        assert not param or getattr(error, "param", "").startswith(param)
    else:
        pytest.fail("it was answered")


def test_tools_are_refused(client: openai.OpenAI) -> None:
    tools: Any = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    with pytest.raises(openai.BadRequestError, match="tools"):
        client.chat.completions.create(model="random", messages=[{"role": "user", "content": "x"}], tools=tools)


def test_many_at_once_say_what_they_say_alone() -> None:
    """Requests with different lengths, temperatures and constraints share steps."""

    async def run(url: str) -> None:
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as made:
            asked: list[dict[str, Any]] = [
                {"prompt": f"Number {i}", "max_tokens": 5 + i, "temperature": i % 3 / 2, "seed": i}
                | ({"extra_body": {"structured_outputs": {"regex": "[a-z ]{4,30}"}}} if i % 4 == 1 else {})
                for i in range(24)
            ]
            alone = [(await made.completions.create(model="random", **fields)).choices[0].text for fields in asked]
            together = await asyncio.gather(*(made.completions.create(model="random", **fields) for fields in asked))
            assert [answer.choices[0].text for answer in together] == alone

    with Server(MODEL, Settings(names=("random",), host="127.0.0.1", port=0, batch=7)) as server:
        asyncio.run(run(server.url))
