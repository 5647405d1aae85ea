"""Forward passes written out for architectures that are common: GPT-2, and Llama with its relatives (Mistral, Qwen2, Qwen3).

The same operations in the same order as in transformers, on the model's own weights, so the logits are the same to the last bit; what is
left out are the hundreds of Python calls around them, which cost 0.3 ms per token with 4 layers and 2 ms with 12. A model is read this way
only if every part of it is of the plain kind (no adapters, quantised layers or hooks, one device, scaled dot product attention), and if its
logits on two short texts agree with those of the model itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional as nn

from lmqlc.backends.forward import Forward
from lmqlc.backends.growing import GrowingLayer, Halt, growing_cache

_PLAIN = ("torch.nn.modules.", "transformers.pytorch_utils", "transformers.activations")
_GQA_HEAD = 256  # largest head for which transformers leaves grouped heads to the attention itself

Attend = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, float], torch.Tensor]


def direct_forward(model: Any, ids: torch.Tensor, logits: torch.Tensor) -> Forward | None:
    """The pass for a model, None where there is none. `logits` `[2, 2, width]` are the model's own for the ids `[2, 2]`, whose rows
    begin alike."""
    from lmqlc.backends.direct_gpt2 import Gpt2Forward
    from lmqlc.backends.direct_llama import LLAMA_LIKE, LlamaForward

    name = type(model).__name__
    if not _is_plain(model) or not (name == "GPT2LMHeadModel" or name in LLAMA_LIKE):
        return None
    forward: Forward = Gpt2Forward(model) if name == "GPT2LMHeadModel" else LlamaForward(model)
    return forward if _agrees(forward, ids, logits, model.config.num_hidden_layers) else None


def _is_plain(model: Any) -> bool:
    """Every module is transformers' own or torch's, without hooks, and all weights are on one device."""
    home = type(model).__module__
    if not home.startswith("transformers.models.") or getattr(model.config, "_attn_implementation", None) != "sdpa":
        return False
    if getattr(model.config, "add_cross_attention", False) or len({weight.device for weight in model.parameters()}) != 1:
        return False
    return all(_is_plain_module(module, home) for module in model.modules())


def _is_plain_module(module: Any, home: str) -> bool:
    known = type(module).__module__ == home or type(module).__module__.startswith(_PLAIN)
    changed = "forward" in vars(module) or hasattr(module, "_hf_hook") or module.training
    return known and not changed and not module._forward_hooks and not module._forward_pre_hooks


def _agrees(forward: Forward, ids: torch.Tensor, logits: torch.Tensor, layers: int) -> bool:
    """The two rows at once, and the second one token by token, give what the model gave."""
    whole, _ = forward(ids, _empty(layers), 2)
    _, cache = forward(ids[1:, :1], _empty(layers), 1)
    last, _ = forward(ids[1:, 1:], cache, 1)
    bound = 2e-3 if logits.dtype == torch.float32 else 5e-2
    top = logits.float().abs().max() * bound
    return bool((whole - logits).float().abs().max() <= top) and bool((last - logits[1:, -1:]).float().abs().max() <= top)


def _empty(layers: int) -> Any:
    return growing_cache([GrowingLayer(Halt()) for _ in range(layers)])


def attention(shape: tuple[int, int], before: int, seen: torch.Tensor | None, device: torch.device) -> Attend:
    """Attention of queries `[n, heads, k, d]` over keys and values `[n, heads, L, d]`, scaled: `[n, k, heads * d]`. shape: n and k; before:
    L - k."""
    rows, count = shape
    mask = None if seen is None else (seen[:, None] if seen.dim() == 3 else seen[:, None, None])
    if count > 1 and (before if seen is None else seen.dim() == 2):
        causal = torch.ones((count, before + count), dtype=torch.bool, device=device).tril(before)
        mask = causal[None, None] if mask is None else mask & causal
    is_causal = count > 1 and mask is None

    def attend(query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scale: float) -> torch.Tensor:
        groups = query.shape[1] // keys.shape[1]
        options: dict[str, Any] = {}
        if groups > 1:
            if mask is None and keys.shape[-1] <= _GQA_HEAD:
                options["enable_gqa"] = True
            elif count == 1:
                query = query.reshape(rows, keys.shape[1], groups, query.shape[-1])
            else:
                keys, values = keys.repeat_interleave(groups, 1), values.repeat_interleave(groups, 1)
        out = nn.scaled_dot_product_attention(query, keys, values, attn_mask=mask, scale=scale, is_causal=is_causal, **options)
        return out.reshape(rows, -1, count, values.shape[-1]).transpose(1, 2).reshape(rows, count, -1)

    return attend
