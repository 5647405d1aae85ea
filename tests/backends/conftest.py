"""Small checkpoints with random weights, made on the spot; tests that need a GPU run only where there is one."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Takes the tests marked `gpu` out of the run where torch sees no GPU, those marked `llama_cpp` and
    `existing` where no such server, or no such environment, is named."""
    _take_out(config, items, "gpu", _has_gpu)
    _take_out(config, items, "existing", lambda: {"LMQL_073_PYTHON", "LMQL_006_PYTHON"} <= set(os.environ))
    _take_out(config, items, "llama_cpp", lambda: any(os.environ.get(name) for name in ("LMQLC_LLAMA_CPP_PYTHON", "LMQLC_LLAMA_SERVER")))


def _take_out(config: pytest.Config, items: list[pytest.Item], mark: str, can_run: Callable[[], bool]) -> None:
    marked = [item for item in items if item.get_closest_marker(mark)]
    if marked and not can_run():
        config.hook.pytest_deselected(items=marked)
        items[:] = [item for item in items if item not in marked]


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def make_tokenizer() -> Any:
    """A byte-level BPE as a transformers tokenizer."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet, show_progress=False)
    core.train_from_iterator(["the cat sat on the mat and said hello to the world"] * 4, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<|endoftext|>", bos_token="<|endoftext|>")


def _sizes(width: int) -> dict[str, Any]:
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    return {"vocab_size": width, "max_position_embeddings": 128, "bos_token_id": 0, "eos_token_id": 0, **shape}


def _gpt2(width: int) -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(GPT2Config(vocab_size=width, n_positions=128, n_embd=32, n_layer=2, n_head=4, bos_token_id=0, eos_token_id=0))


def _llama(width: int) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(LlamaConfig(**_sizes(width + 20)))


def _qwen2(width: int) -> Any:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    return Qwen2ForCausalLM(Qwen2Config(**_sizes(width)))


def _mistral(width: int) -> Any:
    from transformers import MistralConfig, MistralForCausalLM

    return MistralForCausalLM(MistralConfig(sliding_window=6, **_sizes(width)))


def _mamba(width: int) -> Any:
    from transformers import MambaConfig, MambaForCausalLM

    ids = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    return MambaForCausalLM(MambaConfig(vocab_size=width, hidden_size=32, num_hidden_layers=2, state_size=4, **ids))


def _neox(width: int) -> Any:
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    sizes = {key: size for key, size in _sizes(width).items() if key != "num_key_value_heads"}
    return GPTNeoXForCausalLM(GPTNeoXConfig(**sizes))


ARCHITECTURES: dict[str, Callable[[int], Any]] = {
    "gpt2": _gpt2, "llama": _llama, "qwen2": _qwen2, "mistral": _mistral, "mamba": _mamba, "neox": _neox,
}  # fmt: skip


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a checkpoint directory for each architecture. Weights are scaled up, so that logits differ clearly."""
    import torch

    root = tmp_path_factory.mktemp("checkpoints")
    tokenizer = make_tokenizer()
    for name, build in ARCHITECTURES.items():
        torch.manual_seed(7)
        model = build(len(tokenizer))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(3)
        model.save_pretrained(root / name)
        tokenizer.save_pretrained(root / name)
    return root
