"""GPT-2's forward pass (Radford et al. 2019), on the weights of transformers' `GPT2LMHeadModel`."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional as nn

from lmqlc.backends.direct import Attend, attention


class Gpt2Forward:
    """See `lmqlc.backends.forward.Forward`."""

    trees = True

    def __init__(self, model: Any) -> None:
        inner = model.transformer
        self._tokens, self._places = inner.wte.weight, inner.wpe.weight
        self._head, self._bias = model.lm_head.weight, model.lm_head.bias
        self._last = _norm(inner.ln_f)
        self._blocks = [_Block(block) for block in inner.h]

    def __call__(
        self, ids: torch.Tensor, cache: Any, keep: int, positions: torch.Tensor | None = None, seen: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, Any]:
        rows, count = ids.shape
        before: int = cache.layers[0].get_seq_length()
        if positions is None:
            positions = torch.arange(before, before + count, device=ids.device)[None]
        hidden = nn.embedding(ids, self._tokens) + nn.embedding(positions, self._places)
        attend = attention((rows, count), before, seen, ids.device)
        for block, layer in zip(self._blocks, cache.layers, strict=True):
            hidden = block(hidden, layer, attend)
        return nn.linear(nn.layer_norm(hidden[:, -keep:], *self._last), self._head, self._bias), cache


def _norm(module: Any) -> tuple[Any, ...]:
    """Arguments of `layer_norm` after the input."""
    return module.normalized_shape, module.weight, module.bias, module.eps


class _Block:
    """One layer."""

    def __init__(self, block: Any) -> None:
        attn, mlp = block.attn, block.mlp
        self._scale, self._head = attn.scaling, attn.head_dim
        self._norms = _norm(block.ln_1), _norm(block.ln_2)
        self._qkv, self._qkv_bias = attn.c_attn.weight, attn.c_attn.bias
        self._out, self._out_bias = attn.c_proj.weight, attn.c_proj.bias
        self._up, self._up_bias = mlp.c_fc.weight, mlp.c_fc.bias
        self._down, self._down_bias = mlp.c_proj.weight, mlp.c_proj.bias
        self._act = mlp.act

    def __call__(self, hidden: torch.Tensor, layer: Any, attend: Attend) -> torch.Tensor:
        rows, count, size = hidden.shape
        normed = nn.layer_norm(hidden, *self._norms[0]).view(-1, size)
        heads = torch.addmm(self._qkv_bias, normed, self._qkv).view(rows, count, 3, -1, self._head).transpose(1, 3)
        query, key, value = heads[:, :, 0], heads[:, :, 1], heads[:, :, 2]
        keys, values = layer.update(key, value)
        mixed = attend(query, keys, values, self._scale).view(-1, size)
        hidden = torch.addmm(self._out_bias, mixed, self._out).view(rows, count, size) + hidden
        normed = nn.layer_norm(hidden, *self._norms[1]).view(-1, size)
        wide = self._act(torch.addmm(self._up_bias, normed, self._up))
        return hidden + torch.addmm(self._down_bias, wide, self._down).view(rows, count, size)
