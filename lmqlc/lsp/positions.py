"""Places of a program as editors count them: lines from 0, columns from 0 in units of the encoding that client and server agreed on."""

from __future__ import annotations

from lsprotocol import types

from lmqlc.grammar.source import Source, Span

Encoding = types.PositionEncodingKind | str


def _units(text: str, encoding: Encoding) -> int:
    if encoding == types.PositionEncodingKind.Utf32:
        return len(text)
    if encoding == types.PositionEncodingKind.Utf8:
        return len(text.encode("utf-8", "surrogatepass"))
    return len(text) + sum(ord(char) > 0xFFFF for char in text)


def position_of(source: Source, offset: int, encoding: Encoding) -> types.Position:
    """The editor's position of an offset."""
    line, column = source.position(offset)
    return types.Position(line - 1, _units(source.line(line)[: column - 1], encoding))


def range_of(source: Source, span: Span | None, encoding: Encoding) -> types.Range:
    """The editor's range of a span; the first character where there is no span."""
    found = span or Span(0, min(1, len(source.text)))
    return types.Range(position_of(source, found.start, encoding), position_of(source, max(found.start, found.end), encoding))


def offset_of(source: Source, position: types.Position, encoding: Encoding) -> int:
    """The offset of an editor's position; one outside the text gives the nearest inside."""
    if position.line >= source.line_count:
        return len(source.text)
    text = source.line(position.line + 1)
    column = next((number for number in range(len(text)) if _units(text[:number], encoding) >= position.character), len(text))
    return source.offset(position.line + 1, column + 1)


def whole(source: Source, encoding: Encoding) -> types.Range:
    """The range of the whole text."""
    return types.Range(types.Position(0, 0), position_of(source, len(source.text), encoding))
