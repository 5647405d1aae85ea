"""Passes written out for known architectures: to the last bit what transformers computes, and only where the model is a plain one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

WIDTH = 300
SHAPE = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "max_position_embeddings": 128}


def build(name: str, **options: Any) -> Any:
    """A model with random weights."""
    import torch
    import transformers

    torch.manual_seed(3)
    if name == "GPT2":
        shape: dict[str, Any] = {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 128}
    else:
        shape = {**SHAPE, "num_key_value_heads": 2, "sliding_window": None, **({"head_dim": 16} if name == "Qwen3" else {})}
    config = getattr(transformers, f"{name}Config")(vocab_size=WIDTH, initializer_range=0.2, **{**shape, **options})
    return getattr(transformers, "GPT2LMHeadModel" if name == "GPT2" else f"{name}ForCausalLM")(config).eval()


MODELS: dict[str, Callable[[], Any]] = {
    "gpt2": lambda: build("GPT2"),
    "gpt2 scaled by layer": lambda: build("GPT2", scale_attn_by_inverse_layer_idx=True, activation_function="relu", n_inner=40),
    "llama": lambda: build("Llama"),
    "llama, one group": lambda: build("Llama", num_key_value_heads=4, attention_bias=True, mlp_bias=True),
    "llama, long": lambda: build("Llama", rope_parameters={"rope_type": "linear", "factor": 4.0, "rope_theta": 10_000.0}),
    "mistral": lambda: build("Mistral"),
    "qwen2": lambda: build("Qwen2", tie_word_embeddings=True),
    "qwen3": lambda: build("Qwen3"),
}


def engine_of(model: Any) -> Any:
    from lmqlc.backends.engine import Engine

    return Engine(model)


def is_direct(model: Any) -> bool:
    from lmqlc.backends.forward import ModelForward

    return not isinstance(engine_of(model).forward, ModelForward)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", MODELS)
def test_the_same_to_the_last_bit(name: str, dtype: str) -> None:
    """Texts, single tokens and further texts after them, and rows padded on the left."""
    import torch

    from lmqlc.backends.forward import ModelForward

    model = MODELS[name]().to(getattr(torch, dtype))
    assert is_direct(model)
    ours, theirs = engine_of(model), engine_of(model)
    theirs.forward = ModelForward(model, keeps=True)
    ids = [7, 3, 9, 200, 4, 4, 17]
    asked = [[ids], [[*ids, 5]], [[*ids, 5, 6, 7, 8]], [[*ids, 5, 1], [3, 4, 5]], [[*ids, 5, 1, 2], [3, 4, 5, 9]], [[2, 2], [2, 3]]]
    for sequences in asked:
        assert (ours.logits(sequences)[0] == theirs.logits(sequences)[0]).all(), sequences
    assert (ours.score(ids, 1)[0] == theirs.score(ids, 1)[0]).all()


def test_trees_are_rows_that_share_their_beginning() -> None:
    import torch

    for name in ("gpt2", "llama", "qwen3"):
        engine = engine_of(MODELS[name]())
        with torch.inference_mode():
            branch = engine._empty()
            #  5 6 ─┬─ 7 ─┬─ 8
            #       │     └─ 9
            #       └─ 10
            seen = torch.tensor([[1, 0, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0], [1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 0, 0], [1, 1, 1, 0, 1, 0],
                                 [1, 1, 0, 0, 0, 1]], dtype=torch.bool)  # fmt: skip
            positions = torch.tensor([[0, 1, 2, 3, 3, 2]])
            logits, _ = engine.forward(torch.tensor([[5, 6, 7, 8, 9, 10]]), branch.cache, 3, positions, seen[None])
        for row, ids in zip(logits[0].numpy(), ([5, 6, 7, 8], [5, 6, 7, 9], [5, 6, 10]), strict=True):
            assert abs(row - engine.logits([ids])[0][0]).max() < 1e-5


def test_changed_models_are_asked_themselves() -> None:
    """Hooks, replaced layers, other attention, and weights that do not mean what they should."""
    import torch

    hooked, replaced, patched = build("GPT2"), build("Llama"), build("Qwen2")
    hooked.transformer.h[1].register_forward_hook(lambda *_: None)

    class Adapted(torch.nn.Linear):
        def forward(self, input: torch.Tensor) -> torch.Tensor:
            return 2 * super().forward(input)

    replaced.model.layers[0].self_attn.q_proj.__class__ = Adapted
    mlp = patched.model.layers[2].mlp
    original = mlp.forward
    mlp.forward = lambda hidden: 0.5 * original(hidden)
    for model in (hooked, replaced, patched, build("GPT2", attn_implementation="eager"), build("GPT2", add_cross_attention=True)):
        assert not is_direct(model)
        with torch.inference_mode():
            expected = model(torch.tensor([[4, 5, 6]])).logits[0, -1].numpy()
        assert abs(engine_of(model).logits([[4, 5, 6]])[0][0] - expected).max() < 1e-5


def test_a_pass_that_disagrees_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    from lmqlc.backends.direct_llama import _Block

    original = _Block.__call__
    monkeypatch.setattr(_Block, "__call__", lambda self, *arguments: original(self, *arguments) * 1.1)
    assert not is_direct(build("Llama"))
    assert is_direct(build("GPT2"))
