"""Worker processes: what is asked of them takes bounded time and memory, whatever they do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lmqlc.compiler.workers import limits, pool
from lmqlc.compiler.workers.pool import Pool, WorkerError, WorkerFailed
from lmqlc.compiler.workers.process import STACK

SERVICE = """
import ctypes, os, signal, sys, time
from lmqlc.compiler.workers.process import Missing

class Service:
    def __init__(self):
        self.known = {}
        self.is_worn = False

    def answer(self, request):
        kind, *rest = request
        return getattr(self, kind)(*rest)

    def worn(self):
        return self.is_worn

    def echo(self, value):
        return value

    def pid(self):
        return os.getpid()

    def learn(self, name, value):
        if name == "second" and "first" not in self.known:
            raise Missing("first")
        self.known[name] = value

    def look(self, name):
        if name not in self.known:
            raise Missing(name)
        return self.known[name]

    def refuse(self, words):
        raise ValueError(words)

    def spin(self):
        while True:
            pass

    def sleep(self, seconds):
        time.sleep(seconds)

    def hold(self, count):
        return len(bytearray(count))

    def crash(self):
        ctypes.string_at(0)

    def leave(self):
        os._exit(3)

    def shout(self):
        print("noise")
        os.write(1, b"noise")
        sys.stderr.write("noise")

    def recurse(self, depth):
        def down(left):
            return 0 if left == 0 else 1 + max([down(left - 1)], key=lambda value: value)
        sys.setrecursionlimit(10 * depth)
        return down(depth)

    def tire(self):
        self.is_worn = True

    def modules(self):
        return sorted(name for name in ("torch", "numpy", "transformers", "__mp_main__") if name in sys.modules)
"""
MEMORY = 256 << 20


def nothing(name: str) -> Any:
    raise AssertionError(name)


@pytest.fixture
def workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pool]:
    (tmp_path / "some_service.py").write_text(SERVICE)
    monkeypatch.syspath_prepend(tmp_path)
    made = Pool("some_service:Service", most=3, memory=MEMORY)
    yield made
    made.close()


def ask(workers: Pool, *request: Any, home: object = "home", seconds: float = 5.0, **more: Any) -> Any:
    return workers.ask(request, home=home, seconds=seconds, provide=more.pop("provide", nothing), **more).value


@pytest.mark.parametrize("value", [None, "x", b"\x00\xff" * 300_000, [1, (2.5, {"a": True})], ""])
def test_values_come_back(workers: Pool, value: Any) -> None:
    assert ask(workers, "echo", value) == value


def test_one_worker_serves_one_request_after_the_other(workers: Pool) -> None:
    assert workers.processes == []
    assert {ask(workers, "pid", home=number % 5) for number in range(20)} == set(workers.processes)
    assert len(workers.processes) == 1


def test_what_is_missing_is_given_first(workers: Pool) -> None:
    given: list[str] = []

    def provide(name: str) -> tuple[tuple[Any, ...], float]:
        given.append(name)
        return ("learn", name, name.upper()), 5.0

    assert ask(workers, "look", "second", provide=provide) == "SECOND"
    assert given == ["second", "first"]
    assert ask(workers, "look", "first") == "FIRST"
    workers.close()
    assert ask(workers, "look", "first", provide=provide) == "FIRST"  # another process: told again


def test_what_stays_missing_is_an_error(workers: Pool) -> None:
    with pytest.raises(WorkerError, match="other"):
        ask(workers, "look", "other", provide=lambda name: (("learn", "another", 1), 5.0))


def test_a_service_refuses_in_its_own_words(workers: Pool) -> None:
    with pytest.raises(WorkerError, match="so it is not"):
        ask(workers, "refuse", "so it is not")
    assert ask(workers, "echo", 1) == 1 and len(workers.processes) == 1


def test_endless_work_is_given_up(workers: Pool) -> None:
    """Native code that holds the interpreter's lock neither: the process is ended from outside."""
    begun = time.monotonic()
    with pytest.raises(WorkerFailed, match="took more than 1 seconds of computing time") as caught:
        ask(workers, "spin", seconds=1.0)
    assert caught.value.kind == "time"
    assert time.monotonic() - begun < 20
    assert ask(workers, "echo", 1) == 1


def test_waiting_work_is_given_up_by_the_clock(workers: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "_patience", lambda seconds: 0.2)
    with pytest.raises(WorkerFailed) as caught:
        ask(workers, "sleep", 30)
    assert caught.value.kind == "time"


def test_memory_is_bounded(workers: Pool) -> None:
    assert ask(workers, "hold", 1 << 20) == 1 << 20
    for request in (("hold", 4 << 30), ("hold", 1 << 60)):
        with pytest.raises(WorkerFailed, match="needed more than 256 MB of memory") as caught:
            ask(workers, *request)
        assert caught.value.kind == "memory"
    assert ask(workers, "echo", 1) == 1


def test_memory_is_watched_where_the_platform_does_not_bound_it(workers: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "resident", lambda pid: 10 * MEMORY)
    with pytest.raises(WorkerFailed) as caught:
        ask(workers, "sleep", 30)
    assert caught.value.kind == "memory"


@pytest.mark.parametrize(("request_", "words"), [("crash", "SIGSEGV|exit code"), ("leave", "exit code 3")])
def test_a_crash_is_an_error(workers: Pool, request_: str, words: str) -> None:
    assert ask(workers, "echo", 1) == 1
    with pytest.raises(WorkerFailed, match=f"crashed .*({words})") as caught:
        ask(workers, request_)
    assert caught.value.kind == "crash"
    assert ask(workers, "echo", 2) == 2


