"""A program on its way from hole to hole, for a decoder that searches."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Sequence
from typing import Any

from lmqlc.compiler.ir import Program
from lmqlc.compiler.masks.hole import HoleRun
from lmqlc.runtime.effects import Effects, Entry, outside
from lmqlc.runtime.interpreter import Interpreter
from lmqlc.runtime.opened import OpenedHole
from lmqlc.runtime.run import Run


class Path:
    """One program that runs. It arrives at a hole, and waits there for it to be decoded, or at its end."""

    def __init__(self, run: Run, program: Program, effects: Effects) -> None:
        self.interpreter = Interpreter(run, program, effects=effects, path=self)
        self._effects = effects
        self._arrival: asyncio.Future[Site | Interpreter] = asyncio.get_running_loop().create_future()
        self._waiting: asyncio.Future[HoleRun] | None = None

    async def run(self, environment: dict[str, Any]) -> None:
        """Run the program; how it ends is told by `arrive`."""
        try:
            with outside(self._effects.family, False):  # whoever made this path
                await self.interpreter.run_to_end(environment)
        except asyncio.CancelledError as error:
            self._fail(error)
            raise
        except BaseException as error:  # noqa: BLE001 - raised where the arrival is awaited
            self._fail(error)
            return
        if not self._arrival.done():
            self._arrival.set_result(self.interpreter)

    async def arrive(self) -> Site | Interpreter:
        """Where the program comes to next. Raises what the program raises."""
        at = await self._arrival
        self._arrival = asyncio.get_running_loop().create_future()  # the site must not be kept from here
        return at

    async def decode(self, opened: OpenedHole) -> HoleRun:
        """Wait at a hole; its decoding."""
        if self._effects.dead is not None:
            raise self._effects.dead
        waiting: asyncio.Future[HoleRun] = asyncio.get_running_loop().create_future()
        self._waiting = waiting
        self._arrival.set_result(Site(self, opened, self._effects))
        return await waiting

    def go_on(self, hole: HoleRun) -> None:
        """Leave the hole where the program waits."""
        assert self._waiting is not None
        self._waiting.set_result(hole)

    def abandon(self) -> None:
        """No branch goes on from the hole where the program waits: end it, without any more effects."""
        self._effects.dead = asyncio.CancelledError()
        if self._waiting is not None and not self._waiting.done() and not self._waiting.get_loop().is_closed():
            self._waiting.cancel()

    def _fail(self, error: BaseException) -> None:
        if not self._arrival.done():
            if isinstance(error, asyncio.CancelledError):
                self._arrival.cancel()
            else:
                self._arrival.set_exception(error)


class Site:
    """A hole that a program has come to, and where branches are. Once no branch is there, the program that waits is ended."""

    def __init__(self, path: Path, opened: OpenedHole, effects: Effects) -> None:
        self.opened = opened
        self.entries: Sequence[Entry] = tuple(effects.entries)
        self.effects = effects
        self.ended: dict[bytes, float] = {}
        """Texts of the hole, where it is constrained, with which branches have gone on, and the best score of each."""
        self._path: Path | None = path
        self._finalizer = weakref.finalize(self, path.abandon)
        self._finalizer.atexit = False

    def claim(self) -> Path | None:
        """The program that waits here, for the first branch that asks."""
        path, self._path = self._path, None
        self._finalizer.detach()
        return path
