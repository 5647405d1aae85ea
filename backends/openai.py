"""Models at other people's servers: `openai/NAME`, `vllm/NAME`, `sglang/NAME`, `llama.cpp/NAME`.

Options of all of them: `endpoint` (an address), `api_key`, `body` (a dict of fields for every request, such as `{"cache_salt": "…"}`),
`omit` (names of fields to leave out), `headers`, `tokenizer` (a path to a tokenizer that is known to be the model's). `openai/NAME` also
takes `server` ("openai", "compatible", "transformers") and `chat` (True: plain prompts go as a message of the user).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from lmqlc.backends.base import ModelSpec, Progress, Tokenizer
from lmqlc.backends.remote.backend import Find, RemoteBackend
from lmqlc.backends.remote.client import Client, Refused, Server, address
from lmqlc.backends.remote.dialect import Dialect
from lmqlc.backends.remote.openai import HOST, CompatibleDialect, OpenAiDialect
from lmqlc.backends.text import TextAbilities
from lmqlc.grammar.errors import LmqlError

_COMMON = ("endpoint", "api_key", "body", "omit", "headers", "tokenizer", "transport")
_SERVERS = ("openai", "compatible", "transformers")


def load_openai(spec: ModelSpec, *, progress: Progress | None = None) -> RemoteBackend:
    """`openai/NAME`: at OpenAI, or where `endpoint` or `OPENAI_BASE_URL` says."""
    options = _options(spec, "server", "chat")
    server = _Place("openai", options, "OPENAI_BASE_URL", "https://api.openai.com/v1", "OPENAI_API_KEY")
    kind, chat = options.get("server"), options.get("chat")
    if kind is not None and kind not in _SERVERS:
        raise LmqlError(f"`server` of a model is one of {', '.join(_SERVERS)}, not {kind!r}")
    extra, omitted = _fields(options)

    async def found(client: Client) -> Dialect:
        if kind == "openai" or (kind is None and _is_openai(client.server)):
            return OpenAiDialect(spec.name, extra, omitted, chat=chat)
        if kind == "transformers" or (kind is None and await _is_transformers(client)):
            from lmqlc.backends.remote.transformers_serve import TransformersDialect

            return TransformersDialect(spec.name, extra, omitted)
        return CompatibleDialect(spec.name, extra, omitted, chat=chat)

    at_openai = kind == "openai" or (kind is None and _is_openai(server()))
    declared = TextAbilities("OpenAI" if at_openai else "the server", "checked", continues=not at_openai, schemas=at_openai)
    return _backend(spec, declared, server, options, found)


def load_vllm(spec: ModelSpec, *, progress: Progress | None = None) -> RemoteBackend:
    """`vllm/NAME`: at `endpoint`, `VLLM_BASE_URL`, else localhost:8000."""
    options = _options(spec)
    extra, omitted = _fields(options)

    async def found(client: Client) -> Dialect:
        from lmqlc.backends.remote.vllm import VllmDialect

        return VllmDialect(spec.name, extra, omitted)

    server = _Place("vLLM", options, "VLLM_BASE_URL", "localhost:8000", "VLLM_API_KEY")
    return _backend(spec, TextAbilities("vLLM", "delegated", schemas=True, stops_kept=True), server, options, found)


def load_sglang(spec: ModelSpec, *, progress: Progress | None = None) -> RemoteBackend:
    """`sglang/NAME`: at `endpoint`, `SGLANG_BASE_URL`, else localhost:30000."""
    options = _options(spec)
    extra, omitted = _fields(options)

    async def found(client: Client) -> Dialect:
        from lmqlc.backends.remote.sglang import SglangDialect

        return SglangDialect(spec.name, extra, omitted)

    server = _Place("SGLang", options, "SGLANG_BASE_URL", "localhost:30000", "SGLANG_API_KEY")
    return _backend(spec, TextAbilities("SGLang", "delegated", schemas=True, stops_kept=True), server, options, found)


def load_llama_cpp(spec: ModelSpec, *, progress: Progress | None = None) -> RemoteBackend:
    """`llama.cpp/NAME`: a `llama-server` or a server of llama-cpp-python, at `endpoint`, `LLAMA_CPP_BASE_URL`, else localhost:8080."""
    options = _options(spec)
    extra, omitted = _fields(options)

    async def found(client: Client) -> Dialect:
        try:
            native = isinstance(await client.get(f"{client.server.root}/props"), dict)
        except Refused:  # a server of several models wants to know which
            native = True
        if native:
            from lmqlc.backends.remote.llama_cpp import LlamaCppDialect

            return LlamaCppDialect(spec.name, extra, omitted)
        from lmqlc.backends.remote.llama_cpp_python import LlamaCppPythonDialect

        dialect = LlamaCppPythonDialect(spec.name, extra, omitted)
        await dialect.check_model(client)
        return dialect

    server = _Place("llama.cpp", options, "LLAMA_CPP_BASE_URL", "localhost:8080", "LLAMA_API_KEY")
    return _backend(spec, TextAbilities("llama.cpp", "delegated", stops_kept=True), server, options, found)


def _options(spec: ModelSpec, *more: str) -> dict[str, Any]:
    """A spec's options; raises LmqlError for one that there is not."""
    options, known = dict(spec.options), (*_COMMON, *more)
    for name in options:
        if name not in known:
            shown = ", ".join(name for name in known if name != "transport")
            raise LmqlError(f"models of kind {spec.kind!r} take no option `{name}`; they take: {shown}")
    return options


@dataclass(frozen=True)
class _Place:
    """How the address and the key of a kind of server are found: an option, else the environment, else the default."""

    kind: str
    options: Mapping[str, Any]
    variable: str
    default: str
    key_variable: str

    def __call__(self) -> Server:
        endpoint = self.options.get("endpoint") or os.environ.get(self.variable) or self.default
        key = self.options.get("api_key") or os.environ.get(self.key_variable) or None
        headers = tuple((str(name), str(value)) for name, value in dict(self.options.get("headers") or {}).items())
        return Server(self.kind, address(str(endpoint)), None if key is None else str(key), self.key_variable, headers)


def _fields(options: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    extra, omitted = options.get("body") or {}, options.get("omit") or ()
    if not isinstance(extra, Mapping):
        raise LmqlError("`body` of a model is a dict of fields for every request")
    return dict(extra), (omitted,) if isinstance(omitted, str) else tuple(map(str, omitted))


def _backend(spec: ModelSpec, declared: TextAbilities, server: _Place, options: Mapping[str, Any], found: Find) -> RemoteBackend:
    return RemoteBackend(f"{spec.kind}/{spec.name}", declared, server, found, _tokenizer(options), options.get("transport"))


def _tokenizer(options: Mapping[str, Any]) -> Tokenizer | None:
    given = options.get("tokenizer")
    if given is None:
        return None
    from lmqlc.backends.tokenizer import load_tokenizer

    return load_tokenizer(given)


def _is_openai(server: Server) -> bool:
    return urlsplit(server.base).hostname == HOST


async def _is_transformers(client: Client) -> bool:
    """Whether a server describes itself as `transformers serve`."""
    try:
        described = await client.get(f"{client.server.root}/openapi.json")
    except LmqlError:
        return False
    paths = described.get("paths") if isinstance(described, dict) else None
    return isinstance(paths, dict) and "/load_model" in paths and "/v1/completions" in paths
