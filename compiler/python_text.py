"""Syntax trees as Python text, also those that `ast.unparse` of the running Python cannot write."""

from __future__ import annotations

import ast

from lmqlc.compiler.rebuild import Rebuilder

_LARGE = 10**4000
"""Python writes no longer numbers in decimal."""


def python_text(node: ast.AST) -> str:
    """The text of a tree; comments and layout are gone."""
    try:
        return ast.unparse(node)
    except ValueError:
        return ast.unparse(_Writable().visit(node))


class _Hexadecimal(int):
    def __repr__(self) -> str:
        return hex(self)


class _Writable(Rebuilder):
    """Long numbers in hexadecimal; f-strings, which cannot hold a backslash before Python 3.12, as calls of `format` that mean the same."""

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        is_long = isinstance(node.value, int) and abs(node.value) >= _LARGE
        return ast.Constant(_Hexadecimal(node.value)) if is_long and isinstance(node.value, int) else node

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
