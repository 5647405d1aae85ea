"""Names on the Hugging Face hub: downloaded once, then found in the cache; errors that say what to do. The hub is a small server here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"

PROGRAM = """
import json, sys, time
from lmqlc.backends.registry import load
from lmqlc.grammar.errors import LmqlError

told = []
for name in sys.argv[1:]:
    started = time.perf_counter()
    try:
        answer = load("local:" + name, progress=lambda text, done: told.append([text, done])).name
    except LmqlError as error:
        answer = f"{type(error).__name__}: {error}"
    print(json.dumps([answer, time.perf_counter() - started, told, "torch" in sys.modules]))
"""


class Hub(ThreadingHTTPServer):
    """Serves the files of one model, `owner/tiny`. `owner/gated` is gated; all other names are unknown."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), HubHandler)
        self.files = {file.name: file.read_bytes() for file in folder.iterdir()} | {"pytorch_model.bin": b"not wanted"}
        self.asked: list[str] = []


class HubHandler(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        path = self.path.partition("?")[0]
        if "owner/gated" in path:
            self.answer(403, b"{}", {"X-Error-Code": "GatedRepo"})
        elif path.startswith("/api/models/owner/tiny/tree/"):
            self.answer(200, json.dumps(self.tree()).encode(), {"Content-Type": "application/json"})
        elif path.startswith("/api/models/owner/tiny"):
            self.answer(200, json.dumps(self.info()).encode(), {"Content-Type": "application/json"})
        elif path.startswith("/owner/tiny/resolve/") and path.rpartition("/")[2] in self.server.files:
            data = self.server.files[path.rpartition("/")[2]]
            self.answer(200, data, {"X-Repo-Commit": COMMIT, "ETag": f'"{sha256(data).hexdigest()}"'})
        elif path.startswith("/owner/tiny/resolve/"):
            self.answer(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
        else:
            self.answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})

    do_HEAD = do_GET

    def info(self) -> dict[str, object]:
        return {"id": "owner/tiny", "sha": COMMIT, "siblings": [{"rfilename": name} for name in self.server.files]}

    def tree(self) -> list[dict[str, object]]:
        return [{"type": "file", "path": name, "size": len(data), "oid": "0" * 40} for name, data in self.server.files.items()]

    def answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        return None


@pytest.fixture
def hub(checkpoints: Path) -> Iterator[Hub]:
    server = Hub(checkpoints / "gpt2")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def run(home: Path, endpoint: str, *names: str, **environment: str) -> list[list[object]]:
    """What loading each name gives, in a process of its own: [name or error, seconds, progress, whether torch was imported]."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGINGFACE_"))}
    variables = clean | {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "NO_PROXY": "127.0.0.1"} | environment
    done = subprocess.run([sys.executable, "-c", PROGRAM, *names], env=variables, capture_output=True, text=True, check=True, cwd=home)
    assert done.stderr == ""
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_model_is_downloaded_once_and_errors_say_what_to_do(hub: Hub, tmp_path: Path) -> None:
    endpoint = f"http://127.0.0.1:{hub.server_address[1]}"
    gated, unknown, tiny = run(tmp_path, endpoint, "owner/gated", "owner/unknown", "owner/tiny")
    assert "ModelNotFound: the model 'owner/gated' is gated" in str(gated[0])
    assert "ModelNotFound: no model 'owner/unknown' on the hub" in str(unknown[0])
    assert unknown[3] is False
    assert tiny[0] == "owner/tiny"
    assert any(text.startswith("downloading owner/tiny") for text, _ in tiny[2])  # type: ignore[attr-defined]
    assert not any("pytorch_model.bin" in path for path in hub.asked)
    hub.asked.clear()
    assert run(tmp_path, endpoint, "owner/tiny")[0][0] == "owner/tiny"
    assert not any("owner/tiny" in path for path in hub.asked)


def test_without_a_network_a_name_fails_soon(tmp_path: Path) -> None:
    ((answer, seconds, _, torch_imported),) = run(tmp_path, "http://127.0.0.1:1", "gpt2")
    assert "ModelNotFound: the model 'gpt2' is no directory here" in str(answer)
    assert "hf download gpt2" in str(answer)
    assert isinstance(seconds, float)
    assert seconds < 15
    assert torch_imported is False


def test_offline_mode_asks_nobody(hub: Hub, tmp_path: Path) -> None:
    endpoint = f"http://127.0.0.1:{hub.server_address[1]}"
    ((answer, *_),) = run(tmp_path, endpoint, "owner/tiny", HF_HUB_OFFLINE="1")
    assert "downloading is switched off" in str(answer)
    assert not any("owner/tiny" in path for path in hub.asked)
