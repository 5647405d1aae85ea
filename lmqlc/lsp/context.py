"""What may be written at a place of a program, judged from the text before it: it may be half-written in any way."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from lmqlc.compiler.decoder_options import DECODERS
from lmqlc.grammar.keywords import CLAUSES
from lmqlc.grammar.tokens import GROUP, NAME, Line, scan, string_end

Where = Literal[
    "prompt", "hole", "decorator", "type", "value", "role", "where", "model", "header", "arguments", "line", "python", "method", "comment"
]
_STRING = re.compile(r"(?:[rRuUbBfFtT]{0,2})(?:\"\"\"|'''|\"|')")
_INSIDE = re.compile(r"\[\[|\{\{|\]\]|\}\}|[\[\]{}]")
_WORD = re.compile(r"[^\W\d]\w*\Z|\Z")
_CALL = re.compile(r"([A-Za-z_]\w*)\s*\Z")
_ATTRIBUTE = re.compile(r"([A-Za-z_]\w*)\.\w*\Z")


@dataclass(frozen=True, slots=True)
class Context:
    """where: what kind of place it is. word: the beginning of a word right before it. owner: whose argument or method is meant."""

    where: Where
    word: str = ""
    owner: str = ""


def context_at(text: str, offset: int) -> Context:
    """The context of an offset."""
    before = text[:offset]
    found = _WORD.search(before)
    word = found.group() if found else ""
    lines = scan(before, 1 if before.startswith("\ufeff") else 0)
    line = lines[-1] if lines else None
    if _in_comment(before, line):
        return Context("comment", word)
    inside = _string_before(before, line)
    if inside is not None:
        return _in_string(inside, word)
    return _in_code(before, lines, word)


def _in_comment(before: str, line: Line | None) -> bool:
    start = max(before.rfind("\n"), before.rfind("\r")) + 1
    tail = before[max(start, line.end if line else 0) :]
    return tail.lstrip().startswith("#")


def _string_before(before: str, line: Line | None) -> str | None:
    """What stands of the string that the text ends in; None where it ends in none."""
    if line is None or not line.tokens:
        return None
    _, start, end = line.tokens[-1]
    at = start
    while match := _next_string(before, at, end):
        stop = string_end(before, match.start(), match.end())
        if stop is None:
            return before[match.end() :]
        at = stop
    return None


def _next_string(before: str, at: int, end: int) -> re.Match[str] | None:
    return _STRING.search(before, at, max(end, at))


def _in_string(inside: str, word: str) -> Context:
    """The place in a query string: its text, a hole or an interpolation that is open at the end."""
    opened: list[int] = []
    for match in _INSIDE.finditer(inside):
        if len(match.group()) == 2 and not opened:
            continue
        if match.group()[0] in "[{":
            opened.append(match.start())
        elif opened:
            opened.pop()
    if not opened:
        return Context("prompt", word)
    part = inside[opened[0] :]
    if part.startswith("{"):
        return Context("role" if re.match(r"\{\s*:", part) else "value", word)
    if re.search(r"@[\w.]*\Z", part):
        return Context("decorator", word)
    return Context("type" if ":" in part else "hole", word)


def _in_code(before: str, lines: list[Line], word: str) -> Context:
    line = lines[-1] if lines and not before[lines[-1].end :].strip(" \t") else None
    attribute = _ATTRIBUTE.search(before)
    clause = _clause(before, lines)
    if attribute and (clause == "where" or line is not None):
        return Context("method", word, attribute[1])
    if clause in ("where", "distribution"):
        return Context("where", word)
    if clause == "from":
        return Context("model", word)
    decoder = _decoder_arguments(before, line)
    if decoder:
        return Context("arguments", word, decoder)
    fresh = line is None or (len(line.tokens) == 1 and line.tokens[0][0] == NAME and line.end == len(before))
    at_margin = fresh and before[max(before.rfind("\n"), before.rfind("\r")) + 1 :] == word
    if at_margin:
        return Context("header", word)
    return Context("line" if fresh else "python", word)


def _decoder_arguments(before: str, line: Line | None) -> str:
    """The decoder between whose parentheses the text ends."""
    if line is None or len(line.tokens) < 2 or line.tokens[0][0] != NAME:
        return ""
    name = before[line.tokens[0][1] : line.tokens[0][2]]
    kind, start, end = line.tokens[1]
    closed = before[end - 1 : end] == ")" and end > start + 1 and not line.broken
    is_call = kind == GROUP and before[start] == "(" and not closed
    return name if is_call and name in DECODERS and len(line.tokens) == 2 else ""


def _clause(before: str, lines: list[Line]) -> str:
    """The clause that the text ends in; "" for none."""
    fresh = bool(lines) and bool(before[lines[-1].end :].strip(" \t"))
    column = len(before) - (max(before.rfind("\n"), before.rfind("\r")) + 1)
    for number, line in enumerate(reversed(lines)):
        words = [(before[start:end] if kind == NAME else "") for kind, start, end in line.tokens]
        clauses = [word for at, word in enumerate(words) if word in CLAUSES and _is_clause(before, line, at)]
        inner = column if number == 0 and fresh else line.indent
        if clauses:
            if number == 0 and not fresh:
                return clauses[-1]
            later = lines[len(lines) - number :]
            base = _base(lines[: len(lines) - number], words[0] in CLAUSES)
            goes_on = all(one.indent > base for one in later) and (not fresh or column > base)
            return clauses[-1] if goes_on else ""
        if line.indent == 0 and number > 0 and inner == 0:
            return ""
    return ""


def _base(lines: list[Line], leads: bool) -> int:
    """The indentation that lines must pass to go on with the clause on the last line: its own, or where the clause leads its line, that of
    the query string above."""
    own = lines[-1].indent
    if not leads:
        return own
    return next((line.indent for line in reversed(lines[:-1]) if line.indent < own), own)


def _is_clause(before: str, line: Line, at: int) -> bool:
    """A clause's keyword: first on its line, or behind something that an expression ends with; no import."""
    words = [before[start:end] for _, start, end in line.tokens]
    if "import" in words:
        return False
    return at == 0 or line.tokens[at - 1][0] in ("string", "group", "number", "name")
