"""One run from its arguments to its results: branches, usage, errors with what was produced, and the way from synchronous code."""

from __future__ import annotations

import asyncio
import contextvars
import math
import threading
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from lmqlc.compiler.ir import Program
from lmqlc.runtime.budget import EndOfRun, gives_value
from lmqlc.runtime.deadline import GRACE
from lmqlc.runtime.effects import Effects, environment_copies, outside
from lmqlc.runtime.interpreter import Interpreter
from lmqlc.runtime.outside import Boundary
from lmqlc.runtime.results import Result, attach
from lmqlc.runtime.run import Run, Settings
from lmqlc.runtime.search import Search
from lmqlc.runtime.spans import run_span
from lmqlc.runtime.stream import RunEnd
from lmqlc.runtime.trace import recorded

T = TypeVar("T")


async def execute(
    program: Program, environment: dict[str, Any], settings: Settings, arguments: Mapping[str, Any] | None = None
) -> list[Result]:
    """Run a program with these globals; the results of its branches, likeliest first.

    arguments: what the caller gave, for certificates; without it, the values of the program's free names.
    Raises RunEnded where the run's bounds ended every branch before its `return`. An exception of the program comes out unchanged. What the
    run had produced is on it: `result` of an LmqlError, `lmql_result` of any other exception that takes attributes.
    """
    if arguments is None:
        arguments = {name: environment[name] for name in program.parameters if name in environment}
    with recorded(program, arguments, settings.certificate) as record, run_span(program.source.name, settings) as (settings, spans):
        run = Run(settings, program.decoder)
        try:
            results = await _results(run, program, environment)
        finally:
            if record is not None:
                record.complete(run)
            if spans is not None:
                spans.ended(run)
        if record is not None:
            record.results = results
    return results


async def _results(run: Run, program: Program, environment: dict[str, Any]) -> list[Result]:
    """The results of a run, shown to everybody who listens."""
    branches = _Branches(run, program, environment)
    try:
        results = await run.deadline.keep(branches.results(), branches.partial)
        branches.check_ends(results)
        run.emit(RunEnd(tuple(results), outcome(results)))
        await run.drain()
    finally:
        await run.close()
    return results


