"""The legacy inference API (`--legacy`): logits step by step over plain HTTP, fetched by polling.

`POST /queue` takes a request and answers at once with its `sample_id`; `GET /results/CLIENT_ID` gives what is finished for this client,
each result once. Masks are applied by the client. Errors are plain text, as clients of the API show them.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from lmqlc.backends.base import Logits
from lmqlc.backends.serve.answers import answer, read_json
from lmqlc.backends.serve.fields import Fields
from lmqlc.backends.serve.problems import Problem, problem_of
from lmqlc.backends.serve.served import Ready, Served
from lmqlc.backends.works import LogitsWork
from lmqlc.grammar.errors import LmqlError

MAX_SEQUENCES = 64
"""Most sequences of one request."""
MAX_OPEN = 256
"""Most requests of one client that are waiting, or finished and not fetched."""
MAX_CLIENTS = 1024
"""Most clients that are remembered; of more, the one that was idle longest is forgotten."""
MAX_KEPT = 256 << 20
"""Most bytes of results that wait for all clients together; past this, new requests are refused."""
KEPT_SECONDS = 120.0
"""How long a result waits for its client."""

_LOWEST = float(np.finfo(np.float32).min)
_Job = Callable[[], Awaitable[dict[str, Any]]]


def routes(served: Served) -> list[BaseRoute]:
    """The two paths of the API, where the server was told to have them."""
    if not served.settings.legacy:
        return []
    queue = LegacyQueue(served)
    return [Route("/queue", queue.post, methods=["POST"]), Route("/results/{client:path}", queue.results, methods=["GET"])]


@dataclass
class _Client:
    """What one client waits for, and what waits for it."""

    waiting: int = 0
    finished: list[tuple[float, bytes]] = field(default_factory=list)


class LegacyQueue:
    """The requests of all clients. A client is told apart by its address and the `client_id` that it chose."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self._clients: OrderedDict[tuple[str, str], _Client] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()

    async def post(self, request: Request) -> Response:
        """`POST /queue`: 200 with the sample's id, 400 with a reason, 429 where too much is open, 503 while there is no model."""
        try:
            return self._accept(Fields(await read_json(request, self._served.settings.body)), request)
        except Problem as problem:
            found = problem
        except LmqlError as error:
            found = problem_of(error)
        return PlainTextResponse(found.message, found.status, found.headers())

    async def results(self, request: Request) -> Response:
        """`GET /results/CLIENT_ID`: a JSON list."""
        client = self._clients.get((_address(request), request.path_params["client"]))
        finished: list[tuple[float, bytes]] = []
        if client is not None:
            finished, client.finished = client.finished, []
        fresh = time.monotonic() - KEPT_SECONDS
        return Response(b"[" + b",".join(data for when, data in finished if when >= fresh) + b"]", media_type="application/json")

    def _accept(self, fields: Fields, request: Request) -> Response:
        action = fields.text("action", most=100)
        makers = {"forward": self._forward, "tokenize": _tokenize, "detokenize": _detokenize}
        if action not in makers:
            raise Problem(400, f"Unknown action: {action}")
        sample, name = fields.raw("sample_id"), fields.raw("client_id")
        if not _is_name(sample) or not _is_name(name):
            raise Problem(400, "a request has a `client_id` and a `sample_id`")
        job = makers[action](fields, self._served.ready())
        client = self._client(_address(request), str(name))
        if client.waiting + len(client.finished) >= MAX_OPEN:
            raise Problem(429, f"this client has {MAX_OPEN} requests open; fetch their results first", retry_after=1)
        client.waiting += 1
        task = asyncio.create_task(self._finish(client, {"client_id": name, "sample_id": sample}, job))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return answer({"sample_id": sample})

    def _client(self, address: str, name: str) -> _Client:
        """A client, after what nobody fetched in time is gone."""
        client = self._clients.setdefault((address, name), _Client())
        self._clients.move_to_end((address, name))
        fresh, kept = time.monotonic() - KEPT_SECONDS, 0
        for one in self._clients.values():
            one.finished = [row for row in one.finished if row[0] >= fresh]
            kept += sum(len(data) for _, data in one.finished)
        while len(self._clients) > MAX_CLIENTS:
            self._clients.popitem(last=False)
        if kept > MAX_KEPT:
            raise Problem(429, "too many results wait for their clients", retry_after=2)
        return client

    async def _finish(self, client: _Client, head: dict[str, Any], job: _Job) -> None:
        """Do a request's work and keep its result; what fails is told as the result's `error`."""
        try:
            result = await job()
        except LmqlError as error:
            result = {"error": error.message}
        finally:
            client.waiting -= 1
        data = await run_in_threadpool(_encoded, head | result)
        client.finished.append((time.monotonic(), data))

    def _forward(self, fields: Fields, ready: Ready) -> _Job:
        model = fields.text("model_identifier", most=1000)
        names = self._served.settings.names
        if model not in names:
            raise Problem(400, f"The inference API serves model {' or '.join(names)} not {model}.")
        sequences, is_batch = _sequences(fields, ready)
        ticket = ready.scheduler.submit(LogitsWork(sequences), deadline=self._served.settings.seconds)

        async def job() -> dict[str, Any]:
            rows = (await ticket.all())[0]
            return {"next_token_logits": rows if is_batch else rows[0]}

        return job


