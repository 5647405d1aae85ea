"""The deadline of a run: `timeout`, in seconds of wall time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from lmqlc.grammar.errors import DeadlineExceeded

T = TypeVar("T")

GRACE = 1.0
"""Seconds that a branch may take to end once it is called off; one that takes longer is left behind."""


class Deadline:
    """Ends work at a time that may be set while it runs. What is under way is cancelled, forward passes included; code of a program that
    never awaits is called off only where it next does."""

    def __init__(self) -> None:
        self._started = asyncio.get_running_loop().time()
        self._seconds: float | None = None
        self._limit: asyncio.Timeout | None = None

    def set(self, seconds: float | None) -> None:
        """The run may take so long from its start; None: as long as it likes."""
        self._seconds = seconds
        if self._limit is not None:
            self._limit.reschedule(None if seconds is None else self._started + seconds)

    @property
    def passed(self) -> bool:
        """The time is over; what awaits the event loop next is called off."""
        return self._seconds is not None and asyncio.get_running_loop().time() > self._started + self._seconds

    async def keep(self, work: Coroutine[Any, Any, T], partial: Callable[[], object]) -> T:
        """What the work gives. Raises DeadlineExceeded, with `partial()` for its result, where the time is over."""
        try:
            async with asyncio.timeout(None) as self._limit:
                self.set(self._seconds)
                return await work
        except TimeoutError:
            if self._limit is None or not self._limit.expired():
                raise  # the program's own
        error = DeadlineExceeded(f"the query took longer than its timeout of {self._seconds:g} seconds")
        error.result = partial()
        raise error
