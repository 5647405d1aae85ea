"""Continuous batching: pieces of work from many clients share the steps of one model.

The scheduler has a thread of its own. Before each step it takes in what waits, in turn between clients, and drops what was cancelled or is
past its deadline; in a step, everything that is under way asks for its next logits in one call of the model. Work joins and leaves between
steps. A long prompt is read in pieces between steps, so that nobody waits for it. Work whose constraint is judged by other processes
chooses its tokens in a thread, and sits out the steps until it has. Where the model runs out of memory, batches get smaller.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from lmqlc.backends.base import AnswersTails, Backend, KnowsPrefixes, Logits, Session, SessionUsage
from lmqlc.backends.pretrained import OutOfMemory
from lmqlc.backends.ticket import Ticket, Work
from lmqlc.backends.works import HoleWork
from lmqlc.grammar.errors import BackendUnavailable, LmqlError

PIECE = 256
"""Positions of a prompt that are read in one go."""
PROMPTS = 512
"""Positions of prompts that are read before a step; at least one piece is."""
OWN_SECONDS = 60.0
"""Seconds that the choosing of one work's tokens may take, the model's steps not counted: a bound on costly constraints."""
MOMENT = 0.02
"""Seconds that a step waits for a work that chooses its token in a thread, before it goes on without."""
_LOOK = 0.5  # seconds between looks at deadlines while nothing else happens
_RECOVERY = 500  # steps after which a batch that ran out of memory is tried larger again

log = logging.getLogger("lmqlc.serve")


class Busy(BackendUnavailable):
    """The queue is full. retry_after: seconds until there may be room."""

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Expired(BackendUnavailable):
    """Work that was not done by its deadline."""


class Stopping(BackendUnavailable):
    """The server is going down, or comes up."""

    retry_after = 2.0


@runtime_checkable
class HearsOfHoles(Protocol):
    """A session that wants to know when a hole begins: after the first `kept` ids of `prompt`, which may be healed."""

    def begin_hole(self, name: str, prompt: Sequence[int], kept: int) -> None: ...


@dataclass(slots=True)
class Counts:
    """What the scheduler has done since it started."""

    steps: int = 0
    rows: int = 0
    finished: int = 0
    failed: int = 0
    cancelled: int = 0
    refused: int = 0


class Scheduler:
    """The steps of one model. batch: most works under way. queue: most works that wait for their turn.

    failures: calls of the model that failed, since the last one that did not.
    """

    def __init__(self, backend: Backend, *, batch: int = 32, queue: int = 256) -> None:
        self.backend = backend
        self.batch = batch
        self.queue = queue
        self.counts = Counts()
        self.usage = SessionUsage()
        self._waiting: OrderedDict[object, deque[Ticket]] = OrderedDict()
        self._waiting_count = 0
        self._active: list[Ticket] = []
        self._lock = threading.Lock()
        self._stopping = False
        self.failures = 0
        self._rows_at_once = batch
        self._good_steps = 0
        self._work_seconds = 1.0
        self._started = threading.Event()
        self._choosers = ThreadPoolExecutor(max_workers=batch, thread_name_prefix="lmqlc-choose")
        self._loop: asyncio.AbstractEventLoop
        self._wake: asyncio.Event
        self._session: Session
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), name="lmqlc-scheduler", daemon=True)
        self._thread.start()
        self._started.wait()

    @property
    def waiting(self) -> int:
        """Works that wait for their turn."""
        return self._waiting_count

    @property
    def active(self) -> int:
        """Works under way."""
        return len(self._active)

    def submit(self, work: Work, *, client: object = None, deadline: float | None = None) -> Ticket:
        """Takes a piece of work in; its events come to the event loop that runs here. deadline: seconds from now.

        Raises Busy where the queue is full, Stopping where no more work is taken.
        """
        ticket = Ticket(work, None if deadline is None else time.monotonic() + deadline)
        with self._lock:
            if self._stopping:
                raise Stopping("the server is shutting down")
            if self._waiting_count >= self.queue:
                self.counts.refused += 1
                raise Busy(f"{self._waiting_count} requests are waiting already", self._patience())
            self._waiting.setdefault(client, deque()).append(ticket)
            self._waiting_count += 1
        self._loop.call_soon_threadsafe(self._wake.set)
        return ticket

    def _patience(self) -> float:
        return min(60.0, max(1.0, self._work_seconds * self._waiting_count / self.batch))

    def stop(self) -> None:
        """Takes no more work; what was taken in is done."""
        with self._lock:
            self._stopping = True
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._wake.set)

    def close(self, patience: float = 30.0) -> None:
        """Ends the thread: when all work is done, at the latest after `patience` seconds. What is left then fails."""
        self.stop()
        self._thread.join(patience)
        if self._thread.is_alive():
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._abandon)
            self._thread.join(10)

    def _abandon(self) -> None:
        error = Stopping("the server was shut down")
        with self._lock:
            left = [*self._active, *(ticket for tickets in self._waiting.values() for ticket in tickets)]
            self._waiting.clear()
            self._waiting_count = 0
        for ticket in left:
            ticket.cancel()
            ticket.finish(error)

    async def _main(self) -> None:
        self._loop, self._wake = asyncio.get_running_loop(), asyncio.Event()
        self._session = await self.backend.open()
        self._started.set()
        while True:
            if not self._active and not self._waiting_count:
                if self._stopping:
                    break
                await self._wake.wait()
            self._wake.clear()
            self._admit()
            await self._step()
        self._choosers.shutdown(wait=False)
        await self._session.close()

    def _admit(self) -> None:
        """Take works in, one of each client in turn, and drop what nobody waits for."""
        with self._lock:
            while self._waiting and len(self._active) < self.batch:
                client, tickets = self._waiting.popitem(last=False)
                ticket = tickets.popleft()
                ticket.admitted = True
                self._active.append(ticket)
                self._waiting_count -= 1
                if tickets:
                    self._waiting[client] = tickets  # at the end: the others come first
        now = time.monotonic()
        for ticket in self._all_tickets():
            if ticket.cancelled:
                self._leave(ticket, None)
                self.counts.cancelled += 1
            elif ticket.deadline is not None and now > ticket.deadline:
                self._leave(ticket, Expired("the request was not done by its deadline"))

    def _all_tickets(self) -> list[Ticket]:
        with self._lock:
            return [*self._active, *(ticket for tickets in self._waiting.values() for ticket in tickets)]

    def _leave(self, ticket: Ticket, error: LmqlError | None) -> None:
        if ticket in self._active:
            self._active.remove(ticket)
        else:
            with self._lock:
                for client, tickets in list(self._waiting.items()):
                    if ticket in tickets:
                        tickets.remove(ticket)
                        self._waiting_count -= 1
                        if not tickets:
                            del self._waiting[client]
        self.counts.failed += error is not None
        ticket.finish(error)

    async def _step(self) -> None:
        """Read prompts of new works, then one token for everybody who is through with that."""
        left = PROMPTS
        for ticket in list(self._active):
            if ticket.reading and ticket.choosing is None and left > 0:
                left -= await self._begin(ticket)
        await self._join()
        asking = [ticket for ticket in self._active if not ticket.reading and ticket.wants and ticket.choosing is None]
        together = [ticket for ticket in asking if not ticket.work.shared]
        if together:
            await self._ask(together)
        for ticket in asking:
            if ticket.work.shared:
                await self._ask([ticket])
        if not asking and self._active and all(ticket.choosing is not None for ticket in self._active):
            await self._news()
        Ticket.deliver_all([ticket for ticket in self._active if ticket.fresh])

    async def _join(self) -> None:
        """Take in what was chosen in threads. Each choice is waited for once, for a moment, so that it can be part of this step."""
        new = [ticket.choosing for ticket in self._active if ticket.choosing is not None and not ticket.late]
        if new:
            await asyncio.wait(new, timeout=MOMENT)
        for ticket in list(self._active):
            if ticket.choosing is not None:
                ticket.late = True
                if ticket.choosing.done():
                    chosen, ticket.choosing = ticket.choosing, None
                    self._chosen(ticket, chosen.result)
        Ticket.deliver_all([ticket for ticket in self._active if new and ticket.fresh])

    async def _news(self) -> None:
        """Wait until something happens, where all works are choosing."""
        woken = asyncio.ensure_future(self._wake.wait())
        choosing: list[asyncio.Future[Any]] = [ticket.choosing for ticket in self._active if ticket.choosing is not None]
        await asyncio.wait([woken, *choosing], timeout=_LOOK, return_when=asyncio.FIRST_COMPLETED)
        woken.cancel()

    async def _begin(self, ticket: Ticket) -> int:
        """Do the next part of a work's beginning; about how many positions were read."""
        work = ticket.work
        if work.alone is not None:  # it is None once all is done
            await self._do_alone(ticket)
            return PROMPTS
        if not ticket.wants and not self._advance(ticket):
            return 0
        if not ticket.read and isinstance(work, HoleWork) and isinstance(self._session, HearsOfHoles):
            self._session.begin_hole(*work.begins)
        if ticket.cached is None:
            ticket.cached = await self._known(ticket.wants[0])
        longest = max(map(len, ticket.wants))
        common = longest if len(ticket.wants) == 1 else work.shared
        if common - ticket.read > PIECE:
            ticket.read += PIECE
            await self._rows_for([ticket], [ticket.wants[0][: ticket.read]])
            return PIECE
        rows = await self._rows_for([ticket], ticket.wants)
        ticket.reading = False
        if rows is not None:
            self._give(ticket, rows)
        return longest - ticket.read

    async def _known(self, sequence: list[int]) -> int:
        """How many ids at the start of a sequence others have read."""
        if not isinstance(self._session, KnowsPrefixes):
            return 0
        with contextlib.suppress(LmqlError):  # whatever is wrong with it, reading it will say so
            return await self._session.known(sequence)
        return 0

    async def _do_alone(self, ticket: Ticket) -> None:
        """A work that is one call of its own."""
        before = self._spent()
        try:
            assert ticket.work.alone is not None
            with self._model_errors():
                await ticket.work.alone(self._session)
        except LmqlError as error:
            self._leave(ticket, error)
            return
        self._charge(ticket, before)
        if ticket.work.alone is None:
            self._done(ticket)

    async def _ask(self, tickets: list[Ticket]) -> None:
        """One step for all of them."""
        sequences = [sequence for ticket in tickets for sequence in ticket.wants]
        rows = await self._rows_for(tickets, sequences)
        self.counts.steps += 1
        self.counts.rows += len(sequences)
        if rows is None:
            for ticket in tickets:  # one of them is at fault, or memory is short: each for itself
                one = await self._rows_for([ticket], ticket.wants)
                if one is not None:
                    self._give(ticket, one)
            return
        at = 0
        for ticket in tickets:
            count = len(ticket.wants)
            self._give(ticket, rows[at : at + count])
            at += count

    async def _rows_for(self, tickets: Sequence[Ticket], sequences: Sequence[list[int]]) -> Logits | None:
        """Logits of sequences, in batches that fit the memory. None where that failed; a single ticket has failed then."""
        before = self._spent()
        parts: list[Logits] = []
        try:
            done = 0
            while done < len(sequences):
                shared = tickets[0].work.shared if len(tickets) == 1 else 0
                parts.append(await self._some_rows(sequences[done : done + self._rows_at_once], shared))
                done += len(parts[-1])
        except LmqlError as error:
            if len(tickets) == 1:
                self._leave(tickets[0], error)
            return None
        for ticket in tickets:
            self._charge(ticket, before, shared=len(tickets) > 1)
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    async def _some_rows(self, sequences: Sequence[list[int]], shared: int) -> Logits:
        """Logits of sequences that begin with so many ids of a prompt."""
        try:
            with self._model_errors():
                if shared and isinstance(self._session, AnswersTails):
                    rows = await self._session.logits_after(sequences[0][:shared], [ids[shared:] for ids in sequences])
                else:
                    rows = await self._session.logits(sequences)
        except OutOfMemory:
            if len(sequences) == 1:
                raise
            self._rows_at_once, self._good_steps = max(1, len(sequences) // 2), 0
            half = self._rows_at_once
            return np.concatenate([await self._some_rows(part, shared) for part in (sequences[:half], sequences[half:])])
        self._good_steps += 1
        if self._good_steps % _RECOVERY == 0 and self._rows_at_once < self.batch:
            self._rows_at_once = min(self.batch, 2 * self._rows_at_once)
        return rows

    @contextlib.contextmanager
    def _model_errors(self) -> Iterator[None]:
        """Turns whatever a model raises into errors of works: the scheduler goes on. `failures` counts those in a row."""
        try:
            yield
        except OutOfMemory:
            raise
        except LmqlError as error:
            self.failures += isinstance(error, BackendUnavailable)
            raise
        except Exception as error:
            log.exception("the model failed")
            self.failures += 1
            raise BackendUnavailable(f"the model failed: {type(error).__name__}: {error}") from error
        self.failures = 0

    def _spent(self) -> tuple[int, int, int]:
        usage = self._session.usage
        return usage.forward_passes, usage.tokens_computed, usage.tokens_reused

    def _charge(self, ticket: Ticket, before: tuple[int, int, int], *, shared: bool = False) -> None:
        """Put what a call cost on a work. Of a shared one every work has its own positions."""
        passes, computed, reused = (now - then for now, then in zip(self._spent(), before, strict=True))
        if shared:
            computed = sum(map(len, ticket.wants)) - ticket.known
            reused = ticket.known
        ticket.known = sum(map(len, ticket.wants))
        usage = ticket.work.usage
        usage.forward_passes += passes
        usage.tokens_computed += computed
        usage.tokens_reused += reused

    def _give(self, ticket: Ticket, rows: Logits) -> None:
        """Let a work choose from its logits, and say what it wants next."""
        if not ticket.cancelled:
            self._advance(ticket, rows)

    def _advance(self, ticket: Ticket, rows: Logits | None = None) -> bool:
        """Find what a work wants next, from its logits once it has any; it leaves where that is nothing. False where it wants nothing now,
        also because it has still to be found."""
        if ticket.work.waits:
            ticket.late = False
            kept = None if rows is None else np.array(rows)
            ticket.choosing = self._loop.run_in_executor(self._choosers, _next, ticket.work, kept)
            ticket.choosing.add_done_callback(_heard)
            return False
        return self._chosen(ticket, lambda: _next(ticket.work, rows))

    def _chosen(self, ticket: Ticket, outcome: Callable[[], tuple[list[list[int]], float]]) -> bool:
        """Take in what a work wants next; it leaves where that is nothing, or finding it has failed."""
        try:
            ticket.wants, seconds = outcome()
        except LmqlError as error:
            self._leave(ticket, error)
            return False
        except Exception as error:  # whatever a constraint's engine raises is its work's fault, and nobody else's
            log.exception("a request failed")
            self._leave(ticket, BackendUnavailable(f"the request failed: {type(error).__name__}"))
            return False
        ticket.own_seconds += seconds
        if ticket.own_seconds > OWN_SECONDS:
            self._leave(ticket, Expired(f"the constraint took more than {OWN_SECONDS:g} seconds to be judged"))
            return False
        if not ticket.wants:
            self._done(ticket)
            return False
        return True

    def _done(self, ticket: Ticket) -> None:
        self._active.remove(ticket)
        self.counts.finished += 1
        self._work_seconds += 0.1 * (time.monotonic() - ticket.begun - self._work_seconds)
        self._add(ticket.work.usage)
        ticket.finish(None)

    def _add(self, spent: SessionUsage) -> None:
        self.usage.forward_passes += spent.forward_passes
        self.usage.tokens_computed += spent.tokens_computed
        self.usage.tokens_reused += spent.tokens_reused


def _next(work: Work, rows: Logits | None) -> tuple[list[list[int]], float]:
    """What a work wants next, after it has chosen from its logits; and the seconds that took."""
    started = time.perf_counter()
    if rows is not None:
        work.take(rows)
    return work.wants(), time.perf_counter() - started


def _heard(chosen: asyncio.Future[tuple[list[list[int]], float]]) -> None:
    """A choice has failed; where its work has left, nobody else asks."""
    if not chosen.cancelled():
        chosen.exception()
