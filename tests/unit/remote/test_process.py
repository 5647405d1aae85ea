"""A process that only talks to servers: what it loads, and the command line at a server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

HEAVY = ("torch", "transformers", "llguidance", "tokenizers.tools", "fastapi", "openai")


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        found = {"/v1/models": {"data": [{"id": "m"}]}, "/version": {"version": "0.33.0"}}.get(self.path, {})
        self._send(json.dumps(found), "application/json")

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        if self.path == "/tokenize":
            self._send(json.dumps({"tokens": [1], "count": 1, "max_model_len": 100}), "application/json")
            return
        events = [{"choices": [{"text": text}]} for text in ("4", "2")] + [{"choices": [{"text": "", "finish_reason": "stop"}]}]
        self._send("".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n", "text/event-stream")

    def _send(self, text: str, kind: str) -> None:
        data = text.encode()
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    made = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    yield f"127.0.0.1:{made.server_address[1]}"
    made.shutdown()
    made.server_close()


def test_the_command_line_at_a_server_loads_nothing_heavy(server: str, tmp_path: Path) -> None:
    query = tmp_path / "q.lmql"
    query.write_text('"Age:[AGE]" where INT(AGE)\n', encoding="utf-8")
    code = (
        "import sys; from lmqlc.__main__ import main; code = main(sys.argv[1:]); "
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr); sys.exit(code)"
    )
    command = [sys.executable, "-c", code, "run", str(query), "--model", "vllm/m", "--no-stream", "--json"]
    environment = {**os.environ, "VLLM_BASE_URL": server}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["variables"] == {"AGE": 42}
    assert done.stderr.strip() == "[]"
