"""`distribution` and `score` on real models: the raw model's numbers, one pass, options that begin each other, healing."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

import lmqlc
from lmqlc.backends.base import ModelSpec
from lmqlc.grammar.errors import ContextOverflow, LmqlError

SHARING = ["gpt2", "llama", "qwen2", "neox"]
PROMPT = "the cat sat"
OPTIONS = [" on the mat", " on", " and said", " on the mat and", " to", "", " on"]


class Raw:
    """A checkpoint and its tokenizer as transformers have them, without anything of ours."""

    def __init__(self, path: Path) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(path)
        self.model = AutoModelForCausalLM.from_pretrained(path).eval()

    def ids(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False).input_ids
        return ids

    def logprobs(self, prompt: list[int], ids: list[int]) -> list[float]:
        import torch

        if not ids:
            return []
        with torch.inference_mode():
            rows = torch.log_softmax(self.model(torch.tensor([[*prompt, *ids]])).logits[0].double(), dim=-1)
        return [float(rows[len(prompt) + i - 1, token]) for i, token in enumerate(ids)]


@pytest.mark.parametrize("name", [*SHARING, "mistral", "mamba"])
def test_scores_are_those_of_the_raw_model(checkpoints: Path, name: str) -> None:
    raw, model = Raw(checkpoints / name), lmqlc.model(f"local:{checkpoints / name}")
    scores = model.score_sync(PROMPT, OPTIONS, token_healing=False)
    expected = [raw.logprobs(raw.ids(PROMPT), raw.ids(text)) for text in OPTIONS]
    for row, want in zip(scores.logprobs(), expected, strict=True):
        assert row == pytest.approx(want, abs=1e-4)
    assert scores.scores() == pytest.approx([sum(row) for row in expected], abs=1e-4)
    assert scores.scores("mean") == pytest.approx([sum(row) / max(len(row), 1) for row in expected], abs=1e-4)
    assert math.fsum(scores.probs()) == pytest.approx(1.0, abs=1e-9)
    assert model.score_sync(PROMPT, OPTIONS, by="mean", token_healing=False).probs() == pytest.approx(scores.probs("mean"), abs=1e-4)


@pytest.mark.parametrize("name", SHARING)
def test_a_distribution_is_one_pass_and_its_shares_are_the_raw_models(checkpoints: Path, name: str) -> None:
    raw = Raw(checkpoints / name)
    model = ModelSpec("local", str(checkpoints / name), (("cache_bytes", 1 << 21),))
    result: Any = lmqlc.run_sync("'{p}[X]'\ndistribution X in options", p=PROMPT, options=OPTIONS, model=model, token_healing=False)
    totals = [sum(raw.logprobs(raw.ids(PROMPT), raw.ids(text))) for text in OPTIONS]
    weights = [math.exp(total) for total in totals]
    assert [value for value, _ in result.distribution_values] == OPTIONS
    shares = [share for _, share in result.distribution_values]
    assert shares == pytest.approx([weight / sum(weights) for weight in weights], abs=1e-4)
    assert math.fsum(shares) == pytest.approx(1.0, abs=1e-9)
    assert result.usage.forward_passes == (1 if name != "neox" else 2)
    nodes = {tuple(raw.ids(text)[:end]) for text in OPTIONS for end in range(1, len(raw.ids(text)))}
    if name != "neox":
        assert result.usage.tokens_computed == len(raw.ids(PROMPT)) + len(nodes)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_options_that_begin_inside_the_prompts_last_token_are_healed(checkpoints: Path, name: str) -> None:
    """The first token covers the prompt's end where the tokenizer would write it so, and what that end has by itself is taken off: a score
    is that of prompt and text less that of the prompt, whatever the other options are."""
    raw, model = Raw(checkpoints / name), lmqlc.model(f"local:{checkpoints / name}")
    prompt, texts = "the cat sat on the", [" mat", "n", "y said"]
    whole = raw.ids(prompt)
    scores = model.score_sync(prompt, texts)
    plain = model.score_sync(prompt, texts, token_healing=False)
    heal = raw.tokenizer.decode(whole[-1:])
    joined = [raw.ids(heal + text) for text in texts]
    assert bool(scores.healed) == any(ids[0] != whole[-1] for ids in joined)
    kept, put_back = whole[:-1], raw.logprobs(whole[:-1], whole[-1:])[0]
    for text, ids, found, alone in zip(texts, joined, scores.scores(), plain.scores(), strict=True):
        assert found == pytest.approx(alone if ids[0] == whole[-1] else sum(raw.logprobs(kept, ids)) - put_back, abs=1e-4)
        assert model.score_sync(prompt, [text]).scores() == pytest.approx([found], abs=1e-4)


def test_a_trailing_space_is_healed(checkpoints: Path) -> None:
    raw, model = Raw(checkpoints / "gpt2"), lmqlc.model(f"local:{checkpoints / 'gpt2'}")
    scores = model.score_sync("the cat ", ["sat", "said hello", "xyz"])
    assert scores.healed == " "
    prompt = raw.ids("the cat")
    expected = [raw.ids(" sat"), raw.ids(" said hello"), raw.ids("xyz")]
    assert [[token.id for token in row] for row in scores.tokens] == expected
    (put_back,) = raw.logprobs(prompt, raw.ids(" "))
    healed = [sum(raw.logprobs(prompt, ids)) - put_back for ids in expected[:2]]
    alone = sum(raw.logprobs([*prompt, *raw.ids(" ")], expected[2]))
    assert scores.scores() == pytest.approx([*healed, alone], abs=1e-4)
    assert scores.tokens[0][0].logprob == pytest.approx(raw.logprobs(prompt, expected[0])[0], abs=1e-4)
    result: Any = lmqlc.run_sync("'the cat [X]' distribution X in ['sat', 'xyz']", model=f"local:{checkpoints / 'gpt2'}")
    (hole,) = result.holes
    assert result.prompt == "the cat " + hole.text
    assert [token.id for token in hole.tokens] == expected[0 if hole.healed else 2]
    assert list(hole.prompt_ids) == ([*prompt] if hole.healed else [*prompt, *raw.ids(" ")])


def test_what_does_not_fit_or_makes_no_sense_is_an_error(checkpoints: Path) -> None:
    model = lmqlc.model(f"local:{checkpoints / 'gpt2'}")
    with pytest.raises(ContextOverflow, match=r"the longest text to score \('the the.*context window holds 128"):
        model.score_sync("the cat", ["a", "the " * 130])
    with pytest.raises(ContextOverflow, match="longest text to score"):
        lmqlc.run_sync("'the[X]' distribution X in ['a', 'the ' * 130]", model=model)
    with pytest.raises(LmqlError, match='by "sum" or by "mean"'):
        model.score_sync("the cat", ["a"], by="max")  # type: ignore[arg-type]
    with pytest.raises(LmqlError, match="at least one option"):
        lmqlc.run_sync("'the[X]' distribution X in []", model=model)
    assert model.score_sync("the cat", []).scores() == []
