"""Model strings, and what they load."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from lmqlc.backends import registry
from lmqlc.backends.base import ModelSpec
from lmqlc.backends.registry import default_model, load, parse_model, set_default_model
from lmqlc.grammar.errors import BackendUnavailable, LmqlError, ModelNotFound


@pytest.mark.parametrize(
    ("text", "kind", "name"),
    [
        ("demo", "demo", ""),
        ("random", "random", ""),
        ("random:7", "random", "7"),
        ("scripted:Hello there", "scripted", "Hello there"),
        ("local:gpt2", "local", "gpt2"),
        ("local:./some dir/model", "local", "./some dir/model"),
        ("local:C:\\models\\x", "local", "C:\\models\\x"),
        ("gpt2", "server", "gpt2"),
        ("meta-llama/Llama-3.2-1B", "server", "meta-llama/Llama-3.2-1B"),
        ("llama3:8b", "server", "llama3:8b"),
        ("openai/gpt-4o", "openai", "gpt-4o"),
        ("vllm/org/model", "vllm", "org/model"),
        ("sglang/m", "sglang", "m"),
        ("llama.cpp/m", "llama.cpp", "m"),
    ],
)
def test_model_strings(text: str, kind: str, name: str) -> None:
    assert parse_model(text) == ModelSpec(kind, name)


@pytest.mark.parametrize("url", ["http://localhost:8080", "https://host/v1", "ws://host:9", "wss://host"])
def test_endpoints(url: str) -> None:
    assert parse_model(url) == ModelSpec("server", "", (("endpoint", url),))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty model string"),
        ("  ", "empty model string"),
        ("locl:gpt2", "did you mean local:gpt2"),
        ("Local:gpt2", "did you mean local:gpt2"),
        ("vlm:x", "did you mean vllm/x"),
        ("local:", "names no model after 'local'"),
        ("openai/", "names no model after 'openai'"),
        ("my model", "names have no spaces"),
    ],
)
def test_misspelt_strings(text: str, message: str) -> None:
    with pytest.raises(LmqlError, match=message):
        parse_model(text)


def test_loading_keeps_a_model_for_the_process() -> None:
    assert load("random:11") is load(ModelSpec("random", "11"))
    assert load("random:11") is not load("random:12")


def test_options_that_cannot_be_compared_load_a_model_of_its_own() -> None:
    spec = ModelSpec("scripted", "", (("completions", ["a"]),))
    assert load(spec) is not load(spec)


def test_unknown_kinds_and_bad_seeds() -> None:
    with pytest.raises(LmqlError, match=r"unknown kind of model 'scriptd'; did you mean 'scripted'\?"):
        load(ModelSpec("scriptd", ""))
    with pytest.raises(LmqlError, match="whole number, not 'x'"):
        load("random:x")


@pytest.mark.parametrize("kind", ["random", "scripted"])
def test_options_nobody_takes(kind: str) -> None:
    with pytest.raises(LmqlError, match="colour"):
        load(ModelSpec(kind, "", (("colour", "red"),)))


def test_a_missing_module_of_ours_is_not_in_this_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._FACTORIES, "server", ("lmqlc.backends.no_such_module", "load"))
    with pytest.raises(BackendUnavailable, match="not in this version"):
        load("some-model-on-no-server")


@pytest.mark.parametrize("package", ["torch", "transformers", "huggingface_hub"])
def test_a_missing_package_is_named_with_what_installs_it(package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    monkeypatch.setitem(sys.modules, package, None)
    name = str(tmp_path) if package != "huggingface_hub" else "gpt2"
    with pytest.raises(BackendUnavailable, match=r"pip install 'lmqlc\[hf\]'"):
        load(ModelSpec("local", name))


def test_backends_of_other_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("mine", "lmqlc.backends.scripted:load_random", registry.ENTRY_POINTS)
    shadow = EntryPoint("local", "lmqlc.backends.scripted:load_random", registry.ENTRY_POINTS)
    monkeypatch.setattr(registry, "entry_points", lambda group: [point, shadow])
    assert parse_model("mine:5") == ModelSpec("mine", "5")
    assert load("mine:5").name == "random"
    with pytest.raises(ModelNotFound):
        load("local:./no/such/directory")


def test_default_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LMQL_DEFAULT_MODEL", raising=False)
    assert default_model() == ModelSpec("demo", "")
    monkeypatch.setenv("LMQL_DEFAULT_MODEL", "local:gpt2")
    assert default_model() == ModelSpec("local", "gpt2")
    set_default_model("random:1")
    try:
        assert default_model() == ModelSpec("random", "1")
    finally:
        set_default_model(None)
    assert default_model() == ModelSpec("local", "gpt2")
