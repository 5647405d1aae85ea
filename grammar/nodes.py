"""The syntax tree of a program.

Python stays Python: a program's statements are `ast` nodes of the running interpreter, with places in the program's
own text. What LMQL adds are the frozen nodes below. A query string stands in the Python tree as a `Prompt`, a
statement node that carries a `QueryString`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lmqlc.grammar.source import Source, Span


@dataclass(frozen=True, slots=True)
class Literal:
    """Prompt text as written, escapes resolved (`[[` is one `[`)."""

    text: str
    span: Span


@dataclass(frozen=True, slots=True)
class Interpolation:
    """`{expr!r:spec}`. `conversion` is "", "r", "s" or "a"; `format_spec` is None or a `JoinedStr`, as in `ast`."""

    expr: ast.expr
    conversion: str
    format_spec: ast.JoinedStr | None
    span: Span


@dataclass(frozen=True, slots=True)
class RoleTag:
    """`{:system}`, `{:user}`, `{:assistant}`: the start of a chat turn."""

    role: str
    span: Span


@dataclass(frozen=True, slots=True)
class Hole:
    """`[@deco(args) NAME: TYPE]`."""

    name: str
    type: ast.expr | None
    decorators: tuple[ast.expr, ...]
    span: Span
    name_span: Span


Part = Literal | Interpolation | RoleTag | Hole


@dataclass(frozen=True, slots=True)
class Clause:
    """`where EXPR` or `from EXPR`: the expression, and the span from the keyword to its end."""

    expr: ast.expr
    span: Span


@dataclass(frozen=True, slots=True)
class Distribution:
    """`distribution NAME in OPTIONS`."""

    name: str
    options: ast.expr
    span: Span
    name_span: Span


@dataclass(frozen=True, slots=True)
class QueryString:
    """A query string with its own clauses. `value` is the string as Python sees it, before LMQL reads it."""

    parts: tuple[Part, ...]
    value: str
    span: Span
    where: Clause | None = None
    distribution: Distribution | None = None

    @property
    def holes(self) -> tuple[Hole, ...]:
        return tuple(part for part in self.parts if isinstance(part, Hole))


class Prompt(ast.stmt):
    """A query string in the place of a statement; `query` holds the frozen node."""

    _fields = ()
    query: QueryString

    def __init__(self, query: QueryString, **place: Any) -> None:
        super().__init__(**place)
        self.query = query


@dataclass(frozen=True, slots=True)
class Header:
    """`decoder` or `decoder(kw=…)`; keywords keep their expressions."""

    decoder: str
    keywords: tuple[ast.keyword, ...]
    span: Span


@dataclass(frozen=True)
class Query:
    """A whole program.

    `prelude` are the statements before the header (empty where there is no header), `body` those after it; both hold
    `Prompt` nodes at any depth. `model`, `where` and `distribution` are the clauses of the standalone form.
    """

    source: Source
    prelude: tuple[ast.stmt, ...]
    header: Header | None
    body: tuple[ast.stmt, ...]
    model: Clause | None = None
    where: Clause | None = None
    distribution: Distribution | None = None

    @property
    def statements(self) -> tuple[ast.stmt, ...]:
        return self.prelude + self.body

    def prompts(self) -> Iterator[Prompt]:
        """Every prompt of the program in the order of the text, nested functions and classes included."""
        for statement in self.statements:
            yield from prompts_in(statement)

    def to_python(self) -> ast.Module:
        """The program as plain Python: query strings as string statements, clauses and header dropped."""
        from lmqlc.grammar.unparse import to_python

        return to_python(self)


def prompts_in(node: ast.AST) -> Iterator[Prompt]:
    """Every prompt at or below a node, in the order of the text."""
    if isinstance(node, Prompt):
        yield node
    for child in ast.iter_child_nodes(node):
        yield from prompts_in(child)
