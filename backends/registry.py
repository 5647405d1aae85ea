"""From a model string to a loaded model. Backends are imported when one is asked for, and each model is loaded once per process.

Other packages add backends through the entry point group `lmqlc.backends`: the name is the kind, the object a factory called as
`factory(spec, progress=…)` that returns a `Backend`. A kind is written `kind:NAME`.
"""

from __future__ import annotations

import difflib
import os
import re
import threading
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from lmqlc.backends.base import Backend, ModelSpec, Progress
from lmqlc.grammar.errors import BackendUnavailable, LmqlError

Factory = Callable[..., Backend]

ENTRY_POINTS = "lmqlc.backends"
DEFAULT_ENDPOINT = "localhost:8080"

_FACTORIES: dict[str, tuple[str, str]] = {
    "local": ("lmqlc.backends.inprocess", "load_local"),
    "demo": ("lmqlc.backends.inprocess", "load_demo"),
    "scripted": ("lmqlc.backends.scripted", "load_scripted"),
    "random": ("lmqlc.backends.scripted", "load_random"),
    "server": ("lmqlc.backends.http", "load_server"),
    "legacy": ("lmqlc.backends.legacy", "load_legacy"),
    "lmtp": ("lmqlc.backends.lmtp", "load_lmtp"),
    "openai": ("lmqlc.backends.openai", "load_openai"),
    "vllm": ("lmqlc.backends.openai", "load_vllm"),
    "sglang": ("lmqlc.backends.openai", "load_sglang"),
    "llama.cpp": ("lmqlc.backends.openai", "load_llama_cpp"),
}
_WITH_COLON = ("local", "random", "scripted")
_WITH_SLASH = ("openai", "vllm", "sglang", "llama.cpp")
_EXTRAS = {"torch": "hf", "transformers": "hf", "accelerate": "hf", "safetensors": "hf", "httpx2": "openai"}
_URL = re.compile(r"(?:https?|wss?)://\S+\Z")

_loaded: dict[ModelSpec, Backend] = {}
_locks: dict[ModelSpec, threading.Lock] = {}
_guard = threading.Lock()
_default: list[ModelSpec] = []


def parse_model(text: str) -> ModelSpec:
    """The model that a string names: `local:NAME`, `demo`, `random[:SEED]`, `scripted:TEXT`, `openai/NAME`, `vllm/NAME`, `sglang/NAME`,
    `llama.cpp/NAME`, a server's URL, or the NAME of a model on our server. Raises LmqlError for an empty or misspelt string."""
    if not text.strip():
        raise LmqlError("an empty model string names no model; try 'demo' or 'local:NAME_OR_PATH'")
    if text in ("demo", "random"):
        return ModelSpec(text, "")
    if _URL.match(text):
        return ModelSpec("server", "", (("endpoint", text),))
    kind, colon, name = text.partition(":")
    if colon and (kind in _WITH_COLON or kind in _plugins()):
        return _named(kind, name, text)
    prefix, slash, rest = text.partition("/")
    if slash and prefix in _WITH_SLASH:
        return _named(prefix, rest, text)
    if colon and not slash:
        _refuse_misspelt(kind, text)
    if any(c.isspace() for c in text):
        raise LmqlError(f"{text!r} is no model string: names have no spaces; a path is written 'local:PATH'")
    return ModelSpec("server", text)


def _named(kind: str, name: str, text: str) -> ModelSpec:
    if not name and kind not in ("random", "scripted"):
        raise LmqlError(f"the model string {text!r} names no model after {kind!r}")
    return ModelSpec(kind, name)


def _refuse_misspelt(kind: str, text: str) -> None:
    """Names on a server may have a colon; one that almost spells a kind is a slip."""
    known = [*_FACTORIES, *_plugins()]
    close = difflib.get_close_matches(kind.lower(), known, n=1, cutoff=0.7)
    if close:
        sign = "/" if close[0] in _WITH_SLASH else ":"
        raise LmqlError(f"unknown kind of model {kind!r} in {text!r}; did you mean {close[0]}{sign}{text.partition(':')[2]}?")


def load(spec: ModelSpec | str, *, progress: Progress | None = None) -> Backend:
    """The backend of a model, loaded at its first use and kept until it is closed. Thread-safe.

    Raises ModelNotFound, BackendUnavailable (a missing package, no server, no memory), LmqlError for an unknown kind or option.
    A spec whose options cannot be hashed is loaded anew every time.
    """
    if isinstance(spec, str):
        spec = parse_model(spec)
    try:
        with _guard:
            lock = _locks.setdefault(spec, threading.Lock())
    except TypeError:
        return _create(spec, progress)
    with lock:
        backend = _loaded.get(spec)
        if backend is None or getattr(backend, "closed", False):
            backend = _loaded[spec] = _create(spec, progress)
        return backend


def _create(spec: ModelSpec, progress: Progress | None) -> Backend:
    factory = _factory(spec.kind)
    try:
        return factory(spec, progress=progress)
    except ImportError as error:
        raise _missing(spec.kind, error) from None


def _factory(kind: str) -> Factory:
    plugin = _plugins().get(kind)
    if kind not in _FACTORIES and plugin is None:
        close = difflib.get_close_matches(kind, [*_FACTORIES, *_plugins()], n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise LmqlError(f"unknown kind of model {kind!r}{hint}")
    try:
        if plugin is not None:
            return plugin.load()  # type: ignore[no-any-return]
        module, name = _FACTORIES[kind]
        return getattr(import_module(module), name)  # type: ignore[no-any-return]
    except ImportError as error:
        raise _missing(kind, error) from None


def _missing(kind: str, error: ImportError) -> BackendUnavailable:
    missing = (error.name or "").partition(".")[0]
    if error.name and error.name.startswith("lmqlc."):
        return BackendUnavailable(f"models of kind {kind!r} are not in this version of lmqlc; 'local:NAME' and 'demo' run in process")
    if missing in _EXTRAS:
        return BackendUnavailable(f"models of kind {kind!r} need the package {missing!r}: pip install 'lmqlc[{_EXTRAS[missing]}]'")
    return BackendUnavailable(f"models of kind {kind!r} cannot be used here: {error}")


def _plugins() -> dict[str, Any]:
    """Backends of other packages, by kind. Kinds of our own cannot be replaced."""
    return {point.name: point for point in entry_points(group=ENTRY_POINTS) if point.name not in _FACTORIES}


def default_endpoint() -> str:
    """Where models are served that a program names without a place: `LMQLC_ENDPOINT`, else `DEFAULT_ENDPOINT`."""
    return os.environ.get("LMQLC_ENDPOINT") or DEFAULT_ENDPOINT


def default_model() -> ModelSpec:
    """The model of programs that name none: `set_default_model`, else `LMQL_DEFAULT_MODEL`, else the embedded demo model."""
    if _default:
        return _default[0]
    return parse_model(os.environ.get("LMQL_DEFAULT_MODEL") or "demo")


def set_default_model(model: ModelSpec | str | None) -> None:
    """Sets the model of programs that name none, for this process; None returns to the environment's."""
    _default[:] = [] if model is None else [parse_model(model) if isinstance(model, str) else model]
