"""Prompts of thirty thousand tokens on transformers models with such a window, in process and served."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import lmqlc
from lmqlc.backends.base import ModelSpec
from lmqlc.backends.registry import load
from lmqlc.backends.serve.server import Server
from lmqlc.backends.serve.settings import Settings
from lmqlc.errors import ContextOverflow, RunEnded

WINDOW = 32_768
LONG = "the cat sat on the mat " * 5_050
"""30,000 tokens and more, and less than the window."""
PROGRAM = '"{long}and [X]." where REGEX(X, "[a-z ]{3,9}")\n" It said: [Y]" where Y in ["hello", "world"]\nreturn X, Y'


@pytest.fixture(scope="module", params=["all", "window"])
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model that sees all of its window, or the last 64 positions in one of its two layers."""
    import torch
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig, LlamaConfig, LlamaForCausalLM

    from tests.backends.conftest import make_tokenizer

    tokenizer, root = make_tokenizer(), tmp_path_factory.mktemp(request.param)
    sizes: dict[str, Any] = {
        "vocab_size": len(tokenizer), "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
        "num_key_value_heads": 1, "head_dim": 8, "max_position_embeddings": WINDOW, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0,
    }  # fmt: skip
    torch.manual_seed(3)
    if request.param == "all":
        model: Any = LlamaForCausalLM(LlamaConfig(**sizes))
    else:
        kinds = ["sliding_attention", "full_attention"]
        model = Gemma3ForCausalLM(Gemma3TextConfig(**sizes, sliding_window=64, layer_types=kinds))
    model.save_pretrained(root)
    tokenizer.save_pretrained(root)
    return root


@pytest.fixture(scope="module")
def server(checkpoint: Path) -> Iterator[Server]:
    settings = Settings(names=("long",), host="127.0.0.1", port=0)
    with Server(load(ModelSpec("local", str(checkpoint))), settings) as running:
        yield running


def test_in_process_and_served(checkpoint: Path, server: Server) -> None:
    found: list[Any] = []
    started = time.process_time()
    here = lmqlc.run_sync(PROGRAM, long=LONG, model=f"local:{checkpoint}", output_writer=found.append)
    assert time.process_time() - started < 60
    if checkpoint.name.startswith("window"):
        assert here == lmqlc.run_sync(PROGRAM, long=LONG, model=lmqlc.model("long", endpoint=f"127.0.0.1:{server.port}"))
    first, second = found[-1].result.holes
    assert 30_000 < len(first.prompt_ids) < len(second.prompt_ids) < WINDOW


def test_past_the_window(checkpoint: Path, server: Server) -> None:
    for model in (f"local:{checkpoint}", lmqlc.model("long", endpoint=f"127.0.0.1:{server.port}")):
        with pytest.raises(ContextOverflow, match="window holds 32768"):
            lmqlc.run_sync(PROGRAM, long=LONG * 2, model=model)
        with pytest.raises(RunEnded, match="`max_len`"):
            lmqlc.run_sync('"{long}[X]" where REGEX(X, "[a-z ]*") and len(X) > 20\nreturn X', long=LONG[:100], model=model, max_len=70)
