"""The OpenAPI document of the server (version 3.1)."""

from __future__ import annotations

from typing import Any

from lmqlc.backends.serve.settings import MAX_CHOICES, MAX_LOGPROBS, MAX_STOPS

_IDS = {"type": "array", "items": {"type": "integer", "minimum": 0}}
_TEXT = {"type": "string"}
_ANY: dict[str, Any] = {"type": "object"}


def _number(low: float, high: float) -> dict[str, Any]:
    return {"type": ["number", "null"], "minimum": low, "maximum": high}


def _whole(low: int, high: int) -> dict[str, Any]:
    return {"type": ["integer", "null"], "minimum": low, "maximum": high}


_FLAG = {"type": ["boolean", "null"]}
_MANNER: dict[str, Any] = {
    "model": {"type": ["string", "null"], "description": "A name of the served model; null for the one there is."},
    "max_tokens": _whole(0, 1 << 20),
    "temperature": _number(0, 100),
    "top_p": _number(1e-9, 1),
    "top_k": _whole(-1, 1 << 30),
    "min_p": _number(0, 1),
    "repetition_penalty": _number(1e-3, 1e3),
    "frequency_penalty": _number(-2, 2),
    "presence_penalty": _number(-2, 2),
    "logit_bias": {"type": ["object", "null"], "additionalProperties": {"type": "number", "minimum": -100, "maximum": 100}},
    "n": _whole(1, MAX_CHOICES),
    "seed": {"type": ["integer", "null"]},
    "stop": {"anyOf": [_TEXT, {"type": "array", "items": _TEXT, "maxItems": MAX_STOPS}, {"type": "null"}]},
    "stream": _FLAG,
    "stream_options": {"type": ["object", "null"], "properties": {"include_usage": _FLAG}},
    "response_format": {
        "type": ["object", "null"],
        "properties": {"type": {"enum": ["text", "json_object", "json_schema"]}, "json_schema": _ANY},
    },
    "structured_outputs": {
        "type": ["object", "null"],
        "description": "Exactly one of: a regular expression of Python's re, texts to choose from, a JSON schema, a Lark grammar, an "
        "automaton (base64).",
        "properties": {
            "regex": _TEXT,
            "choice": {"type": "array", "items": _TEXT, "minItems": 1},
            "json": {"type": ["object", "string", "boolean"]},
            "grammar": _TEXT,
            "automaton": _TEXT,
        },
        "additionalProperties": False,
    },
}
_COMPLETION = {
    **_MANNER,
    "prompt": {"anyOf": [_TEXT, _IDS, {"type": "array", "items": {"anyOf": [_TEXT, _IDS]}, "maxItems": MAX_CHOICES}]},
    "echo": _FLAG,
    "logprobs": _whole(0, MAX_LOGPROBS),
}
_MESSAGE = {
    "type": "object",
    "properties": {"role": _TEXT, "content": {"anyOf": [_TEXT, {"type": "array"}]}},
    "required": ["role", "content"],
}
_MESSAGES = {"type": "array", "items": _MESSAGE, "minItems": 1}
_CHAT = {
    **_MANNER,
    "messages": _MESSAGES,
    "logprobs": _FLAG,
    "top_logprobs": _whole(0, MAX_LOGPROBS),
    "max_completion_tokens": _whole(0, 1 << 20),
}
_WIRE = {"protocol": {"type": "integer"}, "model": {"type": ["string", "null"]}, "deadline": _number(0.001, 1e9)}
_HOLE = {
    **_WIRE,
    "name": _TEXT,
    "prompt": _IDS,
    "budget": {"type": "integer", "minimum": 1},
    "sampling": _ANY,
    "seed": {"type": "array", "items": {"type": "integer", "minimum": 0}},
    "automaton": {"type": "string", "description": "The SHA-256 that names a text automaton."},
    "packed": {"type": "string", "description": "Its bytes in base64, where the server did not know the name (status 409)."},
    "formula": _ANY,
    "leading_space": _FLAG,
    "follow": {"type": ["string", "null"]},
    "known": _IDS,
    "chunk": {"type": "integer", "minimum": 1},
}


