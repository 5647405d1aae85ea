"""A query string's value to the terminals of `qstring.lark`. Python fragments are only delimited here.

Ranges are indices of the value. A value is cut into parts: a stretch of text, or all symbols of one hole, interpolation or
role tag; a part that cannot be read is a `Problem`, and what follows it is read on where that makes sense.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from lmqlc.grammar.diagnostics import Severity
from lmqlc.grammar.tokens import PREFIX, string_end

_TEXT = re.compile(r"[^\[\]{}]+|\[\[|\]\]|\{\{|\}\}|[\[\]{}]")
_SPACE = re.compile(r"\s*")
_NAME = re.compile(r"(?:[^\W\d]|[^\x00-\x7f])(?:\w|[^\x00-\x7f])*")
_DECORATOR = re.compile(r"\s*(?:(?:[^\W\d]|[^\x00-\x7f])(?:\w|[^\x00-\x7f])*(?:\.\w+)*)?")
_JUNK = re.compile(r"[^\s\[\]@:]+|.", re.DOTALL)
_CODE = re.compile(rf"(?:{PREFIX})?(?:\"\"\"|'''|\"|')|\w+|[(\[{{}}\])]|!=|[!:]|[^\w()\[\]{{}}\"'!:]+", re.DOTALL)
_EQUALS = re.compile(r"(?<![=!<>:])=\s*\Z")
_PAIRS = {")": "(", "]": "[", "}": "{"}
_DEEPEST = 4


class Symbol(NamedTuple):
    """A terminal and its range of the value; `text` is what a TEXT means."""

    type: str
    start: int
    end: int
    text: str = ""


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a range of the value."""

    code: str
    message: str
    start: int
    end: int
    hint: str
    severity: Severity = "error"


class _Broken(Exception):
    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


Part = list[Symbol]


def parts(value: str) -> Iterator[Part | Problem]:
    """The parts of a value in order."""
    at = 0
    while at < len(value):
        match = _TEXT.match(value, at)
        assert match is not None, "the alternatives take any character"
        found, start, at = match.group(), at, match.end()
        if found in ("[", "{"):
            try:
                part = _hole(value, start) if found == "[" else _field(value, start, 0)
            except _Broken as broken:
                yield broken.problem
                return
            yield part
            at = part[-1].end
        elif found == "}":
            hint = "write `}}` for a brace in the prompt"
            yield Problem("L0207", "single `}` in a query string", start, at, hint)
        else:
            if found == "]":
                yield Problem(
                    "L0281", "single `]` in a query string", start, at, "write `]]` to make plain that no hole ends here", "warning"
                )
            yield [Symbol("TEXT", start, at, found[0] if found[0] in "[]{}" else found)]


def _skip(value: str, at: int) -> int:
    match = _SPACE.match(value, at)
    return match.end() if match else at


def _hole(value: str, start: int) -> Part:
    part = [Symbol("LSQB", start, start + 1)]
    at = _skip(value, start + 1)
    while at < len(value):
        char = value[at]
        if char == "]":
            return [*part, Symbol("RSQB", at, at + 1)]
        if char == "@":
            part.append(Symbol("AT", at, at + 1))
            at = _expression(value, part, at + 1, _decorator_end(value, at + 1))
        elif char == ":":
            part.append(Symbol("COLON", at, at + 1))
            at = _expression(value, part, at + 1, _code_end(value, at + 1, "]", start))
        else:
            name = _NAME.match(value, at)
            match = name or _JUNK.match(value, at)
            assert match is not None, "there is a character left"
            part.append(Symbol("NAME" if name else "JUNK", at, match.end()))
            at = match.end()
        at = _skip(value, at)
    raise _Broken(_unclosed(value, start))


def _unclosed(value: str, start: int) -> Problem:
    """A hole or an interpolation without an end: the range goes to the end of its line or word."""
    end = value.find("\n", start)
    end = len(value) if end < 0 else end
    if value[start] == "[":
        return Problem("L0201", "this hole is never closed", start, end, "close it with `]`, or write `[[` for a bracket in the prompt")
    return Problem("L0206", "this interpolation is never closed", start, end, "close it with `}`, or write `{{` for a brace in the prompt")


