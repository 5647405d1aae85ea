"""Models at an lmqlc server: `lmql.model("gpt2", endpoint="localhost:9999")`, or a bare name for `localhost:8080`.

A hole is one request: the server has the model, masks every step, and streams the tokens. The tokenizer comes from the server once and is
kept on disk; nothing here needs torch or transformers. A stream that breaks is taken up where it broke, with the tokens that came.
"""

from __future__ import annotations

import base64
import contextlib
import json
import math
import os
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from lmqlc.backends.base import Backend, Level, Logits, ModelSpec, Progress, SessionUsage, Tokenizer
from lmqlc.backends.http_client import PATIENCE, PROTOCOL, Client, Later, OtherServer, Refused, Tries, blocking
from lmqlc.backends.http_wire import Broken, Silent, Unreachable
from lmqlc.backends.registry import default_endpoint
from lmqlc.backends.reply_check import fits
from lmqlc.backends.tokenizer_bundle import MAX_BUNDLE, check_bundle, read_bundle
from lmqlc.backends.wire_automaton import MAX_PACKED, pack_automaton, pack_formula, schema_formula, within_bounds
from lmqlc.compiler.automata.automaton import TextAutomaton
from lmqlc.compiler.masks.files import cache_folder, write_file
from lmqlc.compiler.masks.hole import FinishReason, TokenResult
from lmqlc.compiler.masks.request import Ended, Healed, HoleRequest, Language, Step
from lmqlc.grammar.errors import ArtifactError, BackendUnavailable, ConstraintViolated, LmqlError, ModelNotFound

Lines = AsyncGenerator[Any, None]
OPTIONS = ("endpoint", "api_key", "chunk_timeout", "tokenizer")


class ServerBackend:
    """A model at a server."""

    level: Level = "exact"

    def __init__(self, client: Client, name: str, tokenizer: Tokenizer, context_length: int | None, *, exact: bool = False) -> None:
        """exact: the server finds the likeliest text where few may fill a hole."""
        self.client = client
        self.exact = exact
        self.name = name
        self.tokenizer = tokenizer
        self.context_length = context_length
        self.sent: set[str] = set()  # names of automata that the server has

    async def open(self) -> ServerSession:
        return ServerSession(self)

    async def close(self) -> None:
        self.client.close()


@dataclass(frozen=True, slots=True)
class _Squeezed:
    """The budget narrowed the choices of the hole; said once, also where a stream is taken up again later."""


