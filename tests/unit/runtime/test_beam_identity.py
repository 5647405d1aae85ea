"""`beam` says what `model.generate(num_beams=n, length_penalty=…, early_stopping=True)` says: three architectures, random weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lmqlc.queries import run_sync

PROMPTS = ["The cat sat on", "12 + 30 = "]
TOKENS = 12


def generated(path: Path, prompt: str, **options: Any) -> list[list[int]]:
    """What transformers generates: new ids of every beam, up to its end."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(path)
    model = AutoModelForCausalLM.from_pretrained(path).eval()
    ids = tokenizer(prompt, return_tensors="pt").input_ids.long()
    with torch.inference_mode():
        out = model.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=TOKENS, pad_token_id=1, early_stopping=True, **options
        )
    ends = set(model.generation_config.eos_token_id)
    return [until_end([int(i) for i in row[ids.shape[1] :]], ends) for row in out]


def until_end(row: list[int], ends: set[int]) -> list[int]:
    first = next((place for place, token in enumerate(row) if token in ends), len(row))
    return row[: first + 1]


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "qwen2"])
def test_beams_equal_generate(architecture: str, checkpoint: Callable[..., Path]) -> None:
    lengths = set()
    for seed, n, penalty in ((7, 2, 0.0), (8, 4, 0.0), (9, 3, 0.0), (10, 3, 1.0), (11, 5, -0.5)):
        path = checkpoint(architecture, seed, ends=range(40, 50))
        for prompt in PROMPTS:
            options = {"decoder": "beam", "n": n, "length_penalty": penalty, "max_tokens": TOKENS, "token_healing": False}
            results = run_sync("'{p}[X]'", p=prompt, model=f"local:{path}", **options)
            found = [[token.id for token in result.holes[0].tokens] for result in results]
            assert found == generated(path, prompt, num_beams=n, num_return_sequences=n, length_penalty=penalty), (seed, n, prompt)
            lengths |= set(map(len, found))
            assert results[0].usage.forward_passes <= TOKENS + 1
    assert len(lengths) > 3  # some beams end early
