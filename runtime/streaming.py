"""A run as a stream of its events: `async for event in stream`, or `for event in stream` in synchronous code.

The run waits for a reader that is behind: at most `LIMIT` events and what one hole ends with are kept. A reader that stops early cancels
the run. What the run raises comes out of the loop, unchanged.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from lmqlc.grammar.errors import LmqlError
from lmqlc.runtime.results import Result
from lmqlc.runtime.stream import Event, OutputWriter, RunEnd

LIMIT = 64
"""Events that a run may be ahead of its reader."""

Start = Callable[[OutputWriter], Awaitable[list[Result]]]
"""Begins a run that tells a writer its events."""


class Channel:
    """The way of events from a run to its reader, both in one event loop. As an output writer it takes the events of every branch."""

    every_branch = True

    def __init__(self) -> None:
        self._events: deque[Event] = deque()
        self._filled = asyncio.Event()
        self._emptied = asyncio.Event()
        self._closed = False

    def write(self, event: Event) -> None:
        """Take an event."""
        self._events.append(event)
        self._filled.set()

    async def drain(self) -> None:
        """Wait until the reader has caught up."""
        while len(self._events) >= LIMIT:
            self._emptied.clear()
            await self._emptied.wait()

    def close(self, _task: object = None) -> None:
        """No event comes any more."""
        self._closed = True
        self._filled.set()

    async def next(self) -> Event | None:
        """The next event; None after the last one."""
        while not self._events and not self._closed:
            self._filled.clear()
            await self._filled.wait()
        if not self._events:
            return None
        event = self._events.popleft()
        if len(self._events) < LIMIT:
            self._emptied.set()
        return event


class Stream:
    """The events of one run, in the order they happen: `TextEvent`, `HoleStart`, `TokenEvent`, `HoleEnd`, `ValueEvent` of every branch, and
    `RunEnd` at the end. The run begins with the first event asked for, and a stream can be read once.

    results: those of the run's branches, and value: what a call of the query gives, both once the stream has ended.
    """

    def __init__(self, start: Start) -> None:
        self._start = start
        self._begun = False
        self._run: asyncio.Future[list[Result]] | None = None
        self.results: tuple[Result, ...] = ()
        self.value: Any = None

    def __aiter__(self) -> AsyncIterator[Event]:
        if self._begun:
            raise LmqlError("a stream can be read once; begin the run again for another one")
        self._begun = True
        return self._events()  # nobody else holds it: a loop that is left drops it, which ends the run

    async def _events(self) -> AsyncIterator[Event]:
        channel = Channel()
        run = self._run = asyncio.ensure_future(self._start(channel))
        run.add_done_callback(channel.close)
        try:
            while (event := await channel.next()) is not None:
                if isinstance(event, RunEnd):
                    self.results, self.value = event.results, event.value
                yield event
            await run
        finally:
            await self.aclose()

    async def aclose(self) -> None:
        """End the run, whether it is over or not."""
        if self._run is not None and not self._run.done():
            self._run.cancel()
            await asyncio.gather(self._run, return_exceptions=True)

    async def __aenter__(self) -> Stream:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.aclose()

    def __iter__(self) -> Iterator[Event]:
        events = aiter(self)
        return self._stepped(events)

    def _stepped(self, events: AsyncIterator[Event]) -> Generator[Event, None, None]:
        """The run goes on while the next event is asked for, in an event loop of its own."""
        with _stepper() as step:
            try:
                while (event := step(_next(events))) is not None:
                    yield event
            finally:
                step(self.aclose())


async def _next(events: AsyncIterator[Event]) -> Event | None:
    return await anext(events, None)  # called inside the loop, which then ends generators that are left


@contextmanager
def _stepper() -> Iterator[Callable[[Coroutine[Any, Any, Any]], Any]]:
    """Runs one coroutine after the other in one event loop: here, or where a loop runs already (a notebook), in a thread."""
    context = contextvars.copy_context()
    if not _in_loop():
        with asyncio.Runner() as runner:
            yield lambda value: runner.run(value, context=context)
        return
    with ThreadPoolExecutor(1, thread_name_prefix="lmqlc-stream") as thread:
        runner = thread.submit(asyncio.Runner).result()
        try:
            yield lambda value: thread.submit(runner.run, value, context=context).result()
        finally:
            thread.submit(runner.close).result()


def _in_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
