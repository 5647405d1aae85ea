"""LMTP, the protocol of existing LMQL clients: a websocket at `/` over which the tokens of several streams come interleaved.

Every message is one line of text, `TYPE JSON`. A client asks with GENERATE, SCORE and MODEL_INFO; TOKEN and MSG answer. A stream that fails
ends with an entry that has an `error`. Masks come as biases of a whole stream.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import numpy as np
from starlette.routing import BaseRoute, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from lmqlc.backends.base import Logits, SessionUsage
from lmqlc.backends.choice import Sampling
from lmqlc.backends.serve.fields import Fields
from lmqlc.backends.serve.problems import Problem, problem_of
from lmqlc.backends.serve.served import Ready, Served
from lmqlc.backends.works import Alone, ScoreWork, biased, top_tokens
from lmqlc.compiler.masks.hole import logprob
from lmqlc.grammar.errors import LmqlError

MAX_STREAMS = 64
"""Most streams of one connection that are open at a time."""
MAX_TOKENS = 1 << 16
"""Most tokens of one stream."""
_UNSENT = 256  # messages that wait for a slow reader before its streams wait too


def routes(served: Served) -> list[BaseRoute]:
    """The websocket."""

    async def endpoint(socket: WebSocket) -> None:
        await socket.accept()
        connection = _Connection(socket, served)
        try:
            await connection.run()
        except WebSocketDisconnect:
            pass
        finally:
            await connection.close()

    return [WebSocketRoute("/", endpoint)]


class _Connection:
    """The streams of one client."""

    def __init__(self, socket: WebSocket, served: Served) -> None:
        self._socket = socket
        self._served = served
        self._streams: set[asyncio.Task[None]] = set()
        self._unsent: asyncio.Queue[str] = asyncio.Queue(_UNSENT)
        self._sender = asyncio.create_task(self._send_all())

    async def run(self) -> None:
        """Answer messages until the client goes away, or sends what is no text of a bounded size."""
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            text = message.get("text")
            if text is None or len(text) > self._served.settings.body:
                await self._socket.close(1003 if text is None else 1009)
                return
            self._streams = {task for task in self._streams if not task.done()}
            kind, values, head = _read(text)
            if len(self._streams) >= MAX_STREAMS:
                await self._say(_told(kind), head | {"error": f"at most {MAX_STREAMS} streams are open at a time"})
            else:
                self._streams.add(asyncio.create_task(self._answer(kind, values, head)))

    async def close(self) -> None:
        tasks = [*self._streams, self._sender]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _send_all(self) -> None:
        while True:
            await self._socket.send_text(await self._unsent.get())

    async def _say(self, kind: str, entry: dict[str, Any]) -> None:
        """One entry. Waits where the client reads slowly; gives up with a connection that is gone."""
        if self._sender.done():
            raise asyncio.CancelledError
        await self._unsent.put(f"{kind} {json.dumps([entry])}")

    async def _answer(self, kind: str, values: Any, head: dict[str, Any]) -> None:
        """One message's answer; what is wrong with it is told, and nothing else happens."""
        try:
            fields = Fields(values, at="" if isinstance(values, dict) else "the message")
            ready = self._served.ready()
            self._check_model(fields)
            await self._do(kind, fields, ready, head)
        except Problem as problem:
            await self._say(_told(kind), head | {"error": problem.message})
        except LmqlError as error:
            await self._say(_told(kind), head | {"error": problem_of(error).message})

    async def _do(self, kind: str, fields: Fields, ready: Ready, head: dict[str, Any]) -> None:
        if kind == "MODEL_INFO":
            about = {"model": self._served.name, "model_type": "lmqlc", "lmqlc": self._served.settings.version}
            await self._say("MSG", head | {"model_info": about})
            return
        makers = {"GENERATE": _generated, "SCORE": _scored}
        if kind not in makers:
            raise Problem(400, f"Unknown command: {kind[:100]}")
        async for entry in makers[kind](fields, ready, self._served.settings.seconds):
            await self._say("TOKEN", head | entry)

    def _check_model(self, fields: Fields) -> None:
        model, names = fields.text("model", most=1000), self._served.settings.names
        if model not in names:
            raise Problem(404, f"The requested model {model!r} is not loaded; this server has {', '.join(names)}.")


