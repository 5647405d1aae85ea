"""What a person sees while a program runs: the prompt as it grows, with holes marked, and the progress of long work."""

from __future__ import annotations

import os
import time
from typing import TextIO

from lmqlc.runtime.stream import Event, HoleEnd, HoleStart, TextEvent, TokenEvent

_HOLE, _NAME, _PLAIN = "\x1b[1;32m", "\x1b[2m", "\x1b[0m"


def uses_colour(stream: TextIO) -> bool:
    """Colour is for terminals, and for people who do not refuse it (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def visible(text: str) -> str:
    """Text that cannot steer a terminal: control characters but newline and tab as escapes."""
    return "".join(c if c in "\n\t" or c.isprintable() or (c.isspace() and ord(c) > 0x9F) else ascii(c)[1:-1] for c in text)


class TerminalWriter:
    """Writes the events of a run as text; a hole stands as `[NAME|its text]`."""

    def __init__(self, stream: TextIO, *, colour: bool) -> None:
        self._stream = stream
        self._colour = colour
        self._line_open = False

    def write(self, event: Event) -> None:
        if isinstance(event, TextEvent):
            self._put(visible(event.text))
        elif isinstance(event, HoleStart):
            self._put(self._coloured(f"[{event.name}|", _NAME))
        elif isinstance(event, TokenEvent):
            self._put(self._coloured(visible(event.text), _HOLE))
        elif isinstance(event, HoleEnd):
            self._put(self._coloured(visible(event.rest), _HOLE) + self._coloured("]", _NAME))

    def close(self) -> None:
        """End the last line."""
        if self._line_open:
            self._put("\n")

    def _coloured(self, text: str, colour: str) -> str:
        return f"{colour}{text}{_PLAIN}" if self._colour and text else text

    def _put(self, text: str) -> None:
        if text:
            self._stream.write(text)
            self._stream.flush()
            self._line_open = not text.endswith("\n")


class ProgressLine:
    """Progress of long work: one line that is rewritten on a terminal, a line for every new text elsewhere. Short work stays silent."""

    PATIENCE = 0.5
    """Seconds before anything is shown."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._live = stream.isatty()
        self._started = time.monotonic()
        self._shown = ""

    def __call__(self, text: str, done: float | None) -> None:
        if time.monotonic() - self._started < self.PATIENCE or (not self._live and text == self._shown):
            return
        self._shown = text
        share = "" if done is None else f" {done:4.0%}"
        self._stream.write(f"\r\x1b[K{visible(text)}{share}" if self._live else f"lmqlc: {visible(text)}\n")
        self._stream.flush()

    def close(self) -> None:
        """Remove the line."""
        if self._live and self._shown:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
