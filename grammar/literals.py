"""String literals read with a map: which character of the value came from which place of the program."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from dataclasses import dataclass, field

from lmqlc.grammar.source import Span

_LITERAL = re.compile(r"(?P<prefix>[rRuU]?)(?P<quote>\"\"\"|'''|\"|')")
_BETWEEN = re.compile(r"(?:[\s\\]|\#[^\r\n]*)*")
_SPECIAL = re.compile(r"\\(?:\r\n|[0-7]{1,3}|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|N\{[^}]*\}|.)|\r\n?", re.DOTALL)
_SIMPLE = {"\n": "", "\r": "", "\r\n": "", "\\": "\\", "'": "'", '"': '"'} | dict(zip("abfnrtv", "\a\b\f\n\r\t\v", strict=True))


@dataclass(slots=True)
class Mapped:
    """A value and where it came from.

    Piece i starts at `values[i]` of the value and at `offsets[i]` of the program. `ends[i]` is 0 for a piece whose characters
    stand in the program one by one; for an escape it is where the escape ends.
    """

    value: str = ""
    values: list[int] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)

    def start(self, index: int) -> int:
        """The offset of the character at `index`; past the last, the end of the text it came from."""
        if index >= len(self.value):
            return self.end(index)
        piece = bisect_right(self.values, index) - 1
        return self.offsets[piece] if self.ends[piece] else self.offsets[piece] + index - self.values[piece]

    def end(self, index: int) -> int:
        """The offset behind the character before `index`."""
        index = min(index, len(self.value))
        if not self.values:
            return 0
        piece = max(0, bisect_right(self.values, index - 1) - 1)
        return self.ends[piece] or self.offsets[piece] + max(0, index - self.values[piece])

    def span(self, start: int, end: int) -> Span:
        """The range of the program that the characters `[start, end)` came from."""
        first = self.start(start)
        return Span(first, max(first, self.end(end)) if end > start else first)


def read(text: str, span: Span, expected: str | None = None) -> Mapped:
    """The value of the string literals in a range of a program, with its map.

    `expected` is the value as Python knows it: it wins where the two differ.
    """
    mapped, at, length = Mapped(), span.start, 0
    chunks: list[str] = []
    while at < span.end and (match := _LITERAL.match(text, at)):
        raw = match["prefix"] in ("r", "R")
        end = _body_end(text, match.end(), match["quote"], span.end)
        length = _body(mapped, chunks, text, match.end(), end, length, raw=raw)
        between = _BETWEEN.match(text, end + len(match["quote"]))
        at = between.end() if between else span.end
    mapped.value = "".join(chunks)
    if expected is not None and mapped.value != expected:
        return Mapped(expected, [0], [span.start], [span.end])
    return mapped


def _body_end(text: str, at: int, quote: str, limit: int) -> int:
    """Where the body of a literal ends, at its closing quotes."""
    while True:
        found = text.find(quote, at, limit)
        if found < 0:
            return limit
        back = found
        while back > at and text[back - 1] == "\\":
            back -= 1
        if (found - back) % 2 == 0:
            return found
        at = found + 1


def _body(mapped: Mapped, chunks: list[str], text: str, at: int, end: int, length: int, *, raw: bool) -> int:
    """Add a literal's body to the map; gives the length of the value so far."""

    def piece(chunk: str, offset: int, stop: int) -> None:
        nonlocal length
        if chunk:
            mapped.values.append(length)
            mapped.offsets.append(offset)
            mapped.ends.append(stop)
            chunks.append(chunk)
            length += len(chunk)

    while match := _SPECIAL.search(text, at, end):
        found = match.group()
        if raw and found[0] == "\\":
            chunk = found.replace("\r\n", "\n").replace("\r", "\n")
        else:
            chunk = "\n" if found[0] == "\r" else _escape(found)
        piece(text[at : match.start()], at, 0)
        piece(chunk, match.start(), match.end())
        at = match.end()
    piece(text[at:end], at, 0)
    return length


def _escape(found: str) -> str:
    """The character that an escape stands for; an unknown escape stands for itself."""
    name = found[1:]
    if name in _SIMPLE:
        return _SIMPLE[name]
    if name[0] in "01234567":
        return chr(int(name, 8))
    if name[0] in "xuU" and len(name) > 1:
        number = int(name[1:], 16)
        return chr(number) if number < 0x110000 else found
    if name[0] == "N" and len(name) > 1:
        try:
            return unicodedata.lookup(name[2:-1])
        except KeyError:
            return found
    return found
