"""Where the query strings of a program stand: in which function, and with what after them."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lmqlc.grammar.nodes import Prompt, Query

Function = ast.FunctionDef | ast.AsyncFunctionDef
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


@dataclass(frozen=True, slots=True)
class Place:
    """One prompt. `function` is the innermost function around it (None: the program itself); `after` are the statements of its own scope
    that run after it, whatever the control flow inside them."""

    prompt: Prompt
    function: Function | None
    after: tuple[ast.stmt, ...]


def places(query: Query) -> list[Place]:
    """Every prompt of a program in the order of the text."""
    return list(_in_block(query.statements, None, ()))


def _in_block(block: Sequence[ast.stmt], function: Function | None, after: tuple[ast.stmt, ...]) -> Iterator[Place]:
    for at, statement in enumerate(block):
        rest = tuple(block[at + 1 :]) + after
        if isinstance(statement, Prompt):
            yield Place(statement, function, rest)
        elif isinstance(statement, ast.ClassDef):
            yield from _in_block(statement.body, function, ())
        elif isinstance(statement, Function):
            yield from _in_block(statement.body, statement, ())
        else:
            for inner in blocks(statement):
                yield from _in_block(inner, function, rest)


def blocks(node: ast.AST) -> Iterator[list[ast.stmt]]:
    """The statement lists of a compound statement, in the order of the text."""
    for _, value in ast.iter_fields(node):
        if isinstance(value, list) and value and isinstance(value[0], ast.stmt):
            yield value
        elif isinstance(value, list):
            for item in value:
                if isinstance(item, ast.ExceptHandler | ast.match_case):
                    yield item.body


def own_statements(block: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """Every statement of a scope, nested blocks included, nested functions and classes named but not entered."""
    for statement in block:
        yield statement
        if not isinstance(statement, _SCOPES):
            for inner in blocks(statement):
                yield from own_statements(inner)


def has_holes(block: Sequence[ast.stmt]) -> bool:
    """A query string of this scope itself has a hole."""
    return any(isinstance(statement, Prompt) and statement.query.holes for statement in own_statements(block))


def is_prompt_function(function: Function) -> bool:
    """A function whose own body has holes: its query strings continue the current prompt."""
    return has_holes(function.body)


def global_names(function: Function) -> frozenset[str]:
    """Names that a function declares `global`."""
    return frozenset(name for s in own_statements(function.body) if isinstance(s, ast.Global) for name in s.names)
