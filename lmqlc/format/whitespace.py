"""White space that means nothing: at ends of lines, in runs of empty lines, at both ends of the file."""

from __future__ import annotations

import re

from lmqlc.format.lexemes import Lexeme, lexemes

MOST_EMPTY_LINES = 2


def tidied(text: str) -> str:
    """The text without blanks before line ends, with at most two empty lines in a row, and with one line end at its end. What stands inside
    string literals is theirs."""
    mark = "\ufeff" if text.startswith("\ufeff") else ""
    found = _without_trailing(list(lexemes(text, len(mark))))
    body = "".join(_without_empty_lines(found))
    kept = body.rstrip(" \t\r\n") if not found or found[-1].kind != "string" else body
    return mark + kept + (line_end(text) if kept else "")


def line_end(text: str) -> str:
    """How lines of a text end: as its first one does."""
    match = re.search(r"\r\n|\r|\n", text)
    return match.group() if match else "\n"


def _without_trailing(found: list[Lexeme]) -> list[Lexeme]:
    kept: list[Lexeme] = []
    for number, one in enumerate(found):
        ends = number + 1 == len(found) or found[number + 1].kind == "newline"
        if one.kind == "blank" and ends and "\f" not in one.text:
            continue
        if one.kind == "comment":
            one = one._replace(text=one.text.rstrip())
        kept.append(one)
    return kept


def _without_empty_lines(found: list[Lexeme]) -> list[str]:
    written: list[str] = []
    run = MOST_EMPTY_LINES + 1  # nothing stands before the first line
    for one in found:
        run = run + 1 if one.kind == "newline" else 0
        if run <= MOST_EMPTY_LINES + 1 and not (one.kind == "newline" and not written):
            written.append(one.text)
    return written
