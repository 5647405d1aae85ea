"""JSON texts as nodes that know where they stand: what is read by a type needs the digits of its numbers, and the text of its parts."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from json.decoder import scanstring  # type: ignore[attr-defined]
from typing import Literal

_SPACE = re.compile(r"[ \t\n\r]*")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")


@dataclass(frozen=True, slots=True)
class JsonNode:
    """One value. start, end: where it stands. string: of a string. items: of an array. members: of an object, in order."""

    kind: Literal["object", "array", "string", "number", "true", "false", "null"]
    start: int
    end: int
    string: str = ""
    items: tuple[JsonNode, ...] = ()
    members: tuple[tuple[str, JsonNode], ...] = ()


def parse_json(text: str) -> JsonNode:
    """The value of a JSON text. Raises ValueError for any other text, RecursionError for one nested too deeply."""
    node = _value(text, _skip(text, 0))
    if _skip(text, node.end) != len(text):
        raise json.JSONDecodeError("Extra data", text, node.end)
    return node


def _skip(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    assert found is not None
    return found.end()


def _value(text: str, at: int) -> JsonNode:
    first = text[at : at + 1]
    if first == '"':
        string, end = scanstring(text, at + 1, True)
        return JsonNode("string", at, end, string)
    if first == "[":
        return _array(text, at)
    if first == "{":
        return _object(text, at)
    number = _NUMBER.match(text, at)
    if number:
        return JsonNode("number", at, number.end())
    for word in ("true", "false", "null"):
        if text.startswith(word, at):
            return JsonNode(word, at, at + len(word))
    raise json.JSONDecodeError("Expecting value", text, at)


def _array(text: str, start: int) -> JsonNode:
    items, at = [], _skip(text, start + 1)
    if text.startswith("]", at):
        return JsonNode("array", start, at + 1)
    while True:
        items.append(_value(text, at))
        at = _skip(text, items[-1].end)
        if text.startswith("]", at):
            return JsonNode("array", start, at + 1, items=tuple(items))
        at = _skip(text, _expect(text, at, ","))


def _object(text: str, start: int) -> JsonNode:
    members, at = [], _skip(text, start + 1)
    if text.startswith("}", at):
        return JsonNode("object", start, at + 1)
    while True:
        key, at = scanstring(text, _expect(text, at, '"'), True)
        value = _value(text, _skip(text, _expect(text, _skip(text, at), ":")))
        members.append((key, value))
        at = _skip(text, value.end)
        if text.startswith("}", at):
            return JsonNode("object", start, at + 1, members=tuple(members))
        at = _skip(text, _expect(text, at, ","))


def _expect(text: str, at: int, wanted: str) -> int:
    if not text.startswith(wanted, at):
        raise json.JSONDecodeError(f"Expecting {wanted!r}", text, at)
    return at + 1
