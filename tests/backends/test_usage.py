"""What runs say of their cost, against counting by hand: passes and positions at the model's door, tokens in the results."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import lmqlc
from lmqlc.backends.demo import __file__ as demo_init
from lmqlc.backends.inprocess import InProcessBackend, load_model

PROGRAMS = {
    "plain": "'Once upon a time[X]'",
    "loop": "'A list:'\nfor i in range(3):\n    '\\n- [X]' where STOPS_BEFORE(X, '\\n')",
    "forced": "'On [D: r\"[0-9]{4}-[0-9]{2}-[0-9]{2}\"] it was [W]' where W in ['raining cats and dogs', 'snowing']",
    "record": '\'{{"name": "[N]", "age": [A]}}\' where REGEX(N, "[a-z]{1,9}") and INT(A)',
    "sample": "sample(n=3, seed=4)\n    'Numbers: [X: int] and[Y]'",
    "uneven": "sample(n=3, seed=1, temperature=2.0)\n    'Say[X]' where X in [' a', ' a b c d e f', ' the cat sat on a mat']",
    "distribution": "argmax\n    'The cat is[X]'\ndistribution X in [' red', ' red and blue', ' green', '']",
}


@pytest.fixture(scope="module")
def model() -> Iterator[InProcessBackend]:
    yield load_model(str(Path(demo_init).parent / "model"), "demo", {})


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize("heals", [False, True])
def test_usage_is_what_the_model_was_asked(
    model: InProcessBackend, name: str, warm: bool, heals: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = model._opened()
    forward, sizes = engine.forward, []

    class Counted:
        trees = forward.trees

        def __call__(self, ids: Any, *rest: Any) -> Any:
            sizes.append(ids.numel())
            return forward(ids, *rest)

    asked: list[int] = []
    logits = engine._logits

    def listening(sequences: Any) -> Any:
        asked.extend(map(len, sequences))
        return logits(sequences)

    engine.branches.clear()
    if warm:
        lmqlc.run_sync(PROGRAMS[name], model=model, max_tokens=12, token_healing=heals)
    monkeypatch.setattr(engine, "forward", Counted())
    monkeypatch.setattr(engine, "_logits", listening)
    found = lmqlc.run_sync(PROGRAMS[name], model=model, max_tokens=12, token_healing=heals)
    results = found if isinstance(found, list) else [found]
    for result in results:
        usage = result.usage
        assert (usage.forward_passes, usage.tokens_computed) == (len(sizes), sum(sizes))
        if name == "distribution":
            assert usage.forward_passes == 1
            assert usage.tokens == usage.forced == 0
        else:
            if not heals and not any(
                hole.exact for hole in result.holes
            ):  # what is read ahead for a healed prompt is asked about once, and answers twice
                assert usage.tokens_computed + usage.tokens_reused == sum(asked)
            tokens = [token for hole in result.holes for token in hole.tokens]
            assert usage.forced == sum(token.forced for token in tokens)
            assert usage.tokens == len(tokens) - usage.forced
    if len(results) == 1 and name != "distribution":
        assert results[0].usage.forward_passes <= results[0].usage.tokens
    assert warm <= bool(results[0].usage.tokens_reused)


def test_forced_text_costs_no_calls(model: InProcessBackend) -> None:
    result = lmqlc.run_sync(PROGRAMS["forced"], model=model, max_tokens=60)
    assert result.usage.forced >= 4
    assert result.usage.forward_passes <= result.usage.tokens


def test_run_time_says_the_same(tmp_path: Path) -> None:
    program = tmp_path / "q.lmql"
    program.write_text(PROGRAMS["uneven"])
    command = [sys.executable, "-m", "lmqlc", "run", str(program), "--model", "demo", "--time", "--json", "--no-stream"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    import json

    results = json.loads(done.stdout)
    usages = [result["usage"] for result in results]
    said = re.search(r"(\d+) tokens decoded, (\d+) written, (\d+) model calls, (\d+) positions computed, (\d+) reused", done.stderr)
    assert said is not None
    totals = [sum(usage[key] for usage in usages) for key in ("tokens", "forced")]
    first = [usages[0][key] for key in ("forward_passes", "tokens_computed", "tokens_reused")]
    assert list(map(int, said.groups())) == [*totals, *first]
    assert all(usage["forward_passes"] == first[0] for usage in usages)
