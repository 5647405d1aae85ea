"""A small HTTP/1.1 client over asyncio: connections that are used again, answers that stream, errors that say what happened.

Nothing but the standard library, so that a client process starts fast. Idle connections are plain sockets: they belong to no event loop,
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
from urllib.parse import urlsplit

from lmqlc.grammar.errors import LmqlError

CONNECT_SECONDS = 10.0
MAX_HEAD = 1 << 16
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
        self.buffer = bytearray()

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
        """Reads what comes next into `buffer`. Raises Broken where nothing will."""
        try:
            data = await self._received()
        except OSError as error:
            raise Broken(error.strerror or str(error)) from None
        if not data:
            raise Broken("the connection was closed")
        self.buffer += data

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
            return not self.buffer
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

    async def _more(self) -> None:
        try:
            async with asyncio.timeout(self.patience):
                await self._wire.more()
        except TimeoutError:
            raise Silent(f"nothing came for {self.patience:g} seconds") from None

    async def head(self) -> None:
        """Reads status and headers."""
        buffer = self._wire.buffer
        while (end := buffer.find(b"\r\n\r\n")) < 0:
            if len(buffer) > MAX_HEAD:
                raise Broken("this is no HTTP server")
            await self._more()
        lines = bytes(buffer[:end]).decode("latin-1").split("\r\n")
        del buffer[: end + 4]
        version, _, rest = lines[0].partition(" ")
        if not version.startswith("HTTP/1.") or not rest[:3].isdigit():
            raise Broken("this is no HTTP server")
        self.status = int(rest[:3])
        for line in lines[1:]:
            name, _, value = line.partition(":")
            self.headers[name.strip().lower()] = value.strip()
        if self.status // 100 == 1:
            await self.head()

    async def parts(self) -> AsyncIterator[bytes]:
        """The body, piece by piece. Raises Broken where it ends too early."""
        if "chunked" in self.headers.get("transfer-encoding", "").lower():
            while (size := await self._chunk_size()) > 0:
                async for part in self._exactly(size):
                    yield part
                await self._line()
            while await self._line():
                pass  # trailers
        elif "content-length" in self.headers:
            async for part in self._exactly(_number(self.headers["content-length"], 10)):
                yield part
        else:
            async for part in self._to_the_end():
                yield part
            return
        self._finished()

    async def _to_the_end(self) -> AsyncIterator[bytes]:
        while True:
            if self._wire.buffer:
                yield self._take(len(self._wire.buffer))
            try:
                await self._more()
            except Silent:
                raise
            except Broken:
                break
        self.close()

    def _take(self, size: int) -> bytes:
        data = bytes(self._wire.buffer[:size])
        del self._wire.buffer[:size]
        return data

    async def _exactly(self, size: int) -> AsyncIterator[bytes]:
        while size:
            if not self._wire.buffer:
                await self._more()
            part = self._take(size)
            size -= len(part)
            yield part

    async def _line(self) -> bytes:
        buffer = self._wire.buffer
        while (end := buffer.find(b"\r\n")) < 0:
            if len(buffer) > MAX_HEAD:
                raise Broken("the answer is malformed")
            await self._more()
        return self._take(end + 2)[:-2]

    async def _chunk_size(self) -> int:
        return _number((await self._line()).partition(b";")[0].decode("latin-1"), 16)

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
        if self.headers.get("connection", "").lower() == "close":
            self._wire.close()
        else:
            self._pool.put(self._wire)

    def close(self) -> None:
        """Gives the answer up, where it was not read to its end."""
        if not self._done:
            self._done = True
            self._wire.close()


def _number(text: str, base: int) -> int:
    try:
        value = int(text.strip(), base)
    except ValueError:
        value = -1
    if value < 0:
        raise Broken("the answer is malformed")
    return value


class Pool:
    """The connections to one server."""

    def __init__(self, address: Address, headers: Mapping[str, str]) -> None:
        self.address = address
        host = f"[{address.host}]" if ":" in address.host else address.host
        fixed = {"host": f"{host}:{address.port}", "accept": "*/*", **headers}
        self._head = "".join(f"{name}: {value}\r\n" for name, value in fixed.items())
        self._idle: list[Wire] = []
        self._lock = threading.Lock()

    async def ask(self, method: str, path: str, body: bytes | None = None, *, patience: float = 60.0) -> Answer:
        """Sends a request; the answer's head has come. Raises Unreachable, Broken.

        A connection that was kept may have been closed meanwhile: where it breaks before anything comes, the request goes out once more.
        """
        head = f"{method} {self.address.base}{path} HTTP/1.1\r\n{self._head}"
        if body is not None:
            head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
        data = head.encode("latin-1") + b"\r\n" + (body or b"")
        kept = self._kept()
        if kept is not None:
            try:
                return await self._sent(kept, data, patience)
            except Silent:
                raise
            except Broken:
                pass
        return await self._sent(await Wire.open(self.address), data, patience)

    async def _sent(self, wire: Wire, data: bytes, patience: float) -> Answer:
        answer = Answer(self, wire, patience)
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
