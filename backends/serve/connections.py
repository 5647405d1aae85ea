"""Connections of the server, with bounds that uvicorn does not have: the size of a request's head, and the time it may take to come."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD = 1 << 16
"""Bytes of a request's line and headers."""
HEAD_SECONDS = 15.0
"""Seconds from a connection, or from the first byte of a request, to the end of the request's head."""


class BoundedProtocol(HttpToolsProtocol):
    """An HTTP connection that is closed where no whole request comes in time."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head_bytes = 0
        self._reading_head = True
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._unwatch()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._reading_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD and not self._ends_head(data):
                self.transport.close()
                return
            self._watch()
        super().data_received(data)

    def _ends_head(self, data: bytes) -> bool:
        """A first part of a request that has its whole head, and a body behind it."""
        return self._head_bytes == len(data) and 0 <= data.find(b"\r\n\r\n") <= MAX_HEAD

    def on_headers_complete(self) -> None:
        self._reading_head = False
        self._unwatch()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._reading_head, self._head_bytes = True, 0
        super().on_message_complete()

    def _watch(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_SECONDS, self._late)

    def _unwatch(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _late(self) -> None:
        self._head_timer = None
        if self._reading_head and (self.cycle is None or self.cycle.response_complete) and not self.transport.is_closing():
            self.transport.close()
