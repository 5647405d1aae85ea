"""What results say, against counts and log-probabilities worked out by hand."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

import lmqlc
from lmqlc.backends.scripted import RandomBackend, log_softmax, scripted


def test_tokens_passes_and_positions() -> None:
    model = scripted("Bob")
    started = time.perf_counter()
    result = lmqlc.run_sync('"Hi [X]"', model=model, token_healing=False)
    wall = time.perf_counter() - started
    usage, prompt = result.usage, len(model.tokenizer.encode("Hi ", first=True))
    assert [token.text for token in result.holes[0].tokens] == ["B", "o", "b", ""]
    assert (usage.tokens, usage.forced) == (4, 0)
    assert usage.forward_passes == len(model.calls) == 4
    assert usage.tokens_computed == prompt + 3  # the prompt with the first question, then the last token each time
    assert usage.tokens_reused == sum(range(prompt, prompt + 3))
    assert 0 < usage.seconds <= wall
    assert 0 < result.holes[0].seconds <= usage.seconds


def test_forced_text_costs_no_pass() -> None:
    model = scripted("x")
    result = lmqlc.run_sync('"Hi [X]" where X == "hello there"', model=model, token_healing=False)
    assert model.calls == []
    assert (result.usage.tokens, result.usage.forward_passes) == (0, 0)
    assert result.usage.forced == len(result.holes[0].tokens) == len(model.tokenizer.encode("hello there", first=False))
    assert all(token.forced and token.logprob == 0.0 for token in result.holes[0].tokens)


def test_branches_count_their_own_tokens_and_the_runs_passes() -> None:
    model = RandomBackend(3)
    results = lmqlc.run_sync("'a[X]'", model=model, decoder="sample", n=3, seed=1, max_tokens=5, token_healing=False)
    assert [result.usage.tokens for result in results] == [len(result.holes[0].tokens) for result in results]
    assert {result.usage.forward_passes for result in results} == {len(model.calls)}
    sequences = [ids for call in model.calls for ids in call.sequences]
    usage = results[0].usage
    assert usage.tokens_computed + usage.tokens_reused == sum(map(len, sequences))


def test_log_probabilities_are_the_models_own() -> None:
    model = RandomBackend(5)
    text = "'ab[X]' where len(X) == 4\n' and [Y]' where Y in ['yes', 'no', 'perhaps']\n"
    result = lmqlc.run_sync(text, model=model, decoder="sample", temperature=2.0, seed=2, token_healing=False)
    for hole in result.holes:
        said: list[int] = []
        for token in hole.tokens:
            expected = 0.0 if token.forced else log_softmax(model.row((*hole.prompt_ids, *said)))[token.id]
            assert token.logprob == pytest.approx(expected, abs=1e-4)
            said.append(token.id)
    assert result.score == pytest.approx(sum(token.logprob for hole in result.holes for token in hole.tokens))


@pytest.mark.parametrize(
    ("text", "said", "reason"),
    [
        ('"[X]" where STOPS_AT(X, "!")', "hey! you", "stop"),
        ('"[X]" where STOPS_BEFORE(X, "!")', "hey! you", "stop"),
        ('"[X]"', "hey", "eos"),
        ('"[X]" where X in ["hey", "you"]', "hey", "closed"),
        ('"[X]." where INT(X)', "12.", "follow"),
        ('argmax(max_tokens=2) "[X]"', "hey", "budget"),
        ('argmax(max_len=3) "ab[X]"', "hey", "length"),
        ('"[X]" distribution X in ["a", "b"]', "", "distribution"),
        ("def given(name):\n    return 'g'\n\"[@lmql.decorators.pre(given) X]\"", "hey", "replaced"),
        ("@lmql.query\ndef inner():\n    '''lmql\n    \"[Y]\" where len(Y) == 1\n    return Y\n    '''\n\"[X: inner]\"", "hey", "query"),
    ],
)
def test_finish_reasons(text: str, said: str, reason: str) -> None:
    result = lmqlc.run_sync(text, model=scripted(said))
    assert result.holes[-1].finish_reason == reason
    assert result.finish_reason == ("length" if reason == "length" else "end")


def test_results_show_themselves_and_go_to_json() -> None:
    text = '"Hi [X], [N: int]!" where len(X) == 3\nreturn {"name": X}\n'
    found: list[Any] = []
    lmqlc.run_sync(text, model=scripted("Bob", "7"), output_writer=found.append, token_healing=False)
    result = found[-1].result
    assert repr(result).startswith("LMQLResult(prompt='Hi Bob, 7!', variables={'X': 'Bob', 'N': 7}, value={'name': 'Bob'}, score=")
    assert repr(result).endswith("finish_reason='end')")
    assert repr(result.holes[1]).startswith("<hole N: '7', value=7, ")
    shown = json.loads(result.to_json())
    assert shown == json.loads(json.dumps(result.to_dict()))
    assert (shown["prompt"], shown["variables"], shown["value"]) == ("Hi Bob, 7!", {"X": "Bob", "N": 7}, {"name": "Bob"})
    assert [token["text"] for token in shown["holes"][0]["tokens"]] == ["B", "o", "b"]
    assert shown["usage"]["forward_passes"] == result.usage.forward_passes
    ranked = lmqlc.run_sync('"[X]" distribution X in ["a", "b"]', model=scripted(after={"": "a"}))
    assert "distribution_variable='X'" in repr(ranked)
    assert [item["value"] for item in ranked.to_dict()["distribution"]["values"]] == ["a", "b"]
