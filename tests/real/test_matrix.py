"""Forty programs give the same answer on every engine, or `reasons.json` says why not. Run by `make test-real`."""

from __future__ import annotations

import pytest

from tests.real.engines import ENGINES, available, folder
from tests.real.matrix import PROGRAMS, matrix, reasons

pytestmark = [pytest.mark.real, pytest.mark.timeout(3600)]


@pytest.mark.parametrize("engine", [name for name in ENGINES if name != "inprocess"])
def test_programs_give_the_same_answer_on_every_engine(engine: str) -> None:
    weights = folder()
    if weights is None:
        pytest.skip("LMQLC_REAL names no folder made by `python -m tests.real.prepare FOLDER`")
    if not available(engine, weights):
        pytest.skip(f"there is no {engine} in {weights}")
    assert len(PROGRAMS) == 40
    cells = matrix([engine], PROGRAMS, show=False)[engine]
    why = reasons()
    assert {f"{engine}/{program}": cell for program, cell in cells.items() if cell != "=" and f"{engine}/{program}" not in why} == {}
