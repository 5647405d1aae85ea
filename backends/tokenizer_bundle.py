"""A tokenizer as one file, for clients of a server: its vocabulary as arrays, and what it takes to make it again without the model.

The file is one of `masks.files` (arrays and a JSON header; nothing is pickled), named by the SHA-256 of its bytes, so that a client keeps
it on disk and fetches it once. Three kinds: "hf" (the JSON of a `tokenizers.Tokenizer`), "bytes" (`ByteTokenizer`), and "remote", whose
texts only the server can read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lmqlc.backends.base import Tokenizer, Vocabulary
from lmqlc.backends.byte_tokenizer import ByteTokenizer
from lmqlc.compiler.masks.files import Array, pack_arrays, unpack_arrays
from lmqlc.grammar.errors import ArtifactError

BUNDLE_VERSION = 1
MAX_BUNDLE = 256 << 20
"""Bytes of a bundle that a client reads."""

Ask = Callable[[dict[str, Any]], list[int]]
"""Asks the server's `/tokenize` for ids."""


@dataclass(frozen=True)
class BundleFile:
    """A bundle and its name."""

    name: str
    data: bytes

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> BundleFile:
        """The bundle of a tokenizer."""
        data = pack_arrays(*_packed(tokenizer))
        return cls(hashlib.sha256(data).hexdigest(), data)


def _packed(tokenizer: Tokenizer) -> tuple[dict[str, Array], dict[str, Any]]:
    from lmqlc.backends.tokenizer import HFTokenizer

    vocabulary = tokenizer.vocabulary
    meta: dict[str, Any] = {
        "bundle": BUNDLE_VERSION,
        "kind": "remote",
        "fingerprint": vocabulary.fingerprint,
        "named": dict(vocabulary.named),
    }
    arrays: dict[str, Array] = {
        "lengths": np.fromiter(map(len, vocabulary.tokens), np.uint32, len(vocabulary)),
        "texts": np.frombuffer(b"".join(vocabulary.tokens), np.uint8),
        "eos": np.array(vocabulary.eos_ids, np.int64),
        "special": np.array(sorted(vocabulary.special), np.int64),
    }
    meta |= {"prefix": tokenizer.prefix(), "bos": tokenizer.bos_id}
    if isinstance(tokenizer, HFTokenizer):
        core, given = tokenizer.parts()
        arrays["core"] = np.frombuffer(core.encode(), np.uint8)
        meta |= {"kind": "hf", "given": given}
    elif isinstance(tokenizer, ByteTokenizer):
        meta |= {"kind": "bytes", "given": {"words": list(tokenizer.words), "chat": tokenizer.has_chat}}
    return arrays, meta


def check_bundle(data: bytes, name: str, fingerprint: str) -> None:
    """Raises ArtifactError for bytes that are not the bundle of a name, or not of a vocabulary."""
    if hashlib.sha256(data).hexdigest() != name:
        raise ArtifactError("the tokenizer that the server sent is damaged")
    arrays, meta = unpack_arrays(data, "tokenizer")
    known = _vocabulary(arrays, meta)
    fresh = Vocabulary.build(known.tokens, known.eos_ids, known.special)
    if not fresh.fingerprint == known.fingerprint == fingerprint:
        raise ArtifactError("the tokenizer that the server sent is not that of its model")


def read_bundle(path: Path, ask: Ask) -> Tokenizer:
    """The tokenizer of a file of the cache, which holds a bundle. ask: for what only the server can read. Raises ArtifactError, OSError."""
    from lmqlc.compiler.masks.files import read_arrays

    return tokenizer_of(*read_arrays(path), ask)


def tokenizer_of(arrays: dict[str, Array], meta: dict[str, Any], ask: Ask) -> Tokenizer:
    """The tokenizer of a bundle's arrays."""
    try:
        vocabulary = _vocabulary(arrays, meta)
        inner: Tokenizer | None = None
        if meta["kind"] == "hf":
            inner = _hf(arrays["core"].tobytes().decode(), meta["given"], vocabulary)
        elif meta["kind"] == "bytes":
            inner = ByteTokenizer(meta["given"]["words"], chat=meta["given"]["chat"])
        return ServerTokenizer(vocabulary, meta["prefix"], meta["bos"], inner, ask)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ArtifactError(f"the tokenizer's file is damaged ({error})") from None


def _hf(text: str, given: dict[str, Any], vocabulary: Vocabulary) -> Tokenizer:
    from tokenizers import Tokenizer as Core

    from lmqlc.backends.tokenizer import HFTokenizer

    return HFTokenizer(Core.from_str(text), owned=True, vocabulary=vocabulary, **given)


def _vocabulary(arrays: dict[str, Array], meta: dict[str, Any]) -> Vocabulary:
    if meta.get("bundle") != BUNDLE_VERSION:
        raise ArtifactError(f"the tokenizer's file has version {meta.get('bundle')!r}; this release reads {BUNDLE_VERSION}")
    ends = np.cumsum(arrays["lengths"], dtype=np.int64).tolist()
    data = arrays["texts"].tobytes()
    if (ends[-1] if ends else 0) != len(data):
        raise ArtifactError("the tokenizer's file is damaged")
    tokens = tuple(map(data.__getitem__, map(slice, [0, *ends[:-1]], ends)))
    return Vocabulary(tokens, tuple(arrays["eos"].tolist()), frozenset(arrays["special"].tolist()), str(meta["fingerprint"]), _named(meta))


def _named(meta: dict[str, Any]) -> dict[str, int]:
    return {str(name): int(token_id) for name, token_id in meta.get("named", {}).items()}


class ServerTokenizer:
    """A server's tokenizer at its client. Conversations are laid out by the server, which has the template; so are the texts of a
    tokenizer that exists only there (`inner` is None)."""

    def __init__(self, vocabulary: Vocabulary, prefix: list[int], bos: int | None, inner: Tokenizer | None, ask: Ask) -> None:
        self.vocabulary = vocabulary
        self.bos_id = bos
        self._prefix = prefix
        self._inner = inner
        self._ask = ask

    def prefix(self) -> list[int]:
        return list(self._prefix)

    def encode(self, text: str, *, first: bool) -> list[int]:
        if self._inner is not None:
            return self._inner.encode(text, first=first)
        return self._ask({"prompt": text, "add_special_tokens": False, "first": first}) if text else []

    def decode(self, ids: Sequence[int]) -> str:
        tokens = self.vocabulary.tokens
        return b"".join([tokens[i] for i in ids]).decode("utf-8", errors="replace")

    def chat(self, messages: Sequence[dict[str, str]], *, generation_prompt: bool) -> list[int] | None:
        if isinstance(self._inner, ByteTokenizer):
            return self._inner.chat(messages, generation_prompt=generation_prompt)
        return self._ask({"messages": list(messages), "add_generation_prompt": generation_prompt})
