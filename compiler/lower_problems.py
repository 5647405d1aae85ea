"""What the lowering of constraints reports: forms that no constraint can take, and constants of the wrong kind."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from lmqlc.compiler.constraints import FALSE, TRUE, Constraint

if TYPE_CHECKING:
    from lmqlc.compiler.lower_constraint import Lowering

TEXT_TESTS = ("isalnum", "isalpha", "isdigit", "islower", "isupper")
METHODS = (*TEXT_TESTS, "startswith", "endswith")
"""Methods of a hole's text that are constraints."""


def is_hole(low: Lowering, node: ast.expr) -> bool:
    """The expression is the hole being decoded."""
    return isinstance(node, ast.Name) and node.id == low.view.hole


def unsupported(low: Lowering, node: ast.expr, hint: str | None) -> Constraint:
    """Report an expression about a hole that is no constraint, unless something wrong inside it is reported already."""
    if low.findings.has_error_in(low.findings.span(node)):
        return TRUE
    message = f"`{low.findings.text(node)}` cannot be enforced while `{low.view.hole}` is decoded"
    low.findings.error("L0452", message, low.findings.span(node), hint or "the forms a constraint can take are listed in docs/language.md")
    return TRUE


def wrong_kind(low: Lowering, node: ast.expr, needed: str, hint: str | None = None) -> Constraint:
    """Report a constant operand of the wrong kind."""
    low.findings.error("L0400", f"{needed} is needed here, not `{low.findings.text(node)}`", low.findings.span(node), hint)
    return FALSE
