"""A server from its start to its end: sockets first, so that its port answers while the model loads; then the model; a drain at last."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from types import FrameType

import uvicorn

from lmqlc.backends.base import Backend, ModelSpec, Progress
from lmqlc.backends.serve.app import build_app
from lmqlc.backends.serve.connections import BoundedProtocol
from lmqlc.backends.serve.served import Served
from lmqlc.backends.serve.settings import Settings
from lmqlc.grammar.errors import BackendUnavailable, LmqlError


class _Uvicorn(uvicorn.Server):
    """uvicorn, with signals left to us."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Server:
    """One server of one model, in this process.

    As a context manager it serves in threads of its own, from when the model is ready until the block ends; `run` serves in the foreground
    until a signal. Raises BackendUnavailable for an address that cannot be used, and what loading raises.
    """

    def __init__(self, model: ModelSpec | Backend, settings: Settings, progress: Progress | None = None) -> None:
        self.settings = settings
        self.served = Served(settings)
        self._model = model
        self._progress = progress
        self._sockets = bind(settings.host, settings.port)
        self.port: int = self._sockets[0].getsockname()[1]
        config = uvicorn.Config(
            build_app(self.served),
            log_level="error",  # strangers can cause as many warnings as they like
            access_log=False,
            lifespan="off",
            http=BoundedProtocol,
            limit_concurrency=settings.connections,
            timeout_keep_alive=max(1, int(settings.idle)),
            timeout_graceful_shutdown=max(1, int(settings.drain)),
            server_header=False,
            ws_max_size=settings.body,
        )
        self._uvicorn = _Uvicorn(config)
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """Where the server answers."""
        host = self.settings.host if self.settings.host not in ("0.0.0.0", "::") else socket.gethostname()  # noqa: S104
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def endpoint(self) -> str:
        """What `lmql.model(…, endpoint=…)` takes."""
        return self.url.removeprefix("http://")

    def start(self, *, wait: bool = True) -> Server:
        """Serves in the background. wait: return only when the model is ready; raises what loading raises."""
        self._thread = threading.Thread(target=self._serve, name="lmqlc-server", daemon=True)
        self._thread.start()
        self._load()
        if wait:
            self.served.settled()
            if self.served.error is not None:
                error = self.served.error
                self.stop()
                raise error
        return self

    def _load(self) -> None:
        threading.Thread(target=self.served.load, args=(self._model, self._progress), name="lmqlc-load", daemon=True).start()

    def _serve(self) -> None:
        asyncio.run(self._uvicorn.serve(self._sockets))

    def stop(self) -> None:
        """Ends the server: no new requests, what is under way is finished within the time for that."""
        self.served.stop()
        self._uvicorn.should_exit = True
        if self._thread is not None:
            self._thread.join(self.settings.drain + 10)
        self.served.close(self.settings.drain)

    def __enter__(self) -> Server:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def run(self, ready: Callable[[Server], None]) -> None:
        """Serves until SIGTERM or SIGINT, then drains; a second signal ends at once. ready: told when the model is loaded.

        Must be called in the main thread. Raises what loading raises.
        """
        self._load()
        watcher = threading.Thread(target=self._announce, args=(ready,), name="lmqlc-ready", daemon=True)
        watcher.start()
        with self._signals():
            self._serve()
        self.served.close(self.settings.drain if not self._uvicorn.force_exit else 0.1)
        if self.served.error is not None:
            raise self.served.error

    def _announce(self, ready: Callable[[Server], None]) -> None:
        self.served.settled()
        if self.served.error is not None:
            self._uvicorn.should_exit = True
        else:
            ready(self)

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        def handle(number: int, frame: FrameType | None) -> None:
            self._uvicorn.force_exit = self._uvicorn.should_exit
            self._uvicorn.should_exit = True
            self.served.stop()

        before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def bind(host: str, port: int) -> list[socket.socket]:
    """Listening sockets: for `localhost` on both of this machine's own addresses, where it has both. Raises BackendUnavailable."""
    hosts = ("127.0.0.1", "::1") if host == "localhost" else (host,)
    found: list[socket.socket] = []
    for place in hosts:
        try:
            found.append(_listening(place, found[0].getsockname()[1] if found else port))
        except OSError as error:
            if found and error.errno != errno.EADDRINUSE:
                break  # no IPv6 here
            for sock in found:
                sock.close()
            raise _taken(host, port, error) from None
    return found


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # named, or asyncio would not switch Nagle's algorithm off
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((host, port))
        sock.listen(2048)  # from now on clients may come; they are answered when the loop runs
    except BaseException:
        sock.close()
        raise
    return sock


def _taken(host: str, port: int, error: OSError) -> LmqlError:
    if error.errno == errno.EADDRINUSE:
        return BackendUnavailable(f"port {port} of {host} is in use; stop the other server, or choose another port with --port")
    return BackendUnavailable(f"cannot listen at {host}:{port}: {error.strerror or error}")