class _StreamWork:
    """The tokens of one GENERATE message; its events are entries without a stream."""

    alone: Alone = None
    waits = False
    shared = 0

    def __init__(self, fields: Fields, ready: Ready) -> None:
        self.usage = SessionUsage()
        self.events: list[Any] = []
        self._ends = ready.tokenizer.vocabulary.eos_ids
        longest = ready.backend.context_length or 1 << 20
        self._ids = list(fields.ids("prompt", most=longest, width=ready.width))
        if not self._ids:
            raise fields.bad("prompt", "at least one token id")
        self._left = min(fields.whole("max_tokens", 32, 1, MAX_TOKENS), max(1, longest - len(self._ids)))
        self._shown = fields.whole("top_logprobs", 1, 0, ready.width)
        self._bias = _bias(fields, ready.width)
        self._sampling = _sampling(fields, ready.width)
        self._random = np.random.default_rng()

    def wants(self) -> list[list[int]]:
        return [self._ids] if self._left else []

    def take(self, rows: Logits) -> None:
        row = biased(self._sampling.penalised(rows[0], self._ids), self._bias)
        token = self._sampling.choose(_Anything(), row, self._random)
        self._ids = [*self._ids, token]
        self._left -= 1
        reason = "stop" if token in self._ends else "length" if not self._left else None
        self._left = 0 if reason else self._left
        value = logprob(row, token)
        top = {str(token): value} | {str(i): other for i, other in top_tokens(row, self._shown) if np.isfinite(other)}
        self.events.append({"token": token, "logprob": value, "finish_reason": reason, "top_logprobs": top})


class _Anything:
    """A hole in which everything is legal: masks are the client's, who writes them as biases."""

    def legal(self, token_id: int) -> bool:
        return True

    def masked(self, logits: Logits) -> Logits:
        return logits


def _sampling(fields: Fields, width: int) -> Sampling:
    repetition = fields.number("repetition_penalty", 1.0, 1e-6, 1e3)
    return Sampling(
        temperature=fields.number("temperature", 0.0, 0.0, 1e6),
        top_k=fields.whole("top_k", 0, 0, width),
        top_p=fields.number("top_p", 1.0, 1e-9, 1.0),
        repetition_penalty=repetition,
        frequency_penalty=fields.number("frequency_penalty", 0.0, -1e3, 1e3),
        presence_penalty=fields.number("presence_penalty", 0.0, -1e3, 1e3),
    )


def _bias(fields: Fields, width: int) -> dict[int, float]:
    given = fields.raw("logit_bias") or {}
    wrong = fields.bad("logit_bias", f"finite numbers by token ids from 0 to {width - 1}")
    if not isinstance(given, dict):
        raise wrong
    try:
        bias = {int(key): float(value) for key, value in given.items()}
    except (TypeError, ValueError):
        raise wrong from None
    if bias and not (min(bias) >= 0 and max(bias) < width and np.isfinite(list(bias.values())).all()):
        raise wrong
    return bias


async def _generated(fields: Fields, ready: Ready, seconds: float) -> AsyncIterator[dict[str, Any]]:
    """The tokens of a GENERATE message; the last one has a `finish_reason`."""
    ticket = ready.scheduler.submit(_StreamWork(fields, ready), deadline=seconds)
    try:
        while events := await ticket.next():
            for entry in events:
                yield entry
    finally:
        ticket.cancel()


async def _scored(fields: Fields, ready: Ready, seconds: float) -> AsyncIterator[dict[str, Any]]:
    """The tokens of a SCORE message with their log-probabilities after the prompt and one another."""
    longest = ready.backend.context_length or 1 << 20
    prompt, scored = (fields.ids(name, most=longest, width=ready.width) for name in ("prompt", "scored"))
    if not prompt or not scored or len(prompt) + len(scored) > longest:
        raise Problem(400, f"`prompt` and `scored` hold at least one id each, and {longest} together at most")
    ticket = ready.scheduler.submit(ScoreWork(prompt, [scored]), deadline=seconds)
    try:
        values: Sequence[float] = (await ticket.all())[0][0].tolist()
    finally:
        ticket.cancel()
    for place, (token, value) in enumerate(zip(scored, values, strict=True), 1):
        yield {"token": token, "logprob": value, "finish_reason": "stop" if place == len(scored) else None}


def _read(text: str) -> tuple[str, Any, dict[str, Any]]:
    """A message's word and its JSON (None where it has none), and what its answers begin with: the id of its stream."""
    kind, _, rest = text.partition(" ")
    try:
        values = json.loads(rest)
    except (ValueError, RecursionError):
        return kind, None, {}
    stream = values.get("stream_id") if isinstance(values, dict) else None
    return kind, values, {"stream_id": stream} if isinstance(stream, int | str) else {}


def _told(kind: str) -> str:
    """How a message is answered: streams by tokens, others by a message."""
    return "TOKEN" if kind in ("GENERATE", "SCORE") else "MSG"