@pytest.mark.skipif(sys.platform == "win32", reason="no such signal")
def test_a_worker_that_was_killed_while_idle_is_replaced(workers: Pool) -> None:
    os.kill(ask(workers, "pid"), signal.SIGKILL)
    assert ask(workers, "echo", 1) == 1


def test_prints_are_no_answers(workers: Pool, capfd: pytest.CaptureFixture[str]) -> None:
    assert ask(workers, "shout") is None and ask(workers, "echo", 1) == 1
    assert capfd.readouterr() == ("", "")


def test_deep_recursion_has_a_stack(workers: Pool) -> None:
    assert ask(workers, "recurse", STACK // (1 << 14)) == STACK // (1 << 14)


def test_worn_workers_are_replaced(workers: Pool) -> None:
    first = ask(workers, "pid")
    ask(workers, "tire")
    assert workers.processes == [] and ask(workers, "pid") != first


def test_idle_workers_end(workers: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "IDLE", 0.01)
    ask(workers, "pid")
    for _ in range(100):
        if not workers.processes:
            break
        time.sleep(0.1)
    assert workers.processes == [] and ask(workers, "echo", 1) == 1


def test_workers_are_light(workers: Pool) -> None:
    assert ask(workers, "modules") == []


def test_one_that_hangs_holds_up_no_other(workers: Pool) -> None:
    """Its home's other requests wait a moment, and are answered elsewhere."""
    ask(workers, "pid", home="bad")
    failures: list[WorkerFailed] = []

    def hang() -> None:
        try:
            ask(workers, "spin", home="bad", seconds=2.0)
        except WorkerFailed as failed:
            failures.append(failed)

    threads = [threading.Thread(target=hang) for _ in range(2)]
    for thread in threads:
        thread.start()
    time.sleep(0.1)
    begun = time.monotonic()
    for home in ("good", "bad", "another") * 3:
        assert ask(workers, "echo", home, home=home) == home
    assert time.monotonic() - begun < 1.9
    for thread in threads:
        thread.join()
    assert len(failures) == 2 and len(workers.processes) <= 3


def test_more_requests_than_workers_take_turns(workers: Pool) -> None:
    found: list[int] = []
    threads = [threading.Thread(target=lambda n=n: found.append(ask(workers, "echo", n, home=n))) for n in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(found) == list(range(40)) and len(workers.processes) <= 3


def test_homes_lie_apart_where_asked(workers: Pool) -> None:
    workers.apart = True
    pids = [ask(workers, "pid", home=home) for home in "abcdabcd"]
    assert len(set(pids[:3])) == 3 and pids[:4] == pids[4:]


def test_an_interrupted_request_does_not_answer_the_next(workers: Pool) -> None:
    ask(workers, "pid")

    class Stop(BaseException):
        """An interruption, as Ctrl-C is one."""

    def interrupt(number: int, frame: object) -> None:
        raise Stop

    if not hasattr(signal, "SIGALRM"):
        pytest.skip("no alarm here")
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(Stop):
            ask(workers, "sleep", 30)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert ask(workers, "echo", "next") == "next"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_copy_of_the_process_has_workers_of_its_own(workers: Pool) -> None:
    mine = ask(workers, "pid")
    read, write = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover
        try:
            os.write(write, str(ask(workers, "pid")).encode())
            workers.close()
        finally:
            os._exit(0)
    os.close(write)
    other = os.read(read, 100)
    os.waitpid(child, 0)
    os.close(read)
    assert other and int(other) != mine and ask(workers, "pid") == mine


PROGRAM = """
import lmqlc.compiler.workers.pool as pool
print("begun", flush=True)
workers = pool.Pool("some_service:Service", most=2, memory=1 << 28)
print(workers.ask(("pid",), home=1, seconds=5.0, provide=None).value, flush=True)
"""


def _gone(pid: int) -> bool:
    """A process has ended, or ends within some seconds."""
    for _ in range(100):
        if limits.resident(pid) in (None, 0):
            return True
        time.sleep(0.1)
    return False


@pytest.mark.parametrize("end", ["", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "raise SystemExit(3)", "1 / 0"])
def test_programs_without_a_guard_start_workers_and_end_them(workers: Pool, tmp_path: Path, end: str) -> None:
    """The main module is not run again in a worker, and a worker does not outlive its program."""
    (tmp_path / "main.py").write_text(PROGRAM + end)
    run = subprocess.run([sys.executable, "main.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    begun, pid = run.stdout.split()
    assert begun == "begun" and _gone(int(pid))


def test_a_missing_interpreter_is_an_error(workers: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    from multiprocessing import spawn

    monkeypatch.setattr(spawn, "_python_exe", "/nowhere/python")
    with pytest.raises(WorkerFailed, match="no worker process can be started") as caught:
        ask(workers, "pid")
    assert caught.value.kind == "start"
    monkeypatch.setattr(spawn, "_python_exe", sys.executable)
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    with pytest.raises(WorkerFailed, match="set_executable"):
        ask(workers, "pid")
    monkeypatch.delattr(sys, "frozen")
    assert ask(workers, "echo", 1) == 1


def test_memory_of_a_process() -> None:
    held = limits.resident()
    assert held is not None and held > 1 << 20
    assert limits.resident(os.getpid()) == pytest.approx(held, rel=0.5)
    if sys.platform != "win32":
        assert limits._shown_by_ps(os.getpid()) in (None, pytest.approx(held, rel=0.5))
    assert limits.resident(1 << 30) is None
