"""A pool of worker processes: what is asked of it takes bounded time and memory, whatever native code makes of it.

A request goes to a worker that has its *home* (what the worker must know to answer it) where one is free, else to another, which is given
what it lacks. A worker that takes more than the time or the memory of a request is killed, as is one that crashed; the request fails with
WorkerFailed, and the next one finds a fresh worker. Nothing is lost with a worker: everything that it knows can be given again.

Workers are programs of their own (`process`), started when first needed by the interpreter that runs here: no module of the user is
imported in them, nothing is forked. They end with this process, and after some minutes without work.
"""

from __future__ import annotations

import atexit
import contextlib
import math
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Literal

from lmqlc.compiler.workers.channel import Channel
from lmqlc.compiler.workers.limits import HOLDS_SECONDS, resident
from lmqlc.compiler.workers.process import OUT_OF_MEMORY

IDLE = 300.0
"""Seconds without work after which a worker is ended."""
_WATCH_BUSY, _WATCH_IDLE = 0.1, 0.5
_PROGRAM = 64 << 20  # bytes that a worker holds before it has done anything, at most
COSTLY = 0.1
"""Seconds of computing time of a request from which on its home counts as costly, until a request takes less."""
DOUBTFUL = max(2, (os.cpu_count() or 2) - 1)
"""Requests at once that may well be given up, or take long, where homes lie apart."""
_HOMES = 256
_SPENT = 4096
_WORDS = 2000

Failure = Literal["time", "memory", "crash", "start"]
Request = tuple[Any, ...]
Provide = Callable[[str], tuple[Request, float]]
"""Gives the request that tells a worker what it says is missing, and the seconds of that."""


class WorkerFailed(Exception):
    """A request was given up. kind: it took too much time or memory, the worker crashed, or no worker could be started."""

    def __init__(self, kind: Failure, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class WorkerError(Exception):
    """The worker's own words about a request that it cannot answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request gave. seconds: of computing time, with all that the worker had to be told for it; own: without."""

    value: Any
    seconds: float
    own: float


@dataclass(eq=False, slots=True)
class _Waiting:
    """A request that waits for a worker. spent: seconds that its home has taken so far. doubtful: it may well be given up, or take long."""

    spent: float
    since: float
    home: Hashable
    patience: float
    doubtful: bool
    worker: Worker | None = None

    @property
    def until(self) -> float:
        """When it stops waiting for a worker that has its home."""
        return self.since + self.patience


class Worker:
    """One process. A request at a time; `ask` raises WorkerFailed, after which the worker is of no more use."""

    def __init__(self, service: str, memory: int) -> None:
        self.busy = False
        self.doubtful = False
        self.fresh = True
        self.worn = False
        self.homes: OrderedDict[Hashable, None] = OrderedDict()
        self.used = time.monotonic()
        self.overdue = math.inf
        """When the request under way has taken too long, by `time.monotonic`."""
        self.memory = memory
        self._verdict: Failure | None = None
        self._words = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the worker
        program = f"import sys; sys.path[:] = {sys.path!r}; from lmqlc.compiler.workers.process import main; main({service!r}, {memory})"
        try:
            self.process = subprocess.Popen(  # noqa: S603
                [_interpreter(), "-c", program],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._words,
                bufsize=0,
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),  # Windows
            )
        except (OSError, ValueError) as problem:
            self._words.close()
            raise WorkerFailed("start", f"no worker process can be started: {problem}") from problem
        assert self.process.stdin is not None and self.process.stdout is not None
        self._channel = Channel(self.process.stdout.fileno(), self.process.stdin.fileno())

    def take(self, home: Hashable, doubtful: bool) -> None:
        """Begin the work for a request. doubtful: it may well be given up."""
        self.busy, self.doubtful = True, doubtful
        self.homes[home] = None
        self.homes.move_to_end(home)
        if len(self.homes) > _HOMES:
            self.homes.popitem(last=False)

    def ask(self, request: Request, seconds: float) -> tuple[str, Any, float]:
        """What the worker says (ok, missing, error), its value, and the seconds it computed."""
        self.overdue = time.monotonic() + _patience(seconds)
        try:
            self._channel.send((seconds, request))
            kind, value, took, self.worn = self._channel.receive()
        except (OSError, EOFError, ValueError, TypeError) as problem:
            raise self._failed(seconds) from problem
        except BaseException:  # an interruption: what comes now would be the answer to something else
            self.end()
            raise
        finally:
            self.overdue = math.inf
            self.used = time.monotonic()
        return kind, value, took

    def kill(self, verdict: Failure) -> None:
        """End the process in the middle of a request, from another thread."""
        self._verdict = verdict
        self.process.kill()

    def end(self) -> None:
        """End the process, which has nothing to lose, and wait for its end."""
        self.process.kill()
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            self.process.wait(10)
        for file in (self.process.stdin, self.process.stdout, self._words):
            if file is not None:
                with contextlib.suppress(OSError):
                    file.close()

    def disown(self) -> None:
        """Forget the process in a copy of this one, whose child it is not."""
        self.process.returncode = 0

    def _failed(self, seconds: float) -> WorkerFailed:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
        code, words = self.process.poll(), self._last_words()
        self.end()
        kind = self._verdict or _cause(code, words)
        if kind == "time":
            return WorkerFailed(kind, f"took more than {seconds:g} seconds of computing time")
        if kind == "memory":
            return WorkerFailed(kind, f"needed more than {self.memory >> 20} MB of memory")
        return WorkerFailed(kind, f"crashed ({_exit(code)})")

    def _last_words(self) -> bytes:
        with contextlib.suppress(OSError, ValueError):
            self._words.seek(max(0, self._words.seek(0, os.SEEK_END) - _WORDS))
            return self._words.read()
        return b""


