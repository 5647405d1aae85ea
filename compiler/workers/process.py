"""The program of a worker process: it answers requests one by one, until nobody asks any more.

What it does for them is the business of its *service*: an object with `answer(request)`. A service raises Missing for something that
it must be given first, and any other exception for what it cannot answer; both are told to the asker.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from importlib import import_module
from typing import Any, Protocol

from lmqlc.compiler.workers.channel import Channel
from lmqlc.compiler.workers.limits import limit_memory, limit_seconds

STACK = 256 << 20
"""Bytes of stack, of which only what is used is taken: native code recurses as deep as what it reads is nested."""
OUT_OF_MEMORY = 86
"""The exit code of a worker without memory."""


class Missing(Exception):
    """Something that the asker must give before this can be answered, by its name."""


class Service(Protocol):
    """What a worker does. Made once in each worker, without arguments."""

    def answer(self, request: Any) -> Any:
        """The answer to a request, plain data both."""
        ...

    def worn(self) -> bool:
        """Whether the process should be replaced by a fresh one; asked after every answer."""
        ...


def main(service: str, memory: int) -> None:
    """Answers on standard output what is asked on standard input. service: `module:class`. memory: bytes it may take for its work."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the asker is interrupted, and decides
    channel = _own_channel()
    threading.stack_size(STACK if sys.maxsize > 1 << 32 else STACK // 16)
    thread = threading.Thread(target=_serve, args=(channel, service, memory))
    thread.start()
    thread.join()


def _own_channel() -> Channel:
    """The two pipes, out of the way of whatever prints."""
    reads, writes = os.dup(0), os.dup(1)
    if sys.platform == "win32":
        import msvcrt

        for descriptor in (reads, writes):
            msvcrt.setmode(descriptor, os.O_BINARY)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    return Channel(reads, writes)


def _serve(channel: Channel, service: str, memory: int) -> None:
    code = 0
    try:
        module, _, name = service.partition(":")
        made = getattr(import_module(module), name)()
        limit_memory(memory)
        _answer_all(channel, made)
    except (EOFError, BrokenPipeError):
        pass  # nobody asks any more
    except MemoryError:
        code = OUT_OF_MEMORY
    except BaseException:  # noqa: BLE001 - native code raises what it likes; the asker sees how this ends
        import traceback

        traceback.print_exc()
        code = 1
    sys.stderr.flush()
    os._exit(code)  # without the locks and threads of native code


def _answer_all(channel: Channel, service: Service) -> None:
    while True:
        seconds, request = channel.receive()
        limit_seconds(seconds)
        begun = time.process_time()
        try:
            kind, value = "ok", service.answer(request)
        except Missing as missing:
            kind, value = "missing", str(missing)
        except MemoryError:
            raise
        except Exception as problem:  # noqa: BLE001 - native code raises what it likes
            kind, value = "error", str(problem) or type(problem).__name__
        channel.send((kind, value, time.process_time() - begun, service.worn()))
