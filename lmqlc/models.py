"""Models in the public face."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

from lmqlc.backends.base import ModelSpec
from lmqlc.runtime import llm
from lmqlc.runtime.distribution import By, Scores
from lmqlc.runtime.execute import run_coroutine
from lmqlc.runtime.llm import LLM
from lmqlc.runtime.models import AnyBackend, ModelValue, as_spec

__all__ = [
    "LLM",
    "generate",
    "generate_sync",
    "inprocess",
    "model",
    "or_default",
    "score",
    "score_sync",
    "set_default_model",
]

IN_PROCESS = ("demo", "local", "random", "scripted")
"""Kinds of models that run here, and which a server may serve."""

_noted = False


def model(name: ModelValue, **options: Any) -> LLM:
    """A model by its string, such as "local:gpt2"; options reach the backend. Nothing is loaded yet."""
    named = as_spec(name)
    if "endpoint" in options and isinstance(name, str) and isinstance(named, ModelSpec) and named.kind in IN_PROCESS:
        named = ModelSpec("server", name)  # "demo" at a server is not the one in this process
    return LLM(_with_options(named, options))


def inprocess(name: str, *, cuda: bool = False, **options: Any) -> LLM:
    """A transformers model in this process. Options reach `AutoModelForCausalLM.from_pretrained`."""
    kind, _, rest = name.partition(":")
    spec = ModelSpec("local", rest) if kind == "local" and rest else ModelSpec("local", name)
    return LLM(_with_options(spec, {**({"cuda": True} if cuda else {}), **options}))


def _with_options(named: ModelSpec | AnyBackend, options: dict[str, Any]) -> ModelSpec | AnyBackend:
    if not options:
        return named
    if not isinstance(named, ModelSpec):
        raise TypeError("a loaded model takes no options")
    return ModelSpec(named.kind, named.name, (*named.options, *sorted(options.items())))


def set_default_model(model: ModelValue) -> None:
    """The model of programs that name none, for this process; None returns to `LMQL_DEFAULT_MODEL`, else the demo model."""
    from lmqlc.backends import registry

    named = None if model is None else as_spec(model)
    if named is not None and not isinstance(named, ModelSpec):
        raise TypeError("the default model is a model string or what `lmql.model(…)` gives, not a loaded model")
    registry.set_default_model(named)


def default_model() -> ModelSpec:
    """The model of programs that name none. The embedded demo model is named on standard error, once per process."""
    from lmqlc.backends import registry

    global _noted
    spec = registry.default_model()
    if spec.kind == "demo" and not _noted and not os.environ.get("LMQL_DEFAULT_MODEL"):
        _noted = True
        print("lmqlc: no model named; using the small embedded demo model (choose one with --model or model=)", file=sys.stderr)
    return spec


def or_default(value: ModelValue) -> ModelValue:
    """A model, or the default one where there is none."""
    return default_model() if value is None else value


async def generate(prompt: str, max_tokens: int | None = None, model: ModelValue = None, **options: Any) -> Any:
    """The prompt and what a model says after it, as one text; a list of texts where the decoder gives several. Options are `decoder` and
    the decoder's own. The prompt is plain text: brackets and braces mean nothing."""
    return await llm.generate(prompt, or_default(model), max_tokens=max_tokens, **options)


def generate_sync(prompt: str, max_tokens: int | None = None, model: ModelValue = None, **options: Any) -> Any:
    """`generate` from synchronous code."""
    return run_coroutine(generate(prompt, max_tokens, model, **options))


async def score(
    prompt: str, values: Sequence[str] | str, model: ModelValue = None, *, by: By = "sum", token_healing: bool = True
) -> Scores:
    """Log-probabilities of texts after a prompt. by: how the texts are compared, by the "sum" or the "mean" over their tokens."""
    return await llm.score(prompt, values, or_default(model), by=by, token_healing=token_healing)


def score_sync(prompt: str, values: Sequence[str] | str, model: ModelValue = None, *, by: By = "sum", token_healing: bool = True) -> Scores:
    """`score` from synchronous code."""
    return run_coroutine(score(prompt, values, model, by=by, token_healing=token_healing))