def _interpreter() -> str:
    """The Python that runs here, or the one that `multiprocessing.set_executable` named."""
    from multiprocessing.spawn import get_executable

    found = os.fsdecode(get_executable() or "")
    if not found or (getattr(sys, "frozen", False) and found == sys.executable):
        raise WorkerFailed("start", "no worker process can be started here; name a Python with `multiprocessing.set_executable`")
    return found


def _patience(seconds: float) -> float:
    """Seconds by the clock for seconds of computing time: on a loaded machine they are more; where nothing else ends a process, fewer."""
    return max(10.0, 5 * seconds) if HOLDS_SECONDS else 2 * seconds + 1


def _cause(code: int | None, words: bytes) -> Failure:
    """Why a process ended on its own."""
    if sys.platform != "win32" and code == -signal.SIGXCPU:
        return "time"
    return "memory" if code == OUT_OF_MEMORY or b"memory allocation of" in words else "crash"


def _exit(code: int | None) -> str:
    if code is None or code >= 0 or sys.platform == "win32":
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


class Pool:
    """Workers of one service. most: how many at once. memory: bytes that each may take for its work, beyond the program itself.

    Requests of homes that have taken least so far go first. apart: put every new home in a worker without others while there are enough, so
    that one that fails takes no other with it, and let few requests run at once that are untried or of a costly home, so that the rest
    finds workers and processors: for servers, whose requests come from strangers. Safe to share between threads.
    """

    def __init__(self, service: str, *, most: int, memory: int) -> None:
        self.apart = False
        self.most = most
        self._service = service
        self._memory = memory
        self._reset()
        atexit.register(self.close)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._leave_to_parent)

    def _reset(self) -> None:
        self._workers: list[Worker] = []
        self._waiting: list[_Waiting] = []
        self._spent: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()  # by home: in all, and for the last request
        self._freed = threading.Condition()
        self._watcher: threading.Thread | None = None

    def _leave_to_parent(self) -> None:
        """In a copy of the process: the workers are not its children, and locks may be held by threads that it does not have."""
        for worker in self._workers:
            worker.disown()
        self._reset()

    @property
    def processes(self) -> list[int]:
        """The process ids of the workers."""
        with self._freed:
            return [worker.process.pid for worker in self._workers]

    def ask(
        self, request: Request, *, home: Hashable, seconds: float, provide: Provide, patience: float = 0.1, untried: bool = False
    ) -> Answer:
        """The answer to a request.

        seconds: of computing time that it may take. provide: gives what a worker lacks. patience: seconds to wait for a worker
        that has the home already before another one is taken. untried: nothing is known of what it may do.
        Raises WorkerError with the service's words, and WorkerFailed.
        """
        while True:
            worker = self._taken(home, patience, untried)
            fresh, worker.fresh = worker.fresh, False
            spent = seconds  # where it fails, for a reason or another
            try:
                answer = _answer(worker, request, seconds, provide)
                spent = answer.own
            except WorkerFailed as failed:
                # It may have been hurt by an earlier request, or killed from outside: only a fresh one's failure is this request's fault.
                if fresh or failed.kind == "time":
                    raise
            else:
                return answer
            finally:
                self._give_back(worker, home, spent)

    def _taken(self, home: Hashable, patience: float, untried: bool) -> Worker:
        """A worker for a request, once there is one."""
        with self._freed:
            spent, last = self._spent.get(home, (0.0, 0.0))
            waiting = _Waiting(spent, time.monotonic(), home, patience, untried or last > COSTLY)
            self._waiting.append(waiting)
            try:
                self._dispatch()
                while waiting.worker is None:
                    left = waiting.until - time.monotonic()
                    self._freed.wait(left if left > 0 else None)
                    self._dispatch()
            except BaseException:
                if waiting.worker is not None:
                    waiting.worker.busy = False
                else:
                    self._waiting.remove(waiting)
                raise
            self._watch()
            return waiting.worker

    def _dispatch(self) -> None:
        """Give workers to requests that wait, as long as there are some."""
        now = time.monotonic()
        for waiting in sorted(self._waiting, key=lambda waiting: (waiting.spent, waiting.since)):
            if waiting.doubtful and self.apart and sum(worker.doubtful for worker in self._workers) >= min(DOUBTFUL, self.most - 1):
                continue
            worker = self._choose(waiting.home, anyone=now >= waiting.until)
            if worker is not None:
                self._waiting.remove(waiting)
                worker.take(waiting.home, waiting.doubtful)
                waiting.worker = worker
                self._freed.notify_all()

    def _choose(self, home: Hashable, *, anyone: bool) -> Worker | None:
        """A free worker for a home; None where it is better to wait. anyone: not only for those that have it."""
        knowing = [worker for worker in self._workers if home in worker.homes]
        free = [worker for worker in self._workers if not worker.busy]
        if knowing and not anyone:
            return next((worker for worker in knowing if not worker.busy), None)
        found = min(free, key=lambda worker: (home not in worker.homes, len(worker.homes)), default=None)
        crowded = found is None or (self.apart and bool(found.homes) and home not in found.homes)
        if crowded and len(self._workers) < self.most:
            found = Worker(self._service, self._memory)
            self._workers.append(found)
        return found

    def _give_back(self, worker: Worker, home: Hashable, seconds: float) -> None:
        gone = worker.worn or worker.process.returncode is not None
        with self._freed:
            worker.busy = worker.doubtful = False
            self._spent[home] = self._spent.pop(home, (0.0, 0.0))[0] + seconds, seconds
            while len(self._spent) > _SPENT:
                self._spent.popitem(last=False)
            if gone and worker in self._workers:
                self._workers.remove(worker)
            self._dispatch()
        if gone:
            worker.end()

    def _watch(self) -> None:
        if self._watcher is None:
            self._watcher = threading.Thread(target=self._watch_all, name="lmqlc-workers", daemon=True)
            self._watcher.start()

    def _watch_all(self) -> None:
        """Kill what takes too much, and end what has had nothing to do for long; until there are no workers."""
        freed = self._freed
        busy: list[Worker] = []
        while True:
            time.sleep(_WATCH_BUSY if busy else _WATCH_IDLE)
            with freed:
                if freed is not self._freed:
                    return
                if not self._workers:
                    self._watcher = None
                    return
                busy = [worker for worker in self._workers if worker.busy]
                now = time.monotonic()
                idle = [worker for worker in self._workers if not worker.busy and now - worker.used > IDLE]
                for worker in idle:
                    self._workers.remove(worker)
            for worker in busy:
                _hold(worker)
            for worker in idle:
                worker.end()

    def close(self) -> None:
        """End all workers. Requests under way fail; a later one starts new workers."""
        with self._freed:
            workers, self._workers = self._workers, []
        for worker in workers:
            worker.end()


def _answer(worker: Worker, request: Request, seconds: float, provide: Provide) -> Answer:
    spent, given = 0.0, set[str]()
    kind, value, took = worker.ask(request, seconds)
    while kind == "missing" and value not in given:
        given.add(value)
        spent += took + _told(worker, value, provide, given)
        kind, value, took = worker.ask(request, seconds)
    if kind != "ok":
        raise WorkerError(value)
    return Answer(value, spent + took, took)


def _told(worker: Worker, name: str, provide: Provide, given: set[str]) -> float:
    """Give a worker what it lacks, and first what it lacks for that; the seconds it took."""
    request, seconds = provide(name)
    kind, value, took = worker.ask(request, seconds)
    if kind == "missing" and value not in given:
        given.add(value)
        took += _told(worker, value, provide, given)
        kind, value, more = worker.ask(request, seconds)
        took += more
    if kind != "ok":
        raise WorkerError(value)
    return took


def _hold(worker: Worker) -> None:
    """Kill a worker at work that has taken too long, or holds too much."""
    if time.monotonic() > worker.overdue:
        worker.kill("time")
    elif (resident(worker.process.pid) or 0) > _PROGRAM + worker.memory:
        worker.kill("memory")
