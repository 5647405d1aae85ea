"""Reading requests and sending answers: bounded bodies, JSON, streams that notice when their reader goes away."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from lmqlc.backends.serve.problems import Problem, problem_of
from lmqlc.backends.serve.settings import SLOW
from lmqlc.backends.ticket import Ticket
from lmqlc.grammar.errors import LmqlError

T = TypeVar("T")
log = logging.getLogger("lmqlc.serve")
_READ_SECONDS = 30.0


def dumps(value: Any) -> bytes:
    """Compact JSON."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False, ensure_ascii=False).encode("utf-8", "backslashreplace")


def answer(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON answer."""
    return Response(dumps(value), status, headers, "application/json")


def failed(problem: Problem) -> Response:
    """The answer to a request that cannot be met."""
    return answer(problem.body(), problem.status, problem.headers())


async def read_json(request: Request, most: int) -> Any:
    """The JSON of a request of at most `most` bytes. Raises Problem."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":  # a browser asks first before it sends this to another site's server
        raise Problem(415, "the content type must be application/json", "unsupported_media_type")
    body = bytearray()
    try:
        async with asyncio.timeout(_READ_SECONDS):
            async for part in request.stream():
                body += part
                if len(body) > most:
                    raise Problem(413, f"a request has at most {most} bytes", "request_too_large")
    except TimeoutError:
        raise Problem(408, "the request did not arrive in time", "request_timeout") from None
    try:
        return json.loads(bytes(body), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise Problem(400, f"the body is no JSON: {str(error)[:200]}", "invalid_json") from None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


async def attended(request: Request, tickets: Iterable[Ticket], work: Coroutine[Any, Any, T]) -> T:
    """What a coroutine gives that waits for tickets; they are cancelled where the client goes away meanwhile."""
    found = list(tickets)
    watcher = asyncio.create_task(_gone(request.receive, lambda: _cancel(found)))
    try:
        return await work
    finally:
        watcher.cancel()
        _cancel(found)


def _cancel(tickets: Iterable[Ticket]) -> None:
    for ticket in tickets:
        ticket.cancel()


async def _gone(receive: Receive, then: Callable[[], None]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    then()


class Stream(Response):
    """An answer whose parts come over time. cancel: called when the reader is gone, and at the end.

    trouble: makes the last part of an error that came after the first part was sent.
    """

    def __init__(
        self, parts: AsyncIterator[bytes], *, media_type: str, cancel: Callable[[], None], trouble: Callable[[Problem], bytes]
    ) -> None:
        self._parts = parts
        self._cancel = cancel
        self._trouble = trouble
        self.background = None
        self.status_code = 200
        self.media_type = media_type
        self.body = b""
        self.init_headers({"cache-control": "no-store", "x-accel-buffering": "no"})

    def init_headers(self, headers: Any = None) -> None:
        super().init_headers(headers)
        self.raw_headers = [pair for pair in self.raw_headers if pair[0] != b"content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        watcher = asyncio.create_task(_gone(receive, self._cancel))
        guard = SlowReader(asyncio.current_task())
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            last = await self._send_parts(send, guard)
            await send({"type": "http.response.body", "body": last, "more_body": False})
        except asyncio.CancelledError:
            if not guard.struck:
                raise
            log.info("a client read too slowly")
        except OSError:
            log.info("a client went away")
        finally:
            guard.close()
            watcher.cancel()
            self._cancel()

    async def _send_parts(self, send: Send, guard: SlowReader) -> bytes:
        """Sends the parts as they come; what is left to send at the end."""
        try:
            async for part in self._parts:
                guard.sending()
                await send({"type": "http.response.body", "body": part, "more_body": True})
                guard.sent()
        except Problem as problem:
            return self._trouble(problem)
        except LmqlError as error:
            return self._trouble(problem_of(error))
        return b""


class SlowReader:
    """Cancels a task that has been sending one part for more than `SLOW` seconds. One timer for all parts costs less than one for each."""

    def __init__(self, task: asyncio.Task[Any] | None) -> None:
        self.struck = False
        self._task = task
        self._loop = asyncio.get_running_loop()
        self._since: float | None = None
        self._timer = self._loop.call_later(SLOW, self._look)

    def sending(self) -> None:
        self._since = self._loop.time()

    def sent(self) -> None:
        self._since = None

    def close(self) -> None:
        self._timer.cancel()

    def _look(self) -> None:
        if self._since is not None and self._loop.time() - self._since >= SLOW and self._task is not None:
            self.struck = True
            self._task.cancel()
        else:
            self._timer = self._loop.call_later(SLOW / 2, self._look)
