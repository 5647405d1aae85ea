"""HTTP to one server: addresses, keys, retries, streams, and what went wrong in words. Keys never show in messages."""

from __future__ import annotations

import asyncio
import json
import re
from collections import OrderedDict
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx2 as httpx

from lmqlc.backends.text import TextPrompt
from lmqlc.grammar.errors import BackendUnavailable, ContextOverflow, LmqlError, ModelNotFound, StreamBroken

RETRIES = 3
"""How often a request that brought nothing is repeated after a failure of the server or the line."""
LONGEST_WAIT = 60.0
"""Seconds that a request waits altogether where the server says it is busy."""
CONNECT = 10.0
_BACKOFF = 0.25
_OVERFLOW = re.compile(
    r"context (length|size|window)|maximum context|exceeds? the (model|available)|too many tokens|exceed_context", re.IGNORECASE
)
_SHOWN = 400
_KNOWN = 64
"""Prompts whose ids a session keeps."""


@dataclass(frozen=True)
class Server:
    """Where a server is. base: the URL that paths of OpenAI's API are added to; root: the URL of its other paths. option: how a user names
    the address, for messages; variable: the environment variable that holds the key."""

    kind: str
    base: str
    key: str | None = None
    variable: str = "OPENAI_API_KEY"
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def root(self) -> str:
        return self.base.removesuffix("/v1")

    @property
    def shown(self) -> str:
        """The address without what may be secret in it."""
        parts = urlsplit(self.base)
        host = parts.hostname or ""
        return urlunsplit((parts.scheme, f"{host}:{parts.port}" if parts.port else host, parts.path, "", ""))


def address(text: str) -> str:
    """A base URL from what a user wrote: `host:port`, a URL with or without `/v1`. Raises LmqlError for what is none."""
    url = text.strip()
    url = url if "://" in url else f"http://{url}"
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        valid = False
    if not valid or any(c.isspace() for c in url):
        raise LmqlError("the endpoint is no address of a server; write it as 'localhost:8000' or 'https://host/v1'")
    url = url.rstrip("/")
    return url if parts.path.strip("/") else f"{url}/v1"