class ServerSession:
    """One query's use of a model at a server."""

    def __init__(self, backend: ServerBackend) -> None:
        self._backend = backend
        self._client = backend.client
        self._usage = SessionUsage()
        self._packed: dict[int, tuple[Language, dict[str, Any] | None, str]] = {}

    @property
    def usage(self) -> SessionUsage:
        return self._usage

    async def close(self) -> None:
        return None

    async def logits(self, sequences: Sequence[Sequence[int]]) -> Logits:
        width = len(self._backend.tokenizer.vocabulary)
        if not sequences:
            return np.empty((0, width), dtype=np.float32)
        payload = self._payload(sequences=[list(sequence) for sequence in sequences])

        async def once() -> tuple[bytes, str]:
            answer = await self._client.ask("POST", "/lmqlc/v1/logits", payload)
            return await answer.read(), answer.headers.get("x-lmqlc-usage", "")

        data, usage = await self._client.again(once)
        if len(data) != 4 * width * len(sequences):
            raise BackendUnavailable(f"the server at {self._client.url} answered with {len(data)} bytes of logits, which do not fit")
        self._count([int(number) for number in usage.split(",") if number])
        return np.frombuffer(data, "<f4").reshape(len(sequences), width).astype(np.float32)

    async def score(self, sequence: Sequence[int], start: int) -> npt.NDArray[np.float64]:
        if start < 1:
            raise ValueError("scoring starts at the second token or later")
        return (await self._scores(self._payload(prompt=list(sequence), start=start)))[0]

    async def score_options(self, prompt: Sequence[int], options: Sequence[Sequence[int]]) -> list[npt.NDArray[np.float64]]:
        return await self._scores(self._payload(prompt=list(prompt), options=[list(option) for option in options]))

    async def _scores(self, payload: dict[str, Any]) -> list[npt.NDArray[np.float64]]:
        made = await self._client.again(lambda: self._client.json("POST", "/lmqlc/v1/score", payload))
        self._count(made["usage"])
        return [np.array([-math.inf if value is None else value for value in row], np.float64) for row in made["scores"]]

    def _payload(self, **fields: Any) -> dict[str, Any]:
        return {"protocol": PROTOCOL, "model": self._backend.name or None, **fields}

    def _count(self, spent: Sequence[int]) -> None:
        if len(spent) == 3:
            self._usage.forward_passes += spent[0]
            self._usage.tokens_computed += spent[1]
            self._usage.tokens_reused += spent[2]

    def takes(self, language: Language | None) -> bool:
        """The language can be sent: functions of this process cannot."""
        return language is None or self._fields_of(language)[0] is not None

    def _fields_of(self, language: Language) -> tuple[dict[str, Any] | None, str]:
        """The fields that name a language in a request (None: it cannot be sent), and the bytes behind an automaton's name."""
        found = self._packed.get(id(language))
        if found is None or found[0] is not language:
            found = self._packed[id(language)] = (language, *_packed(language))
        return found[1:]

    async def decode(self, request: HoleRequest) -> AsyncGenerator[Step, None]:
        """The tokens of a hole, and its end. A stream that breaks goes on where it broke; nothing comes twice."""
        known: list[TokenResult] = []
        squeezed = False
        tries = Tries(self._client)
        while True:
            try:
                async with contextlib.aclosing(self._stream(request, known)) as steps:
                    async for step in steps:
                        if isinstance(step, _Squeezed):
                            squeezed = True
                            continue
                        if isinstance(step, TokenResult):
                            known.append(step)
                            tries.progress()
                        yield replace(step, squeezed=True) if squeezed and isinstance(step, Ended) else step
                        if isinstance(step, Ended):
                            return
                error: Exception = Broken("the answer has no end")
            except (Unreachable, Broken, Later) as found:
                error = found
            await tries.failed(error)

    async def _stream(self, request: HoleRequest, known: Sequence[TokenResult]) -> AsyncGenerator[Step | _Squeezed, None]:
        """One request for a hole, of which some tokens are known."""
        payload = self._hole_payload(request, known)
        name, packed = payload.get("automaton"), ""
        if name is not None and request.language is not None:
            packed = self._fields_of(request.language)[1]
        if name is not None and name not in self._backend.sent and len(packed) < 2048:
            payload["packed"] = packed  # so small that asking whether the server has it costs more
        for _ in range(2):
            try:
                async with contextlib.aclosing(self._client.lines("/lmqlc/v1/hole", payload, request.patience)) as lines:
                    async for step in self._steps(request, [*known], lines):
                        if name is not None:
                            self._backend.sent.add(name)
                        yield step
            except Refused:
                payload["packed"] = packed
            else:
                return

    def _hole_payload(self, request: HoleRequest, known: Sequence[TokenResult]) -> dict[str, Any]:
        sampling = {name: getattr(request.sampling, name) for name in request.sampling.__slots__}
        fields = {} if request.language is None else dict(self._fields_of(request.language)[0] or {})
        if request.exact and "automaton" in fields and self._backend.exact:
            fields["exact"] = True
        return self._payload(
            name=request.name,
            prompt=list(request.prompt),
            budget=request.budget.tokens,
            sampling=sampling,
            seed=list(request.seed),
            follow=request.follow,
            healable=request.healable,
            known=[token.id for token in known],
            chunk=request.chunk,
            **fields,
        )

    async def _steps(self, request: HoleRequest, known: list[TokenResult], lines: Lines) -> AsyncGenerator[Step | _Squeezed, None]:
        patience = request.patience or self._client.patience
        since = time.monotonic()
        healed = b""
        async for line in lines:
            if not line:
                if time.monotonic() - since > patience:
                    raise Silent(f"no token came for {patience:g} seconds")
                continue
            since = time.monotonic()  # tokens, or its turn in the queue has not come
            if "error" in line:
                raise self._client.failure(200, json.dumps(line).encode())
            if "healed" in line:
                healed = base64.b64decode(line["text"])
                yield Healed(int(line["healed"]), healed)
            for token in line.get("t", ()):
                known.append(self._token(token))
                yield known[-1]
            if line.get("squeezed"):
                yield _Squeezed()
            if "end" in line:
                self._count(line.get("usage", ()))
                yield self._ended(request, known, healed, line)
                return

    def _token(self, made: Sequence[Any]) -> TokenResult:
        tokens = self._backend.tokenizer.vocabulary.tokens
        token_id, logprob = made[0], made[1]
        if type(token_id) is not int or not 0 <= token_id < len(tokens):
            raise BackendUnavailable(f"the server at {self._client.url} speaks of tokens that its vocabulary does not have")
        known = -math.inf if logprob is None else float(logprob)
        return TokenResult(token_id, tokens[token_id].decode("utf-8", "replace"), known, len(made) > 2)

    def _ended(self, request: HoleRequest, known: Sequence[TokenResult], healed: bytes, line: dict[str, Any]) -> Ended:
        """The end of a hole, checked against its constraint."""
        vocabulary = self._backend.tokenizer.vocabulary
        pieces = [vocabulary.tokens[token.id] for token in known if token.id not in vocabulary.eos_ids]
        if healed and pieces:
            pieces = [piece for piece in (pieces[0][len(healed) :], *pieces[1:]) if piece]
        reason, cut = line["end"], int(line["cut"])
        if reason == "budget":
            reason = request.budget.reason
        ended = Ended(cast(FinishReason, reason), cut, line.get("exact") is True, line.get("squeezed") is True)
        if not fits(request.language, pieces, ended):
            raise ConstraintViolated(
                f"the server at {self._client.url} answered hole `{request.name}` with a text that breaks its constraint"
            )
        return ended


