"""The decoders' arguments `verbose` and `cache`."""

from __future__ import annotations

import re
from typing import Any

import pytest

import lmqlc
from lmqlc.backends.scripted import RandomBackend, scripted


def test_a_line_for_every_hole(capsys: pytest.CaptureFixture[str]) -> None:
    text = "argmax(verbose=True)\n    'one [X] two [Y]'\nwhere X in ['a', 'b'] and Y == 'sure'\n"
    result: Any = lmqlc.run_sync(text, model=scripted("a", "sure"), token_healing=False)
    out, err = capsys.readouterr()
    first, second = err.splitlines()
    assert out == "" and result.prompt == "one a two sure"
    assert re.fullmatch(r"lmqlc: argmax: hole `X`: 1 tokens in \d\.\d{3} s, closed, 1 forward passes so far", first)
    assert re.fullmatch(r"lmqlc: argmax: hole `Y`: 4 tokens \(4 forced\) in \d\.\d{3} s, closed, 1 forward passes so far", second)
    lmqlc.run_sync(text.replace("True", "False"), model=scripted("a", "sure"))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("decoder", [{"decoder": "sample", "seed": 1}, {"decoder": "beam"}])
def test_a_line_for_every_hole_of_every_result(decoder: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    text = "'one [X] two [Y]' where X in ['a', 'b'] and len(Y) < 3"
    results = lmqlc.run_sync(text, model=RandomBackend(1), n=2, verbose=True, **decoder)
    found = re.findall(rf"{decoder['decoder']}: hole `(\w)` of branch (\d)", capsys.readouterr().err)
    assert len(results) == 2
    assert sorted(found) == [("X", "1"), ("X", "2"), ("Y", "1"), ("Y", "2")]


def test_without_the_cache_nothing_of_earlier_queries_is_reused() -> None:
    def run(**options: Any) -> Any:
        return lmqlc.run_sync("'The capital of Italy is[X]'", model="demo", max_tokens=4, token_healing=False, **options)

    run()
    warm, cold = run(), run(cache=False)
    assert cold.prompt == warm.prompt
    assert [token.id for token in cold.holes[0].tokens] == [token.id for token in warm.holes[0].tokens]
    assert cold.usage.tokens_computed >= len(cold.holes[0].prompt_ids)
    assert cold.usage.tokens_computed > warm.usage.tokens_computed
    assert run(cache=True).usage.tokens_computed <= warm.usage.tokens_computed
