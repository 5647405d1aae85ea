"""Places inside string literals: where a part of a string's value stands in the program."""

from __future__ import annotations

import re

from lmqlc.grammar.source import Source, Span

_PREFIX = re.compile(r"(?i)(?P<kind>[rub]{0,2})(?P<quote>\"\"\"|'''|\"|')")
_ESCAPE = re.compile(r"\\(?:\r\n|[0-7]{1,3}|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|N\{[^}]*\}|.)|.", re.DOTALL)
_LINE_END = ("\\\n", "\\\r\n", "\\\r")


def inside_literal(source: Source, literal: Span, value: str, start: int, end: int) -> Span | None:
    """The place in the program of a range of a literal's value; None where the literal is not written in one piece."""
    text = source.text[literal.start : literal.end]
    head = _PREFIX.match(text)
    if head is None:
        return None
    body = text[head.end() : len(text) - len(head["quote"])]
    starts: list[int] = []
    at = 0
    for piece in [*body] if "r" in head["kind"].lower() else [found.group() for found in _ESCAPE.finditer(body)]:
        if piece not in _LINE_END:
            starts.append(at)
        at += len(piece)
    if len(starts) != len(value):
        return None
    starts.append(at)
    base = literal.start + head.end()
    return Span(base + starts[min(start, len(value))], base + starts[min(end, len(value))])