def document(version: str, *, legacy: bool = False) -> dict[str, Any]:
    """The document."""
    paths = {
        "/health": {"get": _route("Whether the model is loading, ready or failing", needs_key=False, more=(503,))},
        "/metrics": {"get": _route("Metrics in Prometheus' text format")},
        "/openapi.json": {"get": _route("This document")},
        "/v1/models": {"get": _route("The names of the served model")},
        "/v1/completions": {"post": _route("Go on with texts", _COMPLETION)},
        "/v1/chat/completions": {"post": _route("Answer in a conversation", _CHAT, ("messages",))},
        "/tokenize": {"post": _route("Ids of a text or a conversation", {"model": _TEXT, "prompt": _TEXT, "messages": _MESSAGES})},
        "/detokenize": {"post": _route("The text of ids", {"model": _TEXT, "tokens": _IDS}, ("tokens",))},
        "/lmqlc/v1/model": {"get": _route("What is served")},
        "/lmqlc/v1/tokenizer": {"get": _route("The tokenizer, as a file of arrays")},
        "/lmqlc/v1/hole": {"post": _route("Decode a hole; the answer is lines of JSON", _HOLE, ("prompt", "budget"))},
        "/lmqlc/v1/logits": {
            "post": _route("Next-token logits, float32", {**_WIRE, "sequences": {"type": "array", "items": _IDS}}, ("sequences",))
        },
        "/lmqlc/v1/score": {
            "post": _route(
                "Log-probabilities of options", {**_WIRE, "prompt": _IDS, "options": {"type": "array", "items": _IDS}}, ("prompt",)
            )
        },
    }
    if legacy:
        paths |= {"/queue": {"post": _route("Queue a request of the legacy API", _LEGACY, ("action", "client_id", "sample_id"))}}
        results: dict[str, Any] = {"parameters": [_CLIENT], "get": _route("The finished results of a client, each once")}
        paths["/results/{client}"] = results
    return {
        "openapi": "3.1.0",
        "info": {"title": "lmqlc inference server", "version": version or "0"},
        "paths": paths,
        "components": {"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
    }


_NAME = {"type": ["string", "integer"], "maxLength": 200}
_LEGACY: dict[str, Any] = {
    "action": {"enum": ["forward", "tokenize", "detokenize"]},
    "client_id": _NAME,
    "sample_id": _NAME,
    "model_identifier": _TEXT,
    "input_ids": {"type": "array", "items": {"type": ["integer", "array"]}},
    "attention_mask": {"type": ["array", "null"]},
    "text": _TEXT,
}
_CLIENT = {"name": "client", "in": "path", "required": True, "schema": {"type": "string"}}

_STATUS = {
    "400": "The request is malformed, or asks for what cannot be",
    "401": "The API key is missing or wrong",
    "404": "No such model",
    "408": "The request did not arrive in time",
    "409": "The automaton is not known here",
    "413": "The request is too large",
    "415": "The body is no JSON",
    "421": "The server was called by another machine's name",
    "422": "The constraint could not be met",
    "429": "The queue is full",
    "503": "The model is loading, or failed",
    "504": "The deadline has passed",
}


def _route(
    about: str,
    properties: dict[str, Any] | None = None,
    required: tuple[str, ...] = (),
    *,
    needs_key: bool = True,
    more: tuple[int, ...] = (),
) -> dict[str, Any]:
    codes = list(_STATUS) if properties is not None else ["401", "421", "503"] if needs_key else ["421", *map(str, more)]
    made: dict[str, Any] = {
        "summary": about,
        "responses": {"200": {"description": "The answer"}, **{code: {"description": _STATUS[code]} for code in codes}},
    }
    if needs_key:
        made["security"] = [{}, {"key": []}]
    if properties is not None:
        schema = {"type": "object", "properties": properties, "required": list(required)}
        made["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return made
