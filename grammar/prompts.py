"""String statements become prompts: which of them do, and the tree with `Prompt` nodes in their places.

At the top of a program every string statement is a prompt. In a function they are when one of them holds a hole, the docstring
aside; in a class body they are not.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field

from lmqlc.grammar import literals, qstring
from lmqlc.grammar.diagnostics import Diagnostic
from lmqlc.grammar.fragments import Fragments
from lmqlc.grammar.nodes import Clause, Distribution, Hole, Part, Prompt, QueryString
from lmqlc.grammar.source import Span
from lmqlc.grammar.structure import RawPrompt

_LOOKS_LIKE_HOLE = re.compile(r"(?<!\[)\[(?:@[\w.]+(?:\([^()]*\))?\s+)*[A-Z_][A-Z0-9_]*(?:\s*:[^\]]+)?\](?!\])")
_RUNTIME_DOCSTRING = re.compile(r"\s*lmql\s")
_DOCUMENTED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_Bodies = tuple[list[ast.stmt], ...]


@dataclass(slots=True)
class InlineClauses:
    """The clauses of one query string, read."""

    where: Clause | None = None
    distribution: Distribution | None = None


@dataclass(slots=True)
class Prompts:
    """Makes the prompts of one program. `raw` are the string statements that the grammar found, `clauses` their clauses by start.

    `everywhere`: string statements without clauses are prompts too; else only those with clauses are.
    """

    fragments: Fragments
    raw: dict[int, RawPrompt]
    clauses: dict[int, InlineClauses]
    everywhere: bool = True
    used: set[int] = field(default_factory=set)

    def convert(self, module: ast.Module) -> None:
        """Put `Prompt` nodes in the place of the module's string statements, at any depth."""
        work: list[tuple[ast.AST, bool]] = [(module, True)]
        while work:
            node, prompting = work.pop()
            doc: ast.stmt | None = None
            if isinstance(node, _DOCUMENTED):
                prompting, doc = self._documented(node)
            for body in bodies(node):
                if prompting or self.clauses:
                    body[:] = [statement if statement is doc else self._statement(statement, prompting) for statement in body]
                work.extend((statement, prompting) for statement in body if not isinstance(statement, Prompt))
            work.extend((child, prompting) for child in parts_of(node))

    def _statement(self, statement: ast.stmt, prompting: bool) -> ast.stmt:
        if not isinstance(statement, ast.Expr):
            return statement
        if prompting and self.everywhere and isinstance(statement.value, ast.JoinedStr):
            self._formatted(statement)
        if not is_string(statement):
            return statement
        span = self._span(statement.value)
        if not (prompting and self.everywhere) and span.start not in self.clauses:
            return statement
        return self._prompt(statement, span)

    def _span(self, node: ast.expr) -> Span:
        places = self.fragments.places
        assert node.end_lineno is not None and node.end_col_offset is not None
        return Span(places.offset(node.lineno, node.col_offset), places.offset(node.end_lineno, node.end_col_offset))

    def _prompt(self, statement: ast.Expr, span: Span) -> Prompt:
        assert isinstance(statement.value, ast.Constant) and isinstance(statement.value.value, str)
        value = statement.value.value
        found = len(self.fragments.diagnostics)
        made = qstring.parse(literals.read(self.fragments.places.text, span, value), self.fragments)
        inline = self.clauses.get(span.start, InlineClauses())
        self.used.add(span.start)
        clean = not any(diagnostic.severity == "error" for diagnostic in self.fragments.diagnostics[found:])
        if clean and not any(isinstance(part, Hole) for part in made):
            self._without_holes(span, inline)
        query = QueryString(made, value, span, inline.where, inline.distribution)
        place = {name: getattr(statement, name) for name in ("lineno", "col_offset", "end_lineno", "end_col_offset")}
        return Prompt(query, **place)

    def _without_holes(self, span: Span, inline: InlineClauses) -> None:
        for clause in (inline.where, inline.distribution):
            if clause is not None:
                word = "where" if clause is inline.where else "distribution"
                hint = "a clause speaks about the holes of its own query string; a hole is written `[NAME]`"
                text = f"`{word}` after a query string without holes"
                self.fragments.diagnostics.append(Diagnostic("L0310", "error", text, clause.span, (("the query string", span),), hint))

    # Functions and classes

    def _documented(self, node: ast.AST) -> tuple[bool, ast.stmt | None]:
        """Whether the string statements of a function or class are prompts, and its docstring, which stays a string."""
        assert isinstance(node, _DOCUMENTED)
        strings = own_strings(node)
        doc = node.body[0] if node.body and is_string(node.body[0]) else None
        if isinstance(node, ast.ClassDef):
            self._class_strings(strings)
            return False, doc
        if doc is not None and _RUNTIME_DOCSTRING.match(text_of(doc)):
            return False, doc
        if doc is not None and (len(node.body) == 1 or self._has_clause(doc)):
            doc = None
        if doc is not None:
            self._warn_plain([doc], "the docstring of a function is no prompt", "put another string above it to make it a prompt")
        return any(self._has_clause(string) or self._has_hole(string) for string in strings if string is not doc), doc

    def _class_strings(self, strings: list[ast.stmt]) -> None:
        bare = [string for string in strings if not self._has_clause(string)]
        self._warn_plain(bare, "a class body is no query", "move the query string into a function")
        for string in strings:
            if self._has_clause(string) and isinstance(string, ast.Expr):
                hint = "move the query string into a function"
                self.fragments.diagnostics.append(
                    Diagnostic(
                        "L0301", "error", "a class body is no query: a clause cannot stand here", self._span(string.value), hint=hint
                    )
                )

    def _has_clause(self, statement: ast.stmt) -> bool:
        return isinstance(statement, ast.Expr) and self._span(statement.value).start in self.clauses

    def _has_hole(self, statement: ast.stmt) -> bool:
        if not self.everywhere or "[" not in text_of(statement):
            return False
        return any(isinstance(part, Hole) for part in self._quietly(statement))

    def _quietly(self, statement: ast.stmt) -> tuple[Part, ...]:
        assert isinstance(statement, ast.Expr)
        mapped = literals.read(self.fragments.places.text, self._span(statement.value), text_of(statement))
        return qstring.parse(mapped, Fragments(self.fragments.places, []))

    def _warn_plain(self, statements: list[ast.stmt], message: str, hint: str) -> None:
        for statement in statements:
            if self.everywhere and isinstance(statement, ast.Expr) and _LOOKS_LIKE_HOLE.search(text_of(statement)):
                span = self._span(statement.value)
                found = Diagnostic("L0282", "warning", f"a string that looks like a query string: {message}", span, hint=hint)
                self.fragments.diagnostics.append(found)

    def _formatted(self, statement: ast.Expr) -> None:
        assert isinstance(statement.value, ast.JoinedStr)
        text = "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in statement.value.values)
        if _LOOKS_LIKE_HOLE.search(text):
            hint = "drop the `f`: a query string interpolates `{…}` by itself"
            message = "an f-string is plain Python: this is no prompt"
            self.fragments.diagnostics.append(Diagnostic("L0283", "warning", message, self._span(statement.value), hint=hint))


def is_string(statement: ast.stmt) -> bool:
    """Whether a statement is a string literal (no f-string, no bytes)."""
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant) and isinstance(statement.value.value, str)


def text_of(statement: ast.stmt) -> str:
    """The value of a string statement."""
    assert isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    return str(statement.value.value)


def bodies(node: ast.AST) -> list[list[ast.stmt]]:
    """The statement lists of a node, in the order of the text."""
    found = (getattr(node, name, None) for name in ("body", "orelse", "finalbody"))
    return [body for body in found if isinstance(body, list)]


def parts_of(node: ast.AST) -> list[ast.AST]:
    """What holds further statement lists of a node: the handlers of a `try`, the cases of a `match`."""
    return [*getattr(node, "handlers", ()), *getattr(node, "cases", ())]


def own_strings(node: ast.AST) -> list[ast.stmt]:
    """The string statements of a function or class, not those of functions and classes inside it."""
    found, work = [], [node]
    while work:
        current = work.pop()
        work.extend(parts_of(current))
        for body in bodies(current):
            for statement in body:
                if is_string(statement):
                    found.append(statement)
                elif not isinstance(statement, _DOCUMENTED):
                    work.append(statement)
    return found
