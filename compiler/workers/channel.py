"""Values between two processes: each a length and its bytes, over two pipes."""

from __future__ import annotations

import marshal
import os
import struct
from typing import Any

_LENGTH = struct.Struct("<Q")
_PIECE = 1 << 20


class Channel:
    """One end of a connection. reads, writes: file descriptors. Values are what `marshal` takes: plain data, bytes included."""

    def __init__(self, reads: int, writes: int) -> None:
        self._reads = reads
        self._writes = writes

    def send(self, value: Any) -> None:
        """Raises OSError where nobody reads any more."""
        data = marshal.dumps(value)
        left = memoryview(_LENGTH.pack(len(data)) + data)
        while left:
            left = left[os.write(self._writes, left[:_PIECE]) :]

    def receive(self) -> Any:
        """Waits for the next value. Raises EOFError where none comes any more."""
        (length,) = _LENGTH.unpack(self._exactly(_LENGTH.size))
        return marshal.loads(self._exactly(length))  # noqa: S302 - from a process that this one started, or was started by

    def _exactly(self, count: int) -> bytes:
        data = os.read(self._reads, min(count, _PIECE)) if count else b""
        if len(data) == count:
            return data
        parts = [data]
        while data and (count := count - len(data)):
            parts.append(data := os.read(self._reads, min(count, _PIECE)))
        if not data:
            raise EOFError("the other process has ended")
        return b"".join(parts)
