"""Ready output writers: functions of an event, and the text of a run on a stream."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from typing import Any, TextIO, cast

from lmqlc.grammar.errors import LmqlError
from lmqlc.runtime.stream import Event, HoleEnd, OutputWriter, RunEnd, TextEvent, TokenEvent


class CallbackWriter:
    """Hands every event to a function."""

    def __init__(self, function: Callable[[Event], object]) -> None:
        self._function = function

    def write(self, event: Event) -> None:
        """Call the function."""
        self._function(event)


def as_writer(value: Any) -> OutputWriter:
    """What an `output_writer=` names: an object with `write`, a function of one event, or a text stream.

    Raises LmqlError for what is none of these.
    """
    if isinstance(value, io.TextIOBase):
        return StreamWriter(cast(TextIO, value))
    if not isinstance(value, type) and callable(getattr(value, "write", None)):
        writer: OutputWriter = value
        return writer
    if callable(value):
        return CallbackWriter(value)
    raise LmqlError(f"an output writer is an object with a method `write(event)`, or a function of an event, not {value!r}")


class StreamWriter:
    """Writes the text of a run to a stream: of everything, or of one variable alone. The stream None is standard output as it is then."""

    def __init__(self, stream: TextIO | None = None, variable: str | None = None) -> None:
        self._stream = stream
        self._variable = variable

    def write(self, event: Event) -> None:
        """Write what has become certain."""
        if isinstance(event, RunEnd):
            return self._put("\n")
        if isinstance(event, TextEvent):
            return self._put(event.text if self._variable is None else "")
        if isinstance(event, TokenEvent):
            return self._put(event.text if self._variable in (None, event.name) else "")
        if isinstance(event, HoleEnd):
            return self._put(event.rest if self._variable in (None, event.hole.name) else "")
        return None

    def _put(self, text: str) -> None:
        if text:
            stream = sys.stdout if self._stream is None else self._stream
            stream.write(text)
            stream.flush()
