"""Program text and places in it.

Offsets count Unicode code points from the start of the text; lines and columns count from 1, as editors show them.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property

LINE_END = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True, slots=True)
class Span:
    """A half-open range of code points `[start, end)` of one source."""

    start: int
    end: int

    def __or__(self, other: Span) -> Span:
        """The smallest span that covers both."""
        return Span(min(self.start, other.start), max(self.end, other.end))


@dataclass(frozen=True)
class Source:
    """A program's text together with the name that diagnostics and tracebacks show for it."""

    name: str
    text: str

    @cached_property
    def _starts(self) -> list[int]:
        """Offset of the first character of every line, ending as in Python (`\\n`, `\\r\\n`, `\\r`); a byte order mark is in no line."""
        first = 1 if self.text.startswith("\ufeff") else 0
        return [first, *(match.end() for match in LINE_END.finditer(self.text))]

    @property
    def line_count(self) -> int:
        return len(self._starts)

    def position(self, offset: int) -> tuple[int, int]:
        """Line and column (both from 1) of an offset; an offset past the end gives the end."""
        offset = max(self._starts[0], min(offset, len(self.text)))
        line = bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1] + 1

    def offset(self, line: int, column: int) -> int:
        """The offset of a line and column (both from 1), kept inside the text."""
        line = max(1, min(line, len(self._starts)))
        return min(self._starts[line - 1] + max(column, 1) - 1, len(self.text))

    def offset_utf8(self, line: int, byte_column: int) -> int:
        """The offset of a place as `ast` gives it: line from 1, column in UTF-8 bytes from 0."""
        text = self.line(line)
        if text.isascii():
            return self.offset(line, byte_column + 1)
        return self.offset(line, len(text.encode("utf-8", "surrogatepass")[:byte_column].decode("utf-8", "ignore")) + 1)

    def line(self, number: int) -> str:
        """The text of a line (from 1) without its line end."""
        if not 1 <= number <= len(self._starts):
            return ""
        end = self._starts[number] if number < len(self._starts) else len(self.text)
        return self.text[self._starts[number - 1] : end].rstrip("\r\n")
