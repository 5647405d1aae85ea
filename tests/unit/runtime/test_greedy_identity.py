"""Unconstrained greedy holes say what `model.generate(do_sample=False)` says: three architectures, random weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lmqlc.queries import run_sync

PROMPTS = ["The cat sat on", "12 + 30 = ", "naïve café — ", ""]
TOKENS = 24


def generated(path: Path, prompt: str) -> list[int]:
    """What transformers generates: new ids."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(path)
    model = AutoModelForCausalLM.from_pretrained(path).eval()
    ids = tokenizer(prompt, return_tensors="pt").input_ids.long()
    if ids.shape[1] == 0:
        ids = torch.tensor([[tokenizer.bos_token_id]])
    with torch.inference_mode():
        out = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=TOKENS, pad_token_id=1)
    return [int(i) for i in out[0, ids.shape[1] :]]


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "qwen2"])
def test_greedy_holes_equal_generate(architecture: str, checkpoint: Callable[..., Path]) -> None:
    path = checkpoint(architecture)
    for prompt in PROMPTS:
        result = run_sync("argmax(token_healing=False)\n    '{p}[X]'\n", p=prompt, model=f"local:{path}", max_tokens=TOKENS)
        assert [token.id for token in result.holes[0].tokens] == generated(path, prompt), prompt
        assert result.usage.forward_passes == len(result.holes[0].tokens)


def test_holes_in_a_row_go_on_from_what_was_said(checkpoint: Callable[..., Path]) -> None:
    tmp_path = checkpoint("gpt2")
    whole = run_sync("'The cat[X]'", model=f"local:{tmp_path}", max_tokens=12)
    parts = run_sync("'The cat[X][Y][Z]'", model=f"local:{tmp_path}", max_tokens=4)
    assert [t.id for hole in parts.holes for t in hole.tokens] == [t.id for t in whole.holes[0].tokens]
    assert parts.usage.tokens_computed <= whole.usage.tokens_computed