class _Branches:
    """The branches of one run. The first one runs alone up to its first hole; the others are copies of it from there."""

    def __init__(self, run: Run, program: Program, environment: dict[str, Any]) -> None:
        self._run = run
        self._program = program
        self._started = time.perf_counter()
        self._tasks: list[asyncio.Task[Result]] = []
        self._effects: Effects | None = None
        self._ends: dict[int, EndOfRun] = {}
        self._globals: Callable[[], dict[str, Any]] = lambda: environment
        if run.may_branch(program):
            from lmqlc.compiler.code import names_in

            self._effects = Effects(Boundary())
            names = names_in(run.recording_code(program))
            self._globals = environment_copies(environment, names, self._effects.boundary)
            run.on_hole = self._start_others

    async def results(self) -> list[Result]:
        if self._run.searches:
            return await self._found()
        first = asyncio.ensure_future(self._branch(0, self._effects))
        self._tasks.append(first)
        try:
            await asyncio.wait([first])  # unlike awaiting it, a cancellation does not wait for it
            first.result()
            if self._effects is not None:
                self._start_others(self._effects)  # where there was no hole
            results = list(await asyncio.gather(*self._tasks))
        except BaseException:
            await self._cancel()
            raise
        for result in results:
            self._count(result)  # what branches cost that ended later counts too
        return sorted(results, key=lambda result: math.inf if math.isnan(result.score) else -result.score)

    def check_ends(self, results: Sequence[Result]) -> None:
        """Show why branches ended before their program did. Raises RunEnded where all have, and none came to its `return`."""
        ends = [self._ends.get(id(result)) for result in results]
        expects = self._run.settings.gives_value or gives_value(self._program)
        if expects and all(ends) and not any(result.returned for result in results):
            assert ends[0] is not None
            error = ends[0].error(results[0])
            error.results = tuple(results)
            raise error
        for result in results:
            for message in result.warnings:
                self._run.warn(message)

    async def _found(self) -> list[Result]:
        """The results of a decoder that searches, in its own order."""
        assert self._effects is not None
        self._run.on_hole = self._keep_recording
        search = Search(self._run, self._program, self._effects, lambda: dict(self._globals()), self._complete)
        try:
            first = await search.start()
            with outside(self._effects.family):
                branches = await self._run.decoder.search(search, first)
        finally:
            await search.close()
        results = [branch.result for branch in branches if branch.result is not None]
        for number, branch in enumerate(branches):
            search.show(branch, number)
            self._count(results[number])
        return results

    def _keep_recording(self, effects: Effects) -> None:
        """A branch comes to a hole; a decoder that the program bound may turn out not to search."""
        effects.live = self._run.searches

    def _start_others(self, effects: Effects) -> None:
        """A branch comes to a hole: from here on, nothing needs to be recorded."""
        effects.live = False
        for number in range(len(self._tasks), self._run.decoder.n):
            copied = effects.copy()
            copied.live = False
            self._tasks.append(asyncio.ensure_future(self._branch(number, copied)))

    async def _cancel(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks, timeout=GRACE)

    def partial(self) -> Result | None:
        """What the first branch has produced so far."""
        return None if self._run.first is None else self._complete(self._run.first)

    async def _branch(self, number: int, effects: Effects | None) -> Result:
        interpreter = Interpreter(self._run, self._program, branch=number, effects=effects)
        try:
            await interpreter.run_to_end(dict(self._globals()))
        except BaseException as error:
            attach(error, self._complete(interpreter))
            raise
        finally:
            self._run.branch_ended()
        return self._complete(interpreter)

    def _complete(self, interpreter: Interpreter) -> Result:
        """The branch's result, with what it cost; passes, positions and seconds are those of the whole run."""
        result = interpreter.log
        end = interpreter.end
        result.prompt = interpreter.prompt.text if end is None or end.text is None else end.text
        if end is not None:
            self._ends[id(result)] = end
        if interpreter.returned is not None:
            result.returned, result.value = True, interpreter.returned[0]
        return self._count(result)

    def _count(self, result: Result) -> Result:
        result.usage.seconds = time.perf_counter() - self._started
        spent = self._run.spent()
        if spent is not None:
            result.usage.forward_passes = spent.forward_passes
            result.usage.tokens_computed = spent.tokens_computed
            result.usage.tokens_reused = spent.tokens_reused
        return result


def outcome(results: Sequence[Result]) -> Any:
    """What a caller sees of a run: a returned value or the Result, alone for one branch, in a list for several."""
    values = [result.value if result.returned else result for result in results]
    return values[0] if len(values) == 1 else values


def run_coroutine(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine from synchronous code; inside a running event loop (a notebook) in a thread of its own, with the caller's context."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        running = False  # and out of here, or every exception of the run would carry this one as its context
    else:
        running = True
    return _in_thread(coroutine) if running else asyncio.run(coroutine)


def _in_thread(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in a thread of its own. An interruption of the waiting caller ends it."""
    values: list[T] = []
    errors: list[BaseException] = []
    runner = asyncio.Runner()

    def work() -> None:
        try:
            with runner:
                values.append(runner.run(coroutine))
        except BaseException as error:  # noqa: BLE001 - handed to the caller's thread
            errors.append(error)

    thread = threading.Thread(target=contextvars.copy_context().run, args=(work,), name="lmqlc-run", daemon=True)
    thread.start()
    try:
        thread.join()
    except KeyboardInterrupt:
        loop = runner.get_loop()
        loop.call_soon_threadsafe(lambda: [task.cancel() for task in asyncio.all_tasks(loop)])
        thread.join()
        raise
    if errors:
        raise errors[0]
    return values[0]
