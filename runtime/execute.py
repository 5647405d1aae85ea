"""One run from its arguments to its results: branches, usage, errors with what was produced, and the way from synchronous code."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from lmqlc.compiler.ir import Program
from lmqlc.grammar.errors import LmqlError
from lmqlc.runtime.budget import EndOfRun
from lmqlc.runtime.decoders.base import BaseDecoder
from lmqlc.runtime.interpreter import Interpreter
from lmqlc.runtime.results import Result
from lmqlc.runtime.run import Run, Settings

T = TypeVar("T")


async def execute(program: Program, environment: dict[str, Any], settings: Settings) -> list[Result]:
    """Run a program with these globals; the results of its branches, likeliest first.

    An exception of the program comes out unchanged. What the run had produced is on it: `result` of an LmqlError, `lmql_result` of any
    other exception that takes attributes.
    """
    run = Run(settings, program.decoder)
    branches = _Branches(run, program, environment)
    try:
        return await branches.results()
    finally:
        await run.close()


class _Branches:
    """The branches of one run. The first one starts alone; the others start once the header has said how many there are."""

    def __init__(self, run: Run, program: Program, environment: dict[str, Any]) -> None:
        self._run = run
        self._program = program
        self._environment = environment
        self._started = time.perf_counter()
        self._tasks: list[asyncio.Task[Result]] = []
        run.on_configured = self._start_others

    async def results(self) -> list[Result]:
        first = asyncio.ensure_future(self._branch(0))
        self._tasks.append(first)
        if self._run.decoder.n > 1:
            self._start_others(self._run.decoder)
        try:
            await first  # by its end every other branch has been started
            results = list(await asyncio.gather(*self._tasks))
        except BaseException:
            await self._cancel()
            raise
        return sorted(results, key=lambda result: -result.score)

    def _start_others(self, decoder: BaseDecoder) -> None:
        for number in range(len(self._tasks), decoder.n):
            self._tasks.append(asyncio.ensure_future(self._branch(number)))

    async def _cancel(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _branch(self, number: int) -> Result:
        interpreter = Interpreter(self._run, self._program, branch=number)
        try:
            await interpreter.execute(dict(self._environment))
        except EndOfRun:
            interpreter.log.finish_reason = "length"
        except BaseException as error:
            attach(error, await self._complete(interpreter))
            raise
        finally:
            self._run.branch_ended()
        return await self._complete(interpreter)

    async def _complete(self, interpreter: Interpreter) -> Result:
        """The branch's result, with what it cost; passes and prompt positions are those of the whole run."""
        result = interpreter.log
        result.prompt = interpreter.prompt.text
        if interpreter.returned is not None:
            result.returned, result.value = True, interpreter.returned[0]
        result.usage.seconds = time.perf_counter() - self._started
        spent = self._run.spent()
        if spent is not None:
            result.usage.forward_passes = spent.forward_passes
            result.usage.tokens_computed = spent.tokens_computed
            result.usage.tokens_reused = spent.tokens_reused
        return result


def attach(error: BaseException, result: Result) -> None:
    """Put a partial result on an exception."""
    try:
        setattr(error, "result" if isinstance(error, LmqlError) else "lmql_result", result)
    except AttributeError:
        error.add_note("lmqlc: the partial result could not be attached to this exception")


def outcome(results: Sequence[Result]) -> Any:
    """What a caller sees of a run: a returned value or the Result, alone for one branch, in a list for several."""
    values = [result.value if result.returned else result for result in results]
    return values[0] if len(values) == 1 else values


def run_coroutine(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine from synchronous code; inside a running event loop (a notebook) in a thread of its own."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        running = False  # and out of here, or every exception of the run would carry this one as its context
    else:
        running = True
    return _in_thread(coroutine) if running else asyncio.run(coroutine)


def _in_thread(coroutine: Coroutine[Any, Any, T]) -> T:
    values: list[T] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            values.append(asyncio.run(coroutine))
        except BaseException as error:  # noqa: BLE001 - handed to the caller's thread
            errors.append(error)

    thread = threading.Thread(target=work, name="lmqlc-run", daemon=True)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return values[0]
