"""What a process may use and what it uses: limits where the platform has them, and figures for whoever watches it where it has not.

Linux holds a process to memory and seconds itself. macOS holds it to seconds; Windows to neither. There the pool watches from outside.
"""

from __future__ import annotations

import contextlib
import math
import os
import subprocess
import sys
import time
from functools import cache

if sys.platform != "win32":
    import resource

HOLDS_SECONDS = sys.platform != "win32"
"""The platform ends a process that has used up its seconds of computing time."""
_LOG_BYTES = 1 << 20


def resident(pid: int | None = None) -> int | None:
    """Bytes of memory that a process holds (None: this one); None where that cannot be told."""
    if sys.platform.startswith("linux"):
        return _statm("self" if pid is None else str(pid), 1)
    if sys.platform == "win32":
        return _working_set(os.getpid() if pid is None else pid)
    return _shown_by_ps(os.getpid() if pid is None else pid)


def limit_memory(extra: int) -> None:
    """Hold this process to so many bytes beyond what it has mapped now, where the platform can."""
    if sys.platform == "win32":
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (_LOG_BYTES, _LOG_BYTES))
    if (mapped := _statm("self", 0)) is not None:
        with contextlib.suppress(ValueError, OSError):  # a narrower limit holds already
            resource.setrlimit(resource.RLIMIT_AS, (mapped + extra, resource.getrlimit(resource.RLIMIT_AS)[1]))


def limit_seconds(seconds: float) -> None:
    """Let this process compute for about so many seconds from now on, to the next whole one, where the platform can hold it to that."""
    if sys.platform == "win32":
        return
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    soft = math.ceil(time.process_time() + seconds)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


def _statm(process: str, field: int) -> int | None:
    """A field of Linux's `statm`, in bytes: 0 for what is mapped, 1 for what is held."""
    try:
        with open(f"/proc/{process}/statm", "rb", buffering=0) as file:
            return int(file.read().split()[field]) * _page_size()
    except (OSError, ValueError, IndexError):
        return None


@cache
def _page_size() -> int:
    return os.sysconf("SC_PAGE_SIZE") if sys.platform != "win32" else 4096


def _shown_by_ps(pid: int) -> int | None:
    try:
        shown = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, timeout=5, check=True)  # noqa: S603, S607
        return int(shown.stdout) * 1024
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def _working_set(pid: int) -> int | None:
    """Windows' figure."""
    if sys.platform != "win32":
        return None
    import ctypes
    from ctypes import wintypes

    class Counters(ctypes.Structure):
        """PROCESS_MEMORY_COUNTERS."""

        _fields_ = (
            ("cb", wintypes.DWORD),
            ("PageFaultCount", wintypes.DWORD),
            ("PeakWorkingSetSize", ctypes.c_size_t),
            ("WorkingSetSize", ctypes.c_size_t),
            *((f"other{number}", ctypes.c_size_t) for number in range(6)),
        )

    kernel = ctypes.WinDLL("kernel32", use_last_error=True)
    kernel.OpenProcess.restype = wintypes.HANDLE
    handle = kernel.OpenProcess(0x0410, False, pid)  # may query, may read
    if not handle:
        return None
    try:
        counters = Counters(cb=ctypes.sizeof(Counters))
        kernel.K32GetProcessMemoryInfo.argtypes = (wintypes.HANDLE, ctypes.POINTER(Counters), wintypes.DWORD)
        found = kernel.K32GetProcessMemoryInfo(handle, ctypes.byref(counters), counters.cb)
        return int(counters.WorkingSetSize) if found else None
    finally:
        kernel.CloseHandle(wintypes.HANDLE(handle))
