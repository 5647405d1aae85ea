"""`POST /v1/completions`, as OpenAI's API has it: text or token-id prompts, several at once, `echo`, `logprobs`, streams."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from lmqlc.backends.serve.answers import Stream, answer, attended, read_json
from lmqlc.backends.serve.fields import Fields
from lmqlc.backends.serve.problems import Problem
from lmqlc.backends.serve.replies import ALIVE, DONE, Reply, begin, cancel, count, gathered, merged, sse, trouble, usage_of
from lmqlc.backends.serve.served import Ready, Served
from lmqlc.backends.serve.settings import MAX_CHOICES, MAX_LOGPROBS
from lmqlc.backends.serve.texts import IGNORED, Manner, Said, finite, manner_of, token_text
from lmqlc.backends.works import ScoreWork

DEFAULT_TOKENS = 16
MAX_PROMPT = 1 << 20


def routes(served: Served) -> list[BaseRoute]:
    """The route of completions."""
    return [Route("/v1/completions", Completions(served).create, methods=["POST"])]


@dataclass(frozen=True)
class _Asked:
    """A request. logprobs: the likeliest tokens to show beside each one, None for no log-probabilities."""

    manner: Manner
    prompts: list[list[int]]
    echo: bool
    logprobs: int | None
    client: object


class Completions:
    """Completions of one served model."""

    def __init__(self, served: Served) -> None:
        self._served = served

    async def create(self, request: Request) -> Response:
        started = time.perf_counter()
        ready = self._served.ready()
        asked = self._asked(request, Fields(await read_json(request, self._served.settings.body)), ready)
        deadline = self._served.settings.seconds
        heads = await self._heads(request, ready, asked)
        replies = await begin(self._served, ready, asked.prompts, asked.manner, asked.logprobs or 0, asked.client, deadline)
        answers = _Answers(self._served, ready, asked, heads)
        if asked.manner.stream:
            parts = answers.stream(replies, started)
            return Stream(parts, media_type="text/event-stream", cancel=lambda: cancel(replies), trouble=trouble)
        pieces = await attended(request, [reply.ticket for reply in replies], gathered(replies))
        count(self._served, replies, asked.manner.choices, started, None)
        choices = [answers.choice(reply, piece.text, piece.said, piece.finish) for reply, piece in zip(replies, pieces, strict=True)]
        return answer(answers.body(choices) | {"usage": usage_of(replies, asked.manner.choices)})

    def _asked(self, request: Request, fields: Fields, ready: Ready) -> _Asked:
        self._served.check_model(fields.text("model", most=1000))
        manner = manner_of(fields, ready, default_most=DEFAULT_TOKENS)
        wants = fields.raw("logprobs") is not None and fields.raw("logprobs") is not False  # 0 asks for the chosen tokens alone
        logprobs = fields.whole("logprobs", 0, 0, MAX_LOGPROBS) if wants else None
        prompts = _prompts(fields, ready)
        if len(prompts) * manner.choices > MAX_CHOICES:
            raise fields.bad("prompt", f"at most {MAX_CHOICES} prompts times `n`")
        if fields.whole("best_of", manner.choices, 1, MAX_CHOICES) != manner.choices:
            raise fields.bad("best_of", "the same as `n`", "unsupported_parameter")
        if fields.text("suffix"):
            raise fields.bad("suffix", "left out", "unsupported_parameter")
        asked = _Asked(manner, prompts, fields.flag("echo"), logprobs, request.client)
        fields.done(IGNORED)
        return asked

    async def _heads(self, request: Request, ready: Ready, asked: _Asked) -> list[list[float | None]]:
        """Log-probabilities of the prompts' own tokens where they are echoed with them; the first one has none."""
        if not asked.echo or asked.logprobs is None:
            return [[] for _ in asked.prompts]
        works = [ScoreWork(prompt, start=1) for prompt in asked.prompts]
        seconds = self._served.settings.seconds
        tickets = [ready.scheduler.submit(work, client=asked.client, deadline=seconds) for work in works]

        async def wait() -> list[list[float | None]]:
            return [[None, *(await ticket.all())[0][0].tolist()] for ticket in tickets]

        return await attended(request, tickets, wait())


