"""What the names of a program stand for, and which of them it may not use."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence

from lmqlc.compiler.constraint_calls import CONSTRAINT_NAMES, PACKAGES, Scope
from lmqlc.compiler.findings import Findings
from lmqlc.compiler.names import expressions
from lmqlc.compiler.prompts import Place
from lmqlc.grammar.nodes import Prompt, Query

USED_BY_CONSTRAINTS = frozenset({"lmql", "len", "int", "float", "type"}) | CONSTRAINT_NAMES
RESERVED_NAME = "L0501"
_RESERVED = "__lmql_"


def walk(query: Query) -> Iterator[ast.AST]:
    """Every Python node of a program: statements, query strings' expressions, clauses."""
    for statement in query.statements:
        yield from _below(statement)
    for clause in (query.model, query.where):
        if clause is not None:
            yield from ast.walk(clause.expr)
    if query.distribution is not None:
        yield from ast.walk(query.distribution.options)
    if query.header is not None:
        for keyword in query.header.keywords:
            yield from ast.walk(keyword)


def _below(node: ast.AST) -> Iterator[ast.AST]:
    for inner in ast.walk(node):
        yield inner
        if isinstance(inner, Prompt):
            for expr in expressions(inner.query):
                yield from ast.walk(expr)


def _bindings(node: ast.AST) -> Iterator[str]:
    """Names that one node binds in whatever scope."""
    if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
        yield node.id
    elif isinstance(node, Prompt):
        yield from (hole.name for hole in node.query.holes)
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.arg):
        yield node.arg
    elif isinstance(node, ast.alias) and node.name != "*":
        yield node.asname or node.name.partition(".")[0]
    elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
        yield node.name
    elif isinstance(node, ast.MatchMapping) and node.rest:
        yield node.rest


def program_scope(query: Query, surrounding: frozenset[str] = frozenset()) -> Scope:
    """What names in the clauses of a program mean."""
    own, plain, other = set[str](), set[str](), set[str]()
    aliases: dict[str, str] = {}
    packages = {"lmql"} | (PACKAGES & surrounding)
    for node in walk(query):
        names = set(_bindings(node))
        own |= names
        if isinstance(node, ast.FunctionDef) and not node.decorator_list:
            plain |= names
        elif isinstance(node, ast.Import):
            for alias in node.names:
                (packages if alias.name in PACKAGES else other).add(alias.asname or alias.name.partition(".")[0])
        elif isinstance(node, ast.ImportFrom) and node.module in PACKAGES:
            aliases |= {alias.asname or alias.name: alias.name for alias in node.names if alias.name in CONSTRAINT_NAMES}
        elif not isinstance(node, ast.alias):
            other |= names
    return Scope(surrounding | own, frozenset(own), aliases, frozenset(packages - other - plain), frozenset(plain - other))


def check_names(query: Query, found: Sequence[Place], findings: Findings) -> None:
    """Report reserved names, and holes that hide what constraints use."""
    for node in walk(query):
        for name in [node.id] if isinstance(node, ast.Name) else _bindings(node):
            if name.startswith(_RESERVED):
                hint = f"choose a name that does not start with `{_RESERVED}`"
                findings.error(RESERVED_NAME, f"the name `{name}` is reserved", findings.span(node), hint)
    for place in found:
        for hole in place.prompt.query.holes:
            if hole.name in USED_BY_CONSTRAINTS:
                message = f"the hole `{hole.name}` hides the `{hole.name}` that constraints use"
                findings.warn("L0502", message, hole.name_span, "choose another name for the hole")
