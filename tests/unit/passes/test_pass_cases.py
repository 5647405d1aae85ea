"""Golden cases of the passes over constraint trees, `tests/cases/passes/*.txt`.

A case is a `where` clause, then the values of its names (`name = expression`, OPEN for a hole that is not decoded yet), then what every
pass makes of it. `LMQLC_UPDATE=1` writes the expectations.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

from lmqlc.compiler import constraints as c
from lmqlc.compiler.driver import compile_source
from lmqlc.compiler.ir_print import print_constraint
from lmqlc.compiler.passes.bind import bind
from lmqlc.compiler.passes.fold import fold
from lmqlc.compiler.passes.normalize import normalize
from lmqlc.compiler.passes.stops import split_stops
from lmqlc.grammar.errors import LmqlCompileError
from lmqlc.grammar.source import Source

CASES = sorted((Path(__file__).parents[2] / "cases" / "passes").glob("*.txt"))


def passes(where: str, names: dict[str, Any]) -> dict[str, str]:
    """The constraint as lowered and after each pass, as text."""
    hole = compile_source(Source("case.lmql", f'"[X]" where {where}')).holes[0]
    shown = {"lowered": print_constraint(hole.constraint), "normalize": print_constraint(normalize(hole.constraint))}
    shown["fold"] = print_constraint(fold(normalize(hole.constraint)))
    try:
        bound = bind(hole.constraint, [eval(slot, {"re": re}, names) for slot in hole.slots])
        rest, stops = split_stops(bound)
    except LmqlCompileError as error:
        return {**shown, "bind": error.message}
    shown["bind"] = print_constraint(bound)
    return {**shown, "stops": "\n".join([print_constraint(rest), *(print_constraint(stop) for stop in stops)])} if stops else shown


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_case(path: Path) -> None:
    head = path.read_text("utf-8").split("\n--- ")[0].rstrip()
    where, *values = head.splitlines()
    names = {name.strip(): eval(value, {"OPEN": c.OPEN, "re": re}) for name, value in (line.split("=", 1) for line in values)}
    shown = "\n".join([head, *(f"--- {name}\n{text}" for name, text in passes(where, names).items())]) + "\n"
    if os.environ.get("LMQLC_UPDATE"):
        path.write_text(shown, "utf-8")
    assert shown == path.read_text("utf-8")


def test_there_are_cases() -> None:
    assert len(CASES) >= 12
