"""What every kind of server is asked: requests of the published form, with the fields that its version has."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import Any

import httpx2 as httpx
import pytest
from openai.types import completion_create_params
from openai.types.chat import completion_create_params as chat_create_params

import lmqlc
from lmqlc.grammar.errors import LmqlError, UnsupportedConstraint

Made = Callable[..., Any]
INTEGER = '"Age:[X]\\nNext" where INT(X)'


def test_vllm_gets_the_grammar_of_what_may_be_written(vllm: Made, say: Made) -> None:
    server = vllm(say(" 4", "2", "\n", "N"))
    result = server.run(INTEGER)
    assert result.variables == {"X": 42}
    assert result.prompt == "Age: 42\nNext"
    (body,) = server.requests
    assert server.gets[:2] == ["/v1/models", "/version"]
    assert body["temperature"] == 0.0
    assert body["max_tokens"] == 996  # what the context window has left
    pattern = re.compile(body["structured_outputs"]["regex"])
    assert pattern.fullmatch(" 42\nNext, and whatever")
    assert pattern.fullmatch("42")
    assert not pattern.fullmatch("42 x")
    hole = result.holes[0]
    assert (hole.finish_reason, [token.text for token in hole.tokens]) == ("follow", [" 4", "2", "\n"])
    assert [token.id for token in hole.tokens] == [5, 6, 7]
    assert hole.logprob == pytest.approx(-0.18)  # scored as a prompt: what comes with an answer under a grammar is masked
    assert result.usage.tokens == 3


def test_old_vllm_gets_guided_fields(vllm: Made, say: Made) -> None:
    server = vllm(say("7", finish="stop"), version="0.11.2", schema="vllm-0.11")
    assert server.run('"n:[X]" where X in ["7", "77"]', greedy=True).variables == {"X": "7"}
    (body,) = server.requests
    assert re.fullmatch(body["guided_regex"], "77")
    assert "structured_outputs" not in body


def test_long_patterns_travel_as_grammars(vllm: Made, sglang: Made, say: Made) -> None:
    program = '"[X]" where len(X) < 200 and not "x" in X and STOPS_AT(X, ".")'
    for made, field in ((vllm, "grammar"), (sglang, "ebnf")):
        server = made(say("Hello", " there.", " More"))
        assert server.run('"Say:' + program[1:]).variables == {"X": "Hello there."}
        (body,) = server.requests
        grammar = body["structured_outputs"]["grammar"] if field == "grammar" else body["ebnf"]
        assert grammar.startswith("root ::= ")


def test_sglang(sglang: Made, say: Made) -> None:
    server = sglang(say(" 4", "2", "\n"))
    assert server.run(INTEGER, decoder="sample", temperature=0.5, top_k=3, seed=1).variables == {"X": 42}
    (body,) = server.requests
    assert re.fullmatch(body["regex"], "42")
    assert (body["top_k"], body["temperature"], body["no_stop_trim"]) == (3, 0.5, True)
    assert isinstance(body["seed"], int)


def test_llama_cpp_gets_the_fields_of_sampling_that_are_not_its_defaults(llama_cpp: Made, say: Made) -> None:
    server = llama_cpp(say("4", "2"))
    result = server.run(INTEGER)
    assert result.variables == {"X": 42}
    (body,) = server.requests
    assert body["prompt"] == list(b"Age:")
    assert body["n_predict"] == 996  # what the context has left
    assert (body["temperature"], body["top_k"], body["top_p"], body["min_p"]) == (0.0, 0, 1.0, 0.0)
    assert body["samplers"] == ["penalties", "temperature", "top_k", "top_p", "min_p"]
    assert not {"repeat_penalty", "repeat_last_n", "mirostat", "dynatemp_range", "seed", "stop"} & set(body)
    assert body["grammar"].startswith("root ::= ")
    assert body["cache_prompt"] is True
    assert [token.id for token in result.holes[0].tokens] == [5, 6]
    assert (result.usage.tokens_computed, result.usage.tokens_reused) == (4, 3)
    assert next(body for path, body in server.asked if path == "/tokenize")["parse_special"] is False


def test_llama_cpp_looks_for_penalties_at_all_of_the_text(llama_cpp: Made, say: Made) -> None:
    server = llama_cpp(say("a"), say("a"))
    server.run('"x[X]"', decoder="sample", temperature=0.8, repetition_penalty=1.5, seed=1)
    body = server.requests[0]
    assert (body["repeat_penalty"], body["repeat_last_n"]) == (1.5, 1000)
    assert "temperature" not in body  # its default, up to rounding
    assert 0 <= body["seed"] < 2**32
    server.values["/props"] = {}  # a server that says nothing of itself
    server.run('"x[X]"', model=server.model(body={"id_slot": 0}), decoder="sample", presence_penalty=0.5)
    body = server.requests[1]
    assert (body["temperature"], body["presence_penalty"], body["seed"], body["mirostat"]) == (1.0, 0.5, 2**32 - 1, 0)
    assert "repeat_last_n" not in body


def test_llama_cpp_writes_chats_out_by_its_template(llama_cpp: Made, say: Made) -> None:
    server = llama_cpp(say(" Rome"), say("!"))
    server.run('"{:system}Be brief.{:user}Capital?{:assistant}It is [X][Y]" where len(TOKENS(X)) < 3')
    assert server.prompts[0] == "<system>Be brief.<user>Capital?<assistant>It is"
    assert server.prompts[1] == "<system>Be brief.<user>Capital?<assistant>It is\x05"  # the token that was said
    assert server.requests[0]["n_predict"] == 3


def test_llama_cpp_without_a_template_takes_no_chats(llama_cpp: Made, say: Made, chatml: str) -> None:
    """It would write ChatML and say nothing."""
    program = '"{:user}Capital?{:assistant}[X]"'
    server = llama_cpp(say("Rome"), template=chatml)
    with pytest.raises(LmqlError, match="no chat template"):
        server.run(program)
    assert server.requests == []
    server = llama_cpp(say("Rome"), template=chatml)
    as_bytes = server.values["/tokenize"]
    server.values["/tokenize"] = lambda body: {"tokens": [7]} if body["content"] == "<|im_start|>" else as_bytes(body)
    assert server.run(program).variables == {"X": "Rome"}  # a model that has its tokens


def test_llama_cpp_says_whole_characters(llama_cpp: Made, say: Made) -> None:
    """Tokens that are part of a character come with the last one of it."""
    events = [
        {"content": "a", "tokens": [5], "tokens_predicted": 1, "completion_probabilities": [{"id": 5, "token": "a", "logprob": -0.5}]},
        {"content": "é", "tokens": [9], "tokens_predicted": 3, "completion_probabilities": [{"id": 9, "token": "é", "logprob": -0.5}]},
        {"content": "b", "tokens": [6], "tokens_predicted": 4, "completion_probabilities": [{"id": 6, "token": "b", "logprob": -3.4e38}]},
        {"content": "", "stop": True, "stop_type": "eos", "tokens_predicted": 4},
    ]
    server = llama_cpp(httpx.Response(200, text="".join(f"data: {json.dumps(event)}\n\n" for event in events)))
    result = server.run('"x[X]" where len(TOKENS(X)) < 9')
    hole = result.holes[0]
    assert [(token.id, token.text) for token in hole.tokens] == [(5, "a"), (-1, "é"), (6, "b")]
    assert [math.isnan(token.logprob) for token in hole.tokens] == [False, True, True]  # -3.4e38 stands for less than it can say
    assert result.usage.tokens == 4


def test_llama_cpp_python_is_recognised(llama_cpp_python: Made, say: Made) -> None:
    server = llama_cpp_python(say("4", "2"))
    assert server.run(INTEGER).variables == {"X": 42}
    (body,) = server.requests
    assert body["prompt"] == "Age:"
    assert body["grammar"].startswith("root ::= ")
    assert (body["temperature"], body["top_k"], body["min_p"], body["mirostat_mode"]) == (0.0, 0, 0.0, 0)
    assert "logprobs" not in body


def test_openai_chat(openai: Made, say: Made) -> None:
    server = openai(say("Rome", usage={"prompt_tokens": 9, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 4}}))
    result = server.run('"{:user}Capital of Italy?{:assistant}[X]" where STOPS_BEFORE(X, "\\n")')
    assert result.variables == {"X": "Rome"}
    (body,) = server.requests
    assert body["messages"] == [{"role": "user", "content": "Capital of Italy?"}]
    assert body["stop"] == ["\n"]
    assert body["prompt_cache_key"].startswith("lmqlc-")
    assert (result.usage.tokens_computed, result.usage.tokens_reused) == (5, 4)
    assert server.headers[0]["authorization"] == "Bearer sk-secret"


def test_openai_takes_a_plain_prompt_as_a_message(openai: Made, say: Made) -> None:
    server = openai(say("Rome"))
    server.run('"Capital of Italy:[X]"', max_tokens=5)
    assert server.requests[0]["messages"] == [{"role": "user", "content": "Capital of Italy:"}]
    assert server.requests[0]["max_completion_tokens"] == 5


def test_openai_completions(openai: Made, say: Made) -> None:
    server = openai(say(" Rome", "."))
    server.run('"Capital of Italy:[X]" where STOPS_AT(X, ".")', model=server.model("gpt-3.5-turbo-instruct"))
    (body,) = server.requests
    assert body["prompt"] == "Capital of Italy:"
    assert "stop" not in body  # the phrase stays in the text, and the server would take it away


def test_json_types_travel_as_schemas(openai: Made, say: Made) -> None:
    server = openai(say('{"name":"Ada",', '"age": 36}'))
    program = """
