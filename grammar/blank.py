"""A program with its LMQL parts blanked out, for Python's parser: every other character keeps its line and byte column."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass

from lmqlc.grammar.places import Places
from lmqlc.grammar.structure import Structure

_SEMICOLON = re.compile(r"[ \t\f]*;")
_LINE_ENDS = re.compile(r"\r\n|\r|\n")
_KEPT = re.compile(r"[^\r\n]")


@dataclass(frozen=True, slots=True)
class Blanked:
    """The blanked text; `header` is where the header stood (None without one)."""

    text: str
    header: int | None

    def split(self, module: ast.Module, places: Places) -> tuple[list[ast.stmt], list[ast.stmt]]:
        """The statements before the header and those after it; what stood in for the header is taken out."""
        if self.header is None:
            return [], module.body
        at = places.place(self.header)
        prelude: list[ast.stmt] = []
        body: list[ast.stmt] = []
        for statement in module.body:
            place = statement.lineno, statement.col_offset
            if place < at:
                prelude.append(statement)
            elif place > at:
                body.append(statement)
            elif isinstance(statement, ast.If):
                body.extend(statement.body)
        return prelude, body


def blank(text: str, structure: Structure) -> Blanked:
    """Blank out headers, clauses, and what the grammar refused."""
    edits = [(_back(text, span.start), span.end, "") for span in structure.dropped]
    edits += [(span.start, span.end, "if 1:") for span in structure.opened]
    clauses = [clause for prompt in structure.prompts.values() for clause in prompt.clauses]
    edits += [(_back(text, clause.start), clause.span.end, "") for clause in clauses + structure.clauses]
    header = structure.header
    if header is not None:
        edits.append((header.start, header.end, _stand_in(text[header.start : header.end], structure)))
    pieces, at = [], 0
    for start, end, stand_in in sorted(edits):
        if end > at:
            filled = _blank(text[max(at, start) : end])
            if _SEMICOLON.match(text, end):
                filled = _LINE_ENDS.sub(r"\\\g<0>", filled)  # the statements behind it belong to the same line
            pieces += [text[at : max(at, start)], stand_in, filled[len(stand_in) :]]
            at = end
    return Blanked("".join([*pieces, text[at:]]), header.start if header else None)


def _stand_in(header: str, structure: Structure) -> str:
    """Python in the place of a header, so that what follows is at home there.

    A suite needs a head above it. A string behind a header of one line needs the end of a statement before it; behind a
    header of several lines it looks like a suite.
    """
    if structure.form == "suite":
        return "if 1:"
    if structure.form != "single" or len(header) < 2:
        return ""
    return "if 1:" if "\n" in header or "\r" in header else "0" + " " * (len(header) - 2) + ";"


def _back(text: str, at: int) -> int:
    """The end of what stands before a clause, line continuations not counted."""
    while at and text[at - 1] in " \t\f\\\r\n":
        at -= 1
    return at


def _blank(text: str) -> str:
    """Blanks as wide as the text in UTF-8; line ends stay."""
    if text.isascii():
        return _KEPT.sub(" ", text)
    return _KEPT.sub(lambda match: " " * len(match.group().encode("utf-8", "replace")), text)
