"""Stages of compilation as text."""

from __future__ import annotations

from difflib import get_close_matches

from lmqlc.compiler.ir import Program
from lmqlc.grammar.errors import LmqlError

STAGES = ("ast", "ir", "python")


def emit(program: Program, stage: str) -> str:
    """A stage as text. Raises LmqlError for a stage that there is not."""
    if stage == "ast":
        from lmqlc.grammar.dump import dump
        from lmqlc.grammar.parse import parse

        text = dump(parse(program.source.text, program.source.name))
    elif stage == "ir":
        from lmqlc.compiler.ir_print import print_ir

        text = print_ir(program)
    elif stage == "python":
        from lmqlc.compiler.emit.python import emit_python

        text = emit_python(program)
    else:
        close = get_close_matches(stage, STAGES, 1)
        raise LmqlError(f"there is no stage {stage!r}; " + (f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(STAGES)}"))
    return text if text.endswith("\n") else text + "\n"
