"""Logical lines to the terminals of `lmql.lark`: where headers, prompts and clauses stand, and what is plain Python.

Soft keywords are settled here, because they need more than one line of look-ahead: a header counts only where a suite, a
string or a clause follows it, and a clause may run over several lines.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from lmqlc.grammar import keywords
from lmqlc.grammar.keywords import CLAUSES, DECODERS, HEADS, clause_at
from lmqlc.grammar.lalr import END
from lmqlc.grammar.tokens import GROUP, NAME, OP, STRING, Line, Token, scan_group

_OPENS_STRING = re.compile(r"(?:[\s(\\]|\#[^\r\n]*)*(?:[rRuU]?[\"'])")
_MOST_PARENTHESES = 8
_STATEMENT_WORDS = frozenset({"match", "case", "type"})
_WORD = re.compile(r"[^\W\d]\w*")


class Symbol(NamedTuple):
    """A terminal of the grammar with its range of the text; `group` is the argument list of a header."""

    type: str
    start: int
    end: int
    group: Token | None = None


class Lexer:
    """Turns the lines of one program into symbols. `prompts`: whether string statements are query strings."""

    def __init__(self, text: str, lines: list[Line], *, prompts: bool, decoders: frozenset[str] = frozenset()) -> None:
        self.text = text
        self.lines = lines
        self.prompts = prompts
        self.decoders = decoders | frozenset(DECODERS)
        self.symbols: list[Symbol] = []
        self.bound: set[str] = set()
        self.header = False
        self.closed = False
        self.prompted = False
        self.indents = [0]
        self.row = 0
        self._single = False
        self._tail_clear = False
        self._tail = self._tail_rows()

    def run(self) -> list[Symbol]:
        """The symbols of the program, ending with `$END`."""
        while self.row < len(self.lines):
            line = self.lines[self.row]
            self.row += 1
            self._indentation(line)
            self._line(line)
            self._emit("NEWLINE", self.symbols[-1].end, self.symbols[-1].end)
        last = len(self.text)
        for _ in self.indents[1:]:
            self._emit("DEDENT", last, last)
        self._emit(END, last, last)
        return self.symbols

    def _emit(self, kind: str, start: int, end: int, group: Token | None = None) -> None:
        self.symbols.append(Symbol(kind, start, end, group))

    def _indentation(self, line: Line) -> None:
        if line.indent > self.indents[-1]:
            self.indents.append(line.indent)
            self._emit("INDENT", line.start, line.start)
        while line.indent < self.indents[-1]:
            self.indents.pop()
            self._emit("DEDENT", line.start, line.start)

    def _line(self, line: Line) -> None:
        tokens, text = line.tokens, self.text
        word = text[tokens[0][1] : tokens[0][2]] if tokens[0][0] == NAME else ""
        if word in CLAUSES and self._clause_line(line):
            if not (line.indent or self.closed) and (self.row <= self._tail or not (self.header or self.prompted)):
                self._emit("PYTHON", line.start, line.start)  # a clause between statements: the grammar refuses it here
            self._clauses(self._gather(line, 0, whole=True), 0)
            return
        at = self._header(line)
        self._single = at > 0
        if not at and not line.indent:
            self._bind(line, word)
        if word in HEADS and (colon := self._head_end(tokens)) and colon < len(tokens):
            self._emit("PYTHON", tokens[0][1], tokens[colon - 1][2])
            self._emit("SEP", tokens[colon - 1][2], tokens[colon - 1][2])
            at = colon
        self._item(line, at)

    def _item(self, line: Line, at: int) -> None:
        """The simple statements of a line from token `at` on."""
        tokens = line.tokens
        while at < len(tokens):
            if self._is_semicolon(tokens[at]):
                self._emit("SEP", tokens[at][1], tokens[at][2])
                at += 1
                continue
            end = self._string(tokens, at)
            at = self._prompt(line, at, end) if end else self._python(line, at)

    def _is_semicolon(self, token: Token) -> bool:
        return token[0] == OP and self.text[token[1]] == ";"

    def _item_end(self, tokens: list[Token], at: int) -> int:
        while at < len(tokens) and not self._is_semicolon(tokens[at]):
            at += 1
        return at

    # Prompts

    def _string(self, tokens: list[Token], at: int) -> int:
        """Where the string that makes up the statement at `at` ends (a token index); 0 where the statement is more."""
        end = at
        while end < len(tokens) and tokens[end][0] == STRING:
            end += 1
        if end == at and tokens[at][0] == GROUP and self.text[tokens[at][1]] == "(":
            end += 1 if self._inside(tokens[at]) else 0
        whole = end == len(tokens) or self._is_semicolon(tokens[end]) or clause_at(self.text, tokens, end) is not None
        return end if end > at and whole else 0

    def _inside(self, group: Token) -> list[Token]:
        """The tokens of a parenthesised string (with clauses, perhaps); empty where the parentheses hold something else."""
        if not _OPENS_STRING.match(self.text, group[1] + 1):
            return []
        for _ in range(_MOST_PARENTHESES):
            if group[0] != GROUP or self.text[group[1]] != "(" or self.text[group[2] - 1] != ")":
                break
            inner = scan_group(self.text, group[1] + 1, group[2] - 1)
            if len(inner) != 1 or inner[0][0] == STRING:
                return inner if inner and self._string_run(inner) else []
            group = inner[0]
        return []

    def _string_run(self, tokens: list[Token]) -> bool:
        end = 0
        while end < len(tokens) and tokens[end][0] == STRING:
            end += 1
        return end > 0 and (end == len(tokens) or clause_at(self.text, tokens, end) is not None)

    def _prompt(self, line: Line, at: int, end: int) -> int:
        tokens = line.tokens
        self.prompted = True
        if tokens[at][0] == GROUP:
            self._bracketed(self._inside(tokens[at]))
        else:
            self._emit("STRING", tokens[at][1], tokens[end - 1][2])
        if end < len(tokens) and not self._is_semicolon(tokens[end]):
            stop = self._item_end(tokens, end)
            self._clauses(tokens[end:stop] if stop < len(tokens) else self._gather(line, end, whole=self._single), 0)
            return stop
        if end == len(tokens) and self._clause_below(line):
            self._clauses(self._gather(line, end, whole=self._single), 0)
        return end

    def _bracketed(self, tokens: list[Token]) -> None:
        end = 0
        while end < len(tokens) and tokens[end][0] == STRING:
            end += 1
        self._emit("STRING", tokens[0][1], tokens[end - 1][2])
        self._clauses(tokens, end)

    def _python(self, line: Line, at: int) -> int:
        """Plain Python up to the statement's end, or up to a clause that has no place there."""
        tokens = line.tokens
        stop = self._item_end(tokens, at)
        first = at + 2 if self._word(tokens[at]) in _STATEMENT_WORDS else at + 1
        for k in range(first, stop):
            if tokens[k][0] == NAME and self._word(tokens[k]) != "from" and clause_at(self.text, tokens, k):
                self._emit("PYTHON", tokens[at][1], tokens[k - 1][2])
                self._clauses(tokens[k:stop], 0)
                return stop
        self._emit("PYTHON", tokens[at][1], tokens[stop - 1][2])
        return stop

    def _word(self, token: Token) -> str:
        return self.text[token[1] : token[2]]

    def _head_end(self, tokens: list[Token]) -> int:
        """The index after the colon that ends the head of a compound statement; 0 where there is none."""
        lambdas = 0
        for at, token in enumerate(tokens):
            word = self._word(token) if token[0] in (NAME, OP) else ""
            if word == "lambda":
                lambdas += 1
            elif word == ":" and at > 1 - (self._word(tokens[0]) in {"else", "try", "finally", "except"}):
                if not lambdas:
                    return at + 1
                lambdas -= 1
        return 0

    # Clauses

    def _clauses(self, tokens: list[Token], at: int) -> None:
        """Symbols for a run of clauses; each gets all its symbols, with empty ranges for what is missing."""
        while at < len(tokens):
            word, (_, start, end) = self._word(tokens[at]), tokens[at]
            self._emit(CLAUSES[word], start, end)
            at += 1
            if word == "distribution":
                at = self._variable(tokens, at, end)
            stop = at
            while stop < len(tokens) and not (clause_at(self.text, tokens, stop) and (stop > at or self._word(tokens[stop]) == "from")):
                stop += 1
            last = tokens[at - 1][2]
            self._emit("EXPR", *((tokens[at][1], tokens[stop - 1][2]) if stop > at else (last, last)))
            at = stop

    def _variable(self, tokens: list[Token], at: int, end: int) -> int:
        """`NAME in` of a distribution clause; an empty name where it does not stand there."""
        if at + 1 < len(tokens) and tokens[at][0] == NAME and self._word(tokens[at + 1]) == "in":
            self._emit("NAME", tokens[at][1], tokens[at][2])
            return at + 2
        self._emit("NAME", end, end)
        return at

    def _clause_line(self, line: Line) -> bool:
        """Whether a line that starts with a clause keyword is a clause."""
        deeper = self.row < len(self.lines) and self.lines[self.row].indent > line.indent
        tail = self.row > self._tail
        if keywords.clear_clause(self.text, line.tokens) or (deeper and len(line.tokens) == 1):
            if self._word(line.tokens[0]) != "from":
                return True
            return (self.header or self.prompted) and (tail or not keywords.unfinished_import(self.text, line.tokens))
        return self.header and not line.indent and tail and keywords.open_clause(self.text, line.tokens)

    def _clause_below(self, line: Line) -> bool:
        if self.row == len(self.lines) or self.lines[self.row].indent <= line.indent:
            return False
        first = self.lines[self.row].tokens[0]
        return first[0] == NAME and self._word(first) in CLAUSES

    def _gather(self, line: Line, at: int, *, whole: bool) -> list[Token]:
        """The tokens of the clauses that start at token `at` of `line`, with those of the lines that go on with them.

        Clauses of the whole program may go on at the left margin, those of a query string only on indented lines.
        """
        tokens = line.tokens[at:]
        self.row = self._extent(line, tokens, self.row, whole=whole)
        return tokens

    def _extent(self, line: Line, tokens: list[Token], row: int, *, whole: bool) -> int:
        """The first row that no longer belongs to the clauses in `tokens`; what belongs is added to `tokens`."""
        while row < len(self.lines):
            below = self.lines[row]
            if below.indent <= line.indent and not (whole and not line.indent and self._goes_on(tokens, below)):
                break
            tokens.extend(below.tokens)
            row += 1
        return row

    def _goes_on(self, tokens: list[Token], below: Line) -> bool:
        if self._word(below.tokens[0]) in CLAUSES:
            return False
        return keywords.incomplete(self.text, tokens) or self._word(below.tokens[0]) in {"and", "or"}

    def _tail_rows(self) -> int:
        """The row from which on, to the end, there are only clauses of the program."""
        starts = [row for row, line in enumerate(self.lines) if not line.indent and self._may_be_clause(line)]
        tail = len(self.lines)
        for row in reversed(starts):
            line = self.lines[row]
            if self._extent(line, list(line.tokens), row + 1, whole=True) != tail:
                break
            tail = row
        self._tail_clear = any(row >= tail and keywords.clear_clause(self.text, self.lines[row].tokens) for row in starts)
        return tail

    def _may_be_clause(self, line: Line) -> bool:
        if line.tokens[0][0] != NAME or self._word(line.tokens[0]) not in CLAUSES:
            return False
        return keywords.clear_clause(self.text, line.tokens) or keywords.open_clause(self.text, line.tokens)

    # Headers

    def _bind(self, line: Line, word: str) -> None:
        """Note the names that a statement before the header binds: they may name a decoder, or not be one."""
        if self.header:
            return
        text = self.text[line.start : min(line.end, line.start + 1000)]
        if word in {"def", "class", "async", "import", "from"}:
            self.bound.update(_WORD.findall(text))
        elif len(line.tokens) > 1 and self._word(line.tokens[1]) in {"=", ":"}:
            self.bound.add(word)

    def _header(self, line: Line) -> int:
        """Emit the header that a line starts with and give the index of the token after it; 0 where there is none."""
        tokens = line.tokens
        name = keywords.header_name(self.text, tokens[0])
        if name is None:
            return 0
        called = len(tokens) > 1 and tokens[1][0] == GROUP and self.text[tokens[1][1]] == "("
        at = 2 if called else 1
        group = tokens[1] if called else None
        clear = self._clear_header(line, name, at)
        if not clear and not self._open_header(line, name, group, at):
            return 0
        if not self.header and not line.indent:
            self.header, self.closed = True, clear
        self._emit("HEADER", tokens[0][1], tokens[at - 1][2], group)
        if at < len(tokens) and clause_at(self.text, tokens, at):
            self._clauses(self._gather(line, at, whole=True), 0)
            return len(tokens)
        return at

    def _clear_header(self, line: Line, name: str, at: int) -> bool:
        """Whether what follows a name (and its arguments) makes it a header: no Python statement goes on so."""
        known = name in self.decoders
        if at < len(line.tokens):
            text = line.tokens[at][0] == STRING and (known or not line.indent)
            return self._string(line.tokens, at) > 0 if text else known and clause_at(self.text, line.tokens, at) is not None
        below = self.lines[self.row] if self.row < len(self.lines) else None
        if below is None or below.indent <= line.indent:
            return False
        return known or (not line.indent and self._may_name_decoder(name, below))

    def _may_name_decoder(self, name: str, below: Line) -> bool:
        return name in self.bound or self._starts_prompt(below) or keywords.near_decoder(name) is not None

    def _open_header(self, line: Line, name: str, group: Token | None, at: int) -> bool:
        """Whether a line that could be a Python statement is a header for the sake of what comes below it."""
        if self.header or line.indent or at < len(line.tokens) or self.row == len(self.lines):
            return False
        if name not in self.decoders or name in self.bound or not keywords.keywords_only(self.text, group):
            return False
        return self._tail_clear or (self.prompts and self._starts_prompt(self.lines[self.row]))

    def _starts_prompt(self, line: Line) -> bool:
        return self._string(line.tokens, 0) > 0
