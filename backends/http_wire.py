"""A small HTTP/1.1 client over asyncio: connections that are used again, answers that stream, errors that say what happened.

Little beyond the standard library, so that a client process starts fast. Idle connections are plain sockets: they belong to no event loop,
and the next query uses them, whatever loop it runs in. Proxies are not asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import h11

from lmqlc.grammar.errors import LmqlError

CONNECT_SECONDS = 10.0
MAX_HEAD = 1 << 16
"""Most bytes of an answer's status and headers."""
MAX_IDLE = 8
"""Connections kept for the next request."""


class Unreachable(Exception):
    """No connection came about; nothing was sent."""


class Broken(Exception):
    """The connection ended before the answer did."""


class Silent(Broken):
    """Nothing came for too long."""


@dataclass(frozen=True)
class Address:
    """Where a server is. base: the part of its URLs before every path, without a slash at its end."""

    scheme: str
    host: str
    port: int
    base: str

    @classmethod
    def of(cls, endpoint: str) -> Address:
        """The address of `host:port`, or of an http, https, ws or wss URL. Raises LmqlError for anything else."""
        text = endpoint if "://" in endpoint else f"http://{endpoint}"
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError:
            raise LmqlError(f"{endpoint!r} is no address of a server; write host:port or a URL") from None
        scheme = {"ws": "http", "wss": "https"}.get(parts.scheme, parts.scheme)
        if scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment or parts.username:
            raise LmqlError(f"{endpoint!r} is no address of a server; write host:port or a URL")
        default = 443 if scheme == "https" else 80 if "://" in endpoint else 8080
        return cls(scheme, parts.hostname, port or default, parts.path.rstrip("/"))

    @property
    def url(self) -> str:
        """The server as people write it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.base}"


class Wire:
    """One connection: bytes out, bytes in."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._tls: ssl.SSLObject | None = None
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.http = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)

    @classmethod
    async def open(cls, address: Address) -> Wire:
        """A new connection. Raises Unreachable."""
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                wire = cls(await _connected(address))
                if address.scheme == "https":
                    await wire._secure(address.host)
                return wire
        except TimeoutError:
            raise Unreachable(f"no answer within {CONNECT_SECONDS:g} seconds") from None
        except (OSError, UnicodeError) as error:  # names that are no host names are a UnicodeError
            raise Unreachable(str(error) if isinstance(error, ssl.SSLError) else getattr(error, "strerror", None) or str(error)) from None

    async def _secure(self, host: str) -> None:
        context = ssl.create_default_context()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                await self._fill()
                continue
            await self._flush()
            return

    async def _flush(self) -> None:
        data = self._outgoing.read()
        if data:
            await asyncio.get_running_loop().sock_sendall(self._sock, data)

    async def _fill(self) -> None:
        data = await asyncio.get_running_loop().sock_recv(self._sock, 1 << 16)
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    async def send(self, data: bytes) -> None:
        """Sends all of it. Raises OSError."""
        if self._tls is None:
            await asyncio.get_running_loop().sock_sendall(self._sock, data)
            return
        for at in range(0, len(data), 1 << 16):
            self._tls.write(data[at : at + (1 << 16)])
            await self._flush()

    async def more(self) -> None:
        """Reads what comes next; the end of the connection is something too. Raises Broken."""
        try:
            self.http.receive_data(await self._received())
        except OSError as error:
            raise Broken(error.strerror or str(error)) from None
        except h11.RemoteProtocolError:
            raise Broken("the connection was closed") from None

    async def _received(self) -> bytes:
        if self._tls is None:
            return await asyncio.get_running_loop().sock_recv(self._sock, 1 << 18)
        while True:
            try:
                return self._tls.read(1 << 18)
            except ssl.SSLWantReadError:
                await self._fill()
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return b""

    def quiet(self) -> bool:
        """Nothing has come since the last answer: the connection can be used again."""
        try:
            self._sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return not self.http.trailing_data[0]
        except OSError:
            return False
        return False  # closed at the other end, or something that nobody asked for

    def close(self) -> None:
        self._sock.close()


async def _connected(address: Address) -> socket.socket:
    loop = asyncio.get_running_loop()
    last: OSError | None = None
    for family, kind, protocol, _, place in await _places(address):
        sock = socket.socket(family, kind, protocol)
        sock.setblocking(False)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await loop.sock_connect(sock, place)
        except OSError as error:
            sock.close()
            last = error
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise last or OSError(f"no address for {address.host!r}")