class Client:
    """Requests of one session to one server. The connection is kept between requests. known: ids that the session knows of prompts."""

    def __init__(self, server: Server, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self.server = server
        self.known = KnownIds()
        headers = dict(server.headers)
        if server.key:
            headers.setdefault("Authorization", f"Bearer {server.key}")
        timeout = httpx.Timeout(CONNECT, read=None, pool=None)
        self._http = httpx.AsyncClient(headers=headers, timeout=timeout, transport=transport)

    async def close(self) -> None:
        await self._http.aclose()

    async def get(self, url: str, *, seconds: float = 10.0) -> Any:
        """The JSON value at a URL, None where the server has nothing there."""
        return await self._json("GET", url, None, seconds)

    async def post(self, url: str, body: Mapping[str, Any], *, seconds: float) -> Any:
        """The JSON answer to a request. Raises as `stream`."""
        return await self._json("POST", url, body, seconds)

    async def _json(self, method: str, url: str, body: Mapping[str, Any] | None, seconds: float) -> Any:
        waited = Patience(self)
        while True:
            try:
                async with asyncio.timeout(seconds):
                    response = await self._http.request(method, url, json=None if body is None else dict(body))
            except (httpx.HTTPError, TimeoutError) as error:
                await waited.after_failure(self._unreachable(error, seconds))
                continue
            if response.status_code == 404 and method == "GET":
                return None
            if response.is_success:
                return self._parsed(response.content)
            await waited.after_refusal(response.status_code, response.headers, response.text)

    async def stream(self, url: str, body: Mapping[str, Any], *, seconds: float) -> AsyncGenerator[dict[str, Any], None]:
        """The JSON events of a streamed answer, as they arrive; `seconds`: how long the server may stay silent.

        Before the first event a request is repeated (`RETRIES`, `LONGEST_WAIT`). Raises BackendUnavailable, ModelNotFound, ContextOverflow,
        Refused where the server does not like the request, StreamBroken where the answer breaks off.
        """
        waited = Patience(self)
        while True:
            arrived = False
            try:
                async with aclosing(self._events(url, body, seconds, waited)) as events:
                    async for event in events:
                        arrived = True
                        yield event
            except _Again:
                continue
            except (httpx.HTTPError, TimeoutError) as error:
                failure = self._unreachable(error, seconds)
                if arrived:
                    raise StreamBroken(f"{failure}; the answer broke off") from None
                await waited.after_failure(failure)
            else:
                return

    async def _events(self, url: str, body: Mapping[str, Any], seconds: float, waited: Patience) -> AsyncGenerator[dict[str, Any], None]:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(seconds) as timer, self._http.stream("POST", url, json=dict(body)) as response:
            if not response.is_success:
                await response.aread()
                await waited.after_refusal(response.status_code, response.headers, response.text)
                raise _Again
            lines = _Lines()
            async for data in response.aiter_bytes():
                timer.reschedule(None)  # whoever reads may take its time
                for line in lines.feed(data):
                    event = self._event(line)
                    if event is _DONE:
                        return
                    if event is not None:
                        yield event
                timer.reschedule(loop.time() + seconds)
            for line in lines.rest():
                event = self._event(line)
                if event is not None and event is not _DONE:
                    yield event

    def _event(self, line: str) -> dict[str, Any] | None:
        """The event of one line; None for lines without one. Raises for an error that the server reports in its stream."""
        name, colon, value = line.partition(":")
        if name == "error" and colon:
            raise StreamBroken(self._says("ended its answer with an error", value))
        if name != "data" or not colon:
            return None
        value = value.strip()
        if value == "[DONE]":
            return _DONE
        try:
            event = json.loads(value)
        except ValueError:
            raise BackendUnavailable(self._says("sent a malformed answer", value)) from None
        if not isinstance(event, dict):
            raise BackendUnavailable(self._says("sent a malformed answer", value))
        if event.get("error"):
            message = _message(value)
            if _OVERFLOW.search(message):
                raise ContextOverflow(self._says("refused the request", message))
            raise StreamBroken(self._says("ended its answer with an error", message))
        return event

    def _parsed(self, data: bytes) -> Any:
        try:
            return json.loads(data)
        except ValueError:
            raise BackendUnavailable(self._says("sent a malformed answer", data[:_SHOWN].decode("utf-8", "replace"))) from None

    def _unreachable(self, error: Exception, seconds: float) -> BackendUnavailable:
        where = f"the {self.server.kind} server at {self.server.shown}"
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            return BackendUnavailable(
                f"no {self.server.kind} server answers at {self.server.shown}; start it, or name another with `endpoint=`"
            )
        if isinstance(error, TimeoutError | httpx.TimeoutException):
            return BackendUnavailable(f"{where} stayed silent for {seconds:g} seconds; raise `chunk_timeout`, or look at the server")
        return BackendUnavailable(f"the line to {where.removeprefix('the ')} broke ({type(error).__name__}); look at the server")

    def malformed(self, value: object) -> BackendUnavailable:
        """The error for an answer that is not of the server's published form."""
        return BackendUnavailable(self._says("sent a malformed answer", json.dumps(value, default=str)))

    def _says(self, what: str, message: str) -> str:
        return f"the {self.server.kind} server at {self.server.shown} {what}: {self.clean(message)[:_SHOWN]}"

    def clean(self, text: str) -> str:
        """A text of the server without the key, on one line."""
        text = " ".join(text.split())
        return text.replace(self.server.key, "…") if self.server.key else text

    async def models(self) -> list[dict[str, Any]]:
        """What the server lists as its models; empty where it lists none."""
        try:
            found = await self.get(f"{self.server.base}/models")
        except LmqlError:
            return []
        entries = found.get("data") if isinstance(found, dict) else None
        return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []

    async def refusal(self, status: int, text: str) -> LmqlError:
        """The error for an answer that says no."""
        message, url = _message(text), self.server.shown
        if status in (401, 403):
            given = "refused the API key" if self.server.key else "wants an API key"
            return BackendUnavailable(
                f"the {self.server.kind} server at {url} {given} ({status}); set {self.server.variable}, or give `api_key=`"
            )
        if status == 404:
            names = [str(entry["id"]) for entry in await self.models() if "id" in entry]
            have = f"; it has: {', '.join(names[:20])}" if names else "; is the address right (does it end in /v1)?"
            return ModelNotFound(self._says("knows no such model or path", message) + have)
        if _OVERFLOW.search(message) and status < 500:
            return ContextOverflow(self._says("refused the request", message))
        if status == 429:
            return BackendUnavailable(self._says("is busy, or its quota is used up", message) + "; try again later")
        if status >= 500:
            return BackendUnavailable(self._says(f"failed ({status})", message) + "; look at its log")
        return Refused(self._says(f"refused the request ({status})", message), status, message)


class KnownIds:
    """Token ids of the last prompts of a session: of those that were tokenised, and of those that the model has gone on with."""

    def __init__(self) -> None:
        self._ids: OrderedDict[TextPrompt, list[int]] = OrderedDict()

    def put(self, prompt: TextPrompt, ids: Sequence[int]) -> None:
        self._ids[prompt] = list(ids)
        self._ids.move_to_end(prompt)
        if len(self._ids) > _KNOWN:
            self._ids.popitem(last=False)

    def get(self, prompt: TextPrompt) -> list[int] | None:
        return self._ids.get(prompt)


class Refused(BackendUnavailable):
    """A server does not like a request. message: what it says."""

    def __init__(self, text: str, status: int = 400, message: str = "") -> None:
        super().__init__(text)
        self.status = status
        self.reason = message


class Patience:
    """How often one request is repeated, and how long it waits altogether."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._failures = 0
        self._waited = 0.0

    async def after_failure(self, failure: LmqlError) -> None:
        """Wait before another try; raises the failure where there were enough."""
        self._failures += 1
        if self._failures >= RETRIES:
            raise failure
        await asyncio.sleep(_BACKOFF * 2 ** (self._failures - 1))

    async def after_refusal(self, status: int, headers: Mapping[str, str], text: str) -> None:
        """Wait where the server asks for it; raises for everything else."""
        error = await self._client.refusal(status, text)
        if status == 429 and "insufficient_quota" not in text:
            seconds = retry_after(headers) or _BACKOFF * 2**self._failures
            self._failures += 1
            self._waited += seconds
            if self._waited > LONGEST_WAIT:
                raise error
            await asyncio.sleep(seconds)
        elif status >= 500 and not isinstance(error, ContextOverflow):
            await self.after_failure(error)
        else:
            raise error


class _Again(Exception):
    """The request is to be sent again."""


_DONE: dict[str, Any] = {"done": True}


class _Lines:
    """Lines of a stream of bytes. Only \\n and \\r\\n end a line: other separators may stand inside of JSON."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[str]:
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [line.removesuffix(b"\r").decode("utf-8", "replace") for line in lines]

    def rest(self) -> list[str]:
        rest, self._rest = self._rest, b""
        return [rest.decode("utf-8", "replace")] if rest else []


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a server asks to wait: a number, or a date (RFC 9110, 10.2.3)."""
    value = headers.get("retry-after")
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    from datetime import UTC, datetime

    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def _message(text: str) -> str:
    """What an error answer says, in any of the forms that servers use."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    for _ in range(3):
        if isinstance(value, dict):
            found = [value[key] for key in ("error", "detail", "message", "msg") if value.get(key)]
            if not found:
                break
            value = found[0]
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
