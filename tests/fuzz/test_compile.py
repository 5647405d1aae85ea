"""Damaged programs: the compiler answers with diagnostics, or with a program that is well formed and survives an artifact.

`LMQLC_LONG=1` tries many more.
"""

from __future__ import annotations

import os
import random
import warnings
from pathlib import Path

import pytest

from lmqlc.compiler import artifact
from lmqlc.compiler.code import code_for
from lmqlc.compiler.driver import check_source, compile_source
from lmqlc.compiler.emit.python import emit_python
from lmqlc.compiler.ir_check import ir_check
from lmqlc.grammar.diagnostics import render_all
from lmqlc.grammar.source import Source

COUNT = 20_000 if os.environ.get("LMQLC_LONG") else 400
SEEDS = [path.read_text("utf-8") for path in sorted((Path(__file__).parents[1] / "cases").rglob("*.lmql"))]
PIECES = [
    " X", "[X]", "{x}", " where ", " and ", " or ", "not ", "len(X)", "X.", "(", ")", "[", "]", "<", "3", '"', "'", "\n", "    ",
    "STOPS_AT(X, 'a')", "INT(X)", " in ", "==", "distribution X in y", "from", "argmax", "await ", "lambda: ", "yield ", "async ",
    "def f():", "class C:", "return ", "global X", "*", ":=", "if", "else", ":", "@", "X[0]", "type(X) is ", "ä", "REGEX(X,'[')", "\\",
    "=", "TOKENS(X)", "for x in y", "f(X)", "None", "-", "1e999", "Y", "[Y: int]",
]  # fmt: skip


def damaged(dice: random.Random) -> str:
    """A program of the test cases with a few edits."""
    text = dice.choice(SEEDS)
    for _ in range(dice.randrange(1, 5)):
        at, kind = dice.randrange(len(text) + 1), dice.random()
        if kind < 0.4:
            text = text[:at] + dice.choice(PIECES) + text[at:]
        elif kind < 0.6:
            text = text[:at] + text[at + dice.randrange(1, 8) :]
        elif kind < 0.85:
            other = dice.choice(SEEDS)
            start = dice.randrange(len(other) + 1)
            text = text[:at] + other[start : start + dice.randrange(30)] + text[at:]
        else:
            lines = text.split("\n")
            lines.insert(dice.randrange(len(lines) + 1), dice.choice(lines))
            text = "\n".join(lines)
    return text


@pytest.mark.parametrize("seed", range(4))
def test_damaged_programs(seed: int) -> None:
    dice = random.Random(seed)
    compiled = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)
        for _ in range(COUNT // 4):
            compiled += survives(Source("damaged.lmql", damaged(dice)))
    assert compiled


def survives(source: Source) -> bool:
    """Compile a program; whether it has no errors."""
    found = check_source(source)
    assert render_all(found, source) or not found
    if any(finding.severity == "error" for finding in found):
        return False
    program = compile_source(source)
    ir_check(program)
    code_for(program)
    loaded, _ = artifact.from_bytes(artifact.to_bytes(program))
    assert emit_python(loaded) == emit_python(program)
    return True
