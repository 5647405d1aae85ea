"""The web application: routes, who may use them, and how errors look.

ROUTES lists the modules that bring routes; each has `routes(served) -> list[BaseRoute]`. A route gets the loaded model from
`served.ready()` and gives its work to the scheduler; it raises Problem, or an LmqlError, for what cannot be answered.
"""

from __future__ import annotations

import hmac
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lmqlc.backends.serve import admin, chat, completions, holes, legacy, lmtp
from lmqlc.backends.serve.answers import failed
from lmqlc.backends.serve.problems import Problem, problem_of
from lmqlc.backends.serve.served import Served
from lmqlc.grammar.errors import LmqlError

log = logging.getLogger("lmqlc.serve")

ROUTES: Sequence[Callable[[Served], list[BaseRoute]]] = (
    admin.routes, completions.routes, chat.routes, holes.routes, lmtp.routes, legacy.routes,
)  # fmt: skip

LOOPBACK = ("localhost", "127.0.0.1", "::1")


def build_app(served: Served) -> ASGIApp:
    """The application that serves a model, loaded or not."""
    routes = [route for module in ROUTES for route in module(served)]
    handlers: dict[Any, Any] = {Problem: _problem, LmqlError: _error, HTTPException: _http, Exception: _bug, ClientDisconnect: _gone}
    return Guard(Starlette(routes=routes, exception_handlers=handlers), served)


async def _problem(request: Request, error: Problem) -> Response:
    return failed(error)


async def _error(request: Request, error: LmqlError) -> Response:
    return failed(problem_of(error))


async def _http(request: Request, error: HTTPException) -> Response:
    words = {404: f"there is nothing at {request.url.path[:200]}", 405: f"{request.method} is not possible at {request.url.path[:200]}"}
    answer = failed(Problem(error.status_code, words.get(error.status_code, error.detail), "not_found"))
    answer.headers.update(error.headers or {})
    return answer


async def _bug(request: Request, error: Exception) -> Response:
    return failed(Problem(500, "the server failed; its log says where", "internal_error"))


async def _gone(request: Request, error: ClientDisconnect) -> Response:
    return Response(status_code=499)


class Guard:
    """Lets in who has the key and calls the server by its own name, and counts what is answered."""

    def __init__(self, app: ASGIApp, served: Served) -> None:
        self._app = app
        self._served = served
        settings = served.settings
        self._key = None if settings.api_key is None else settings.api_key.encode()
        self._hosts = LOOPBACK if settings.host in LOOPBACK else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        refusal = self._refusal(scope, headers)
        if refusal is None and scope["type"] == "http":
            await self._counted(scope, receive, send)
        elif refusal is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            self._served.metrics.answered("refused", refusal.status, 0.0)
            await failed(refusal)(scope, receive, send)
        else:
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": refusal.message})

    def _refusal(self, scope: Scope, headers: dict[bytes, bytes]) -> Problem | None:
        """Why a request is not let in. A page that some other name led to this machine's own address is not (DNS rebinding)."""
        if self._hosts is not None and _host(headers.get(b"host", b"")) not in self._hosts:
            return Problem(421, "this server is reached as localhost only; start it with --host to serve others", "misdirected_request")
        if scope["path"] == "/health" or self._key is None:
            return None
        scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() == b"bearer" and hmac.compare_digest(given.strip(), self._key):
            return None
        missing = b"authorization" not in headers
        return Problem(401, "an API key is needed: Authorization: Bearer KEY" if missing else "wrong API key", "invalid_api_key")

    async def _counted(self, scope: Scope, receive: Receive, send: Send) -> None:
        started, status = time.perf_counter(), 500

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, sent)
        except ClientDisconnect:
            status = 499
        finally:
            path = getattr(scope.get("route"), "path", "other")
            self._served.metrics.answered(path, status, time.perf_counter() - started)


def _host(value: bytes) -> str:
    """The name in a Host header, without its port."""
    text = value.decode("latin-1")
    return text[1 : text.find("]")] if text.startswith("[") else text.partition(":")[0]
