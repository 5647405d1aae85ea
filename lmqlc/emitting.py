"""Stages of compilation as text."""

from __future__ import annotations

import ast
from difflib import get_close_matches

from lmqlc.compiler.ir import Program
from lmqlc.grammar.errors import LmqlError

STAGES = ("ast", "ir", "python")


def emit(program: Program, stage: str) -> str:
    """A stage as text. Raises LmqlError for a stage that there is not."""
    if stage == "python":
        return ast.unparse(program.body) + "\n"
    close = get_close_matches(stage, STAGES, 1)
    raise LmqlError(f"there is no stage {stage!r}; " + (f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(STAGES)}"))
