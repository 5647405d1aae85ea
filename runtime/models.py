"""From what a program or a caller names as a model to a loaded one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from difflib import get_close_matches
from typing import Any

from lmqlc.backends.base import Backend, ModelSpec, Progress
from lmqlc.backends.text import TextBackend
from lmqlc.grammar.errors import LmqlError

AnyBackend = Backend | TextBackend

ModelValue = Any
"""A model string, a ModelSpec, a loaded backend, or an object with one of these as its `model` (what `lmql.model(…)` gives)."""


def as_spec(value: ModelValue) -> ModelSpec | AnyBackend:
    """What a model value names. Raises LmqlError for a value that names none."""
    from lmqlc.backends.registry import parse_model

    value = getattr(value, "model", value)
    if isinstance(value, str):
        return parse_model(value)
    if isinstance(value, ModelSpec):
        return value
    if isinstance(value, TextBackend) or (callable(getattr(value, "open", None)) and hasattr(value, "tokenizer")):
        backend: AnyBackend = value
        return backend
    raise LmqlError(f'a model is a string such as "local:gpt2", or what `lmql.model(…)` gives, not {value!r}')


WIRES = ("legacy", "lmtp")
"""Ways to a server beside our own protocol, as the decoders' argument `backend` names them."""


def over_wire(value: ModelValue, wire: object) -> ModelSpec:
    """The model of a server, to be reached in another way. Raises LmqlError for a way that there is not, and for models of no server."""
    if wire not in WIRES:
        close = get_close_matches(str(wire), WIRES, 1)
        hint = f"did you mean {close[0]!r}?" if close else f"there are {' and '.join(map(repr, WIRES))}; leave it out for our own servers"
        raise LmqlError(f"`backend` names a protocol, and there is no {wire!r}; {hint}")
    named = as_spec(value)
    if not isinstance(named, ModelSpec) or named.kind not in ("server", *WIRES):
        shown = f"{named.kind}:{named.name}" if isinstance(named, ModelSpec) else named.name
        hint = "name the model as the server does, or leave `backend` out"
        raise LmqlError(f"backend={wire!r} is a way to a server, and {shown!r} is none; {hint}")
    return ModelSpec(str(wire), named.name, named.options)


async def open_model(value: ModelValue, progress: Progress | None = None) -> AnyBackend:
    """The backend that a model value names; the registry loads it once per process.

    Loading runs in a thread that nobody waits for when the run is cancelled.
    """
    from lmqlc.backends.registry import load

    named = as_spec(value)
    if not isinstance(named, ModelSpec):
        return named
    spec, loop = named, asyncio.get_running_loop()
    loaded: asyncio.Future[AnyBackend] = loop.create_future()

    def tell(action: Callable[..., None], outcome: Any) -> None:
        if not loaded.done():
            action(outcome)

    def work() -> None:
        try:
            outcome, action = load(spec, progress=progress), loaded.set_result
        except BaseException as error:  # noqa: BLE001 - handed to the run
            outcome, action = error, loaded.set_exception  # type: ignore[assignment]
        if not loop.is_closed():
            loop.call_soon_threadsafe(tell, action, outcome)

    threading.Thread(target=work, name="lmqlc-load", daemon=True).start()
    return await loaded
