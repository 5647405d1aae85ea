"""The embedded model as a GGUF file, for servers of llama.cpp: `python demo_gguf.py MODEL_DIRECTORY FILE`. Needs numpy and gguf."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import gguf
import numpy as np

_NAMES = {
    "ln_1": "attn_norm",
    "attn.c_attn": "attn_qkv",
    "attn.c_proj": "attn_output",
    "ln_2": "ffn_norm",
    "mlp.c_fc": "ffn_up",
    "mlp.c_proj": "ffn_down",
}
_TOP = {
    "wte.weight": "token_embd.weight",
    "wpe.weight": "position_embd.weight",
    "ln_f.weight": "output_norm.weight",
    "ln_f.bias": "output_norm.bias",
}


def tensors(file: Path) -> dict[str, Any]:
    """The arrays of a safetensors file."""
    data = file.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    body = data[8 + size :]
    kinds = {"F32": np.float32, "F16": np.float16}
    return {
        name: np.frombuffer(body[entry["data_offsets"][0] : entry["data_offsets"][1]], kinds[entry["dtype"]]).reshape(entry["shape"])
        for name, entry in header.items()
        if name != "__metadata__"
    }


def name_of(name: str) -> str | None:
    """What llama.cpp calls a tensor of GPT-2."""
    name = name.removeprefix("transformer.")
    if name in _TOP:
        return _TOP[name]
    parts = name.split(".")
    if parts[0] != "h" or parts[-1] not in ("weight", "bias"):
        return None
    inner = _NAMES.get(".".join(parts[2:-1]))
    return None if inner is None else f"blk.{parts[1]}.{inner}.{parts[-1]}"


def write(directory: Path, file: Path) -> None:
    config = json.loads((directory / "config.json").read_text())
    writer = gguf.GGUFWriter(str(file), "gpt2")
    writer.add_block_count(config["n_layer"])
    writer.add_context_length(config["n_positions"])
    writer.add_embedding_length(config["n_embd"])
    writer.add_feed_forward_length(4 * config["n_embd"])
    writer.add_head_count(config["n_head"])
    writer.add_layer_norm_eps(config["layer_norm_epsilon"])
    add_tokenizer(writer, directory)
    for name, array in tensors(directory / "model.safetensors").items():
        ours = name_of(name)
        if ours is not None:
            turned = array.T if array.ndim == 2 and ours.startswith("blk.") else array
            writer.add_tensor(ours, np.ascontiguousarray(turned, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def add_tokenizer(writer: Any, directory: Path) -> None:
    described = json.loads((directory / "tokenizer.json").read_text())
    ids = dict(described["model"]["vocab"])
    special = {entry["content"]: entry["id"] for entry in described["added_tokens"]}
    texts = {number: text for text, number in {**ids, **special}.items()}
    width = max(texts) + 1
    tokens = [texts.get(number, f"[unused{number}]") for number in range(width)]
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in described["model"]["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")  # digits one by one, then as GPT-2
    writer.add_token_list(tokens)
    writer.add_token_types([int(gguf.TokenType.CONTROL if text in special else gguf.TokenType.NORMAL) for text in tokens])
    writer.add_token_merges(merges)
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    writer.add_add_bos_token(False)
    template = json.loads((directory / "tokenizer_config.json").read_text()).get("chat_template")
    if template:
        writer.add_chat_template(template)


if __name__ == "__main__":
    write(Path(sys.argv[1]), Path(sys.argv[2]))
