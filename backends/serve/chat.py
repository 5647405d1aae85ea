"""`POST /v1/chat/completions`, as OpenAI's API has it, laid out by the model's own chat template."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from lmqlc.backends.serve.admin import chat_ids
from lmqlc.backends.serve.answers import Stream, answer, attended, read_json
from lmqlc.backends.serve.fields import Fields
from lmqlc.backends.serve.replies import ALIVE, DONE, Piece, Reply, begin, cancel, count, gathered, merged, sse, trouble, usage_of
from lmqlc.backends.serve.served import Ready, Served
from lmqlc.backends.serve.settings import MAX_LOGPROBS
from lmqlc.backends.serve.texts import IGNORED, Manner, Said, finite, manner_of, token_text

_UNSUPPORTED = (
    "tools",
    "functions",
    "tool_choice",
    "function_call",
    "audio",
    "modalities",
    "prediction",
    "reasoning_effort",
    "web_search_options",
)
DEFAULT_TOKENS = 1 << 12


def routes(served: Served) -> list[BaseRoute]:
    """The route of chats."""
    return [Route("/v1/chat/completions", Chats(served).create, methods=["POST"])]


@dataclass(frozen=True)
class _Asked:
    """A request. top: the likeliest tokens to show beside each one, None for no log-probabilities."""

    manner: Manner
    prompt: list[int]
    top: int | None


class Chats:
    """Chats with one served model."""

    def __init__(self, served: Served) -> None:
        self._served = served

    async def create(self, request: Request) -> Response:
        started = time.perf_counter()
        ready = self._served.ready()
        asked = self._asked(Fields(await read_json(request, self._served.settings.body)), ready)
        deadline = self._served.settings.seconds
        replies = await begin(self._served, ready, [asked.prompt], asked.manner, asked.top or 0, request.client, deadline)
        answers = _Answers(self._served, ready, asked)
        if asked.manner.stream:
            parts = answers.stream(replies, started)
            return Stream(parts, media_type="text/event-stream", cancel=lambda: cancel(replies), trouble=trouble)
        pieces = await attended(request, [reply.ticket for reply in replies], gathered(replies))
        count(self._served, replies, asked.manner.choices, started, None)
        choices = [answers.choice(reply, piece) for reply, piece in zip(replies, pieces, strict=True)]
        return answer(answers.body("chat.completion", choices) | {"usage": usage_of(replies, asked.manner.choices)})

    def _asked(self, fields: Fields, ready: Ready) -> _Asked:
        self._served.check_model(fields.text("model", most=1000))
        for name in _UNSUPPORTED:
            if fields.raw(name) not in (None, [], "none", ["text"]):
                raise fields.bad(name, "left out", "unsupported_parameter")
        manner = manner_of(fields, ready, default_most=DEFAULT_TOKENS)
        top = fields.whole("top_logprobs", 0, 0, MAX_LOGPROBS) if fields.flag("logprobs") else None
        if top is None and fields.raw("top_logprobs"):
            raise fields.bad("top_logprobs", "left out where `logprobs` is not true")
        prompt = chat_ids(ready, fields, generation_prompt=fields.flag("add_generation_prompt", True))
        fields.done(IGNORED)
        return _Asked(manner, prompt, top)


class _Answers:
    """The JSON of one request's answers."""

    def __init__(self, served: Served, ready: Ready, asked: _Asked) -> None:
        self._served = served
        self._tokens = ready.tokenizer.vocabulary.tokens
        self._asked = asked
        self._about = {"id": f"chatcmpl-{uuid4().hex}", "created": int(time.time()), "model": served.name}

    def body(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {**self._about, "object": kind, "choices": choices}

    def choice(self, reply: Reply, piece: Piece) -> dict[str, Any]:
        message = {"role": "assistant", "content": piece.text, "refusal": None}
        return {"index": reply.index, "message": message, "logprobs": self._logprobs(piece.said), "finish_reason": piece.finish}

    async def stream(self, replies: Sequence[Reply], started: float) -> AsyncIterator[bytes]:
        first = None
        for reply in replies:
            yield self._chunk(reply, {"role": "assistant", "content": ""}, None, None)
        async for item in merged(replies):
            if item is None:
                yield ALIVE
                continue
            first = first or time.perf_counter()
            reply, piece = item
            yield self._chunk(reply, {"content": piece.text}, self._logprobs(piece.said), None)
            if piece.finish is not None:
                yield self._chunk(reply, {}, None, piece.finish)
        count(self._served, replies, self._asked.manner.choices, started, first)
        if self._asked.manner.include_usage:
            yield sse(self.body("chat.completion.chunk", []) | {"usage": usage_of(replies, self._asked.manner.choices)})
        yield DONE

    def _chunk(self, reply: Reply, delta: dict[str, str], logprobs: Any, finish: str | None) -> bytes:
        choice = {"index": reply.index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        return sse(self.body("chat.completion.chunk", [choice]))

    def _logprobs(self, said: Sequence[Said]) -> dict[str, Any] | None:
        if self._asked.top is None:
            return None
        content = [
            self._entry(one.token.id, one.token.logprob) | {"top_logprobs": [self._entry(*pair) for pair in one.top]} for one in said
        ]
        return {"content": content, "refusal": None}

    def _entry(self, token_id: int, logprob: float) -> dict[str, Any]:
        data = self._tokens[token_id]
        return {"token": token_text(data), "logprob": finite(logprob), "bytes": list(data)}
