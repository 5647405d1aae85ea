"""Where a model named by a program lies: a directory, the local cache of the Hugging Face hub, or the hub itself.

Nothing heavy is imported before a model is found, so that a misspelt name fails in well under a second.
"""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lmqlc.backends.base import Progress
from lmqlc.grammar.errors import BackendUnavailable, LmqlError, ModelNotFound

HUB_TIMEOUT = 10.0
"""Seconds to wait for the hub's first answer."""

_HUB_OPTIONS = ("revision", "cache_dir", "token")
_WEIGHTS = (".safetensors", ".bin")
_KEPT = (".json", ".model", ".txt", ".jinja", ".py", ".tiktoken")


def find_model(name: str, options: dict[str, Any], progress: Progress | None = None) -> str:
    """What to give to `from_pretrained(…, local_files_only=True)`: a directory, or a name whose files are in the local cache.

    Downloads what is not there. options: of `from_pretrained`; `revision`, `cache_dir`, `token` and `local_files_only` count.
    Raises ModelNotFound for a name or path that leads nowhere, BackendUnavailable where the hub cannot be reached.
    """
    path = Path(name).expanduser()
    if path.exists():
        return _checked_directory(path)
    if _looks_like_path(name):
        raise ModelNotFound(f"no model directory {name!r}{_similar(path)}")
    hub = _hub()
    known = hub_options(options)
    if not options.get("force_download") and _cached(hub, name, known):
        return name
    if options.get("local_files_only") or hub.constants.is_offline_mode():
        where = f"the model {name!r} is no directory here and not in the local cache"
        raise ModelNotFound(f"{where}, and downloading is switched off (HF_HUB_OFFLINE or local_files_only){_similar(path)}")
    download(name, known, progress)
    return name


def hub_options(options: dict[str, Any]) -> dict[str, Any]:
    """The options of `from_pretrained` that the hub's client takes."""
    return {key: options[key] for key in _HUB_OPTIONS if options.get(key) is not None}


def _checked_directory(path: Path) -> str:
    if not path.is_dir():
        raise ModelNotFound(f"{str(path)!r} is a file; a model in process is a directory with config.json, weights and a tokenizer")
    if not (path / "config.json").exists():
        found = ", ".join(sorted(entry.name for entry in path.iterdir())[:6]) or "nothing"
        raise ModelNotFound(f"{str(path)!r} is no model directory: it has no config.json (it holds {found})")
    return str(path)


def _looks_like_path(name: str) -> bool:
    """Names on the hub are `NAME` or `OWNER/NAME`."""
    return name.startswith((".", "~", "/")) or "\\" in name or name.count("/") > 1 or name.endswith("/") or ":" in name


def _similar(path: Path) -> str:
    """A did-you-mean among the model directories beside a missing path; empty where none is close."""
    try:
        beside = [entry.name for entry in path.parent.iterdir() if (entry / "config.json").exists()]
    except OSError:
        beside = []
    close = difflib.get_close_matches(path.name, beside, n=1)
    return f"; did you mean {str(path.parent / close[0])!r}?" if close else ""


def _hub() -> Any:
    try:
        import huggingface_hub
    except ImportError:
        raise BackendUnavailable("models in process need torch and transformers: pip install 'lmqlc[hf]'") from None
    return huggingface_hub


def _cached(hub: Any, name: str, known: dict[str, Any]) -> bool:
    """Whether the cache holds the model's config. Raises ModelNotFound for a name that no model can have."""
    place = {key: value for key, value in known.items() if key != "token"}
    try:
        return isinstance(hub.try_to_load_from_cache(name, "config.json", **place), str)
    except hub.errors.HFValidationError as error:
        raise ModelNotFound(f"{name!r} is neither a directory nor a name on the Hugging Face hub: {error}") from None


def download(name: str, known: dict[str, Any], progress: Progress | None = None) -> None:
    """Brings a model's files into the local cache: weights as safetensors where there are any. Errors as `find_model`."""
    hub = _hub()
    with hub_errors(name):
        revision, token = known.get("revision"), known.get("token")
        info = hub.HfApi(token=token).model_info(name, revision=revision, timeout=HUB_TIMEOUT)
        names = [file.rfilename for file in info.siblings or []]
        weights = next((suffix for suffix in _WEIGHTS if any(n.endswith(suffix) for n in names)), _WEIGHTS[0])
        wanted = [n for n in names if "/" not in n and n.endswith((weights, *_KEPT))]
        if progress:
            progress(f"downloading {name}", 0.0)
        hub.snapshot_download(name, allow_patterns=wanted, tqdm_class=_progress_bar(name, progress), **known)


def _progress_bar(name: str, progress: Progress | None) -> type:
    """A silent bar class for the hub's downloads that reports how many bytes or files are done."""
    base: Any = _hub().utils.tqdm

    class Bar(base):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            kwargs.pop("name", None)
            super().__init__(*args, **kwargs | {"disable": True})
            self._done = 0.0

        def update(self, n: float | None = 1) -> bool | None:
            self._done += n or 0
            if progress and self.total:
                progress(f"downloading {name}", min(1.0, self._done / self.total))
            return None

    return Bar


@contextlib.contextmanager
def hub_errors(name: str) -> Iterator[None]:
    """Turns what the hub's client raises into errors that say what to do."""
    try:
        yield
    except LmqlError:
        raise
    except Exception as error:  # noqa: BLE001 - the client raises errors of several libraries, by version
        raise explain_hub_error(name, error) from None


def explain_hub_error(name: str, error: BaseException) -> LmqlError:
    """The error to show for one of the hub's client."""
    errors = _hub().errors
    similar = _similar(Path(name).expanduser())
    if isinstance(error, errors.GatedRepoError):
        return ModelNotFound(f"the model {name!r} is gated: accept its terms on the hub, then log in with `hf auth login` or set HF_TOKEN")
    if isinstance(error, errors.RevisionNotFoundError):
        return ModelNotFound(f"the model {name!r} has no such revision")
    if isinstance(error, errors.RepositoryNotFoundError):
        return ModelNotFound(f"no model {name!r} on the hub (a private one needs `hf auth login`), and no such directory{similar}")
    where = f"the model {name!r} is no directory here and not in the local cache, and the hub does not give it"
    todo = f"check the name and the network, or fetch it where there is one: hf download {name}"
    return ModelNotFound(f"{where} ({_first_line(error)}){similar}; {todo}")


def _first_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return text[0] if text else type(error).__name__
