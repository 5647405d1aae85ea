"""`lmqlc doctor`: what this installation has, and what is wrong with it."""

from __future__ import annotations

import json
import os
import platform
import socket
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from lmqlc import __version__
from lmqlc.backends.base import ModelSpec
from lmqlc.configuration import Configuration
from lmqlc.grammar.errors import LmqlError

OLDEST = (3, 11)
PATIENCE = 2.0
"""Seconds that a server may take to accept a connection."""
NEEDED = ("click", "lark", "numpy", "tokenizers")
EXTRAS = {
    "hf": ("torch", "transformers", "accelerate"),
    "schema": ("llguidance",),
    "serve": ("starlette", "uvicorn", "websockets"),
    "openai": ("httpx2",),
    "lsp": ("pygls",),
}
_MARKS = {"ok": "ok  ", "note": "-   ", "warning": "warn", "problem": "FAIL", "unreachable": "FAIL"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report. level: "note" is neither good nor bad; "problem" and "unreachable" decide the exit code."""

    name: str
    level: Literal["ok", "note", "warning", "problem", "unreachable"]
    text: str


def doctor_command(configuration: Configuration, *, as_json: bool) -> int:
    """Print the report; 0 where all is well, 1 where something is wrong, 3 where only the server of the default model is unreachable."""
    found: list[Finding] = []
    for finding in findings(configuration):
        found.append(finding)
        if not as_json:
            print(f"{_MARKS[finding.level]} {finding.name:<14} {finding.text}", flush=True)
    if as_json:
        print(json.dumps([asdict(finding) for finding in found], indent=2, ensure_ascii=False))
    levels = {finding.level for finding in found}
    return 1 if "problem" in levels else 3 if "unreachable" in levels else 0


def findings(configuration: Configuration) -> Iterator[Finding]:
    """Every check in turn; none raises."""
    yield _python()
    yield Finding("lmqlc", "ok", f"{__version__}, {Path(__file__).parent}")
    yield from _packages()
    yield _device()
    yield from _settings(configuration)
    yield _cache()
    yield from _model()


def _python() -> Finding:
    text = f"{platform.python_implementation()} {platform.python_version()}, {platform.platform()}, {sys.executable}"
    if sys.version_info < OLDEST:
        return Finding("python", "problem", f"{text}: older than 3.11")
    return Finding("python", "ok", text)


def _packages() -> Iterator[Finding]:
    missing = [name for name in NEEDED if _version(name) is None]
    shown = ", ".join(f"{name} {_version(name)}" for name in NEEDED if name not in missing)
    yield Finding("packages", "problem" if missing else "ok", shown + (f"; missing: {', '.join(missing)}" if missing else ""))
    for extra, names in EXTRAS.items():
        absent = [name for name in names if _version(name) is None]
        versions = ", ".join(f"{name} {_version(name)}" for name in names if name not in absent)
        advice = f"not installed: {', '.join(absent)} (pip install 'lmqlc[{extra}]')" if absent else ""
        yield Finding(f"[{extra}]", "note" if absent else "ok", "; ".join(filter(None, (versions, advice))))


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _device() -> Finding:
    """The devices that torch sees; importing it takes a second or two."""
    if _version("torch") is None:
        return Finding("device", "note", "models cannot run in this process without torch")
    try:
        import torch

        if torch.cuda.is_available():
            names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
            return Finding("device", "ok", ", ".join(f"cuda:{number} {name}" for number, name in enumerate(names)))
        if torch.backends.mps.is_available():
            return Finding("device", "ok", "mps (Apple)")
        return Finding("device", "ok", f"cpu, {torch.get_num_threads()} threads")
    except Exception as error:  # noqa: BLE001 - a broken installation can raise anything
        return Finding("device", "problem", f"torch cannot be used: {error}")


def _settings(configuration: Configuration) -> Iterator[Finding]:
    where = configuration.file or "no pyproject.toml with [tool.lmqlc] here or above"
    yield Finding("settings", "note" if configuration.file is None else "ok", str(where))
    for key, value in configuration.values.items():
        yield Finding("", "ok", f"{key} = {value.text} ({value.origin})")
    yield from (Finding("", "warning", warning) for warning in configuration.warnings)


def _cache() -> Finding:
    from lmqlc.compiler.masks.files import cache_folder

    folder = cache_folder()
    if str(folder) == os.devnull:
        return Finding("cache", "note", "off")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder):
            pass
    except OSError as error:
        return Finding("cache", "problem", f"{folder} cannot be written: {error.strerror or error}")
    size = sum(file.stat().st_size for file in folder.rglob("*.bin*") if file.is_file())
    return Finding("cache", "ok", f"{folder}, {size / 1e6:.1f} MB")


def _model() -> Iterator[Finding]:
    from lmqlc.backends import registry

    try:
        spec = registry.default_model()
    except LmqlError as error:
        yield Finding("model", "problem", error.message)
        return
    name = f"{spec.kind}:{spec.name}" if spec.name else spec.kind
    if spec.kind in ("local", "demo") and any(_version(package) is None for package in EXTRAS["hf"]):
        yield Finding("model", "problem", f"{name} runs in this process: pip install 'lmqlc[hf]', or name a served model")
    else:
        yield Finding("model", "ok", f"{name} (of programs that name none)")
    yield _server(spec)


def _server(spec: ModelSpec) -> Finding:
    """The server of models without a place of their own; its absence is a problem only where the default model needs it."""
    from lmqlc.backends import registry

    endpoint = str(dict(spec.options).get("endpoint") or registry.default_endpoint())
    try:
        parts = urlsplit(endpoint if "//" in endpoint else f"//{endpoint}")
        port = parts.port or (443 if parts.scheme in ("https", "wss") else 80)
        with socket.create_connection((parts.hostname or "localhost", port), timeout=PATIENCE):
            return Finding("server", "ok", f"{endpoint} accepts connections")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error) or "no answer"
        level: Literal["unreachable", "note"] = "unreachable" if spec.kind == "server" else "note"
        return Finding("server", level, f"{endpoint} is not reachable: {reason}")
