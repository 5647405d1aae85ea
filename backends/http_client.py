"""Requests to an lmqlc server, and what its answers mean: errors that name the server's URL and say what to do."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from lmqlc.backends.http_wire import Address, Answer, Broken, Pool, Silent, Unreachable
from lmqlc.grammar.errors import (
    BackendUnavailable,
    ConstraintViolated,
    ContextOverflow,
    LmqlCompileError,
    LmqlError,
    ModelNotFound,
    UnsatisfiableConstraint,
    UnsupportedConstraint,
)

T = TypeVar("T")

PROTOCOL = 1
PATIENCE = 60.0
"""Seconds without a sign of life, or without a token, after which a request is made again."""
TRIES = 4
"""How often a request is made that nothing comes of."""
RETURN_SECONDS = 60.0
"""Seconds in which a server that went away in the middle of a run may come back, and a busy one find time."""

_ERRORS: dict[str, type[LmqlError]] = {
    "model_not_found": ModelNotFound,
    "context_length_exceeded": ContextOverflow,
    "unsatisfiable_constraint": UnsatisfiableConstraint,
    "unsupported_constraint": UnsupportedConstraint,
    "invalid_constraint": LmqlCompileError,
    "constraint_violated": ConstraintViolated,
}
_BUSY = (429, 502, 503, 504)
"""What a server with too many connections answers, and a proxy whose server is not there."""
_LATER = ("queue_full", "model_loading", "shutting_down")


class Later(Exception):
    """The server asks to come again in `seconds`. loading: its model will be there sooner or later."""

    def __init__(self, seconds: float, message: str, *, loading: bool = False) -> None:
        super().__init__(message)
        self.seconds = seconds
        self.message = message
        self.loading = loading


class OtherServer(BackendUnavailable):
    """What answers is no server of ours."""


class Refused(Exception):
    """An answer that only the caller understands; code: what the server calls it."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Client:
    """The requests to one server. model: as the user names it, for messages. May be used by several threads and event loops."""

    def __init__(self, endpoint: str, *, model: str, api_key: str | None, patience: float = PATIENCE) -> None:
        self.address = Address.of(endpoint)
        self.model = model
        self.patience = patience
        self._has_key = api_key is not None
        self._pool = Pool(self.address, {} if api_key is None else {"authorization": f"Bearer {api_key}"})

    @property
    def url(self) -> str:
        return self.address.url

    def close(self) -> None:
        self._pool.close()

    async def ask(self, method: str, path: str, payload: Any = None, *, patience: float | None = None) -> Answer:
        """Makes a request once; the head of a good answer has come.

        Raises Unreachable and Broken for a server that is gone, Later for one that has no time, Refused for codes that only the caller
        understands, and the project's own errors for everything else.
        """
        body = None if payload is None else json.dumps(payload, separators=(",", ":")).encode()
        answer = await self._pool.ask(method, path, body, patience=self.patience if patience is None else patience)
        if answer.status == 200:
            return answer
        try:
            raise self.failure(answer.status, await answer.read(1 << 20), answer.headers.get("retry-after"))
        finally:
            answer.close()

    def failure(self, status: int, body: bytes, retry_after: str | None = None) -> Exception:
        """What an answer that is no success means."""
        try:
            error = json.loads(body)["error"]
            code, message = str(error["code"]), str(error["message"])[:2000]
        except (ValueError, KeyError, TypeError, RecursionError):
            return Later(1.0, f"HTTP status {status}") if status in _BUSY else self._strange(status)
        if code in _LATER:
            seconds = float(retry_after) if retry_after and retry_after.isdigit() else 1.0
            return Later(min(seconds, 30.0), message, loading=code == "model_loading")
        if status == 401:
            hint = "the key is wrong: check LMQL_API_KEY, or api_key=…" if self._has_key else "set LMQL_API_KEY, or give api_key=…"
            return BackendUnavailable(f"the server at {self.url} asks for an API key; {hint}")
        if code == "unknown_automaton":
            return Refused(code)
        if code == "protocol_version":
            return BackendUnavailable(f"the server at {self.url} is of another version: {message}; install the same lmqlc on both sides")
        return _ERRORS.get(code, BackendUnavailable)(f"{message} (the server at {self.url})")

    def _strange(self, status: int) -> LmqlError:
        hint = "for an OpenAI-compatible server write 'openai/NAME' with endpoint=…, for an existing LMQL server endpoint=\"ws://…\""
        return OtherServer(f"what answers at {self.url} is no lmqlc server (HTTP status {status}); {hint}")

    async def json(self, method: str, path: str, payload: Any = None) -> Any:
        """The JSON of an answer. Raises as `ask`."""
        answer = await self.ask(method, path, payload)
        try:
            return json.loads(await answer.read())
        except (ValueError, RecursionError):
            raise self._strange(answer.status) from None
        finally:
            answer.close()

    async def lines(self, path: str, payload: Any, patience: float | None = None) -> AsyncGenerator[Any, None]:
        """The lines of a streamed answer as JSON values; None for an empty one. Raises as `ask`."""
        answer = await self.ask("POST", path, payload, patience=patience)
        left = bytearray()
        try:
            async for part in answer.parts():
                left += part
                if b"\n" in part:
                    *whole, rest = bytes(left).split(b"\n")
                    left[:] = rest
                    for line in whole:
                        yield json.loads(line) if line else None
        except ValueError:
            raise self._strange(answer.status) from None
        finally:
            answer.close()

    async def again(self, call: Callable[[], Awaitable[T]]) -> T:
        """What a request gives that has no other effect; it is made again where the server goes away, or has no time."""
        tries = Tries(self)
        while True:
            try:
                return await call()
            except (Unreachable, Broken, Later) as error:
                await tries.failed(error)

    def unreachable(self, error: Exception) -> BackendUnavailable:
        """The error for a server that cannot be reached."""
        name = self.model or "MODEL"
        hint = f"start one with `lmqlc serve-model {name}`, name another with endpoint=…, or run the model here: 'local:{name}'"
        return BackendUnavailable(f"no server answers at {self.url} ({error}); {hint}")


class Tries:
    """How often and how long a request is made again. `progress` is told when something came of it."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._since = time.monotonic()
        self._silent = self._count = 0

    def progress(self) -> None:
        self._since = time.monotonic()
        self._silent = self._count = 0

    async def failed(self, error: Exception) -> None:
        """Waits before the next try. Raises BackendUnavailable where there is none."""
        self._count += 1
        self._silent += isinstance(error, Silent)
        url = self._client.url
        if self._silent >= TRIES:
            raise BackendUnavailable(
                f"the server at {url} does not answer: {error}, {self._silent} times; raise chunk_timeout if it is slow"
            )
        pause = error.seconds if isinstance(error, Later) else min(2.0, 0.05 * 2**self._count)
        if time.monotonic() + pause - self._since > RETURN_SECONDS:
            if isinstance(error, Later):
                raise BackendUnavailable(f"the server at {url} has no time: {error.message}") from None
            if isinstance(error, Unreachable):
                raise self._client.unreachable(error) from None
            raise BackendUnavailable(f"the connection to the server at {url} keeps breaking: {error}") from None
        await asyncio.sleep(pause)


def blocking(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """What a coroutine gives, from code that may stand inside of a running event loop."""
    values: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            values.append(asyncio.run(work()))
        except BaseException as error:  # noqa: BLE001 - handed to the caller's thread
            errors.append(error)

    thread = threading.Thread(target=run, name="lmqlc-ask", daemon=True)
    thread.start()
    thread.join()
    with contextlib.suppress(IndexError):
        raise errors[0]
    return values[0]
