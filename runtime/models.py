"""From what a program or a caller names as a model to a loaded one."""

from __future__ import annotations

import asyncio
from typing import Any

from lmqlc.backends.base import Backend, ModelSpec, Progress
from lmqlc.grammar.errors import LmqlError

ModelValue = Any
"""A model string, a ModelSpec, a loaded Backend, or an object with one of these as its `model` (what `lmql.model(…)` gives)."""


def as_spec(value: ModelValue) -> ModelSpec | Backend:
    """What a model value names. Raises LmqlError for a value that names none."""
    from lmqlc.backends.registry import parse_model

    value = getattr(value, "model", value)
    if isinstance(value, str):
        return parse_model(value)
    if isinstance(value, ModelSpec):
        return value
    if callable(getattr(value, "open", None)) and hasattr(value, "tokenizer"):
        backend: Backend = value
        return backend
    raise LmqlError(f'a model is a string such as "local:gpt2", or what `lmql.model(…)` gives, not {value!r}')


async def open_model(value: ModelValue, progress: Progress | None = None) -> Backend:
    """The backend that a model value names; the registry loads it once per process, here in a thread of its own."""
    from lmqlc.backends.registry import load

    named = as_spec(value)
    return await asyncio.to_thread(load, named, progress=progress) if isinstance(named, ModelSpec) else named
