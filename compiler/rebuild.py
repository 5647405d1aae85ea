"""Changed copies of syntax trees. The tree of a parsed program is shared and never changed in place."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

N = TypeVar("N", bound=ast.AST)


class Rebuilder:
    """Copies a tree; a method `visit_NAME` decides what stands for a node of class NAME: a node, or, for a statement, a list of them."""

    def visit(self, node: ast.AST) -> Any:
        method: Callable[[Any], Any] | None = getattr(self, f"visit_{type(node).__name__}", None)
        return self.rebuild(node) if method is None else method(node)

    def rebuild(self, node: N, **changed: Any) -> N:
        """A copy of a node with its fields visited; `changed` fields are taken as given."""
        fields = {name: changed[name] if name in changed else self.field(value) for name, value in ast.iter_fields(node)}
        return ast.copy_location(type(node)(**fields), node)

    def field(self, value: Any) -> Any:
        """Visit the value of a node's field."""
        if isinstance(value, list):
            return self.items(value)
        return self.visit(value) if isinstance(value, ast.AST) else value

    def items(self, values: Sequence[Any]) -> list[Any]:
        """Visit every node of a list, lists in place of a node spliced in."""
        made: list[Any] = []
        for value in values:
            new = self.visit(value) if isinstance(value, ast.AST) else value
            if isinstance(new, list):
                made.extend(new)
            else:
                made.append(new)
        return made


def at(node: N, place: ast.AST) -> N:
    """Give a new node, and every node below it without a place of its own, the place of another."""
    for part in ast.walk(node):
        if "lineno" in part._attributes and getattr(part, "lineno", None) is None:
            ast.copy_location(part, place)
    return node
