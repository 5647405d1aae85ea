"""`lmqlc serve-model`: which words are options of the model, and a whole process from start to drain."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from lmqlc.backends.base import ModelSpec
from lmqlc.serve_command import literal, split_rest
from lmqlc.serving import default_names, model_spec

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    ("words", "options"),
    [
        (["gpt2"], {}),
        (["gpt2", "--trust_remote_code", "True"], {"trust_remote_code": True}),
        (["--trust_remote_code", "True", "gpt2"], {"trust_remote_code": True}),
        (["gpt2", "--load_in_4bit"], {"load_in_4bit": True}),
        (["--load_in_4bit", "gpt2"], {"load_in_4bit": True}),
        (["gpt2", "--load-in-4bit", "true", "--dtype", "bfloat16"], {"load_in_4bit": True, "dtype": "bfloat16"}),
        (["gpt2", "--dtype='fp16'", "--revision=v1"], {"dtype": "fp16", "revision": "v1"}),
        (["gpt2", "--max_memory", '{0: "10GiB", "cpu": 3}'], {"max_memory": {0: "10GiB", "cpu": 3}}),
        (["gpt2", "--anything", "-3", "--other", "none"], {"anything": -3, "other": None}),
    ],
)
def test_options_of_the_model(words: list[str], options: dict[str, Any]) -> None:
    assert split_rest(words) == ("gpt2", options)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "name one model"),
        (["--load_in_4bit"], "name one model"),
        (["a", "b"], "one model can be served, not 2: a b"),
        (["gpt2", "--prot", "99"], "no option --prot; did you mean --port"),
        (["gpt2", "--apikey", "x"], "did you mean --api-key"),
        (["gpt2", "--load_in_4bits"], "did you mean --load_in_4bit"),
        (["gpt2", "--trust-remote_cod", "True"], "did you mean --trust_remote_code"),
        (["gpt2", "--revision", "a", "--revision", "b"], "given twice"),
        (["gpt2", "--a.b", "1"], "can be no option"),
    ],
)
def test_slips(words: list[str], message: str) -> None:
    with pytest.raises(click.UsageError) as found:
        split_rest(words)
    assert message in found.value.message


def test_literals() -> None:
    texts = ["True", "false", "4", "1e-3", '"fp16"', "fp16", "null", "[1, 2]", "__import__('os')", "("]
    assert [literal(text) for text in texts] == [True, False, 4, 1e-3, "fp16", "fp16", None, [1, 2], "__import__('os')", "("]


def test_what_is_served_and_under_which_names(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    assert model_spec("gpt2", cuda=True, options={"dtype": "fp16"}) == ModelSpec("local", "gpt2", (("cuda", True), ("dtype", "fp16")))
    assert model_spec("openai/gpt-oss", cuda=False, options={}) == ModelSpec("local", "openai/gpt-oss")
    assert model_spec("demo", cuda=False, options={}) == ModelSpec("demo", "")
    assert model_spec("random:3", cuda=False, options={}) == ModelSpec("random", "3")
    assert model_spec("local:x", cuda=False, options={}) == ModelSpec("local", "x")
    assert default_names(str(tmp_path / "mine")) == [str(tmp_path / "mine"), "mine"]
    assert default_names("local:gpt2") == ["local:gpt2", "gpt2"]


class Served:
    """A `lmqlc serve-model` of its own process."""

    def __init__(self, *words: str) -> None:
        command = [sys.executable, "-m", "lmqlc", "serve-model", *words]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, cwd=ROOT)
        self.lines: list[str] = []
        self._ready = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line)
            if "ready:" in line:
                self._ready.set()
        self._ready.set()

    @property
    def port(self) -> str:
        assert self._ready.wait(90)
        found = re.search(r"ready: .*? at http://localhost:(\d+)", "".join(self.lines))
        assert found, self.lines
        return found[1]

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(60)
        self._reader.join(10)
        assert self.process.stderr is not None
        self.process.stderr.close()
        return code


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    running = Served("random", "--port", "0", "--served-name", "gpt2")
    yield running
    assert running.stop() == 0
    assert not any("Traceback" in line for line in running.lines), running.lines


def run(program: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lmqlc", "run", str(program), "--no-stream", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=90, env={**os.environ, **environment}, cwd=ROOT)


@pytest.mark.parametrize("name", ["remote_endpoint", "served_by_name"])
def test_original_programs_run_at_a_server(served: Served, name: str, tmp_path: Path) -> None:
    text = (ROOT / "examples" / "original" / f"{name}.lmql").read_text(encoding="utf-8")
    program = tmp_path / "q.lmql"
    program.write_text(text.replace("localhost:9999", f"localhost:{served.port}"), encoding="utf-8")
    found = run(program, LMQLC_ENDPOINT=f"localhost:{served.port}")
    assert found.returncode == 0, found.stderr
    assert found.stdout.startswith("WHO = ")


def test_a_client_process_loads_neither_torch_nor_transformers(served: Served) -> None:
    code = (
        "import sys, lmqlc\n"
        f"model = lmqlc.model('gpt2', endpoint='localhost:{served.port}')\n"
        "lmqlc.run_sync('\"Hi[X]\" where len(TOKENS(X)) < 5', model=model)\n"
        "print([name for name in ('torch', 'transformers', 'httpx', 'httpx2', 'starlette', 'uvicorn') if name in sys.modules])\n"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout == "[]\n"


def test_a_stopped_server_finishes_what_it_has() -> None:
    import lmqlc

    running = Served("random", "--port", "0")
    model = lmqlc.model("random", endpoint=f"localhost:{running.port}")
    program = '"Go[X]" where len(TOKENS(X)) < 1500'
    begun = threading.Event()
    prompts: list[str] = []

    def told(event: object) -> None:
        if isinstance(event, lmqlc.events.TokenEvent):
            begun.set()

    thread = threading.Thread(target=lambda: prompts.append(lmqlc.run_sync(program, model=model, output_writer=told).prompt))
    thread.start()
    assert begun.wait(30)
    assert running.stop() == 0
    thread.join(60)
    assert prompts == [lmqlc.run_sync(program, model="random").prompt]


def test_errors_end_the_command(tmp_path: Path) -> None:
    missing = subprocess.run(
        [sys.executable, "-m", "lmqlc", "serve-model", str(tmp_path / "nothing"), "--port", "0"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert missing.returncode == 3
    assert "no model directory" in missing.stderr
    assert "Traceback" not in missing.stderr
    slip = subprocess.run(
        [sys.executable, "-m", "lmqlc", "serve-model", "demo", "--prot", "1"], capture_output=True, text=True, check=False
    )
    assert slip.returncode == 2
    assert "did you mean --port" in slip.stderr


def test_a_port_in_use(served: Served) -> None:
    command = [sys.executable, "-m", "lmqlc", "serve-model", "random", "--port", served.port]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 3
    assert f"port {served.port} of localhost is in use" in found.stderr
