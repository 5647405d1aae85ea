"""Work for a scheduler, and the ticket with which its asker waits for what comes of it.

The work runs in the scheduler's thread; events are handed over to the asker's event loop, those of one step together.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Protocol

from lmqlc.backends.base import Logits, Session, SessionUsage
from lmqlc.grammar.errors import LmqlError


class Work(Protocol):
    """Something that needs logits, or calls of a session (`alone`, until it is None).

    Only its scheduler may touch it once it was submitted. waits: `wants` and `take` may wait for other processes; the scheduler calls them
    in a thread of their own, one at a time.
    """

    usage: SessionUsage
    waits: bool
    alone: Callable[[Session], Awaitable[None]] | None
    shared: int
    """So many ids are at the start of all that is wanted, which are several continuations of a prompt; 0 where they are not."""
    events: list[Any]
    """What came of it since the last look; the scheduler takes them out."""

    def wants(self) -> list[list[int]]:
        """The id sequences whose next-token logits are needed next; none where the work is done."""
        ...

    def take(self, rows: Logits) -> None:
        """The logits `float32[n, V]` that were wanted."""
        ...


class Ticket:
    """A piece of work that was taken in. Made in the asker's event loop, which alone may call `next`."""

    def __init__(self, work: Work, deadline: float | None) -> None:
        self.work = work
        self.deadline = deadline
        self.begun = time.monotonic()
        self.cancelled = False
        self.admitted = False
        self.wants: list[list[int]] = []
        self.reading = True  # its first sequences are not read yet
        self.read = 0  # positions of its prompt that are
        self.known = 0  # positions that it was charged for
        self.cached: int | None = None  # positions of its prompt that others had read before it
        self.own_seconds = 0.0
        self.choosing: asyncio.Future[tuple[list[list[int]], float]] | None = None  # what it wants next, while a thread finds that
        self.late = False  # that has kept others waiting already
        self._loop = asyncio.get_running_loop()
        self._events: deque[Any] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._asked_at = 0.0
        self._clock: asyncio.TimerHandle | None = None
        self._over = False
        self._error: LmqlError | None = None

    @property
    def fresh(self) -> bool:
        """The work has events that were not handed over, and adds none now."""
        return self.choosing is None and bool(self.work.events)

    def cancel(self) -> None:
        """Nobody waits any more: the work leaves before the next step."""
        self.cancelled = True

    async def next(self, patience: float | None = None) -> list[Any] | None:
        """The events that have come, at least one; [] at the end; None where none came in `patience` seconds. Raises the work's error."""
        if not self._events and not self._over:
            self._waiter = self._loop.create_future()
            self._asked_at = self._loop.time()
            if patience is not None and self._clock is None:
                self._clock = self._loop.call_later(patience, self._tick, patience)
            try:
                await self._waiter
            finally:
                self._waiter = None
        if self._over and self._clock is not None:
            self._clock.cancel()
        if self._events:
            events = list(self._events)
            self._events.clear()
            return events
        if self._over and self._error is not None:
            raise self._error
        return [] if self._over else None

    def _tick(self, patience: float) -> None:
        """Ends a look that has waited for `patience` seconds: one timer for all of them costs less than one for each."""
        self._clock = None
        if self._waiter is None or self._waiter.done():
            return
        left = self._asked_at + patience - self._loop.time()
        if left <= 0:
            self._waiter.set_result(None)
        else:
            self._clock = self._loop.call_later(left, self._tick, patience)

    async def all(self) -> list[Any]:
        """All events, once the work is done. Raises the work's error."""
        found: list[Any] = []
        while events := await self.next():
            found += events
        return found

    # -- in the scheduler's thread -----------------------------------------------------------------------------------------

    def finish(self, error: LmqlError | None) -> None:
        """Hand over what is left, and the end."""
        self._hand_over([(self, self._taken(), True, error)])

    def _taken(self) -> list[Any]:
        events = list(self.work.events)
        self.work.events.clear()
        return events

    @staticmethod
    def deliver_all(tickets: Iterable[Ticket]) -> None:
        """Hand over the events of several works, together for each event loop."""
        loops: dict[asyncio.AbstractEventLoop, list[tuple[Ticket, list[Any], bool, LmqlError | None]]] = {}
        for ticket in tickets:
            loops.setdefault(ticket._loop, []).append((ticket, ticket._taken(), False, None))
        for parcels in loops.values():
            parcels[0][0]._hand_over(parcels)

    def _hand_over(self, parcels: list[tuple[Ticket, list[Any], bool, LmqlError | None]]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits any more
            self._loop.call_soon_threadsafe(_receive, parcels)


def _receive(parcels: list[tuple[Ticket, list[Any], bool, LmqlError | None]]) -> None:
    for ticket, events, over, error in parcels:
        ticket._events.extend(events)
        ticket._over = ticket._over or over
        ticket._error = ticket._error or error
        if ticket._waiter is not None and not ticket._waiter.done():
            ticket._waiter.set_result(None)
