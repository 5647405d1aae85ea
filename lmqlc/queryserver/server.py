"""The server of one query: in the foreground until a signal, or in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from lmqlc.api import CompiledQuery, compile
from lmqlc.compiler.ir import Program
from lmqlc.grammar.errors import BackendUnavailable, LmqlError
from lmqlc.queryserver.service import Bounds, QueryService

try:
    import uvicorn

    from lmqlc.backends.serve.connections import BoundedProtocol
    from lmqlc.backends.serve.server import bind
    from lmqlc.queryserver.app import build_app
except ImportError as _error:
    raise BackendUnavailable(f"serving a query needs the package {_error.name!r}: pip install 'lmqlc[serve]'") from None

STARTING = 60.0
"""Seconds that the event loop may take to start."""


class _Uvicorn(uvicorn.Server):
    """uvicorn, with signals left to us."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class QueryServer:
    """A server of one query. As a context manager it serves in a thread of its own until the block ends; `run` serves until a signal.

    Raises BackendUnavailable for an address that cannot be used, and what loading the model raises.
    """

    def __init__(
        self,
        query: CompiledQuery,
        *,
        model: Any = None,
        decoder: str | None = None,
        options: Mapping[str, Any] | None = None,
        host: str = "localhost",
        port: int = 8000,
        api_key: str | None = None,
        bounds: Bounds | None = None,
    ) -> None:
        self.bounds = bounds or Bounds()
        self._service = QueryService(query, model=model, decoder=decoder, options=options, bounds=self.bounds)
        self._host = host
        self._sockets = bind(host, port)
        self.port: int = self._sockets[0].getsockname()[1]
        self._uvicorn = _Uvicorn(self._config(api_key))
        self._thread: threading.Thread | None = None
        self._ready = threading.Event()
        self._error: BaseException | None = None

    def _config(self, api_key: str | None) -> uvicorn.Config:
        return uvicorn.Config(
            build_app(self._service, api_key=api_key, local=self._host in ("localhost", "127.0.0.1", "::1")),
            log_level="warning",
            access_log=False,
            lifespan="off",
            http=BoundedProtocol,
            limit_concurrency=4 * (self.bounds.running + self.bounds.waiting),
            timeout_graceful_shutdown=max(1, int(self.bounds.drain)),
            server_header=False,
        )

    @property
    def program(self) -> Program:
        """The query's program."""
        return self._service.program

    @property
    def url(self) -> str:
        """Where the server answers."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self.port}"

    async def _serve(self, ready: Callable[[], None]) -> None:
        try:
            await self._service.load()
        except BaseException as error:
            for sock in self._sockets:
                sock.close()
            self._error = error
            raise
        finally:
            if self._error is not None:
                self._ready.set()
        serving = asyncio.ensure_future(self._uvicorn.serve(self._sockets))
        while not self._uvicorn.started and not serving.done():
            await asyncio.sleep(0.01)
        self._ready.set()
        ready()
        await serving

    def run(self, ready: Callable[[], None]) -> None:
        """Serve in the main thread until SIGTERM or SIGINT, then finish what is under way; a second signal ends at once."""
        with self._signals():
            asyncio.run(self._serve(ready))

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        def handle(number: int, frame: FrameType | None) -> None:
            if not self._uvicorn.started:
                raise KeyboardInterrupt
            self._uvicorn.force_exit = self._uvicorn.should_exit
            self._uvicorn.should_exit = True

        before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def start(self) -> QueryServer:
        """Serve in the background; returns when the model is loaded and the server answers."""

        def work() -> None:
            with contextlib.suppress(Exception):  # kept, and raised where the server is started
                asyncio.run(self._serve(lambda: None))

        self._thread = threading.Thread(target=work, name="lmqlc-query-server", daemon=True)
        self._thread.start()
        self._ready.wait()
        if self._error is not None:
            raise self._error
        return self

    def stop(self) -> None:
        """Finish what is under way, and end."""
        self._uvicorn.should_exit = True
        if self._thread is not None:
            self._thread.join(self.bounds.drain + STARTING)

    def __enter__(self) -> QueryServer:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()


def serve_query(
    query: str | os.PathLike[str] | CompiledQuery,
    *,
    model: Any = None,
    decoder: str | None = None,
    host: str = "localhost",
    port: int = 8000,
    api_key: str | None = None,
    block: bool = True,
    bounds: Bounds | None = None,
    **options: Any,
) -> QueryServer | None:
    """Put a query behind HTTP: `POST /run` with its arguments as JSON, until a signal ends it.

    With `block=False` it gives a server that is not started yet: a context manager with `url` and `port` (`port=0` chooses one). Clients
    give arguments, nothing else. api_key: what they must have. Further options are those of the decoder.
    """
    compiled = query if isinstance(query, CompiledQuery) else compile(Path(query) if isinstance(query, os.PathLike) else query)
    if not isinstance(port, int) or not 0 <= port <= 65535:
        raise LmqlError(f"a port is a number from 0 to 65535, not {port!r}")
    made = QueryServer(compiled, model=model, decoder=decoder, options=options, host=host, port=port, api_key=api_key, bounds=bounds)
    if not block:
        return made
    made.run(lambda: None)
    return None
