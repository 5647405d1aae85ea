"""Forty questions in four spellings have the answers that the model finds likeliest. Run by `make test-real`."""

from __future__ import annotations

import pytest

from tests.real.engines import ENGINES, folder
from tests.real.questions import QUESTIONS, differing, judge

pytestmark = [pytest.mark.real, pytest.mark.timeout(3600)]


@pytest.mark.parametrize("engine", ["inprocess", "served"])
def test_answers_are_the_likeliest(engine: str) -> None:
    weights = folder()
    if weights is None:
        pytest.skip("LMQLC_REAL names no folder made by `python -m tests.real.prepare FOLDER`")
    asked = judge(weights)
    right = [asked.likeliest(prompt, options) for prompt, options in QUESTIONS]
    with ENGINES[engine](weights) as model:
        found = differing(model, right)
    assert {name: [row for row in rows if row[3] > 1e-3] for name, rows in found.items()} == {name: [] for name in found}