def _expression(value: str, part: Part, start: int, end: int) -> int:
    """Add the fragment `[start, end)` without the blanks around it; nothing where only blanks are there."""
    text = value[start:end]
    left = start + len(text) - len(text.lstrip())
    right = start + len(text.rstrip())
    if left < right:
        part.append(Symbol("EXPR", left, right))
    return end


def _decorator_end(value: str, at: int) -> int:
    """The end of a decorator: a dotted name, or parentheses, and the calls and subscripts right behind it."""
    match = _DECORATOR.match(value, at)
    at = match.end() if match else at
    while at < len(value) and value[at] in "([":
        at = _code_end(value, at + 1, ")" if value[at] == "(" else "]", at) + 1
        names = re.compile(r"(?:\.\w+)*").match(value, at)
        at = names.end() if names else at
    return at


def _code_end(value: str, at: int, stops: str, opened: int) -> int:
    """Where the Python fragment from `at` ends: at the first of `stops` outside brackets and strings."""
    stack: list[str] = []
    while match := _CODE.match(value, at):
        found, start, at = match.group(), match.start(), match.end()
        last = found[-1]
        if last in "\"'":
            end = string_end(value, start, at, loose=True)
            if end is None:
                raise _Broken(
                    Problem("L0105", "unterminated string", start, len(value), "close the string inside the brackets it stands in")
                )
            at = end
        elif found in ("(", "[", "{"):
            stack.append(found)
        elif found in _PAIRS:
            if stack and stack[-1] == _PAIRS[found]:
                stack.pop()
            elif found in stops or not stack:
                return start
        elif found in (":", "!") and not stack and found in stops:
            return start
    raise _Broken(_unclosed(value, opened))


def _field(value: str, start: int, depth: int) -> Part:
    """The symbols of `{…}`: an interpolation or a role tag."""
    if depth > _DEEPEST:
        raise _Broken(Problem("L0213", "interpolations nested too deeply", start, start + 1, "compute the format before the query string"))
    part = [Symbol("LBRACE", start, start + 1)]
    at = _skip(value, start + 1)
    if value.startswith(":", at):
        return _role(value, part, at, start)
    end = _code_end(value, at, "}:!", start)
    equals = _EQUALS.search(value, at, end)
    _expression(value, part, at, equals.start() if equals else end)
    if equals and part[-1].type == "EXPR":
        part.append(Symbol("EQUALS", start + 1, end, value[start + 1 : end]))
    if value[end] == "!":
        end = _conversion(value, part, end)
    if value.startswith(":", end):
        part.append(Symbol("COLON", end, end + 1))
        end = _format(value, part, end + 1, start, depth)
    return _closed(value, part, end, start)


def _closed(value: str, part: Part, end: int, start: int) -> Part:
    """A field with its `}`, and with what stands before it that does not belong there."""
    if not value.startswith("}", end):
        part.append(Symbol("JUNK", end, min(end + 1, len(value))))
        end = value.find("}", end)
    if end < 0:
        raise _Broken(_unclosed(value, start))
    return [*part, Symbol("RBRACE", end, end + 1)]


def _conversion(value: str, part: Part, at: int) -> int:
    part.append(Symbol("BANG", at, at + 1))
    name = _NAME.match(value, at + 1)
    if name:
        part.append(Symbol("NAME", name.start(), name.end()))
    return _skip(value, name.end() if name else at + 1)


def _role(value: str, part: Part, at: int, start: int) -> Part:
    part.append(Symbol("COLON", at, at + 1))
    at = _skip(value, at + 1)
    end = value.find("}", at)
    if end < 0:
        raise _Broken(_unclosed(value, start))
    text = value[at:end].rstrip()
    if text:
        name = _NAME.fullmatch(text)
        part.append(Symbol("NAME" if name else "JUNK", at, at + len(text)))
    return [*part, Symbol("RBRACE", end, end + 1)]


def _format(value: str, part: Part, at: int, start: int, depth: int) -> int:
    """The symbols of a format specification; gives the index of its `}`."""
    while at < len(value):
        stop = re.compile(r"[{}]").search(value, at)
        if stop is None:
            break
        if stop.start() > at:
            part.append(Symbol("TEXT", at, stop.start(), value[at : stop.start()]))
        if stop.group() == "}":
            return stop.start()
        nested = _field(value, stop.start(), depth + 1)
        part.extend(nested)
        at = nested[-1].end
    raise _Broken(_unclosed(value, start))
