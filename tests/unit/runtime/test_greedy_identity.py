"""Unconstrained greedy holes say what `model.generate(do_sample=False)` says: three architectures, random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lmqlc.queries import run_sync

PROMPTS = ["The cat sat on", "12 + 30 = ", "naïve café — ", ""]
TOKENS = 24
SHAPE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64, "max_position_embeddings": 256}


def save_tokenizer(path: Path, *, bos: bool) -> int:
    """A byte-level BPE, trained here, saved as transformers saves it; the size of its vocabulary."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=330, special_tokens=["<s>", "</s>"], initial_alphabet=alphabet, show_progress=False)
    core.train_from_iterator(["the cat sat on the mat, 12 + 30 = 42, naïve café"] * 8, trainer)
    if bos:
        core.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="</s>").save_pretrained(path)
    return int(core.get_vocab_size())


def make(path: Path, architecture: str) -> None:
    """A tiny checkpoint with random weights."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

    size = save_tokenizer(path, bos=architecture == "llama")
    ends: dict[str, Any] = {"vocab_size": size, "bos_token_id": 0, "eos_token_id": 1}
    torch.manual_seed(7)
    model: Any
    if architecture == "gpt2":
        model = GPT2LMHeadModel(GPT2Config(n_embd=32, n_layer=2, n_head=4, n_positions=256, initializer_range=0.5, **ends))
    elif architecture == "llama":
        model = LlamaForCausalLM(LlamaConfig(num_key_value_heads=2, initializer_range=0.5, **SHAPE, **ends))
    else:
        model = Qwen2ForCausalLM(Qwen2Config(num_key_value_heads=2, initializer_range=0.5, tie_word_embeddings=True, **SHAPE, **ends))
    model.save_pretrained(path)


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
def test_greedy_holes_equal_generate(architecture: str, tmp_path: Path) -> None:
    path = tmp_path / architecture
    path.mkdir()
    make(path, architecture)
    for prompt in PROMPTS:
        result = run_sync("argmax(token_healing=False)\n    '{p}[X]'\n", p=prompt, model=f"local:{path}", max_tokens=TOKENS)
        assert [token.id for token in result.holes[0].tokens] == generated(path, prompt), prompt
        assert result.usage.forward_passes == len(result.holes[0].tokens)


def test_holes_in_a_row_go_on_from_what_was_said(tmp_path: Path) -> None:
    make(tmp_path, "gpt2")
    whole = run_sync("'The cat[X]'", model=f"local:{tmp_path}", max_tokens=12)
    parts = run_sync("'The cat[X][Y][Z]'", model=f"local:{tmp_path}", max_tokens=4)
    assert [t.id for hole in parts.holes for t in hole.tokens] == [t.id for t in whole.holes[0].tokens]
    assert parts.usage.tokens_computed <= whole.usage.tokens_computed
