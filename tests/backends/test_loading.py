"""Checkpoints that cannot be loaded end in an error that says what to do, and in silence otherwise."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lmqlc.backends.base import ModelSpec
from lmqlc.backends.registry import load
from lmqlc.grammar.errors import BackendUnavailable, LmqlError, ModelNotFound


def change_config(folder: Path, **values: object) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values), encoding="utf-8")


def change_weights(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def cut_weights(folder: Path) -> None:
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[: len(data) // 2])


def drop_tokenizer(folder: Path) -> None:
    for file in folder.glob("token*"):
        file.unlink()


def shrink(weights: dict[str, Any]) -> None:
    weights["model.norm.weight"] = weights["model.norm.weight"][:5].clone()


BROKEN: list[tuple[Callable[[Path], object], type[LmqlError], str]] = [
    (lambda d: (d / "model.safetensors").unlink(), ModelNotFound, "are missing"),
    (cut_weights, BackendUnavailable, "damaged or cut short"),
    (lambda d: (d / "config.json").write_text("{"), BackendUnavailable, "damaged or cut short"),
    (lambda d: (d / "config.json").unlink(), ModelNotFound, "it has no config.json"),
    (lambda d: change_config(d, model_type="frobnicator"), ModelNotFound, "does not know the architecture"),
    (lambda d: change_config(d, model_type="t5", architectures=["T5ForConditionalGeneration"]), ModelNotFound, "no causal language model"),
    (lambda d: change_config(d, model_type="x", auto_map={"AutoConfig": "c.C"}), BackendUnavailable, "trust_remote_code=True"),
    (lambda d: change_config(d, num_attention_heads="many"), BackendUnavailable, "cannot be loaded"),
    (drop_tokenizer, ModelNotFound, "no tokenizer can be read"),
    (lambda d: (d / "tokenizer.json").write_text("{}"), ModelNotFound, "no tokenizer can be read"),
    (lambda d: change_weights(d, lambda w: w.pop("lm_head.weight")), ModelNotFound, "no language-model head"),
    (lambda d: change_weights(d, lambda w: w.pop("model.layers.1.mlp.up_proj.weight")), BackendUnavailable, "1 weights are missing"),
    (lambda d: change_weights(d, shrink), BackendUnavailable, "other shapes"),
]


@pytest.mark.parametrize(("damage", "kind", "message"), BROKEN)
def test_broken_checkpoints(
    checkpoints: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    damage: Callable[[Path], object],
    kind: type[LmqlError],
    message: str,
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(checkpoints / "llama", folder)
    damage(folder)
    capfd.readouterr()
    with pytest.raises(LmqlError, match=message) as caught:
        load(ModelSpec("local", str(folder)))
    assert type(caught.value) is kind
    assert caught.value.exit_code == 3
    assert capfd.readouterr() == ("", "")


def test_models_that_read_both_ways_are_refused(tmp_path: Path, checkpoints: Path) -> None:
    from transformers import BertConfig, BertForMaskedLM

    shutil.copytree(checkpoints / "gpt2", tmp_path / "bert")
    import torch

    torch.manual_seed(5)
    config = BertConfig(vocab_size=305, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)
    BertForMaskedLM(config).save_pretrained(tmp_path / "bert")
    with pytest.raises(ModelNotFound, match="both directions"):
        load(ModelSpec("local", str(tmp_path / "bert")))


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"dtype": "floaty"}, LmqlError, "unknown dtype 'floaty'"),
        ({"frobnicate": 1}, LmqlError, "frobnicate"),
        ({"cache_bytes": "much"}, LmqlError, "number of bytes"),
        ({"load_in_4bit": True, "load_in_8bit": True}, LmqlError, "exclude each other"),
        ({"tokenizer": "./nowhere"}, ModelNotFound, "no model directory './nowhere'"),
    ],
)
def test_bad_options(checkpoints: Path, options: dict[str, object], kind: type[LmqlError], message: str) -> None:
    with pytest.raises(LmqlError, match=message) as caught:
        load(ModelSpec("local", str(checkpoints / "gpt2"), tuple(options.items())))
    assert type(caught.value) is kind


def test_no_gpu(checkpoints: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(BackendUnavailable, match="no usable GPU"):
        load(ModelSpec("local", str(checkpoints / "gpt2"), (("cuda", True),)))


@pytest.mark.parametrize("option", ["load_in_4bit", "load_in_8bit"])
def test_no_bitsandbytes(checkpoints: Path, monkeypatch: pytest.MonkeyPatch, option: str) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(BackendUnavailable, match="pip install 'bitsandbytes'"):
        load(ModelSpec("local", str(checkpoints / "gpt2"), ((option, True),)))


def test_options_reach_the_model(checkpoints: Path, tmp_path: Path) -> None:
    import torch

    shutil.copytree(checkpoints / "gpt2", tmp_path / "model")
    drop_tokenizer(tmp_path / "model")
    options = (("torch_dtype", "bf16"), ("attn_implementation", "eager"), ("tokenizer", str(checkpoints / "gpt2")))
    backend: Any = load(ModelSpec("local", str(tmp_path / "model"), options))
    model = backend._opened()._model
    assert model.dtype is torch.bfloat16
    assert model.config._attn_implementation == "eager"


def test_loading_tells_its_progress(checkpoints: Path) -> None:
    told: list[tuple[str, float | None]] = []
    load(ModelSpec("local", str(checkpoints / "gpt2"), (("cache_bytes", 1),)), progress=lambda text, done: told.append((text, done)))
    assert told
    assert "loading" in told[0][0]


def test_similar_directories_are_suggested(checkpoints: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match=r"did you mean '.*lama'"):
        load(ModelSpec("local", str(checkpoints / "lama")))
    with pytest.raises(ModelNotFound, match="is a file"):
        load(ModelSpec("local", str(checkpoints / "llama" / "config.json")))
    with pytest.raises(ModelNotFound, match=r"it holds nothing"):
        load(ModelSpec("local", str(tmp_path)))
