"""A model at other people's servers: `TextBackend` and `TextSession` over a dialect."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from lmqlc.backends.base import Level, SessionUsage, Tokenizer
from lmqlc.backends.remote.client import Client, Refused, Server
from lmqlc.backends.remote.dialect import Dialect
from lmqlc.backends.remote.wire import Body, Malformed
from lmqlc.backends.text import ScoredText, TextAbilities, TextPiece, TextPrompt, TextRequest, TextToken, TextUsage
from lmqlc.grammar.errors import BackendUnavailable, StreamBroken

Find = Callable[[Client], Awaitable[Dialect]]
"""Finds out which server is there."""


class RemoteBackend:
    """A model at a server.

    declared: what such servers can do, before this one is asked. server: where it is, asked for every session, since keys and addresses may
    come from the environment. find: finds out what the server is, once for each address. transport: for tests, instead of the network.
    """

    def __init__(
        self,
        name: str,
        declared: TextAbilities,
        server: Callable[[], Server],
        find: Find,
        tokenizer: Tokenizer | None = None,
        transport: Any = None,
    ) -> None:
        self.name = name
        self.declared = declared
        self.level: Level = declared.level
        self.tokenizer = tokenizer
        self._server = server
        self._find = find
        self._found: tuple[Server, Dialect] | None = None
        self._transport = transport

    async def dialect(self, client: Client) -> Dialect:
        """What the server wants to hear."""
        if self._found is None or self._found[0] != client.server:
            self._found = client.server, await self._find(client)
        return self._found[1]

    def __repr__(self) -> str:
        return f"<{self.name} at {self._server().shown}>"

    async def open_text(self) -> RemoteSession:
        return RemoteSession(self, Client(self._server(), self._transport))

    async def close(self) -> None:
        """Nothing is kept open between sessions."""


class RemoteSession:
    """One query's use of a server: one connection that is kept, and what was asked."""

    def __init__(self, backend: RemoteBackend, client: Client) -> None:
        self._backend = backend
        self._client = client
        self._usage = SessionUsage()

    @property
    def usage(self) -> SessionUsage:
        return self._usage

    async def abilities(self, prompt: TextPrompt) -> TextAbilities:
        dialect = await self._backend.dialect(self._client)
        found = await dialect.abilities(self._client, prompt)
        return replace(found, tail=await dialect.tail(self._client, prompt)) if found.continues else found

    async def complete(self, request: TextRequest) -> AsyncGenerator[TextPiece, None]:
        dialect = await self._backend.dialect(self._client)
        url, body = await dialect.request(self._client, request)
        self._usage.forward_passes += 1
        read = dialect.reader(url)
        changed = request.grammar is not None or request.schema is not None or bool(request.bias)
        blind = changed and dialect.masks_scores
        finished, usage = False, None
        try:
            async with aclosing(self._events(dialect, url, body, request.seconds)) as events:
                async for event in events:
                    piece = self._piece(read, event)
                    finished = finished or piece.finish is not None
                    usage = piece.usage or usage
                    yield replace(piece, tokens=tuple(map(_unscored, piece.tokens))) if blind else piece
        finally:
            self._count(usage)
        if not finished:
            raise StreamBroken(f"the {self._client.server.kind} server at {self._client.server.shown} ended its answer too early")

    async def _events(self, dialect: Dialect, url: str, body: Body, seconds: float) -> AsyncGenerator[Body, None]:
        """The answer's events. Where the server refuses a field that the answer can do without, it is asked again without it."""
        while True:
            try:
                async with aclosing(self._client.stream(url, body, seconds=seconds)) as events:
                    async for event in events:
                        yield event
            except Refused as refused:
                smaller = dialect.without(body, refused.reason)
                if smaller is None:
                    raise
                body = smaller
            else:
                return

    def _piece(self, read: Callable[[Body], TextPiece], event: Body) -> TextPiece:
        try:
            return read(event)
        except Malformed as problem:
            if problem.args:
                where = f"the {self._client.server.kind} server at {self._client.server.shown}"
                raise BackendUnavailable(f"{where}: {self._client.clean(str(problem))}") from None
            raise self._client.malformed(event) from None

    def _count(self, usage: TextUsage | None) -> None:
        if usage is not None:
            self._usage.tokens_computed += max(0, usage.prompt - usage.cached)
            self._usage.tokens_reused += min(usage.cached, usage.prompt)

    async def score_texts(self, prompt: TextPrompt, options: Sequence[str]) -> list[ScoredText]:
        dialect = await self._backend.dialect(self._client)
        self._usage.forward_passes += 1
        return await dialect.score(self._client, prompt, options)

    async def score_said(self, prompt: TextPrompt, ids: Sequence[int]) -> list[float] | None:
        dialect = await self._backend.dialect(self._client)
        found = await dialect.score_said(self._client, prompt, ids)
        self._usage.forward_passes += found is not None
        return found

    def remember(self, prompt: TextPrompt, said: str, ids: Sequence[int]) -> None:
        before = self._client.known.get(prompt)
        if before is not None:
            self._client.known.put(prompt.and_then(said), [*before, *ids])

    async def close(self) -> None:
        await self._client.close()


def _unscored(token: TextToken) -> TextToken:
    """A token without numbers that may not be the model's own."""
    return replace(token, logprob=None, alternatives=())
