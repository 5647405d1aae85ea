"""What the JSON files beside a tokenizer say: end-of-text and other special tokens, and the chat template."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmqlc.backends.chat import ChatTemplate
from lmqlc.grammar.errors import LmqlError

_SPECIAL_KEYS = ("bos_token", "eos_token", "unk_token", "sep_token", "cls_token", "mask_token")


@dataclass(frozen=True)
class TokenizerFacts:
    """eos: ids and names of the tokens that end a text. special: names of the tokens that write none. bos: the token that begins one."""

    eos: tuple[int | str, ...]
    special: tuple[str, ...]
    template: ChatTemplate | None
    bos: int | str | None = None


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object from a file, {} where there is no such file. Raises LmqlError for a damaged one."""
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise LmqlError(f"cannot read {str(file)!r}: {error}") from None
    if not isinstance(value, dict):
        raise LmqlError(f"{str(file)!r} holds no JSON object")
    return value


def _text(token: object) -> str | None:
    """A token as the files write it: its text, or an object with it."""
    if isinstance(token, dict):
        token = token.get("content")
    return token if isinstance(token, str) else None


def eos_ids(config: dict[str, Any]) -> tuple[int, ...]:
    """The end-of-text ids of a generation config or a model config: none, one or a list."""
    value = config.get("eos_token_id")
    ids = value if isinstance(value, list) else [value]
    return tuple(i for i in ids if isinstance(i, int))


def _template(directory: Path, config: dict[str, Any], names: dict[str, str]) -> ChatTemplate | None:
    file = directory / "chat_template.jinja"
    found: object = file.read_text(encoding="utf-8") if file.exists() else config.get("chat_template")
    if found is None:
        found = read_json(directory / "chat_template.json").get("chat_template")
    return chat_template_of(found, names)


def chat_template_of(found: object, names: dict[str, str]) -> ChatTemplate | None:
    """A template from what a config holds: the text, or several by name (the one called `default`). None for anything else."""
    if isinstance(found, list):
        found = {entry.get("name"): entry.get("template") for entry in found if isinstance(entry, dict)}
    if isinstance(found, dict):
        found = found.get("default")
    return ChatTemplate(found, names) if isinstance(found, str) else None


def read_facts(directory: Path) -> TokenizerFacts:
    """The facts of a model directory; files that are not there say nothing."""
    config = read_json(directory / "special_tokens_map.json") | read_json(directory / "tokenizer_config.json")
    names = {key: text for key, value in config.items() if key.endswith("_token") and (text := _text(value)) is not None}
    generation, model = read_json(directory / "generation_config.json"), read_json(directory / "config.json")
    ends = eos_ids(generation) or eos_ids(model)
    begins = names.get("bos_token", generation.get("bos_token_id", model.get("bos_token_id")))
    named: tuple[int | str, ...] = (names["eos_token"],) if "eos_token" in names else ()
    special = tuple(names[key] for key in _SPECIAL_KEYS if key in names)
    bos = begins if isinstance(begins, int | str) else None
    return TokenizerFacts((*ends, *named), special, _template(directory, config, names), bos)
