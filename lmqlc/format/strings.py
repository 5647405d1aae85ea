"""Query strings: quotes, prefixes, and the blanks in holes and interpolations. The text of the prompt is never touched."""

from __future__ import annotations

import re

from lmqlc.format.lexemes import lexemes
from lmqlc.format.spacing import pieces, spaced
from lmqlc.grammar import qlexer
from lmqlc.grammar.nodes import Interpolation, Literal, QueryString
from lmqlc.grammar.qlexer import Symbol

_LITERAL = re.compile(r"(?P<prefix>[rRuU]?)'(?P<body>(?!'')[^'\"\r\n]*)'")


def formatted_string(text: str, query: QueryString) -> str:
    """The literals of a query string, as they should stand."""
    start, end = query.span.start, query.span.end
    written, at = [], start
    for part in query.parts:
        if isinstance(part, Literal) or part.span.start < at:
            continue
        inner = text[part.span.start : part.span.end]
        written += [text[at : part.span.start], _part(inner, is_value=isinstance(part, Interpolation))]
        at = part.span.end
    return _quoted("".join([*written, text[at:end]]))


def _quoted(text: str) -> str:
    """Literals in double quotes where that needs no escape, with lower-case prefixes and one blank between those on one line."""
    written = []
    for one in lexemes(text):
        if one.kind == "string":
            match = _LITERAL.fullmatch(one.text)
            body = f'{match["prefix"]}"{match["body"]}"' if match else one.text
            written.append(re.sub(r"^[rRuU]", lambda found: "r" if found.group() in "rR" else "", body))
        else:
            written.append(" " if one.kind == "blank" and one.start and not written[-1].endswith(("\n", "\r")) else one.text)
    return "".join(written)


def _part(inner: str, *, is_value: bool) -> str:
    """A hole, an interpolation or a role tag between its brackets; as written where escapes or line ends stand in it."""
    if re.search(r"[\\\r\n]", inner):
        return inner
    found = list(qlexer.parts(inner))
    if len(found) != 1 or not isinstance(found[0], list):
        return inner
    symbols = found[0]
    if any(symbol.type in ("JUNK", "EQUALS") for symbol in symbols) or symbols[-1].end != len(inner):
        return inner
    return _value(inner, symbols) if is_value else _hole(inner, symbols)


def _hole(inner: str, symbols: list[Symbol]) -> str:
    """`[@deco NAME: TYPE]`, or `{:role}`."""
    written: list[str] = []
    after = ""
    for symbol in symbols:
        source = inner[symbol.start : symbol.end]
        written.append(_expression(source) if symbol.type == "EXPR" else source)
        if symbol.type == "COLON" and symbols[0].type == "LSQB":
            written.append(" ")
        if symbol.type == "EXPR" and after == "AT":
            written.append(" ")
        after = symbol.type
    return "".join(written)


def _value(inner: str, symbols: list[Symbol]) -> str:
    """`{expr!r:format}`: the format stays as it is, blanks in it mean something."""
    if len(symbols) < 3 or symbols[1].type != "EXPR":
        return inner
    expression, after = _expression(inner[symbols[1].start : symbols[1].end]), symbols[2]
    gap = " " if expression.startswith("{") else ""
    close = " " if gap and after.type == "RBRACE" else ""
    return "{" + gap + expression + close + inner[after.start :]


def _expression(source: str) -> str:
    parts = pieces(source)
    return source if parts is None else spaced(parts, source)
