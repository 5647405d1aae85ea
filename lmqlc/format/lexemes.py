"""A program's text cut into lexemes, white space and comments included: nothing is lost between them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from lmqlc.grammar.tokens import PREFIX, string_end

_LEXEME = re.compile(
    rf"""(?P<joined>\\(?:\r\n|\r|\n))
    |(?P<blank>[ \t\f]+)
    |(?P<comment>\#[^\r\n]*)
    |(?P<newline>\r\n|\r|\n)
    |(?P<string>(?:{PREFIX})?(?:\"\"\"|'''|\"|'))
    |(?P<name>(?:[^\W\d]|[^\x00-\x7f])(?:\w|[^\x00-\x7f])*)
    |(?P<number>0[xXbBoO]\w+|(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)(?:[eE][+-]?[0-9][0-9_]*)?[jJ]?)
    |(?P<open>[(\[{{])
    |(?P<close>[)\]}}])
    |(?P<op>\.\.\.|\*\*=?|//=?|<<=?|>>=?|->|:=|[-+*/%@&|^=<>!]=|.)""",
    re.VERBOSE | re.DOTALL,
)


class Lexeme(NamedTuple):
    """kind: "joined" (a continued line), "blank", "comment", "newline", "string", "name", "number", "open", "close" or "op"."""

    kind: str
    start: int
    end: int
    text: str

    @property
    def is_layout(self) -> bool:
        """White space: it means nothing inside brackets."""
        return self.kind in ("blank", "joined", "newline")


def lexemes(text: str, start: int = 0, end: int | None = None) -> Iterator[Lexeme]:
    """The lexemes of a range of a program, in order and without gaps."""
    stop = len(text) if end is None else end
    at = start
    while at < stop:
        match = _LEXEME.match(text, at)
        assert match is not None, "the last alternative takes any character"
        kind, first, at = str(match.lastgroup), at, match.end()
        if kind == "string":
            at = min(string_end(text, first, at) or stop, stop)
        at = min(at, stop)
        yield Lexeme(kind, first, at, text[first:at])
