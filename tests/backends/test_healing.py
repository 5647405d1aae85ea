"""Healed holes on real models: what they say by plain forward passes, and what that costs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lmqlc.backends.base import ModelSpec
from lmqlc.queries import run_sync
from lmqlc.runtime.results import Result

ALL = ["gpt2", "llama", "qwen2", "mistral", "mamba", "neox"]
PROMPTS = ["the ca", "said hello to t", "on the mat and "]
LENGTH = 6


def said(checkpoints: Path, name: str, prompt: str, *, healing: bool = True) -> Result:
    result = run_sync(
        f"argmax(token_healing={healing})\n    '{{p}}[X]'\n", p=prompt, model=f"local:{checkpoints / name}", max_tokens=LENGTH
    )
    assert isinstance(result, Result)
    return result


def by_hand(checkpoints: Path, name: str, prompt: str) -> tuple[list[int], str]:
    """Greedy decoding after the prompt without its last id, whose text the first token must begin with; and that text."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(checkpoints / name)
    model = AutoModelForCausalLM.from_pretrained(checkpoints / name).eval()
    ids = tokenizer(prompt).input_ids
    heal = tokenizer.decode(ids[-1:])
    fitting = [i for i in range(len(tokenizer)) if i not in tokenizer.all_special_ids and tokenizer.decode([i]).startswith(heal)]
    if len(fitting) < 2:
        fitting, heal = list(range(model.config.vocab_size)), ""
    else:
        ids = ids[:-1]
    start, count = len(ids), LENGTH
    while count:
        with torch.inference_mode():
            row = model(torch.tensor([ids])).logits[0, -1].numpy()
        first = len(ids) == start
        ids = [*ids, fitting[int(np.argmax(row[fitting]))] if first else int(row.argmax())]
        count -= not (first and heal and tokenizer.decode(ids[-1:]) == heal)
        if ids[-1] == tokenizer.eos_token_id:
            break
    return ids[start:], heal


@pytest.mark.parametrize("name", ALL)
def test_healed_holes_say_what_plain_passes_say(checkpoints: Path, name: str) -> None:
    healed = 0
    for prompt in PROMPTS:
        result = said(checkpoints, name, prompt)
        (hole,) = result.holes
        ids, heal = by_hand(checkpoints, name, prompt)
        assert [token.id for token in hole.tokens] == ids
        assert hole.healed == heal
        assert result.usage.tokens == len(hole.tokens)
        assert result.usage.forward_passes <= len(hole.tokens)
        healed += bool(heal)
    assert healed >= 2


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_putting_back_costs_no_pass_and_replacing_computes_nothing_twice(checkpoints: Path, name: str) -> None:
    seen = set()
    for number, prompt in enumerate(["the ca", "cat sat on t", "hello to the worl", "mat and said h", "on the ma", "the cat s"]):
        model = ModelSpec("local", str(checkpoints / name), (("cache_bytes", (1 << 20) + number),))  # a backend of its own
        (hole,) = (result := run_sync("'{p}[X]'", p=prompt, model=model, max_tokens=LENGTH)).holes
        if not hole.healed or hole.finish_reason != "budget":
            continue
        put_back = hole.tokens[0].text == hole.healed
        seen.add(put_back)
        read = len(hole.prompt_ids) + 1  # the prompt, what was taken back included
        assert len(hole.tokens) == LENGTH + put_back
        assert result.usage.forward_passes == LENGTH
        assert result.usage.tokens_computed == read + LENGTH - 1
        assert result.usage.tokens_reused == sum(range(read, read + LENGTH - 1)) - (0 if put_back else LENGTH - 1)
    assert seen == {True, False}
