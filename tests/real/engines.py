"""The engines that real programs run on, each started here and stopped again.

They are found in the folder named by `LMQLC_REAL` (see `prepare.py`). `vllm/bin/vllm` and `llama/bin/python` in it are environments of
their own, the second one with the package `xllamacpp`; links will do.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lmqlc

STARTUP = 600
"""Seconds that an engine may take to start: vLLM needs minutes on a busy machine."""


def folder() -> Path | None:
    """The folder with real weights, None where there is none."""
    named = os.environ.get("LMQLC_REAL")
    return Path(named) if named and (Path(named) / "gemma-chat" / "config.json").exists() else None


@contextmanager
def inprocess(weights: Path) -> Iterator[Any]:
    """The model in this process."""
    yield lmqlc.model(f"local:{weights / 'gemma-chat'}")


@contextmanager
def served(weights: Path) -> Iterator[Any]:
    """Our own server."""
    with lmqlc.serve(str(weights / "gemma-chat"), port=0, block=False, served_name="gemma") as server:
        yield lmqlc.model("gemma", endpoint=server.endpoint)


@contextmanager
def vllm(weights: Path) -> Iterator[Any]:
    """vLLM on the CPU."""
    port = free_port()
    command = [
        str(weights / "vllm" / "bin" / "vllm"), "serve", str(weights / "gemma-chat"), "--host", "127.0.0.1", "--port", str(port),
        "--served-model-name", "gemma", "--dtype", "float32", "--max-model-len", "4096", "--enforce-eager", "--max-num-seqs", "8",
    ]  # fmt: skip
    quiet = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
    with _started(command, f"http://127.0.0.1:{port}/health", quiet, weights / "vllm.log"):
        yield lmqlc.model("vllm/gemma", endpoint=f"http://127.0.0.1:{port}")


@contextmanager
def llama_cpp(weights: Path) -> Iterator[Any]:
    """llama.cpp's own server on the same float32 numbers."""
    port = free_port()
    python, server = weights / "llama" / "bin" / "python", Path(__file__).with_name("llama_server.py")
    command = [str(python), str(server), str(weights / "gemma-f32.gguf"), str(port)]
    with _started(command, f"http://127.0.0.1:{port}/health", {}, weights / "llama.log"):
        yield lmqlc.model("llama.cpp/gemma", endpoint=f"http://127.0.0.1:{port}")


ENGINES = {"inprocess": inprocess, "served": served, "vllm": vllm, "llama.cpp": llama_cpp}
NEEDS = {"vllm": "vllm/bin/vllm", "llama.cpp": "llama/bin/python"}


def available(name: str, weights: Path) -> bool:
    """Whether an engine can be started from the folder."""
    return name not in NEEDS or (weights / NEEDS[name]).exists()


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def _started(command: list[str], health: str, environment: dict[str, str], log: Path) -> Iterator[None]:
    """A server while it runs. Raises RuntimeError with the end of its log where it does not come up."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, **environment}, start_new_session=True
        )
    try:
        until = time.monotonic() + STARTUP
        while not _answers(health):
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"{command[0]} did not start:\n{log.read_text(errors='replace')[-2000:]}")
            time.sleep(1)
        yield
    finally:
        _stop(process)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End a server and the processes that it started."""
    import signal

    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(20)
        except (ProcessLookupError, PermissionError):
            return
        except subprocess.TimeoutExpired:
            continue
