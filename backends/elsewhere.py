"""Models on servers that others wrote: where the server is, and the tokenizer that its model has."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from lmqlc.backends.base import Level, ModelSpec, Tokenizer
from lmqlc.backends.registry import DEFAULT_ENDPOINT
from lmqlc.grammar.errors import LmqlError, ModelNotFound

_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
_TOKENIZER_FILES = ["*.json", "*.jinja", "*.model", "*.txt"]


@dataclass(frozen=True)
class Endpoint:
    """Where a server is: the URL without a slash at its end, and the key that it wants. The key shows nowhere."""

    url: str
    key: str | None = None

    @property
    def websocket_url(self) -> str:
        """The same address for a websocket."""
        return "ws" + self.url.removeprefix("http") + "/"

    def headers(self) -> dict[str, str]:
        return {} if self.key is None else {"Authorization": f"Bearer {self.key}"}

    def __repr__(self) -> str:
        return f"Endpoint({self.url!r})"


class ModelElsewhere:
    """A model that a server has. Nothing is asked of the server before a session asks. timeout: seconds to wait for it."""

    level: Level = "exact"

    def __init__(self, name: str, endpoint: Endpoint, tokenizer: Tokenizer, timeout: float) -> None:
        self.name = name
        self.endpoint = endpoint
        self.tokenizer = tokenizer
        self.context_length: int | None = None
        self.timeout = timeout

    @classmethod
    def of(cls, spec: ModelSpec, timeout: float) -> Self:
        """The model of a spec. Options: `endpoint` ("localhost:8080"), `api_key`, `timeout`, `tokenizer`. Raises as `tokenizer_of`, and
        LmqlError for a bad option."""
        options = dict(spec.options)
        endpoint, seconds = endpoint_of(options), option_seconds(options, "timeout", timeout)
        return cls(spec.name, endpoint, tokenizer_of(spec.name, endpoint, options), seconds)

    async def close(self) -> None:
        return None


def endpoint_of(options: Mapping[str, object]) -> Endpoint:
    """The server that options name: `endpoint` as host:port or a URL, `api_key`. Raises LmqlError for what is no address."""
    given, key = options.get("endpoint", DEFAULT_ENDPOINT), options.get("api_key") or os.environ.get("LMQL_API_KEY")
    text = given if isinstance(given, str) and "://" in given else f"http://{given}"
    try:
        parts = urlsplit(text)
        scheme, port = _SCHEMES[parts.scheme], parts.port
    except (ValueError, KeyError):
        scheme, port, parts = "", None, urlsplit("")
    if not scheme or not parts.hostname or any(c.isspace() for c in text):
        raise LmqlError(f"{given!r} is no address of a server; write host:port or a URL")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return Endpoint(f"{scheme}://{host}{'' if port is None else f':{port}'}{parts.path.rstrip('/')}", None if key is None else str(key))


def option_seconds(options: Mapping[str, object], key: str, default: float) -> float:
    """An option that is a time. Raises LmqlError for anything but a number above 0."""
    value = options.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise LmqlError(f"`{key}` is a number of seconds above 0, not {value!r}")
    return float(value)


def tokenizer_of(name: str, endpoint: Endpoint, options: Mapping[str, Any]) -> Tokenizer:
    """The tokenizer of a model at a server: by the option `tokenizer`, a directory or a name on the hub; else from the server, where it
    is one of ours; else by the model's name, since the protocols of others do not hand it out.

    Raises ModelNotFound where there is none, BackendUnavailable where nobody answers.
    """
    if options.get("tokenizer") is None:
        from lmqlc.backends.http import load_server
        from lmqlc.backends.http_client import OtherServer

        key = {} if endpoint.key is None else {"api_key": endpoint.key}
        try:
            return load_server(ModelSpec("server", name, tuple({"endpoint": endpoint.url, **key}.items()))).tokenizer
        except OtherServer:
            pass
    from lmqlc.backends.model_files import hub_errors, hub_options
    from lmqlc.backends.tokenizer import load_tokenizer

    chosen = str(options.get("tokenizer") or name)
    if Path(chosen).expanduser().exists():
        return load_tokenizer(Path(chosen).expanduser())
    try:
        import huggingface_hub as hub

        with hub_errors(chosen):
            return load_tokenizer(hub.snapshot_download(chosen, allow_patterns=_TOKENIZER_FILES, **hub_options(dict(options))))
    except (LmqlError, ImportError) as error:
        hint = f"the server does not hand out the tokenizer of {name!r}; `tokenizer=` names its directory"
        raise ModelNotFound(f"{hint} ({error})") from None
