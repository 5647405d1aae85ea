"""Programs of `tests/cases/ir` and `tests/cases/python` with their IR and their coroutines; `LMQLC_UPDATE=1` writes the expectations."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lmqlc.compiler import artifact
from lmqlc.compiler.driver import compile_source
from lmqlc.compiler.emit.python import emit_python
from lmqlc.compiler.ir import Program
from lmqlc.compiler.ir_check import ir_check
from lmqlc.compiler.ir_print import print_ir
from lmqlc.grammar.source import Source

CASES = Path(__file__).parents[2] / "cases"
IR = sorted((CASES / "ir").glob("*.lmql"))
PYTHON = sorted((CASES / "python").glob("*.lmql"))


def compiled(path: Path) -> Program:
    program = compile_source(Source(path.name, path.read_text("utf-8")))
    ir_check(program)
    return program


def compare(path: Path, suffix: str, emit: Callable[[Program], str]) -> None:
    shown, expected = emit(compiled(path)), path.with_suffix(suffix)
    if os.environ.get("LMQLC_UPDATE"):
        expected.write_text(shown, "utf-8")
    assert shown == expected.read_text("utf-8")


@pytest.mark.parametrize("path", IR, ids=lambda path: path.stem)
def test_ir(path: Path) -> None:
    compare(path, ".ir", print_ir)


@pytest.mark.parametrize("path", PYTHON, ids=lambda path: path.stem)
def test_python(path: Path) -> None:
    compare(path, ".txt", emit_python)


@pytest.mark.parametrize("path", PYTHON, ids=lambda path: path.stem)
def test_emitted_python_is_python(path: Path) -> None:
    compile(emit_python(compiled(path)), path.name, "exec", dont_inherit=True)


@pytest.mark.parametrize("path", IR + PYTHON, ids=lambda path: path.stem)
def test_artifacts_hold_the_same_program(path: Path) -> None:
    program = compiled(path)
    data = artifact.to_bytes(program)
    loaded, arrays = artifact.from_bytes(data)
    assert (print_ir(loaded), emit_python(loaded), arrays) == (print_ir(program), emit_python(program), {})
    assert artifact.to_bytes(loaded) == data
