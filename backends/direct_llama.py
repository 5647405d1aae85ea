"""Llama's forward pass (Touvron et al. 2023), and those of models built like it: Mistral, Qwen2 (biases), Qwen3 (normed heads).

On the weights of transformers' classes. Rotary positions come from the model's own module, which knows every way of scaling them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional as nn

from lmqlc.backends.direct import Attend, attention

LLAMA_LIKE = ("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM")
"""Names of the classes whose models are read this way."""

Rotation = tuple[torch.Tensor, torch.Tensor]


class LlamaForward:
    """See `lmqlc.backends.forward.Forward`."""

    trees = True

    def __init__(self, model: Any) -> None:
        inner = model.model
        self._tokens, self._rotary = inner.embed_tokens.weight, inner.rotary_emb
        self._head, self._bias = model.lm_head.weight, model.lm_head.bias
        self._last = _Norm(inner.norm)
        self._blocks = [_Block(layer) for layer in inner.layers]

    def __call__(
        self, ids: torch.Tensor, cache: Any, keep: int, positions: torch.Tensor | None = None, seen: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, Any]:
        rows, count = ids.shape
        before: int = cache.layers[0].get_seq_length()
        if positions is None:
            positions = torch.arange(before, before + count, device=ids.device)[None]
        hidden = nn.embedding(ids, self._tokens)
        cosine, sine = self._rotary(hidden, position_ids=positions)
        rotation = cosine[:, None], sine[:, None]
        attend = attention((rows, count), before, seen, ids.device)
        for block, layer in zip(self._blocks, cache.layers, strict=True):
            hidden = block(hidden, layer, rotation, attend)
        return nn.linear(self._last(hidden[:, -keep:]), self._head, self._bias), cache


class _Norm:
    """Root mean square normalisation, in float32 (Zhang & Sennrich 2019)."""

    def __init__(self, module: Any) -> None:
        self._weight, self._epsilon = module.weight, module.variance_epsilon

    def __call__(self, hidden: torch.Tensor) -> torch.Tensor:
        wide = hidden.to(torch.float32)
        scaled = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self._epsilon)
        normed: torch.Tensor = self._weight * scaled.to(hidden.dtype)
        return normed


class _Block:
    """One layer."""

    def __init__(self, layer: Any) -> None:
        attn, mlp = layer.self_attn, layer.mlp
        self._scale, self._head = attn.scaling, attn.head_dim
        self._norms = _Norm(layer.input_layernorm), _Norm(layer.post_attention_layernorm)
        self._queries, self._keys, self._values = _weights(attn.q_proj), _weights(attn.k_proj), _weights(attn.v_proj)
        self._head_norms = (_Norm(attn.q_norm), _Norm(attn.k_norm)) if hasattr(attn, "q_norm") else None
        self._out = _weights(attn.o_proj)
        self._gate, self._up, self._down, self._act = _weights(mlp.gate_proj), _weights(mlp.up_proj), _weights(mlp.down_proj), mlp.act_fn

    def __call__(self, hidden: torch.Tensor, layer: Any, rotation: Rotation, attend: Attend) -> torch.Tensor:
        shape = (*hidden.shape[:2], -1, self._head)
        normed = self._norms[0](hidden)
        query, key = nn.linear(normed, *self._queries).view(shape), nn.linear(normed, *self._keys).view(shape)
        value = nn.linear(normed, *self._values).view(shape).transpose(1, 2)
        if self._head_norms is not None:
            query, key = self._head_norms[0](query), self._head_norms[1](key)
        keys, values = layer.update(_rotated(key.transpose(1, 2), rotation), value)
        hidden = hidden + nn.linear(attend(_rotated(query.transpose(1, 2), rotation), keys, values, self._scale), *self._out)
        normed = self._norms[1](hidden)
        return hidden + nn.linear(self._act(nn.linear(normed, *self._gate)) * nn.linear(normed, *self._up), *self._down)


def _weights(module: Any) -> tuple[torch.Tensor, torch.Tensor | None]:
    return module.weight, module.bias


def _rotated(heads: torch.Tensor, rotation: Rotation) -> torch.Tensor:
    """Rotary position embedding (Su et al. 2021) of `[n, heads, k, d]`."""
    cosine, sine = rotation
    half = heads.shape[-1] // 2
    return heads * cosine + torch.cat((-heads[..., half:], heads[..., :half]), dim=-1) * sine
