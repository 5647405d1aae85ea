"""Python fragments inside a program: clauses, and what stands in holes and interpolations.

A fragment is read between parentheses, so that it may run over lines; its nodes then get the places of the program.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable

from lmqlc.grammar import python
from lmqlc.grammar.diagnostics import Diagnostic
from lmqlc.grammar.literals import Mapped
from lmqlc.grammar.places import Places
from lmqlc.grammar.python import Fault
from lmqlc.grammar.source import Span
from lmqlc.grammar.tokens import PREFIX, string_end

_QUOTED = re.compile(rf"(?:{PREFIX})?(?:\"\"\"|'''|\"|')|\w+|[\r\n\0]|[^\w\"'\r\n\0]+", re.DOTALL)
_CONTROLS = re.compile(r"[\r\n\0]")
_CONTROL_ESCAPES = {"\n": "\\n", "\r": "\\r", "\0": "\\x00"}


class Fragments:
    """Reads the fragments of one program."""

    def __init__(self, places: Places, diagnostics: list[Diagnostic]) -> None:
        self.places = places
        self.diagnostics = diagnostics

    def plain(self, span: Span, code: str, what: str) -> ast.expr | None:
        """The expression in a range of the program's text; None (and a finding) where it is none."""
        text = self.places.text[span.start : span.end]
        line, column = self.places.place(span.start)

        def move(row: int, at: int) -> tuple[int, int]:
            return row + line - 1, at + column - 1 if row == 1 else at

        try:
            tree = python.parse(f"({_without_surrogates(text)}\n)", "eval")
        except Fault as fault:
            self._refuse(fault, text, lambda index: span.start + index, code, what)
            return None
        assert isinstance(tree, ast.Expression)
        python.move(tree.body, move)
        return tree.body

    def mapped(self, mapped: Mapped, start: int, end: int, code: str, what: str) -> ast.expr | None:
        """The expression in a range of a query string's value; None (and a finding) where it is none."""
        text, indices = _quote_controls(mapped.value[start:end])
        try:
            tree = python.parse(f"({_without_surrogates(text)}\n)", "eval")
        except Fault as fault:
            self._refuse(fault, text, lambda index: mapped.start(start + (indices[index] if indices else index)), code, what)
            return None
        assert isinstance(tree, ast.Expression)
        inner = Places(f"({text}\n)")

        def index(row: int, column: int) -> int:
            at = max(0, min(inner.offset(row, column) - 1, len(text)))
            return start + (indices[at] if indices else at)

        python.move(
            tree.body,
            lambda row, column: self.places.place(mapped.start(index(row, column))),
            lambda row, column: self.places.place(mapped.end(index(row, column))),
        )
        return tree.body

    def _refuse(self, fault: Fault, text: str, offset: Callable[[int], int], code: str, what: str) -> None:
        """Report a fragment that Python refuses; `offset` gives the program's offset of an index of the fragment."""
        inner = Places(f"({text}\n)")

        def index(place: tuple[int, int]) -> int:
            line = max(1, min(place[0], len(inner.starts)))
            return max(0, min(inner.starts[line - 1] + max(0, place[1] - 1) - 1, len(text)))

        first, last = index(fault.start), index(fault.end)
        if first >= len(text) or not fault.start[0]:
            first, last = (0, len(text)) if not fault.start[0] else (max(0, len(text) - 1), len(text))
        span = Span(offset(first), max(offset(last), offset(first) + 1))
        message = fault.message if "'(' was never closed" not in fault.message or "(" in text else "invalid syntax"
        self.diagnostics.append(Diagnostic(code, "error", f"{what}: {message}", span, hint=python.hint(message)))


def _without_surrogates(text: str) -> str:
    """The text without what UTF-8 cannot say; such characters have been reported."""
    return text if text.isascii() else re.sub(r"[\ud800-\udfff]", "?", text)


def _quote_controls(text: str) -> tuple[str, list[int] | None]:
    """Make line ends and NUL inside a fragment's strings escapes again, and blanks outside them.

    They came from escapes of the query string: `"{'\\n'.join(xs)}"` means what it says. Gives the text and, where it has
    changed, the index in the old text of every character of the new one.
    """
    if not _CONTROLS.search(text):
        return text, None
    pieces: list[str] = []
    indices: list[int] = []
    at = 0
    while match := _QUOTED.match(text, at):
        start, at = match.start(), match.end()
        if match.group()[-1] in "\"'":
            at = string_end(text, start, at, loose=True) or len(text)
            triple = match.group()[-3:] in ('"""', "'''")
            made = [char if triple and char == "\n" else _CONTROL_ESCAPES.get(char, char) for char in text[start:at]]
        else:
            made = [char if char == "\n" else _CONTROLS.sub(" ", char) for char in match.group()]
        pieces += made
        indices += [start + index for index, piece in enumerate(made) for _ in piece]
    return "".join(pieces), [*indices, len(text)]
