"""A program's coroutine as Python text."""

from __future__ import annotations

import ast

from lmqlc.compiler.ir import Program
from lmqlc.compiler.rebuild import Rebuilder


def emit_python(program: Program) -> str:
    """The module that defines the coroutine function. It reads as what runs; comments and layout of the program are gone."""
    try:
        return ast.unparse(program.body) + "\n"
    except ValueError:  # before Python 3.12 an f-string cannot hold a backslash
        return ast.unparse(_WithoutFields().visit(program.body)) + "\n"


class _WithoutFields(Rebuilder):
    """Writes f-strings as calls of `format`, which mean the same."""

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.expr:
        parts = [self.visit(part) for part in node.values]
        if len(parts) == 1:
            return parts[0]  # type: ignore[no-any-return]
        return ast.Call(ast.Attribute(ast.Constant(""), "join", ast.Load()), [ast.List(parts, ast.Load())], [])

    def visit_FormattedValue(self, node: ast.FormattedValue) -> ast.expr:
        field = "{!" + chr(node.conversion) if node.conversion != -1 else "{"
        arguments = [self.visit(node.value)]
        if node.format_spec is not None:
            field += ":{}"
            arguments.append(self.visit(node.format_spec))
        return ast.Call(ast.Attribute(ast.Constant(field + "}"), "format", ast.Load()), arguments, [])
