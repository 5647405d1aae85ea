"""All of a program's Python errors in one run: a statement that Python refuses gives way to a harmless one, and Python reads again."""

from __future__ import annotations

import ast
import re
from bisect import bisect_right

from lmqlc.grammar import python
from lmqlc.grammar.diagnostics import Diagnostic
from lmqlc.grammar.keywords import HEADS
from lmqlc.grammar.places import Places
from lmqlc.grammar.python import Fault
from lmqlc.grammar.source import Span
from lmqlc.grammar.tokens import NAME, Line

MOST_ERRORS = 20
_WORK = 3_000_000
_STUBS = {"match": "match 0", "elif": "elif 1", "else": "else", "try": "try", "finally": "finally", "except": "except", "case": "case _"}
_HEAD_LINE = re.compile(r"expected an indented block after .* on line (\d+)")


class Judge:
    """Reads a program whose LMQL parts are blanked out; collects what Python refuses.

    `text` has the same lines, and in them the same byte columns, as `original`, whose places the findings name.
    """

    def __init__(self, text: str, original: Places, lines: list[Line]) -> None:
        self.text = text
        self.original = original
        self.lines = lines
        self.places = Places(text)
        self.rows = [self.places.place(line.start)[0] for line in lines]
        self.stubs: dict[int, str] = {}
        self.diagnostics: list[Diagnostic] = []

    def run(self) -> ast.Module | None:
        """The program's module; with findings, what is left of it (None where nothing can be read)."""
        rounds = max(1, min(MOST_ERRORS, _WORK // (len(self.text) + 1)))
        for _ in range(rounds + 1):
            try:
                module = python.parse(self._text())
            except Fault as fault:
                if len(self.diagnostics) == rounds or not self._give_way(fault):
                    return None
            else:
                assert isinstance(module, ast.Module)
                return module
        return None

    def _text(self) -> str:
        """The text with the stubs in the place of the refused lines, without a byte order mark."""
        at = 1 if self.text.startswith("\ufeff") else 0
        pieces = []
        for row in sorted(self.stubs):
            line = self.lines[row]
            pieces += [self.text[at : line.start], self.stubs[row], re.sub(r"[^\r\n]+", "", self.text[line.start : line.end])]
            at = line.end
        return "".join([*pieces, self.text[at:]]) if pieces else self.text[at:]

    def _give_way(self, fault: Fault) -> bool:
        """Note a fault and put stubs where it is; False where that would lead nowhere."""
        row = self._row(fault)
        span = self._span(fault, row)
        known = row is not None and row in self.stubs
        if not known:
            self.diagnostics.append(python.diagnostic(fault.message, span))
        if row is None or python.code(fault.message) in ("L0103", "L0107"):
            return False
        return self._stub(row, fault, again=known)

    def _row(self, fault: Fault) -> int | None:
        """The row of the logical line that is at fault."""
        head = _HEAD_LINE.search(fault.message)
        line = int(head.group(1)) if head else fault.start[0]
        if not self.lines or not line:
            return None
        return max(bisect_right(self.rows, line) - 1, 0)

    def _span(self, fault: Fault, row: int | None) -> Span | None:
        if row is None:
            longest = max(self.lines, key=lambda line: line.end - line.start, default=None)
            return Span(longest.start, longest.end) if longest else None
        if python.code(fault.message) == "L0102":
            return Span(self.lines[row].start, self.lines[row].end)
        start = self._offset(*fault.start)
        return Span(start, max(self._offset(*fault.end), min(start + 1, len(self.original.text))))

    def _offset(self, line: int, column: int) -> int:
        """The offset in the original text of a place that Python names in the blanked one."""
        if line > len(self.places.starts):
            return len(self.original.text)
        start = self.places.starts[line - 1]
        return self.original.offset(*self.places.place(start + column - 1)) if column > 0 else self.original.starts[line - 1]

    def _stub(self, row: int, fault: Fault, *, again: bool) -> bool:
        rows = [row]
        if "unexpected indent" in fault.message or "unindent does not match" in fault.message:
            while rows[-1] + 1 < len(self.lines) and self.lines[rows[-1] + 1].indent >= self.lines[row].indent:
                rows.append(rows[-1] + 1)
            self.stubs.update(dict.fromkeys(rows, ""))
            return not again
        stub = self._harmless(row, plain=again)
        if self.stubs.get(row) == stub:
            return False
        self.stubs[row] = stub
        return True

    def _harmless(self, row: int, *, plain: bool) -> str:
        """A statement that fits where the line stands."""
        line = self.lines[row]
        kind, start, end = line.tokens[0]
        word = self.text[start:end] if kind == NAME else ""
        deeper = row + 1 < len(self.lines) and self.lines[row + 1].indent > line.indent
        if self.text[start:end] == "@" and not plain:
            return "@x"
        if word in _STUBS and not plain:
            return _STUBS[word] + (":" if deeper else ": pass")
        return "if 1:" if deeper else "if 1: pass" if word in HEADS else "pass"
