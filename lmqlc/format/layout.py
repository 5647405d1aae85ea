"""Headers and clauses: on one line where they fit, else a condition per line."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lmqlc.format.lexemes import lexemes
from lmqlc.format.spacing import conjuncts, pieces, spaced
from lmqlc.format.strings import formatted_string
from lmqlc.format.whitespace import line_end
from lmqlc.grammar.lexer import Symbol
from lmqlc.grammar.nodes import Query
from lmqlc.grammar.structure import RawClause, RawPrompt, Structure

_LINE = re.compile(r"[^\r\n]*")


@dataclass(frozen=True, slots=True)
class Edit:
    """A range of the text and what takes its place."""

    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class _Words:
    """A clause: what stands before its expression (`where`, `distribution X in`), and the lines its expression may take, the first of which
    is all of it."""

    head: str
    whole: str
    lines: tuple[str, ...]

    @property
    def flat(self) -> str:
        return f"{self.head} {self.whole}"


class Layout:
    """The edits of one program. width: characters of a line."""

    def __init__(self, query: Query, structure: Structure, width: int) -> None:
        self._text = query.source.text
        self._structure = structure
        self._width = width
        self._end = line_end(self._text)
        self._strings = {prompt.query.span.start: prompt.query for prompt in query.prompts()}

    def edits(self) -> list[Edit]:
        """What changes, in the order of the text."""
        found: list[Edit] = []
        header = self._structure.header
        if header is not None:
            found += self._header(header)
        margin = list(self._structure.clauses)
        for prompt in self._structure.prompts.values():
            if prompt.span.start in self._strings:
                found += self._prompt(prompt)
                margin += [clause for clause in prompt.clauses if self._at_margin(clause)]
        for group in self._groups(sorted(margin, key=lambda clause: clause.start)):
            found += self._group(group)
        return sorted((edit for edit in found if self._text[edit.start : edit.end] != edit.text), key=lambda edit: edit.start)

    # Headers

    def _header(self, header: Symbol) -> Iterator[Edit]:
        text = self._text
        parts = pieces(text, header.start, header.end)
        if parts is None or any(one.kind == "joined" for one in lexemes(text, header.start, header.end)):
            return
        flat = spaced(parts, text)
        spread = any(one.kind == "newline" for one in lexemes(text, header.start, header.end))
        if len(flat) <= self._width and not (spread and flat.endswith(",)")):  # a last comma keeps an argument per line
            yield Edit(header.start, header.end, flat)
        after = re.compile(r"[ \t]+(?=[rRuU]?[\"'])").match(text, header.end)
        if after:
            yield Edit(header.end, after.end(), " ")

    # Prompts

    def _prompt(self, prompt: RawPrompt) -> Iterator[Edit]:
        string = self._strings[prompt.span.start]
        if string.span.end != prompt.span.end:
            return
        formatted = formatted_string(self._text, string)
        yield Edit(string.span.start, string.span.end, formatted)
        clauses = [clause for clause in prompt.clauses if not self._at_margin(clause)]
        if not clauses or not self._ends_line(clauses[-1].span.end):
            return
        before = self._text[self._line_start(prompt.span.start) : prompt.span.start]
        words = [self._words(clause) for clause in clauses]
        if ("(" in before and before.strip("( \t") == "") or self._has_comment(prompt.span.end, clauses[-1].span.end):
            return
        laid = self._laid(before, formatted, [one for one in words if one is not None])
        if laid is not None and None not in words:
            yield Edit(prompt.span.end, clauses[-1].span.end, laid)

    def _laid(self, before: str, formatted: str, words: Sequence[_Words]) -> str | None:
        """The clauses behind a query string; None where they stay as written."""
        line = (before + formatted).splitlines()[-1]
        flat = "".join(f" {one.flat}" for one in words)
        if len(line + flat) <= self._width:
            return flat
        if not before.strip():
            step = before + self._step(before)
            return self._broken(words, step)
        if self._structure.form == "single" and self._structure.header is not None and not before[0].isspace():
            blocks = self._blocks(words)
            return None if blocks is None else self._end + blocks
        return None

    def _broken(self, words: Sequence[_Words], indent: str) -> str | None:
        """Every clause below, its conditions on lines of their own where it needs them; None where one is too long for a line."""
        written: list[str] = []
        for one in words:
            lines = [one.flat] if len(indent + one.flat) <= self._width else [f"{one.head} {one.lines[0]}", *one.lines[1:]]
            written += [indent + line for line in lines]
        return None if max(map(len, written)) > self._width else "".join(self._end + line for line in written)

    # Clauses of the program

    def _groups(self, clauses: Sequence[RawClause]) -> Iterator[list[RawClause]]:
        """Clauses that begin at the left margin, each with those behind it on its line."""
        group: list[RawClause] = []
        for clause in clauses:
            if self._at_margin(clause):
                if group:
                    yield group
                group = [clause]
            elif group:
                group.append(clause)
        if group:
            yield group

    def _group(self, group: Sequence[RawClause]) -> Iterator[Edit]:
        start, end = group[0].start, group[-1].span.end
        words = [self._words(clause) for clause in group]
        if not self._ends_line(end) or self._has_comment(start, end) or None in words:
            return
        known = [one for one in words if one is not None]
        flat = " ".join(one.flat for one in known)
        if len(group) == 1 and self._is_block(group[0]):
            block = self._block(known[0])
        elif len(flat) <= self._width:
            block = flat
        else:
            block = self._blocks(known)
        if block is not None:
            yield Edit(start, end, block)

    def _is_block(self, clause: RawClause) -> bool:
        """The expression of a clause begins below its keyword."""
        first = clause.name or clause.expr
        return "\n" in self._text[clause.start : first.start] or "\r" in self._text[clause.start : first.start]

    def _blocks(self, words: Sequence[_Words]) -> str | None:
        """Clauses at the left margin, a line or a block for each."""
        blocks = [one.flat if len(one.flat) <= self._width else self._block(one) for one in words]
        return None if None in blocks else self._end.join(str(one) for one in blocks)

    def _block(self, words: _Words) -> str | None:
        """A clause's keyword, and its expression on indented lines below."""
        keyword, _, rest = words.head.partition(" ")
        step = self._step("")
        first = f"{rest} {words.whole}" if rest else words.whole
        lines = [first] if len(step + first) <= self._width else [f"{rest} {words.lines[0]}".strip(), *words.lines[1:]]
        if max(map(len, lines)) + len(step) > self._width:
            return None
        return self._end.join([keyword, *(step + line for line in lines)])

    # Parts of them

    def _words(self, clause: RawClause) -> _Words | None:
        parts = pieces(self._text, clause.expr.start, clause.expr.end)
        if parts is None:
            return None
        head = clause.kind if clause.name is None else f"{clause.kind} {self._text[clause.name.start : clause.name.end]} in"
        lines = tuple(spaced(part, self._text) for part in conjuncts(parts))
        return _Words(head, spaced(parts, self._text), lines)

    def _step(self, indent: str) -> str:
        return "\t" if "\t" in indent else "    "

    def _line_start(self, offset: int) -> int:
        return max(self._text.rfind("\n", 0, offset), self._text.rfind("\r", 0, offset)) + 1

    def _at_margin(self, clause: RawClause) -> bool:
        return self._line_start(clause.start) == clause.start

    def _ends_line(self, offset: int) -> bool:
        """Nothing but a comment follows on the line."""
        rest = _LINE.match(self._text, offset)
        return rest is None or rest.group().strip()[:1] in ("", "#")

    def _has_comment(self, start: int, end: int) -> bool:
        return any(one.kind == "comment" for one in lexemes(self._text, start, end))


def applied(text: str, edits: Sequence[Edit]) -> str:
    """The text with edits that do not overlap."""
    written, at = [], 0
    for edit in edits:
        written += [text[at : edit.start], edit.text]
        at = edit.end
    return "".join([*written, text[at:]])