def _tokenize(fields: Fields, ready: Ready) -> _Job:
    text, tokenizer = fields.text("text"), ready.tokenizer
    if text is None:
        raise Problem(400, "`tokenize` needs a `text`")
    if text in ("<EOS>", "<BOS>"):
        special = list(tokenizer.vocabulary.eos_ids[:1]) if text == "<EOS>" else [tokenizer.bos_id]
        return _given({"input_ids": special})

    async def job() -> dict[str, Any]:
        return {"input_ids": [*tokenizer.prefix(), *await run_in_threadpool(tokenizer.encode, text, first=True)]}

    return job


def _detokenize(fields: Fields, ready: Ready) -> _Job:
    if fields.raw("input_ids") is None:
        raise Problem(400, "`detokenize` needs `input_ids`")
    return _given({"text": ready.tokenizer.decode(fields.ids("input_ids", most=1 << 20, width=ready.width))})


def _given(result: dict[str, Any]) -> _Job:
    async def job() -> dict[str, Any]:
        return result

    return job


def _sequences(fields: Fields, ready: Ready) -> tuple[list[list[int]], bool]:
    """The sequences of `input_ids`, one or a batch, without what the attention mask hides; and whether it is a batch."""
    given, mask = fields.raw("input_ids"), fields.raw("attention_mask")
    is_batch = isinstance(given, list) and bool(given) and isinstance(given[0], list)
    rows = given if is_batch else [given]
    masks = [None] * len(rows) if mask is None else mask if is_batch else [mask]
    if not isinstance(masks, list) or len(masks) != len(rows) or len(rows) > MAX_SEQUENCES:
        raise Problem(400, f"`input_ids` is one sequence or a batch of at most {MAX_SEQUENCES}, and `attention_mask` is of the same shape")
    longest = ready.backend.context_length or 1 << 20
    shown = [_shown(fields.as_ids("input_ids", row, most=longest, width=ready.width), one) for row, one in zip(rows, masks, strict=True)]
    if not all(shown):
        raise Problem(400, "`input_ids` is empty")
    return shown, is_batch


def _shown(ids: list[int], mask: Any) -> list[int]:
    """The ids that a mask does not hide; padding stands before a sequence."""
    if mask is None:
        return ids
    if not isinstance(mask, list) or len(mask) != len(ids) or any(value not in (0, 1) for value in mask):
        raise Problem(400, "`attention_mask` has a 0 or a 1 for every id")
    hidden = len(mask) - int(sum(mask))
    if any(mask[:hidden]):
        raise Problem(400, "`attention_mask` may only hide the beginning of a sequence")
    return ids[hidden:]


def _is_name(value: Any) -> bool:
    return isinstance(value, int | str) and not isinstance(value, bool) and len(str(value)[:201]) <= 200


def _address(request: Request) -> str:
    return request.client.host if request.client else ""


def _encoded(result: dict[str, Any]) -> bytes:
    """A result as JSON, which knows no infinite numbers."""
    logits: Logits | None = result.get("next_token_logits")
    if logits is not None:
        result["next_token_logits"] = np.nan_to_num(logits, nan=_LOWEST, posinf=-_LOWEST, neginf=_LOWEST).tolist()
    return json.dumps(result).encode()
