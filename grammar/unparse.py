"""A `Query` back to text, and to plain Python."""

from __future__ import annotations

import ast

from lmqlc.grammar.nodes import Prompt, Query
from lmqlc.grammar.places import Places
from lmqlc.grammar.prompts import bodies, parts_of


def to_python(query: Query) -> ast.Module:
    """The program as plain Python: query strings as string statements, header and clauses dropped. The query is not changed."""
    places = Places(query.source.text)
    module = ast.Module(body=list(query.statements), type_ignores=[])
    work: list[ast.AST] = [module]
    while work:
        node = work.pop()
        for body in bodies(node):
            body[:] = [_plain(child, places) for child in body]
            work.extend(body)
        work.extend(parts_of(node))
    return module


def _plain(child: ast.stmt, places: Places) -> ast.stmt:
    return child
