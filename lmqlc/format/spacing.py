"""Python expressions on one line, with blanks where a reader expects them. Only white space changes: every other character stays."""

from __future__ import annotations

import keyword
from collections.abc import Sequence

from lmqlc.format.lexemes import Lexeme, lexemes

_WORDS = frozenset(keyword.kwlist) - {"True", "False", "None"}
_TIGHT = frozenset({".", ","})
_OPERANDS = frozenset({"name", "number", "string", "close"})


def pieces(text: str, start: int = 0, end: int | None = None) -> list[Lexeme] | None:
    """What an expression is made of, without white space; None where a comment stands in it."""
    found = list(lexemes(text, start, end))
    return None if any(one.kind == "comment" for one in found) else [one for one in found if not one.is_layout]


def spaced(parts: Sequence[Lexeme], text: str) -> str:
    """The parts of an expression of `text` on one line. Raises nothing: text that is no expression keeps its words apart."""
    return _Spacer(parts, text).run()


def conjuncts(parts: Sequence[Lexeme]) -> list[list[Lexeme]]:
    """The parts cut before every `or`, else before every `and`, that stands outside brackets; one piece where a conditional, a lambda or a
    comprehension stands there."""
    outside = [part for part, depth in _with_depth(parts) if depth == 0 and part.kind == "name"]
    words = {part.text for part in outside}
    if words & {"if", "lambda", "for"}:
        return [list(parts)]
    word = "or" if "or" in words else "and"
    cuts = [one.start for one in outside if one.text == word]
    found: list[list[Lexeme]] = [[]]
    for part in parts:
        if part.start in cuts:
            found.append([])
        found[-1].append(part)
    return found


def _with_depth(parts: Sequence[Lexeme]) -> list[tuple[Lexeme, int]]:
    found, depth = [], 0
    for part in parts:
        depth -= part.kind == "close"
        found.append((part, depth))
        depth += part.kind == "open"
    return found


class _Spacer:
    """Joins the parts of one expression. `_open` are the brackets around the current place; "s" is a subscript, "l" a lambda's head."""

    def __init__(self, parts: Sequence[Lexeme], text: str) -> None:
        self._parts = parts
        self._text = text
        self._open: list[str] = []
        self._unary = False

    def run(self) -> str:
        written: list[str] = []
        before: Lexeme | None = None
        for part in self._parts:
            if before is not None and self._apart(before, part):
                written.append(" ")
            written.append(part.text)
            self._unary = part.kind == "op" and part.text in ("-", "+", "~", "*", "**") and not _ends_operand(before)
            self._enter(before, part)
            before = part
        return "".join(written)

    def _enter(self, before: Lexeme | None, part: Lexeme) -> None:
        if part.kind == "open":
            self._open.append("s" if part.text == "[" and _ends_operand(before) else part.text)
        elif part.kind == "close" and self._open:
            self._open.pop()
        elif part.text == "lambda":
            self._open.append("l")
        elif part.text == ":" and self._open and self._open[-1] == "l":
            self._open.pop()

    def _apart(self, before: Lexeme, part: Lexeme) -> bool:
        """A blank stands between two parts."""
        if before.kind == "open" or part.kind == "close" or part.text == ",":
            return False
        if before.text == ",":
            return True
        if part.text == "." or before.text == ".":
            return part.text == "." and (before.kind == "number" or before.text in _WORDS)
        if part.kind == "open":
            return not _ends_operand(before) and not self._glues(before)
        return self._around_signs(before, part)

    def _around_signs(self, before: Lexeme, part: Lexeme) -> bool:
        inside = self._open[-1] if self._open else ""
        if part.text == "=" or before.text == "=":
            return False
        if inside == "s" and ":" in (part.text, before.text):
            return before.end < part.start  # in a slice as written
        if part.text == ":":
            return False
        return not self._glues(before)

    def _glues(self, before: Lexeme) -> bool:
        """What stands before takes no blank behind it: a sign of one operand, the `=` of an argument."""
        return self._unary or before.text == "=" or (before.text == ":" and bool(self._open) and self._open[-1] == "s")


def _ends_operand(part: Lexeme | None) -> bool:
    if part is None:
        return False
    return (part.kind in _OPERANDS and part.text not in _WORDS) or part.text == "..."
