"""Servers that tell of their tokenizer: prompts as token ids, the token that a prompt ends with, and scores of given texts.

What the model has said stays in the tokens that it said it in, and what a program writes after it is tokenised by itself, as in process.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from lmqlc.backends.remote.client import Client
from lmqlc.backends.remote.dialect import Dialect
from lmqlc.backends.remote.wire import Body
from lmqlc.backends.text import ScoredText, TextPrompt, TextToken
from lmqlc.grammar.errors import BackendUnavailable, ContextOverflow, ModelNotFound, UnsupportedConstraint

T = TypeVar("T")
R = TypeVar("R")

LONGEST_TAIL = 24
"""Most bytes that are taken back from a prompt."""
CHEAP = 2_048
"""Tokens of prompt and answer up to which an answer is scored by one more request."""
_AT_ONCE = 8
"""Requests to the tokenizer at the same time."""
_ENOUGH = 256
"""Characters at the end of a text that say which token is its last."""


class TokenDialect(Dialect):
    """A kind of server that tokenises texts and scores token ids."""

    def __init__(self, model: str, extra: Body | None = None, omitted: Sequence[str] = ()) -> None:
        super().__init__(model, extra, omitted)
        self._context: list[int] | None = None  # the ids of "A", to read another id behind
        self._adds_space = False
        self._tells = True  # what the text of an id is
        self._texts: dict[tuple[int, int], str] = {}

    # What a server must say

    @abstractmethod
    async def whole(self, client: Client, prompt: TextPrompt) -> list[int] | None:
        """The ids of a whole prompt, with what stands before every text; None where the server does not tell."""

    @abstractmethod
    async def encode(self, client: Client, text: str) -> list[int]:
        """The ids of a text without anything before it. Raises UnsupportedConstraint where the server does not tell."""

    @abstractmethod
    async def decode(self, client: Client, ids: Sequence[int]) -> str:
        """The text of ids."""

    @abstractmethod
    async def score_ids(self, client: Client, prompt: Sequence[int], rows: Sequence[Sequence[int]]) -> list[list[TextToken]]:
        """The tokens of every row with their log-probabilities after the prompt."""

    # What follows from it

    async def ids(self, client: Client, prompt: TextPrompt) -> list[int] | None:
        """The ids of a prompt: what was said before as it was said, what was written since then tokenised by itself."""
        found = client.known.get(prompt)
        if found is None:
            before = client.known.get(prompt.without(prompt.fresh)) if prompt.fresh else None
            if before is None:
                found = await self.whole(client, prompt)
            else:
                found = before + await self.fragment(client, prompt.end[len(prompt.end) - prompt.fresh :])
            if found is not None:
                client.known.put(prompt, found)
        return found

    async def fragment(self, client: Client, text: str) -> list[int]:
        """The ids of a text in the middle of another one: some tokenizers put a space before every text."""
        if not text:
            return []
        await self._probe(client)
        if not self._adds_space:
            return await self.encode(client, text)
        start, both = await self.encode(client, "\n"), await self.encode(client, "\n" + text)
        return both[len(start) :] if both[: len(start)] == start else await self.encode(client, text)

    async def _probe(self, client: Client) -> list[int]:
        if self._context is None:
            alone, behind = await self.encode(client, "A"), await self.encode(client, "\nA")
            self._adds_space = behind[len(behind) - len(alone) :] != alone
            self._context = alone
        return self._context

    async def text_of(self, client: Client, ids: Sequence[int]) -> str:
        """The text of the last of some ids behind those before it; empty where it is no whole character."""
        before = ids[-2] if len(ids) > 1 else (await self._probe(client))[-1]
        key = before, ids[-1]
        if key not in self._texts:
            start, both = await self.decode(client, [before]), await self.decode(client, key)
            self._texts[key] = both[len(start) :] if both.startswith(start) and "\ufffd" not in both else ""
        return self._texts[key]

    async def tail(self, client: Client, prompt: TextPrompt) -> str:
        """The prompt's last token, as far as it is text written since the last hole."""
        found = None
        if prompt.fresh and self._tells:
            try:
                found = await self._last(client, prompt)
            except (BackendUnavailable, ModelNotFound):  # an older server
                self._tells = False
        return await super().tail(client, prompt) if found is None else found

    async def _last(self, client: Client, prompt: TextPrompt) -> str | None:
        """The text of a prompt's last token where it may be taken back, else nothing; None where the server does not tell. A template may
        change what stands at the end of a conversation: there the end is tokenised by itself."""
        if prompt.turns:
            end: list[int] | None = await self.fragment(client, prompt.end[len(prompt.end) - prompt.fresh :][-_ENOUGH:])
        else:
            end = await self.ids(client, prompt)
        if not end:
            return None
        text = await self.text_of(client, end)
        if len(text) > prompt.fresh or not prompt.end.endswith(text) or len(text.encode()) > LONGEST_TAIL:
            return ""
        if text and not prompt.turns:
            if len(end) < 2:  # something must be left to go on from
                return ""
            client.known.put(prompt.without(len(text)), end[:-1])
        return text

    async def score(self, client: Client, prompt: TextPrompt, options: Sequence[str]) -> list[ScoredText]:
        head = await self.ids(client, prompt)
        if head is None:
            raise UnsupportedConstraint(f"{self.server} at {client.server.shown} has no /tokenize, which scoring needs; update the server")
        tail = "" if prompt.turns else await self.tail(client, prompt)
        plain = await _together(lambda option: self.fragment(client, option), options)
        healed = await _together(lambda option: self._running_on(client, tail, head[-1], option), options)
        if not any(healed):
            return [ScoredText(tuple(row)) for row in await self.score_ids(client, head, plain)]
        last = head[-1:]
        rows = [ids or [*last, *alone] for ids, alone in zip(healed, plain, strict=True)]
        *scored, (ending,) = await self.score_ids(client, head[:-1], [*rows, last])
        put_back = ending.logprob or 0.0
        return [
            ScoredText(tuple(row), tail, put_back) if ids else ScoredText(tuple(row[1:])) for row, ids in zip(scored, healed, strict=True)
        ]

    async def _running_on(self, client: Client, tail: str, last: int, option: str) -> list[int]:
        """The ids of the prompt's end and an option where the first of them covers both; else none."""
        if not tail or not option:
            return []
        ids = await self.fragment(client, tail + option)
        if not ids or ids[0] == last:
            return []
        text = await self.text_of(client, ids[:1])
        return ids if len(text) > len(tail) and text.startswith(tail) else []

    async def score_said(self, client: Client, prompt: TextPrompt, ids: Sequence[int]) -> list[float] | None:
        head = await self.ids(client, prompt)
        if head is None or len(head) + len(ids) > CHEAP:
            return None
        try:
            (row,) = await self.score_ids(client, head, [ids])
        except (BackendUnavailable, ContextOverflow):  # the text is there; its numbers are not
            return None
        return [float("nan") if token.logprob is None else token.logprob for token in row]


async def _together(ask: Callable[[T], Awaitable[R]], values: Sequence[T]) -> list[R]:
    """The answers about some values, a few at a time."""
    free = asyncio.Semaphore(_AT_ONCE)

    async def one(value: T) -> R:
        async with free:
            return await ask(value)

    return list(await asyncio.gather(*(one(value) for value in values)))
