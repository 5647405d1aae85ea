"""A model behind LMTP, the websocket protocol of existing LMQL servers: `ws://host:port` endpoints that are no server of ours.

The protocol has one mask for a whole stream and no seeds, so constraints are held here: greedy holes are streamed in chunks for as long as
the model's own choice is legal, and where it is not, or tokens are sampled, the whole distribution of the next token is asked for.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any

import numpy as np
import numpy.typing as npt
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidHandshake, InvalidStatus, WebSocketException

from lmqlc.backends.base import Logits, ModelSpec, Progress, SessionUsage, Vocabulary
from lmqlc.backends.elsewhere import ModelElsewhere
from lmqlc.backends.works import HoleWork
from lmqlc.compiler.automata.automaton import StopPhrase, TextAutomaton
from lmqlc.compiler.masks.canonical import InText
from lmqlc.compiler.masks.core import core_of
from lmqlc.compiler.masks.heal import taken_back
from lmqlc.compiler.masks.hole import HoleRun, TokenResult
from lmqlc.compiler.masks.interface import TokenConstraint
from lmqlc.compiler.masks.likeliest import is_empty, text_tree
from lmqlc.compiler.masks.request import Ended, Healed, HoleRequest, Language
from lmqlc.compiler.masks.token_automaton import finished
from lmqlc.grammar.errors import BackendUnavailable, ModelNotFound

TIMEOUT = 60.0
"""Seconds without a word from the server; the option `timeout`, and `chunk_timeout` of a decoder."""
CHUNK = 16
"""Tokens asked for at a time, where `chunksize` does not say."""
MAX_MESSAGE = 64 << 20
"""Most bytes of a message: a whole distribution over a large vocabulary has some megabytes."""

Entry = dict[str, Any]


class LmtpBackend(ModelElsewhere):
    """A model that an LMTP server has."""

    async def open(self) -> LmtpSession:
        return LmtpSession(self)


class LmtpSession:
    """One run's use of the model, over one connection that is made at the first question."""

    def __init__(self, backend: LmtpBackend) -> None:
        self._backend = backend
        self._usage = SessionUsage()
        self._socket: ClientConnection | None = None
        self._reader: asyncio.Task[None] | None = None
        self._connecting = asyncio.Lock()
        self._streams: dict[int, asyncio.Queue[Entry]] = {}
        self._count = 0

    @property
    def usage(self) -> SessionUsage:
        return self._usage

    @property
    def _vocabulary(self) -> Vocabulary:
        return self._backend.tokenizer.vocabulary

    async def logits(self, sequences: Sequence[Sequence[int]]) -> Logits:
        """Log-probabilities of next tokens, which are logits as good as any."""
        return np.stack(await asyncio.gather(*(self._row(sequence) for sequence in sequences)))

    async def score(self, sequence: Sequence[int], start: int) -> npt.NDArray[np.float64]:
        self._usage.forward_passes += 1
        self._usage.tokens_computed += len(sequence)
        async with aclosing(self._entries("SCORE", {"prompt": list(sequence[:start]), "scored": list(sequence[start:])})) as entries:
            scores = [float(entry["logprob"]) async for entry in entries]
        if len(scores) != len(sequence) - start:
            raise BackendUnavailable(f"{self._at} scored {len(scores)} of {len(sequence) - start} tokens")
        return np.array(scores, np.float64)

    def takes(self, language: Language | None) -> bool:
        return language is None or isinstance(language, TextAutomaton)

    async def decode(self, request: HoleRequest) -> AsyncIterator[TokenResult | Healed | Ended]:
        """A hole; see the module for how its constraint is held."""
        work = self._work(request)
        plain = request.sampling.temperature == 0 and not request.sampling.has_penalties
        while wanted := work.wants():
            for event in _taken(work):
                yield event
            if work.searches:
                work.take(await self.logits(wanted))
                continue
            if plain:
                async with aclosing(self._greedy(work, wanted[0], request)) as tokens:
                    async for token in tokens:
                        yield token
                wanted = work.wants()
            if wanted:
                work.take((await self._row(wanted[0]))[None])
        for event in _taken(work):
            yield event

    def _work(self, request: HoleRequest) -> HoleWork:
        """The hole, as it would be decoded in process."""
        language, tokenizer, vocabulary = request.language, self._backend.tokenizer, self._vocabulary
        prompt = list(request.prompt)
        heal = Healed(*taken_back(vocabulary, prompt[len(prompt) - request.healable :])) if request.healable else Healed(0, b"")
        constraint: TokenConstraint | None = None
        phrases: Sequence[StopPhrase] = ()
        if isinstance(language, TextAutomaton):
            core, encode = core_of(language, vocabulary), InText(tokenizer)
            linked = finished(core, max_tokens=None, follow=request.follow, encode=encode, named=vocabulary.named)
            constraint, phrases = linked.within(request.budget.tokens).require(heal.text), language.phrases
        hole = HoleRun(request.name, vocabulary, constraint, request.budget, phrases, heal.text)
        hole.exact = request.exact and is_empty(hole)
        tree = text_tree(hole) if request.exact else None
        return HoleWork(hole, prompt, request.sampling, request.seed, heal=heal, tree=tree)

    async def _greedy(self, work: HoleWork, ids: list[int], request: HoleRequest) -> AsyncGenerator[TokenResult, None]:
        """The model's own choices after some ids for as long as they are legal, a chunk at most."""
        hole = work.hole
        count = min(request.chunk if request.chunk > 1 else CHUNK, hole.left)
        self._usage.tokens_computed += len(ids)
        payload = {"prompt": ids, "max_tokens": count, "temperature": 0.0, "top_logprobs": 1}
        taken = 0
        async with aclosing(self._entries("GENERATE", payload, request.patience)) as entries:
            async for entry in entries:
                token = self._token(entry)
                taken += 1
                if taken > count or not hole.legal(token):
                    return
                self._usage.forward_passes += 1
                yield hole.push(token, float(entry["logprob"]))
                if hole.reason is not None or hole.forced():
                    return

    async def _row(self, sequence: Sequence[int]) -> Logits:
        """Log-probabilities `float32[V]` of the next token."""
        self._usage.forward_passes += 1
        self._usage.tokens_computed += len(sequence)
        width = len(self._vocabulary)
        payload = {"prompt": list(sequence), "max_tokens": 1, "temperature": 0.0, "top_logprobs": width}
        row = np.full(width, -np.inf, np.float32)
        async with aclosing(self._entries("GENERATE", payload)) as entries:
            async for entry in entries:
                top = entry.get("top_logprobs")
                if not isinstance(top, dict):
                    raise BackendUnavailable(f"{self._at} gave no `top_logprobs`")
                pairs = [(int(key), float(value)) for key, value in top.items() if int(key) < width]
                row[[key for key, _ in pairs]] = [value for _, value in pairs]
                return row
        raise BackendUnavailable(f"{self._at} gave no token")

    def _token(self, entry: Entry) -> int:
        token = entry.get("token")
        if not isinstance(token, int) or not 0 <= token < len(self._vocabulary):
            raise BackendUnavailable(f"{self._at} gave {token!r} for a token; its model has another tokenizer than {self._backend.name!r}")
        return token

    async def _entries(self, kind: str, payload: dict[str, Any], patience: float | None = None) -> AsyncGenerator[Entry, None]:
        """The entries of a stream, to the one that has a finish reason."""
        socket = await self._connected()
        self._count += 1
        stream, waiting = self._count, asyncio.Queue[Entry]()
        self._streams[stream] = waiting
        seconds = patience or self._backend.timeout
        try:
            await socket.send(f"{kind} {json.dumps(payload | {'model': self._backend.name, 'stream_id': stream})}")
            while True:
                async with asyncio.timeout(seconds):
                    entry = await waiting.get()
                if entry.get("error") is not None:
                    self._refuse(str(entry["error"]))
                yield entry
                if entry.get("finish_reason") is not None:
                    return
        except TimeoutError:
            raise BackendUnavailable(f"{self._at} said nothing for {seconds:g} s; `timeout=` or `chunk_timeout=` allow more") from None
        except WebSocketException as error:
            raise BackendUnavailable(f"the connection to {self._backend.endpoint.url} broke: {error}") from None
        finally:
            self._streams.pop(stream, None)

    def _refuse(self, said: str) -> None:
        if "not loaded" in said:
            raise ModelNotFound(f"{self._at}: {said[:300]}")
        raise BackendUnavailable(f"{self._at}: {said[:300]}")

    async def _connected(self) -> ClientConnection:
        async with self._connecting:
            if self._socket is None:
                url, headers = self._backend.endpoint.websocket_url, self._backend.endpoint.headers()
                try:
                    self._socket = await connect(url, additional_headers=headers, max_size=MAX_MESSAGE, open_timeout=10)
                except InvalidStatus as error:
                    raise BackendUnavailable(self._refused(error.response.status_code)) from None
                except (OSError, TimeoutError, InvalidHandshake) as error:
                    start = f"start a server with `lmql serve-model {self._backend.name}`"
                    raise BackendUnavailable(f"{self._at} cannot be reached ({type(error).__name__}); {start}") from None
                self._reader = asyncio.create_task(self._read(self._socket))
        return self._socket

    def _refused(self, status: int) -> str:
        if status in (401, 403):
            return f"{self._at} wants an API key, or another one; give `api_key=` or set LMQL_API_KEY"
        return f"{self._at} speaks no LMTP: it answered {status}"

    async def _read(self, socket: ClientConnection) -> None:
        """Hand every entry to its stream; at the end of the connection tell all of them."""
        try:
            async for message in socket:
                kind, _, rest = str(message).partition(" ")
                for entry in json.loads(rest) if kind in ("TOKEN", "MSG") else ():
                    waiting = self._streams.get(entry.get("stream_id"))
                    if waiting is not None:
                        waiting.put_nowait(entry)
            ended = "it closed the connection"
        except (ValueError, AttributeError, TypeError):
            ended = "it sent something that is no LMTP"
        except WebSocketException as error:
            ended = f"the connection broke ({type(error).__name__})"
        for waiting in self._streams.values():
            waiting.put_nowait({"error": ended})

    @property
    def _at(self) -> str:
        return f"the server at {self._backend.endpoint.websocket_url}"

    async def close(self) -> None:
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
        if self._socket is not None:
            await self._socket.close()


def _taken(work: HoleWork) -> list[Any]:
    """The events that have come of a work."""
    events, work.events = work.events, []
    return events


def load_lmtp(spec: ModelSpec, *, progress: Progress | None = None) -> LmtpBackend:
    """The model of such a server; options and errors: `ModelElsewhere.of`."""
    return LmtpBackend.of(spec, TIMEOUT)
