"""A lexer for Pygments: `lmql`, registered as an entry point, so that documents and terminals colour programs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, ClassVar

from pygments.lexer import Lexer
from pygments.lexers.python import PythonLexer
from pygments.token import Comment, Keyword, Name, Punctuation, String, Whitespace, _TokenType

from lmqlc.compiler.constraint_calls import CONSTRAINT_NAMES
from lmqlc.grammar.keywords import DECODERS

_PART = re.compile(
    r"(?P<literal>\[\[|\]\])|\[(?P<decorators>(?:@[\w.]+(?:\([^()\[\]]*\))?\s+)*)(?P<name>[^\W\d]\w*)\s*(?P<type>:[^\[\]]*(?:\[[^\]]*\][^\[\]]*)*)?\]"
)
_CLAUSES = ("where", "distribution")
Token = tuple[int, _TokenType, str]


class LmqlLexer(Lexer):
    """Python, with the holes of query strings, clauses, decoders and constraints marked."""

    name = "LMQL"
    aliases: ClassVar[list[str]] = ["lmql"]
    filenames: ClassVar[list[str]] = ["*.lmql"]
    mimetypes: ClassVar[list[str]] = ["text/x-lmql"]
    url = "https://lmql.ai"

    def get_tokens_unprocessed(self, text: str) -> Iterator[Token]:
        """The tokens of a text with their places; together they are the text."""
        before: _TokenType | None = None
        fresh, prompting = True, False
        for at, kind, value in PythonLexer(**self.options).get_tokens_unprocessed(text):
            if _is(kind, Whitespace) or _is(kind, Comment) or not value.strip():
                fresh = fresh or "\n" in value
                yield at, kind, value
                continue
            is_string = _is(kind, String)
            prompting = is_string and (prompting or fresh or before is Keyword.Reserved)
            if prompting:
                yield from _holes(at, kind, value)
            else:
                kind = _kind(kind, value, fresh=fresh, after_string=before is not None and _is(before, String))
                yield at, kind, value
            before, fresh = kind, False


def _is(kind: _TokenType, family: _TokenType) -> bool:
    """A kind of token is of a family: `String.Double` of `String`."""
    return kind[: len(family)] == family


def _kind(kind: _TokenType, value: str, *, fresh: bool, after_string: bool) -> _TokenType:
    """What a word is in LMQL, where it is something else than in Python."""
    if value in CONSTRAINT_NAMES and _is(kind, Name):
        return Name.Builtin
    if value in _CLAUSES and _is(kind, Name) and (fresh or after_string):
        return Keyword
    return Keyword.Reserved if value in DECODERS and _is(kind, Name) and fresh else kind


def _holes(at: int, kind: _TokenType, value: str) -> Iterator[Token]:
    """A piece of a query string: its text, and its holes."""
    done = 0
    for match in _PART.finditer(value):
        if match["literal"]:
            continue
        if match.start() > done:
            yield at + done, kind, value[done : match.start()]
        yield from _hole(at, match)
        done = match.end()
    if done < len(value):
        yield at + done, kind, value[done:]


def _hole(at: int, match: re.Match[str]) -> Iterator[Token]:
    kinds: dict[str, Any] = {"decorators": Name.Decorator, "name": Name.Variable, "type": Name.Class}
    end = match.start()
    for group, kind in kinds.items():
        start, stop = match.span(group)
        if start < stop:
            if end < start:
                yield at + end, Punctuation if end == match.start() else Whitespace, match.string[end:start]
            yield at + start, kind, match[group]
            end = stop
    yield at + end, Punctuation, match.string[end : match.end()]
