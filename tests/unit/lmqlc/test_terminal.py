"""What a person sees while a program runs."""

from __future__ import annotations

import io

import pytest

from lmqlc.runtime.results import HoleResult, TokenResult
from lmqlc.runtime.stream import HoleEnd, HoleStart, TextEvent, TokenEvent
from lmqlc.terminal import ProgressLine, TerminalWriter, uses_colour, visible


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def written(colour: bool) -> str:
    stream = io.StringIO()
    writer = TerminalWriter(stream, colour=colour)
    token = TokenResult(1, "Bo", -1.0)
    for event in (
        TextEvent("Hi "),
        HoleStart("WHO"),
        TokenEvent("WHO", token, "Bo"),
        HoleEnd(HoleResult("WHO", "Bob", "Bob", (token,), "stop"), "b"),
    ):
        writer.write(event)
    writer.close()
    writer.close()
    return stream.getvalue()


def test_holes_are_marked_and_the_last_line_ends_once() -> None:
    assert written(colour=False) == "Hi [WHO|Bob]\n"
    assert "\x1b[" in written(colour=True)


def test_text_cannot_steer_the_terminal() -> None:
    assert visible("a\x1b[2J\r\x07é\u00a0\u2028\n\t\x9b") == "a\\x1b[2J\\r\\x07é\u00a0\u2028\n\t\\x9b"
    assert visible("\u202e") == "\\u202e"


def test_colour_is_for_terminals_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert uses_colour(Terminal())
    assert not uses_colour(io.StringIO())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not uses_colour(Terminal())


def test_progress_shows_long_work_only() -> None:
    quick = ProgressLine(Terminal())
    quick("loading", 0.5)
    assert quick._stream.getvalue() == ""  # type: ignore[attr-defined]
    live, lines = Terminal(), io.StringIO()
    for stream in (live, lines):
        progress = ProgressLine(stream)
        progress.PATIENCE = 0.0
        progress("loading", 0.25)
        progress("loading", 0.5)
        progress.close()
    assert live.getvalue() == "\r\x1b[Kloading  25%\r\x1b[Kloading  50%\r\x1b[K"
    assert lines.getvalue() == "lmqlc: loading\n"
