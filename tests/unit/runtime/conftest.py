"""Tiny checkpoints of several architectures, made on the spot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

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


def make(path: Path, architecture: str, seed: int, ends: Sequence[int]) -> None:
    """A tiny checkpoint with random weights; `ends` are further end-of-text ids."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

    size = save_tokenizer(path, bos=architecture == "llama")
    special: dict[str, Any] = {"vocab_size": size, "bos_token_id": 0, "eos_token_id": 1}
    torch.manual_seed(seed)
    model: Any
    if architecture == "gpt2":
        model = GPT2LMHeadModel(GPT2Config(n_embd=32, n_layer=2, n_head=4, n_positions=256, initializer_range=0.5, **special))
    elif architecture == "llama":
        model = LlamaForCausalLM(LlamaConfig(num_key_value_heads=2, initializer_range=0.5, **SHAPE, **special))
    else:
        model = Qwen2ForCausalLM(Qwen2Config(num_key_value_heads=2, initializer_range=0.5, tie_word_embeddings=True, **SHAPE, **special))
    model.generation_config.eos_token_id = [1, *ends]
    model.save_pretrained(path)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Callable[..., Path]:
    """Makes a checkpoint: `checkpoint(architecture, seed=7, ends=())`, the place of its directory."""

    def made(architecture: str, seed: int = 7, ends: Sequence[int] = ()) -> Path:
        path = tmp_path / f"{architecture}-{seed}"
        path.mkdir()
        make(path, architecture, seed, ends)
        return path

    return made
