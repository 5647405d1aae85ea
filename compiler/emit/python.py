"""A program's coroutine as Python text."""

from __future__ import annotations

from lmqlc.compiler.ir import Program
from lmqlc.compiler.python_text import python_text


def emit_python(program: Program) -> str:
    """The module that defines the coroutine function. It reads as what runs; comments and layout of the program are gone."""
    return python_text(program.body) + "\n"
