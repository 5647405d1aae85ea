"""The routes: `POST /run`, `GET /openapi.json`, `GET /health`."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import re
from collections.abc import AsyncIterator, Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from lmqlc.grammar.errors import LmqlError
from lmqlc.queryserver.openapi import document
from lmqlc.queryserver.service import BadArguments, QueryService, problem, shown_result
from lmqlc.runtime.plain import plain
from lmqlc.runtime.results import Result
from lmqlc.runtime.stream import Event, HoleEnd, HoleStart, RunEnd, TextEvent, TokenEvent, ValueEvent
from lmqlc.runtime.streaming import Channel

HEARTBEAT = 15.0
"""Seconds without an event after which a comment is sent, so that nobody between gives the stream up."""
LOOK = 0.25
"""Seconds between looks whether a client has gone."""


class Refused(Exception):
    """A request that is not for us."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


OWN_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
"""What this machine is called by clients on it."""


def build_app(service: QueryService, *, api_key: str | None = None, local: bool = False) -> Starlette:
    """The application for one query. api_key: what clients must send as `Authorization: Bearer KEY`; local: only clients of this machine
    are meant: a request for another host's name comes from a page that was made to look like ours."""

    async def run(request: Request) -> Response:
        try:
            _check_host(request, local=local)
            _check_key(request, api_key)
            arguments = service.arguments(await _body(request, service.bounds.body))
        except Refused as refused:
            return _refusal(refused)
        except BadArguments as error:
            status, body = problem(error, service.program)
            return JSONResponse(body, status)
        if "text/event-stream" in request.headers.get("accept", ""):
            return StreamingResponse(_events(service, arguments), media_type="text/event-stream", headers={"cache-control": "no-store"})
        return await _answer(request, service, arguments)

    async def health(_: Request) -> Response:
        return JSONResponse({"status": "ok", "query": service.program.source.name, "running": service.open})

    async def openapi(_: Request) -> Response:
        return JSONResponse(document(service.program, service.schema, needs_key=api_key is not None))

    return Starlette(
        routes=[Route("/run", run, methods=["POST"]), Route("/health", health), Route("/openapi.json", openapi)],
        exception_handlers={404: _unknown, 405: _unknown},
    )


def _check_host(request: Request, *, local: bool) -> None:
    host = request.headers.get("host", "").lower()
    name = host.rpartition(":")[0] if re.search(r":\d*$", host) else host
    if local and name not in OWN_NAMES:
        raise Refused(421, f"this server answers for {', '.join(sorted(OWN_NAMES))} only; start it with --host for others")


def _check_key(request: Request, api_key: str | None) -> None:
    given = request.headers.get("authorization", "").removeprefix("Bearer ")
    if api_key is not None and not hmac.compare_digest(given.encode(), api_key.encode()):
        raise Refused(401, "the server wants a key: Authorization: Bearer KEY")


async def _body(request: Request, most: int) -> Any:
    """The JSON that a client sent. Browsers send this content type to their own site only, so that no other page can run the query."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Refused(415, "the body is JSON: Content-Type: application/json")
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > most:
            raise Refused(413, f"the body is longer than {most} bytes")
    try:
        return json.loads(data.decode("utf-8"), parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise Refused(400, f"the body is no JSON: {error}") from None


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no number of JSON")


def _refusal(refused: Refused) -> Response:
    return JSONResponse({"error": {"type": "BadRequest", "message": str(refused)}}, refused.status)


async def _unknown(request: Request, error: Exception) -> Response:
    status = getattr(error, "status_code", 404)
    return JSONResponse({"error": {"type": "BadRequest", "message": "POST /run, GET /openapi.json, GET /health"}}, status)


async def _answer(request: Request, service: QueryService, arguments: dict[str, Any]) -> Response:
    """The results as JSON; a client that goes away ends its run."""
    work = asyncio.ensure_future(service.run(arguments))
    try:
        while not work.done():
            await asyncio.wait([work], timeout=LOOK)
            if not work.done() and await request.is_disconnected():
                return Response(status_code=499)
        return JSONResponse(outcome(work.result()))
    except Exception as error:  # noqa: BLE001 - every error of a run is an answer
        status, body = problem(error, service.program)
        return JSONResponse(body, status, headers={"retry-after": "1"} if status == 503 else None)
    finally:
        await _ended(work)


async def _ended(work: asyncio.Future[Any]) -> None:
    if not work.done():
        work.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await work


def outcome(results: Sequence[Result]) -> dict[str, Any]:
    """What a client gets of a run: the likeliest branch, and all of them where there are several."""
    shown = shown_result(results[0])
    return shown if len(results) == 1 else {**shown, "results": [shown_result(result) for result in results]}


async def _events(service: QueryService, arguments: dict[str, Any]) -> AsyncIterator[str]:
    """The run as server-sent events: text, hole, token, hole_end, value; then end, or error."""
    channel = Channel()
    work = asyncio.ensure_future(service.run(arguments, (channel,)))
    work.add_done_callback(channel.close)
    try:
        while True:
            try:
                event = await asyncio.wait_for(channel.next(), HEARTBEAT)
            except TimeoutError:
                yield ": still running\n\n"
                continue
            if event is None:
                break
            if not isinstance(event, RunEnd):
                yield _sent(*_shown(event))
        yield _sent("end", outcome(await work))
    except (LmqlError, Exception) as error:  # noqa: BLE001 - every error of a run is an event
        status, body = problem(error, service.program)
        yield _sent("error", {**body, "status": status})
    finally:
        await _ended(work)


def _shown(event: Event) -> tuple[str, dict[str, Any]]:
    assert not isinstance(event, RunEnd)
    place = {"branch": event.branch} if event.branch else {}
    if isinstance(event, TextEvent):
        return "text", {"text": event.text, **place}
    if isinstance(event, HoleStart):
        return "hole", {"name": event.name, **place}
    if isinstance(event, TokenEvent):
        return "token", {"name": event.name, "text": event.text, **place}
    if isinstance(event, HoleEnd):
        return "hole_end", {"name": event.hole.name, "text": event.hole.text, "rest": event.rest, **place}
    assert isinstance(event, ValueEvent)
    return "value", {"name": event.name, "value": plain(event.value), **place}


def _sent(kind: str, data: dict[str, Any]) -> str:
    return f"event: {kind}\ndata: {json.dumps(data, ensure_ascii=False, allow_nan=False)}\n\n"