async def _places(address: Address) -> list[tuple[int, int, int, str, tuple[object, ...]]]:
    """Where a host may be. `localhost` is looked up here: asking for it takes a thread."""
    if address.host in ("localhost", "127.0.0.1"):
        found = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", address.port))]
        return [*found, (socket.AF_INET6, socket.SOCK_STREAM, 0, "", ("::1", address.port))] if address.host == "localhost" else found  # type: ignore[return-value]
    return await asyncio.get_running_loop().getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)  # type: ignore[return-value]


class Answer:
    """An answer whose body is read as it comes. patience: seconds without any byte after which it counts as lost."""

    def __init__(self, pool: Pool, wire: Wire, patience: float) -> None:
        self._pool = pool
        self._wire = wire
        self.patience = patience
        self.status = 0
        self.headers: dict[str, str] = {}
        self._done = False

    async def _event(self) -> Any:
        """The next event of the protocol. Raises Broken, Silent."""
        while True:
            try:
                event = self._wire.http.next_event()
            except h11.RemoteProtocolError as error:
                early = "peer closed connection" in str(error)
                raise Broken("the connection was closed" if early else f"this is no HTTP server ({error})") from None
            if event is not h11.NEED_DATA:
                return event
            try:
                async with asyncio.timeout(self.patience):
                    await self._wire.more()
            except TimeoutError:
                raise Silent(f"nothing came for {self.patience:g} seconds") from None

    async def head(self) -> None:
        """Reads status and headers."""
        event = await self._event()
        while isinstance(event, h11.InformationalResponse):
            event = await self._event()
        if not isinstance(event, h11.Response):
            raise Broken("the connection was closed")
        self.status = event.status_code
        self.headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in event.headers}

    async def parts(self) -> AsyncIterator[bytes]:
        """The body, piece by piece. Raises Broken where it ends too early."""
        while isinstance(event := await self._event(), h11.Data):
            yield bytes(event.data)
        if not isinstance(event, h11.EndOfMessage):
            raise Broken("the connection was closed")
        self._finished()

    async def read(self, most: int = 1 << 30) -> bytes:
        """The whole body, of at most `most` bytes."""
        found = bytearray()
        async for part in self.parts():
            found += part
            if len(found) > most:
                self.close()
                raise Broken(f"the answer is longer than {most} bytes")
        return bytes(found)

    def _finished(self) -> None:
        self._done = True
        try:
            self._wire.http.start_next_cycle()
        except h11.ProtocolError:  # it is not to be kept alive
            self._wire.close()
        else:
            self._pool.put(self._wire)

    def close(self) -> None:
        """Gives the answer up, where it was not read to its end."""
        if not self._done:
            self._done = True
            self._wire.close()


class Pool:
    """The connections to one server."""

    def __init__(self, address: Address, headers: Mapping[str, str]) -> None:
        self.address = address
        host = f"[{address.host}]" if ":" in address.host else address.host
        self._headers = {"host": f"{host}:{address.port}", "accept": "*/*", **headers}
        self._idle: list[Wire] = []
        self._lock = threading.Lock()

    async def ask(self, method: str, path: str, body: bytes | None = None, *, patience: float = 60.0) -> Answer:
        """Sends a request; the answer's head has come. Raises Unreachable, Broken.

        A connection that was kept may have been closed meanwhile: where it breaks before anything comes, the request goes out once more.
        """
        about = {} if body is None else {"content-type": "application/json", "content-length": str(len(body))}
        request = h11.Request(method=method, target=self.address.base + path, headers=list((self._headers | about).items()))
        kept = self._kept()
        if kept is not None:
            try:
                return await self._sent(kept, request, body, patience)
            except Silent:
                raise
            except Broken:
                pass
        return await self._sent(await Wire.open(self.address), request, body, patience)

    async def _sent(self, wire: Wire, request: h11.Request, body: bytes | None, patience: float) -> Answer:
        answer = Answer(self, wire, patience)
        events = [request, *([h11.Data(data=body)] if body else []), h11.EndOfMessage()]
        data = b"".join(wire.http.send(event) or b"" for event in events)
        try:
            try:
                await wire.send(data)
            except OSError as error:
                raise Broken(error.strerror or str(error)) from None
            await answer.head()
        except BaseException:
            answer.close()
            raise
        return answer

    def _kept(self) -> Wire | None:
        with self._lock:
            while self._idle:
                wire = self._idle.pop()
                if wire.quiet():
                    return wire
                wire.close()
        return None

    def put(self, wire: Wire) -> None:
        """Keeps a connection for the next request."""
        with self._lock:
            if len(self._idle) < MAX_IDLE:
                self._idle.append(wire)
                return
        wire.close()

    def close(self) -> None:
        """Closes what is kept."""
        with self._lock, contextlib.suppress(OSError):
            while self._idle:
                self._idle.pop().close()
