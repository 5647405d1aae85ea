"""The choices of a completion or chat while they are decoded: text that has become certain, tokens with log-probabilities, the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from lmqlc.backends.serve.answers import dumps
from lmqlc.backends.serve.problems import Problem
from lmqlc.backends.serve.served import Ready, Served
from lmqlc.backends.serve.settings import HEARTBEAT
from lmqlc.backends.serve.texts import Manner, Said, TextWork, budget_for, finish_reason, linked_for, text_work
from lmqlc.backends.ticket import Ticket
from lmqlc.compiler.masks.certain import CertainText
from lmqlc.grammar.errors import LmqlError


@dataclass(slots=True)
class Piece:
    """What one look at a reply brought: text, tokens, and why it ended (None: it goes on)."""

    text: str
    said: list[Said]
    finish: str | None = None


@dataclass
class Reply:
    """One choice."""

    index: int
    prompt: list[int]
    work: TextWork
    ticket: Ticket
    shown: CertainText
    tokens: int = 0
    said: list[Said] = field(default_factory=list)

    async def pieces(self) -> AsyncIterator[Piece | None]:
        """Pieces as they come; None where nothing came for a while."""
        vocabulary = self.work.hole.vocabulary
        while (events := await self.ticket.next(HEARTBEAT)) != []:
            if events is None:
                yield None
                continue
            said = [event for event in events if event is not None]
            self.tokens += len(said)
            ended = events[-1] is None
            whole = said[:-1] if ended else said  # the last token may reach past a stop
            text = "".join([self.shown.feed(vocabulary.tokens[one.token.id]) for one in whole])
            if ended:
                text += self.shown.rest(self.work.hole.written().text)
            yield Piece(text, said, finish_reason(self.work.hole) if ended else None)


async def begin(
    served: Served, ready: Ready, prompts: Sequence[list[int]], manner: Manner, top: int, client: object, deadline: float
) -> list[Reply]:
    """The replies to prompts, `manner.choices` for each. Raises Problem, LmqlError; nothing is under way then."""
    replies: list[Reply] = []
    works: list[tuple[list[int], TextWork, CertainText]] = []
    for at, prompt in enumerate(prompts):
        budget = budget_for(ready, prompt, manner.most)
        linked = await linked_for(manner, ready, budget)
        for choice in range(manner.choices):
            work, phrases = await text_work(ready, prompt, manner, linked, budget, (at, choice), top)
            works.append((prompt, work, CertainText(phrases)))
    try:
        for index, (prompt, work, shown) in enumerate(works):
            ticket = ready.scheduler.submit(work, client=client, deadline=deadline)
            replies.append(Reply(index, prompt, work, ticket, shown))
    except LmqlError:
        cancel(replies)
        raise
    return replies


def cancel(replies: Sequence[Reply]) -> None:
    """Give replies up."""
    for reply in replies:
        reply.ticket.cancel()


async def gathered(replies: Sequence[Reply]) -> list[Piece]:
    """Every reply as one piece."""
    return list(await asyncio.gather(*map(_whole, replies)))


async def _whole(reply: Reply) -> Piece:
    whole = Piece("", [])
    async for piece in reply.pieces():
        if piece is not None:
            whole.text += piece.text
            whole.said += piece.said
            whole.finish = piece.finish
    return whole


async def merged(replies: Sequence[Reply]) -> AsyncIterator[tuple[Reply, Piece] | None]:
    """Pieces of all replies as they come; None for signs of life. A reply that is cancelled ends without a last piece."""
    queue: asyncio.Queue[tuple[Reply, Piece] | Exception | Literal["over"] | None] = asyncio.Queue(maxsize=64)

    async def follow(reply: Reply) -> None:
        try:
            async for piece in reply.pieces():
                await queue.put(None if piece is None else (reply, piece))
        except (LmqlError, Problem) as error:
            await queue.put(error)
        else:
            await queue.put("over")

    tasks = [asyncio.create_task(follow(reply)) for reply in replies]
    left = len(replies)
    try:
        while left:
            item = await queue.get()
            if isinstance(item, Exception):
                raise item
            if item == "over":
                left -= 1
            else:
                yield item
    finally:
        for task in tasks:
            task.cancel()


def usage_of(replies: Sequence[Reply], choices: int) -> dict[str, Any]:
    """Tokens of a request, as OpenAI counts them: each prompt once."""
    prompt = sum(len(reply.prompt) for reply in replies[::choices])
    said = sum(reply.tokens for reply in replies)
    cached = sum(min(reply.ticket.cached or 0, len(reply.prompt)) for reply in replies[::choices])
    details = {"cached_tokens": cached}
    return {"prompt_tokens": prompt, "completion_tokens": said, "total_tokens": prompt + said, "prompt_tokens_details": details}


def sse(value: Any) -> bytes:
    """A server-sent event."""
    return b"data: " + dumps(value) + b"\n\n"


DONE = b"data: [DONE]\n\n"
ALIVE = b": alive\n\n"


def trouble(problem: Problem) -> bytes:
    """The last event of a stream that fails."""
    return sse(problem.body())


def count(served: Served, replies: Sequence[Reply], choices: int, started: float, first: float | None) -> None:
    """Add a request's tokens to the metrics."""
    usage = usage_of(replies, choices)
    served.metrics.decoded(usage["prompt_tokens"], usage["completion_tokens"])
    if first is not None:
        served.metrics.first_token.add(first - started)