def _prompts(fields: Fields, ready: Ready) -> list[list[int]]:
    """The prompts' ids: one text, one list of ids, or a list of these."""
    given = fields.raw("prompt")
    if given is None:
        given = ""
    several = isinstance(given, list) and (not given or not all(type(item) is int for item in given))
    prompts = given if several else [given]
    if not prompts or len(prompts) > MAX_CHOICES:
        raise fields.bad("prompt", f"a text, a list of token ids, or a list of 1 to {MAX_CHOICES} of these")
    return [_ids(fields, prompt, ready) for prompt in prompts]


def _ids(fields: Fields, prompt: Any, ready: Ready) -> list[int]:
    tokenizer = ready.tokenizer
    if isinstance(prompt, str):
        ids = [*tokenizer.prefix(), *(tokenizer.encode(prompt, first=True) if prompt else [])]
    else:
        ids = fields.as_ids("prompt", prompt, most=MAX_PROMPT, width=ready.width)
    if ids:
        return ids
    begin_ids = [tokenizer.bos_id] if tokenizer.bos_id is not None else list(tokenizer.vocabulary.eos_ids[:1])
    if not begin_ids:
        raise Problem(400, "the prompt is empty, and the model has no token to begin a text with", param="prompt")
    return begin_ids


class _Answers:
    """The JSON of one request's answers."""

    def __init__(self, served: Served, ready: Ready, asked: _Asked, heads: list[list[float | None]]) -> None:
        self._served = served
        self._tokenizer = ready.tokenizer
        self._asked = asked
        self._heads = heads
        self._about = {"id": f"cmpl-{uuid4().hex}", "object": "text_completion", "created": int(time.time()), "model": served.name}
        self._offsets: dict[int, int] = {}

    def body(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {**self._about, "choices": choices}

    async def stream(self, replies: Sequence[Reply], started: float) -> AsyncIterator[bytes]:
        first = None
        begun: set[int] = set()
        async for item in merged(replies):
            if item is None:
                yield ALIVE
                continue
            first = first or time.perf_counter()
            reply, piece = item
            choice = self.choice(reply, piece.text, piece.said, piece.finish, goes_on=reply.index in begun)
            begun.add(reply.index)
            yield sse(self.body([choice]))
        count(self._served, replies, self._asked.manner.choices, started, first)
        if self._asked.manner.include_usage:
            yield sse(self.body([]) | {"usage": usage_of(replies, self._asked.manner.choices)})
        yield DONE

    def choice(self, reply: Reply, text: str, said: Sequence[Said], finish: str | None, *, goes_on: bool = False) -> dict[str, Any]:
        """A choice, or the next piece of one: the prompt is echoed before its first piece."""
        head = "" if goes_on or not self._asked.echo else self._tokenizer.decode(reply.prompt)
        logprobs = None if self._asked.logprobs is None else self._logprobs(reply, said, echo=self._asked.echo and not goes_on)
        return {"index": reply.index, "text": head + text, "logprobs": logprobs, "finish_reason": finish}

    def _logprobs(self, reply: Reply, said: Sequence[Said], *, echo: bool) -> dict[str, Any]:
        made: dict[str, Any] = {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
        if echo:
            head = self._heads[reply.index // self._asked.manner.choices]
            for token_id, logprob in zip(reply.prompt, head, strict=True):
                self._put(made, reply, token_id, logprob, [])
        for one in said:
            self._put(made, reply, one.token.id, one.token.logprob, one.top)
        return made

    def _put(self, made: dict[str, Any], reply: Reply, token_id: int, logprob: float | None, top: Sequence[tuple[int, float]]) -> None:
        tokens = self._tokenizer.vocabulary.tokens
        text, offset = token_text(tokens[token_id]), self._offsets.get(reply.index, 0)
        shown = {token_text(tokens[i]): finite(value) for i, value in top}
        made["tokens"].append(text)
        logprob = None if logprob is None else finite(logprob)
        made["token_logprobs"].append(logprob)
        made["top_logprobs"].append(None if logprob is None else shown | {text: logprob})
        made["text_offset"].append(offset)
        self._offsets[reply.index] = offset + len(tokens[token_id].decode("utf-8", "replace"))
