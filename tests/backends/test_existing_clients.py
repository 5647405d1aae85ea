"""Existing LMQL releases against ours, in both directions, each in an environment of its own.

`LMQL_073_PYTHON` and `LMQL_006_PYTHON` name interpreters of environments with lmql 0.7.3 (with transformers 4 and torch, for its server)
and with lmql 0.0.6 (with torch and numpy). Without them these tests are not part of a run.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import lmqlc
from lmqlc.backends.base import ModelSpec
from lmqlc.backends.registry import load
from lmqlc.backends.serve.server import Server
from lmqlc.backends.serve.settings import Settings

SCRIPTS = Path(__file__).parent / "existing"
RELEASES = {"073": ["-m", "lmql.cli", "serve-model"], "006": ["-m", "lmql.model.serve"]}

pytestmark = pytest.mark.existing


def python_of(release: str) -> str:
    return os.environ[f"LMQL_{release}_PYTHON"]


@pytest.fixture(scope="module")
def checkpoint(checkpoints: Path) -> str:
    """The small GPT-2, with its tokenizer in the form that old readers know."""
    folder = checkpoints / "gpt2"
    for file, change in (("tokenizer.json", _old_merges), ("tokenizer_config.json", _old_class)):
        content = json.loads((folder / file).read_text(encoding="utf-8"))
        change(content)
        (folder / file).write_text(json.dumps(content), encoding="utf-8")
    return str(folder)


def _old_merges(content: dict[str, Any]) -> None:
    content["model"]["merges"] = [pair if isinstance(pair, str) else " ".join(pair) for pair in content["model"]["merges"]]


def _old_class(content: dict[str, Any]) -> None:
    content["tokenizer_class"] = "PreTrainedTokenizerFast"
    content.pop("backend", None)


def said_by(release: str, port: int, model: str, home: Path) -> Any:
    """What the release's client gives."""
    script = SCRIPTS / f"client_{release}.py"
    environment = {**os.environ, "HOME": str(home), "HF_HUB_OFFLINE": "1"}
    command = [python_of(release), str(script), str(port), model]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.strip().splitlines()[-1])


@contextmanager
def existing_server(release: str, model: str) -> Iterator[int]:
    """The release's own server."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [python_of(release), *RELEASES[release], model, "--port", str(port)]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    try:
        for _ in range(600):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield port
    finally:
        running.terminate()
        running.wait(20)


@pytest.mark.parametrize("release", RELEASES)
def test_their_client_says_the_same_at_our_server(release: str, checkpoint: str, tmp_path: Path) -> None:
    settings = Settings(names=(checkpoint,), host="localhost", port=0, legacy=True)
    with Server(load(ModelSpec("local", checkpoint)), settings) as ours, existing_server(release, checkpoint) as theirs:
        at_ours = said_by(release, ours.port, checkpoint, tmp_path)
        assert at_ours == said_by(release, theirs, checkpoint, tmp_path)
    assert at_ours["plain"]


@pytest.mark.parametrize(("release", "wire"), [("073", "lmtp"), ("006", "legacy")])
@pytest.mark.parametrize(
    "program",
    [
        '"the cat[X]" where len(TOKENS(X)) < 12',
        '"the cat [X]" where REGEX(X, "[a-z]{3,5} (cat|mat)")',
        'sample(temperature=0.8, seed=4) "the[X]" where len(X) < 12',
        '"the [X]" distribution X in ["cat", "mat", "world"]',
    ],
)
def test_our_client_says_the_same_at_their_server(release: str, wire: str, program: str, checkpoint: str) -> None:
    here = lmqlc.run_sync(program, model=f"local:{checkpoint}")
    with existing_server(release, checkpoint) as port:
        there = lmqlc.run_sync(program, model=lmqlc.model(checkpoint, endpoint=f"localhost:{port}", tokenizer=checkpoint), backend=wire)
    assert there.prompt == here.prompt
    expected = [token.logprob for hole in here.holes for token in hole.tokens]
    assert [token.logprob for hole in there.holes for token in hole.tokens] == pytest.approx(expected, abs=1e-4)
