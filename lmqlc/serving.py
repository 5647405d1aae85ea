"""`lmqlc.serve`: a model served from Python."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmqlc import __version__
from lmqlc.backends.base import Backend, ModelSpec, Progress
from lmqlc.grammar.errors import BackendUnavailable
from lmqlc.models import IN_PROCESS

if TYPE_CHECKING:
    from lmqlc.backends.serve.server import Server


def serve(
    model: str | Backend,
    *,
    cuda: bool = False,
    host: str = "localhost",
    port: int = 8080,
    block: bool = True,
    api_key: str | None = None,
    served_name: str | Sequence[str] | None = None,
    legacy: bool = False,
    **options: Any,
) -> Server | None:
    """Serves a model to other processes, until a signal ends it.

    With `block=False` it gives a server that runs in the background: a context manager with `url`, `endpoint` and `port` (`port=0`
    chooses one). api_key: clients must have it (`LMQL_API_KEY`). served_name: what clients may call the model. Further options reach
    `AutoModelForCausalLM.from_pretrained`.
    """
    made = make_server(
        model, cuda=cuda, host=host, port=port, api_key=api_key, served_name=served_name, legacy=legacy, options=options, bounds={}
    )
    if not block:
        return made
    made.run(lambda server: None)
    return None


def make_server(
    model: str | Backend,
    *,
    cuda: bool,
    host: str,
    port: int,
    api_key: str | None,
    served_name: str | Sequence[str] | None,
    legacy: bool,
    options: dict[str, Any],
    bounds: dict[str, Any],
    progress: Progress | None = None,
) -> Server:
    """A server that is not started yet; bounds: further fields of its settings."""
    try:
        from lmqlc.backends.serve.server import Server
        from lmqlc.backends.serve.settings import Settings
    except ImportError as error:
        if (error.name or "").startswith("lmqlc"):
            raise
        raise BackendUnavailable(f"serving needs the package {error.name!r}: pip install 'lmqlc[serve]'") from None
    spec = model_spec(model, cuda=cuda, options=options) if isinstance(model, str) else model
    names = [served_name] if isinstance(served_name, str) else list(served_name or default_names(model))
    key = api_key if api_key is not None else os.environ.get("LMQL_API_KEY") or None
    settings = Settings(names=tuple(names), host=host, port=port, api_key=key, legacy=legacy, version=__version__, **bounds)
    return Server(spec, settings, progress)


def model_spec(model: str, *, cuda: bool, options: dict[str, Any]) -> ModelSpec:
    """The model in process that a name means: `demo`, `random`, `local:…`, a plugin's, else a directory or a name on the hub."""
    from lmqlc.backends.registry import parse_model

    kind = model.partition(":")[0]
    spec = parse_model(model) if kind in IN_PROCESS and not Path(model).exists() else ModelSpec("local", model)
    given = {**({"cuda": True} if cuda else {}), **options}
    return ModelSpec(spec.kind, spec.name, tuple(sorted(given.items())))


def default_names(model: str | Backend) -> list[str]:
    """What clients may call a model that was given no names: as it was given, and the name of its directory."""
    if not isinstance(model, str):
        return [model.name]
    plain = model.removeprefix("local:")
    short = Path(plain).name if Path(plain).is_dir() else plain
    return list(dict.fromkeys([model, plain, short]))
