"""Certificates of runs at servers that take text."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import lmqlc
from lmqlc.runtime.certificate import sha256

Made = Callable[..., Any]


def test_prompts_are_recorded_as_text_and_keys_are_not(openai: Made, say: Made) -> None:
    server = openai(say("Paris", "."), say("Rome"), say("Paris", "."), say("Rome"), say("Paris", "."), say("Bern"))
    text = '"{:user}France?{:assistant}[A]{:user}Italy?{:assistant}[B]"'
    found: list[Any] = []
    server.run(text, certificate=found.append)
    content = found[0].to_dict()
    assert "sk-secret" not in json.dumps(content)
    (run,) = content["runs"]
    assert run["model"]["name"] == "gpt-4.1"
    one, two = run["results"][0]["holes"]
    assert one["prompt_text"] == "{:user}France?{:assistant}"
    assert two["prompt_text"] == "{:user}France?{:assistant}Paris.{:user}Italy?{:assistant}"
    assert two["prompt_sha256"] == sha256(two["prompt_text"].encode())
    assert [token["text"] for token in one["tokens"]] == ["Paris", "."]
    assert lmqlc.verify_sync(found[0], model=server.model())
    differs = lmqlc.verify_sync(found[0], model=server.model())
    assert "hole `B`: token 1 was" in str(differs)
    assert "'Bern'" in str(differs)