import dataclasses
@dataclasses.dataclass
class Person:
    name: str
    age: int
"Who?[P: Person]"
"""
    result = server.run(program)
    assert (result.variables["P"].name, result.variables["P"].age) == ("Ada", 36)
    assert result.holes[0].text == '{"name": "Ada", "age": 36}'
    asked = server.requests[0]["response_format"]["json_schema"]
    assert asked["strict"] is True
    assert asked["schema"]["required"] == ["name", "age"]


def test_recursive_schemas_at_vllm(vllm: Made, say: Made) -> None:
    program = """
node = {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/node"}]}
schema = {"type": "object", "properties": {"value": {"type": "integer"}, "next": node}, "required": ["value", "next"]}
"List: [P]" where JSON(P, {**schema, "$defs": {"node": schema}})
"""
    server = vllm(say('{"value": 1, "next":', ' {"value":2,"next":null}}'))
    result = server.run(program)
    assert result.variables["P"] == '{"value": 1, "next": {"value": 2, "next": null}}'
    assert "$defs" in json.dumps(server.requests[0]["structured_outputs"]["json"])


def test_fields_of_the_user(vllm: Made, say: Made) -> None:
    server = vllm(say("x"))
    server.run('"a[X]"', model=server.model(body={"cache_salt": "pepper"}, omit=["return_token_ids"]))
    assert server.requests[0]["cache_salt"] == "pepper"
    assert "return_token_ids" not in server.requests[0]


def test_usage_of_answers_that_are_cut(vllm: Made) -> None:
    """vLLM counts in every event."""
    events = [
        {"choices": [{"text": text}], "usage": {"prompt_tokens": 7, "completion_tokens": number + 1}}
        for number, text in enumerate(["4", "2", "\n", "Next"])
    ]
    answer = httpx.Response(200, text="".join(f"data: {json.dumps(event)}\n\n" for event in events))
    usage = vllm(answer).run(INTEGER).usage
    assert (usage.tokens, usage.tokens_computed, usage.forward_passes) == (3, 7, 1)


def test_branches_are_requests(vllm: Made, say: Made) -> None:
    server = vllm(say("a"), say("b"), say("c"))
    results = server.run('"x[X]"', decoder="sample", n=3, seed=2)
    assert sorted(result.variables["X"] for result in results) == ["a", "b", "c"]
    assert len({body["seed"] for body in server.requests}) == 3


def test_chats_go_on_in_the_middle_of_an_answer(vllm: Made, sglang: Made, say: Made) -> None:
    program = '"{:user}Capital?{:assistant}It is [X]."'
    server = vllm(say(" Rome"))
    server.run(program)
    body = server.requests[0]
    assert (body["continue_final_message"], body["add_generation_prompt"]) == (True, False)
    assert body["messages"][-1] == {"role": "assistant", "content": "It is"}
    server = sglang(say(" Rome"))
    server.run(program)
    assert server.requests[0]["continue_final_message"] is True
    assert "add_generation_prompt" not in server.requests[0]


@pytest.mark.parametrize(
    ("program", "options", "message"),
    [
        ('"a[X]" where len(TOKENS(X)) > 3', {}, "len(TOKENS(X)) > 3"),
        ('"a[X]" where len(TOKENS(X)) < 3 or X == "b"', {}, "len(TOKENS(X)) < 3"),
        ('"a[X]" where not len(TOKENS(X)) == 3', {}, "cannot hold"),
    ],
)
def test_what_no_request_can_hold_is_refused_before_any(vllm: Made, program: str, options: Any, message: str) -> None:
    server = vllm()
    with pytest.raises(UnsupportedConstraint, match=re.escape(message)):
        server.run(program, **options)
    assert server.asked == []


def test_decoders_that_need_scores_are_refused(vllm: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    from lmqlc.runtime.decoders.base import BaseDecoder

    monkeypatch.setattr(BaseDecoder, "only_samples", False)
    server = vllm()
    with pytest.raises(UnsupportedConstraint, match="argmax"):
        server.run('"a[X]"')
    assert server.asked == []


def test_ways_to_sample_that_a_server_lacks_are_refused(openai: Made) -> None:
    server = openai()
    with pytest.raises(UnsupportedConstraint, match="top_k"):
        server.run('"a[X]"', decoder="sample", top_k=5)
    assert server.asked == []


def test_holes_that_chats_cannot_fill(openai: Made) -> None:
    server = openai()
    with pytest.raises(LmqlError, match="stands behind text of its own turn"):
        server.run('"{:user}Hi{:assistant}Well, [X]"')
    with pytest.raises(LmqlError, match="in a turn of `user`"):
        server.run('"{:user}[X]"')
    assert server.asked == []


def test_one_text_is_written_without_asking(vllm: Made) -> None:
    server = vllm()
    result = server.run('"a[X]" where X in ["only"]')
    assert result.variables == {"X": "only"}
    assert result.holes[0].finish_reason == "closed"
    assert server.asked == []


def test_scores(vllm: Made, sglang: Made, llama_cpp: Made) -> None:
    program = '"Answer:[X]" distribution X in ["y", "no"]'

    server = vllm()
    result = server.run(program)
    assert result.variables["X"] == "y"
    assert [token.id for token in result.holes[0].tokens] == [ord("y")]
    shares = dict(result.distribution_values)
    assert shares["y"] / shares["no"] == pytest.approx(math.exp(-1.21 + 2.21))

    server = sglang()
    server.values["/generate"] = lambda body: [
        {"meta_info": {"input_token_logprobs": [[-token / 100, token, chr(token)] for token in ids[body["logprob_start_len"] :]]}}
        for ids in body["input_ids"]
    ]
    assert dict(server.run(program).distribution_values) == pytest.approx(shares)

    def forced(body: Any) -> Any:
        ids = [int(token) for token in re.findall(r"<\[(\d+)\]>", body.get("grammar", ""))] or [body["logit_bias"][0][0]]
        return {"completion_probabilities": [{"id": i, "token": chr(i), "bytes": [i], "logprob": -i / 100} for i in ids]}

    server = llama_cpp()
    server.values["/completion"] = forced
    assert dict(server.run(program).distribution_values) == pytest.approx(shares)


def test_scores_at_a_llama_cpp_whose_grammars_know_no_tokens(llama_cpp: Made) -> None:
    """Then each token is forced by itself."""

    def forced(body: Any) -> Any:
        if "grammar" in body:
            return httpx.Response(400, json={"error": {"message": "Failed to initialize samplers: failed to parse grammar"}})
        token = body["logit_bias"][0][0]
        return {"completion_probabilities": [{"id": token, "token": chr(token), "logprob": 0.0 if token == ord("a") else -3.4e38}]}

    server = llama_cpp()
    server.values["/completion"] = forced
    assert lmqlc.score_sync("Say:", ["a", "ab"], model=server.model()).scores() == [0.0, -math.inf]


def test_servers_that_do_not_score_say_so(openai: Made) -> None:
    with pytest.raises(UnsupportedConstraint, match="distribution"):
        openai().run('"Answer:[X]" distribution X in ["y", "no"]')


def test_the_fixtures_know_no_field_that_the_official_client_does_not() -> None:
    from importlib import util
    from pathlib import Path

    assert util.find_spec("openai")
    paths = json.loads((Path(__file__).parent / "schemas" / "openai-2026.json").read_text(encoding="utf-8"))["paths"]
    known = {
        "/v1/completions": completion_create_params.CompletionCreateParamsBase,
        "/v1/chat/completions": chat_create_params.CompletionCreateParamsBase,
    }
    for path, schema in paths.items():
        assert set(schema["properties"]) - {"stream"} <= set(known[path].__annotations__)


def test_keys_and_addresses_of_the_environment_are_read_at_every_run(openai: Made, say: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    server = openai(say("a"), say("b"))
    model = server.model(api_key=None)
    monkeypatch.setenv("OPENAI_API_KEY", "first")
    server.run('"x[X]"', model=model)
    monkeypatch.setenv("OPENAI_API_KEY", "second")
    server.run('"x[X]"', model=model)
    assert [headers["authorization"] for headers in server.headers] == ["Bearer first", "Bearer second"]


def test_generate_and_score(vllm: Made, say: Made) -> None:
    server = vllm(say("Hello", " there"))
    assert lmqlc.generate_sync("Say:", model=server.model(), max_tokens=5).endswith("Hello there")
    assert lmqlc.score_sync("Say:", ["a", "bcd"], model=server.model()).scores() == pytest.approx([-0.97, -2.97])
