"""OpenAI's own API, and every server that has copied it: text is checked, not masked.

OpenAI's chat models take conversations only and begin every answer anew; a prompt without role tags is one message of the user. Servers
elsewhere are asked through `/completions` for plain prompts. Fields as published in autumn 2026.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from lmqlc.backends.remote.client import Client
from lmqlc.backends.remote.dialect import Dialect
from lmqlc.backends.remote.wire import Body, messages_of, sampling_fields
from lmqlc.backends.text import TextAbilities, TextPrompt, TextRequest

HOST = "api.openai.com"
_COMPLETING = ("gpt-3.5-turbo-instruct", "davinci-002", "babbage-002")
"""The models at OpenAI, and what their names begin with, that continue plain text."""
_NAMES = {
    "temperature": "temperature",
    "top_p": "top_p",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
}
_MOST_STOPS = 4
_REPORTED = 5
"""Other tokens that `/completions` of OpenAI reports beside each."""
_BIAS = 300


class OpenAiDialect(Dialect):
    """One model at OpenAI. chat: whether plain prompts go to it as a conversation; None: as its name says."""

    server = "OpenAI"

    def __init__(self, model: str, extra: Body | None = None, omitted: Sequence[str] = (), *, chat: bool | None = None) -> None:
        super().__init__(model, extra, omitted)
        self._chat = not model.startswith(_COMPLETING) if chat is None else chat
        self._most = _REPORTED

    async def abilities(self, client: Client, prompt: TextPrompt) -> TextAbilities:
        chat = self._is_chat(prompt)
        reported = 20 if chat else self._most
        return TextAbilities(
            self.server, "checked", continues=not chat, schemas=chat, most_stops=_MOST_STOPS, alternatives=reported, bias=_BIAS
        )

    async def request(self, client: Client, request: TextRequest) -> tuple[str, Body]:
        self.refuse_sampling(request, "top_k", "min_p", "repetition_penalty")
        body: Body = {"model": self.model, **sampling_fields(request, _NAMES), "stream": True, "stream_options": {"include_usage": True}}
        if request.stops:
            body["stop"] = list(request.stops)
        if request.bias:
            body["logit_bias"] = {str(token): bias for token, bias in request.bias.items()}
        if not self._is_chat(request.prompt):
            body |= {"prompt": request.prompt.text, "max_tokens": request.max_tokens, "logprobs": request.alternatives}
            return f"{client.server.base}/completions", self.finished(body)
        body |= {"messages": messages_of(request), "logprobs": True, "top_logprobs": request.alternatives}
        body |= self._length(request.max_tokens) | self._hints(request.prompt)
        if request.schema is not None:
            asked = {"name": "hole", "schema": dict(request.schema), "strict": is_strict(request.schema)}
            body["response_format"] = {"type": "json_schema", "json_schema": asked}
        return f"{client.server.base}/chat/completions", self.finished(body)

    def _is_chat(self, prompt: TextPrompt) -> bool:
        return self._chat or bool(prompt.turns)

    def _length(self, tokens: int) -> Body:
        return {"max_completion_tokens": tokens}

    def _hints(self, prompt: TextPrompt) -> Body:
        """What helps to find a prompt's beginning in the server's cache: a key that all prompts with this beginning share."""
        first = prompt.turns[0][1] if prompt.turns else prompt.text
        return {"prompt_cache_key": "lmqlc-" + hashlib.sha256(first[:256].encode()).hexdigest()[:24]}


class CompatibleDialect(OpenAiDialect):
    """One model at a server with OpenAI's paths, of which nothing else is known."""

    server = "the OpenAI-compatible server"

    def __init__(self, model: str, extra: Body | None = None, omitted: Sequence[str] = (), *, chat: bool | None = None) -> None:
        super().__init__(model, extra, omitted, chat=bool(chat))
        self._most = 20

    def without(self, body: Body, reason: str) -> Body | None:
        """Servers of plain text that report as few other tokens as OpenAI are asked for as few."""
        if "logprobs" in reason and not isinstance(body.get("logprobs"), bool) and body.get("logprobs", 0) > _REPORTED:
            self._most = _REPORTED
            return {**body, "logprobs": _REPORTED}
        return super().without(body, reason)

    def _length(self, tokens: int) -> Body:
        return {"max_tokens": tokens}

    def _hints(self, prompt: TextPrompt) -> Body:
        return {}


def is_strict(schema: Mapping[str, Any]) -> bool:
    """Whether OpenAI takes a schema as a strict one: no object has keys that may be left out, or other keys."""
    if "properties" in schema:
        keys = list(schema["properties"])
        if schema.get("additionalProperties") is not False or sorted(schema.get("required", ())) != sorted(keys):
            return False
    parts = [*schema.get("properties", {}).values(), *schema.get("$defs", {}).values(), *schema.get("anyOf", ()), schema.get("items")]
    others = schema.get("additionalProperties")
    return not isinstance(others, dict) and all(is_strict(part) for part in parts if isinstance(part, dict))
