"""A light tokenizer for Python's surface: logical lines, indentation, brackets, strings.

It finds where statements begin and end and leaves everything else to Python's own parser, so it never refuses a text: what
it cannot read becomes an `op`. A token is `(kind, start, end)` with offsets of the text; what stands in brackets is one
`group`. Only tokens outside brackets are kept, so a line costs what it shows at its top level.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field

NAME, NUMBER, STRING, FSTRING, BYTES, GROUP, OP = "name", "number", "string", "fstring", "bytes", "group", "op"
Token = tuple[str, int, int]

_TEMPLATES = sys.version_info >= (3, 14)
_NESTED_FSTRINGS = sys.version_info >= (3, 12)
PREFIX = "[bB][rR]?|[rR][bBfF]?|[uU]|[fF][rR]?" + ("|[tT][rR]?|[rR][tT]" if _TEMPLATES else "")
_LEXEME = re.compile(
    rf"""(?P<blank>[ \t\f]+|\\(?:\r\n|\r|\n))
    |(?P<comment>\#[^\r\n]*)
    |(?P<newline>\r\n|\r|\n)
    |(?P<string>(?:{PREFIX})?(?:\"\"\"|'''|\"|'))
    |(?P<name>(?:[^\W\d]|[^\x00-\x7f])(?:\w|[^\x00-\x7f])*)
    |(?P<number>\.?[0-9][\w.]*)
    |(?P<open>[(\[{{])
    |(?P<close>[)\]}}])
    |(?P<op>:=|;|:|\.\.\.|[^\w\s()\[\]{{}}"'\#\\:;.\x80-\U0010ffff]+|.)""",
    re.VERBOSE | re.DOTALL,
)
_ENDS = {
    '"': re.compile(r'[^"\\\r\n]*(?:\\(?:\r\n|.)[^"\\\r\n]*)*"', re.DOTALL),
    "'": re.compile(r"[^'\\\r\n]*(?:\\(?:\r\n|.)[^'\\\r\n]*)*'", re.DOTALL),
    '"""': re.compile(r'[^"\\]*(?:(?:\\.|"(?!""))[^"\\]*)*"""', re.DOTALL),
    "'''": re.compile(r"[^'\\]*(?:(?:\\.|'(?!''))[^'\\]*)*'''", re.DOTALL),
}
_LOOSE_ENDS = {
    **_ENDS,
    '"': re.compile(r'[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL),
    "'": re.compile(r"[^'\\]*(?:\\.[^'\\]*)*'", re.DOTALL),
}
_LINE_REST = re.compile(r"[^\r\n]*")
_IN_FSTRING = re.compile(r"\\N\{[^{}]*\}|\\(?:\r\n|.)|\{\{|\}\}|[{}\"'\r\n]", re.DOTALL)
_IN_FIELD = re.compile(rf"(?:{PREFIX})?(?:\"\"\"|'''|\"|')|\w+|[(\[{{}}\])]|\#[^\r\n]*|!=|:", re.DOTALL)
_DEEPEST_FSTRING = 150
_MOST_RESCANS = 20


@dataclass(slots=True)
class Line:
    """A logical line: `indent` in columns (a tab goes to the next multiple of 8), the range of its text, its tokens.

    `broken` marks a line that was cut off at its end because a bracket or a string on it is never closed.
    """

    indent: int
    start: int
    end: int
    tokens: list[Token] = field(default_factory=list)
    broken: bool = False


def string_kind(prefix: str) -> str:
    """The token kind of a string with this prefix."""
    prefix = prefix.lower()
    return BYTES if "b" in prefix else FSTRING if "f" in prefix or "t" in prefix else STRING


def string_end(text: str, head_start: int, head_end: int, *, loose: bool = False) -> int | None:
    """Where the string whose prefix and quotes are `text[head_start:head_end]` ends; None where it never does.

    `loose` lets strings with single quotes hold line ends, for text that was a string's value before.
    """
    head = text[head_start:head_end]
    quote = head.lstrip("rRbBuUfFtT")
    if _NESTED_FSTRINGS and string_kind(head[: -len(quote)]) == FSTRING:
        return _fstring_end(text, head_end, quote, 0, loose)
    match = (_LOOSE_ENDS if loose else _ENDS)[quote].match(text, head_end)
    return match.end() if match else None


def _fstring_end(text: str, at: int, quote: str, depth: int, loose: bool) -> int | None:
    """The end of an f-string's text that starts at `at`, with replacement fields that may hold any string."""
    if depth > _DEEPEST_FSTRING:
        return None
    while match := _IN_FSTRING.search(text, at):
        found, at = match.group(), match.end()
        if found == "{":
            end = _field_end(text, at, depth, loose)
            if end is None:
                return None
            at = end
        elif found in "\"'":
            if text.startswith(quote, match.start()):
                return match.start() + len(quote)
        elif found in "\r\n" and len(quote) == 1 and not loose:
            return None
    return None


def _field_end(text: str, at: int, depth: int, loose: bool) -> int | None:
    """The end of a replacement field whose `{` stands before `at`, its format specification included."""
    level = 0
    while match := _IN_FIELD.search(text, at):
        found, at = match.group(), match.end()
        if found[0] == "#":
            continue
        if found[-1] in "\"'":
            head = found.lstrip("rRbBuUfFtT")
            nested = string_kind(found[: -len(head)]) == FSTRING
            end = _fstring_end(text, at, head, depth + 1, loose) if nested else string_end(text, match.start(), at, loose=loose)
            if end is None:
                return None
            at = end
        elif found in "([{":
            level += 1
        elif found in ")]}":
            if level == 0:
                return at
            level -= 1
        elif found == ":" and level == 0:
            return _specification_end(text, at, depth, loose)
    return None


def _specification_end(text: str, at: int, depth: int, loose: bool) -> int | None:
    """The end of a field after its `:`; nested fields may stand in a format specification."""
    while True:
        stop = re.compile(r"[{}]").search(text, at)
        if stop is None:
            return None
        if stop.group() == "}":
            return stop.end()
        end = _field_end(text, stop.end(), depth + 1, loose) if depth < _DEEPEST_FSTRING else None
        if end is None:
            return None
        at = end


class Scanner:
    """One walk over a text. `lines` are the logical lines found so far."""

    def __init__(self, text: str, start: int = 0, end: int | None = None) -> None:
        self.text = text
        self.at = start
        self.end = len(text) if end is None else end
        self.lines: list[Line] = []
        self.tokens: list[Token] = []
        self.open: list[int] = []
        self.indent = 0
        self.fresh = True
        self.rescans = 0

    def run(self) -> list[Line]:
        """The logical lines of the whole range."""
        while True:
            self._walk()
            if not self.open:
                self._end_line()
                return self.lines
            self._cut_at_open_bracket()

    def _walk(self) -> None:
        match_at, text, end = _LEXEME.match, self.text, self.end
        while self.at < end:
            match = match_at(text, self.at)
            assert match is not None, "the last alternative takes any character"
            kind = match.lastgroup
            start, self.at = self.at, match.end()
            if kind == "blank":
                if self.fresh:
                    self.indent = self._column(start)
            elif kind == "newline":
                self._newline()
            elif kind == "string":
                self._string(start)
            elif kind == "open":
                self._begin(start)
                self.open.append(start)
            elif kind == "close":
                self._close(start)
            elif kind != "comment":
                self._begin(start)
                if not self.open:
                    self.tokens.append((str(kind), start, self.at))

    def _column(self, start: int) -> int:
        """The indentation that the blanks from `start` make, as Python counts it."""
        column = self.indent
        for char in self.text[start : self.at]:
            if char == " ":
                column += 1
            elif char == "\t":
                column = column // 8 * 8 + 8
            elif char == "\f":
                column = 0
        return column

    def _begin(self, start: int) -> None:
        if self.fresh:
            self.fresh = False
            self.lines.append(Line(self.indent, start, start, self.tokens))

    def _newline(self) -> None:
        if not self.open:
            self._end_line()

    def _end_line(self) -> None:
        if self.tokens:
            self.lines[-1].end = self.tokens[-1][2]
            self.tokens = []
        self.fresh, self.indent = True, 0

    def _close(self, start: int) -> None:
        self._begin(start)
        if not self.open:
            self.tokens.append((OP, start, self.at))
            return
        opened = self.open.pop()
        if not self.open:
            self.tokens.append((GROUP, opened, self.at))

    def _string(self, start: int) -> None:
        self._begin(start)
        head = self.text[start : self.at]
        quote = head.lstrip("rRbBuUfFtT")
        end = string_end(self.text, start, self.at)
        if end is None or end > self.end:
            self.lines[-1].broken = True
            rest = _LINE_REST.match(self.text, start)
            end = self.end if len(quote) == 3 or rest is None else min(rest.end(), self.end)
        self.at = end
        if not self.open:
            self.tokens.append((string_kind(head[: -len(quote)]), start, end))

    def _cut_at_open_bracket(self) -> None:
        """A bracket is never closed: its line ends where the text's own line does, and the walk goes on below it."""
        opened = self.open[0]
        self.open.clear()
        rest = _LINE_REST.match(self.text, opened)
        end = min(rest.end() if rest else self.end, self.end)
        self.tokens.append((GROUP, opened, end))
        self.lines[-1].broken = True
        self.rescans += 1
        self._end_line()
        self.at = end if self.rescans < _MOST_RESCANS else self.end


def scan(text: str, start: int = 0) -> list[Line]:
    """The logical lines of a program's text from `start` on. Comments and blank lines leave nothing."""
    return Scanner(text, start).run()


def scan_group(text: str, start: int, end: int) -> list[Token]:
    """The tokens of a range inside brackets, where line ends mean nothing."""
    return [token for line in Scanner(text, start, end).run() for token in line.tokens]