def _packed(language: Language) -> tuple[dict[str, Any] | None, str]:
    if isinstance(language, TextAutomaton):
        if not within_bounds(language):  # what a server does not take is decoded here, from its logits
            return None, ""
        try:
            name, data = pack_automaton(language)
        except ArtifactError:
            return None, ""
        return ({"automaton": name}, base64.b64encode(data).decode()) if len(data) <= MAX_PACKED else (None, "")
    text = pack_formula(schema_formula(language.constraint))
    return (None if text is None else {"formula": json.loads(text), "leading_space": language.leading_space}), ""


def load_server(spec: ModelSpec, *, progress: Progress | None = None) -> Backend:
    """A model at a server. Options: `endpoint` (`host:port` or a URL; `localhost:8080`), `api_key` (else `LMQL_API_KEY`), `chunk_timeout`.
    At a ws:// address that is no server of ours an LMTP server is looked for; `tokenizer` is for those (`lmqlc.backends.lmtp`).

    Raises BackendUnavailable where no such server answers, ModelNotFound where it has another model.
    """
    options = dict(spec.options)
    for name in options:
        if name not in OPTIONS:
            close = get_close_matches(name, OPTIONS, 1)
            hint = (
                f"did you mean {close[0]!r}?"
                if close
                else "options of from_pretrained are given where the model is loaded: to `lmqlc serve-model`"
            )
            raise LmqlError(f"a model at a server has no option {name!r}; {hint}")
    endpoint, key = options.get("endpoint", default_endpoint()), options.get("api_key", os.environ.get("LMQL_API_KEY") or None)
    patience = options.get("chunk_timeout", PATIENCE)
    if not isinstance(endpoint, str) or not isinstance(key, str | None):
        raise LmqlError("endpoint and api_key of a model at a server are strings")
    if isinstance(patience, bool) or not isinstance(patience, int | float) or not 0 < patience < math.inf:
        raise LmqlError(f"chunk_timeout is a number of seconds, not {patience!r}")
    client = Client(endpoint, model=spec.name, api_key=key, patience=float(patience))
    try:
        return blocking(lambda: _load(client, spec, progress))
    except OtherServer:
        if not endpoint.startswith(("ws://", "wss://")):
            raise
    from lmqlc.backends.lmtp import load_lmtp

    return load_lmtp(spec, progress=progress)


async def _load(client: Client, spec: ModelSpec, progress: Progress | None) -> ServerBackend:
    about = await _about(client, progress)
    try:
        names, protocol, version = list(about["names"]), about["protocol"], about["version"]
        bundle, fingerprint, context = str(about["bundle"]), str(about["fingerprint"]), about["context_length"]
    except (KeyError, TypeError):
        raise OtherServer(f"what answers at {client.url} is no lmqlc server") from None
    if protocol != PROTOCOL:
        raise BackendUnavailable(
            f"the server at {client.url} (lmqlc {version}) speaks version {protocol} of the protocol, this lmqlc version {PROTOCOL}; "
            "install the same lmqlc on both sides"
        )
    if spec.name and spec.name not in names:
        known = ", ".join(map(repr, names))
        raise ModelNotFound(f"the server at {client.url} has no model {spec.name!r}, it serves {known}; name that, or another endpoint=…")
    tokenizer = await _tokenizer(client, bundle, fingerprint)
    exact = about.get("exact") is True
    return ServerBackend(client, spec.name or names[0], tokenizer, context if isinstance(context, int) else None, exact=exact)


async def _about(client: Client, progress: Progress | None) -> Any:
    """What the server says of itself, once it has loaded its model."""
    tries = Tries(client)
    while True:
        try:
            return await client.json("GET", "/lmqlc/v1/model")
        except Unreachable as error:
            raise client.unreachable(error) from None
        except Later as later:
            if progress is not None:
                progress(f"waiting for {client.url}: {later.message}", None)
            if later.loading:
                tries.progress()
            await tries.failed(later)
        except Broken as error:
            await tries.failed(error)


async def _tokenizer(client: Client, name: str, fingerprint: str) -> Tokenizer:
    """The server's tokenizer: from the cache on disk, else from the server."""
    if len(name) != 64 or not all(c in "0123456789abcdef" for c in name):
        raise BackendUnavailable(f"what answers at {client.url} is no lmqlc server")

    def ask(payload: dict[str, Any]) -> list[int]:
        return list(blocking(lambda: client.again(lambda: client.json("POST", "/tokenize", payload)))["tokens"])

    path = cache_folder() / "tokenizers" / f"{name}.bin"
    with contextlib.suppress(OSError, ArtifactError):
        found = read_bundle(path, ask)
        if found.vocabulary.fingerprint == fingerprint:
            return found

    async def fetch() -> bytes:
        return await (await client.ask("GET", "/lmqlc/v1/tokenizer")).read(MAX_BUNDLE)

    data = await client.again(fetch)
    check_bundle(data, name, fingerprint)
    with contextlib.suppress(OSError):
        write_file(path, data)
    return _unpacked(data, ask)


def _unpacked(data: bytes, ask: Any) -> Tokenizer:
    from lmqlc.backends.tokenizer_bundle import tokenizer_of
    from lmqlc.compiler.masks.files import unpack_arrays

    return tokenizer_of(*unpack_arrays(data, "tokenizer"), ask)
