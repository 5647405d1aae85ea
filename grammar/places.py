"""Offsets of a text to the places of Python's `ast` (line from 1, column in UTF-8 bytes from 0) and back.

`Source` answers the same questions one line at a time; here the work for long lines is done once, so that a program with
many holes on one line stays linear.
"""

from __future__ import annotations

from bisect import bisect_right
from functools import cached_property

from lmqlc.grammar.source import LINE_END


class Places:
    """The places of one text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._bytes: dict[int, list[int]] = {}

    @cached_property
    def starts(self) -> list[int]:
        """Offset of every line's first character; a byte order mark is in no line."""
        first = 1 if self.text.startswith("\ufeff") else 0
        return [first, *(match.end() for match in LINE_END.finditer(self.text))]

    @cached_property
    def _ascii(self) -> bool:
        return self.text.isascii()

    def _columns(self, line: int) -> list[int]:
        """Byte column of every character of a line, and of its end."""
        columns = self._bytes.get(line)
        if columns is None:
            start = self.starts[line - 1]
            end = self.starts[line] if line < len(self.starts) else len(self.text)
            columns = [0]
            for char in self.text[start:end]:
                code = ord(char)
                columns.append(columns[-1] + (1 if code < 0x80 else 2 if code < 0x800 else 3 if code < 0x10000 else 4))
            self._bytes[line] = columns
        return columns

    def place(self, offset: int) -> tuple[int, int]:
        """The place of an offset."""
        line = max(1, bisect_right(self.starts, offset))
        column = max(0, offset - self.starts[line - 1])
        if self._ascii:
            return line, column
        columns = self._columns(line)
        return line, columns[min(column, len(columns) - 1)]

    def offset(self, line: int, column: int) -> int:
        """The offset of a place; one outside the text gives the nearest inside."""
        line = max(1, min(line, len(self.starts)))
        if not self._ascii:
            column = max(0, bisect_right(self._columns(line), column) - 1)
        return min(self.starts[line - 1] + max(column, 0), len(self.text))
