"""Servers of llama.cpp with the embedded model: the same programs give the same greedy text as in process, constraints included.

They do not install everywhere, so the tests are marked `llama_cpp` and run where one of these is set:

    LMQLC_LLAMA_CPP_PYTHON=/path/to/python    an interpreter with `llama-cpp-python[server]` and `gguf`; the server is started here
    LMQLC_LLAMA_SERVER=/path/to/llama-server  llama.cpp's own server, with `gguf` in this interpreter; it is started here
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

import lmqlc
from lmqlc.backends.inprocess import DEMO_DIRECTORY

pytestmark = pytest.mark.llama_cpp

PROGRAMS = [
    '"Q: What is the capital of Italy?\\nA:[X]" where STOPS_BEFORE(X, "\\n")',
    '"Q: What is the capital of Italy?\\nA:[X]" where STOPS_AT(X, "m")',
    '"Q: What is the capital of Italy?\\nA:[X]\\n" where X in [" Paris", " Rome", " Berlin"]',
    '"Q: What is 3 + 4?\\nA:[X]\\n" where INT(X)',
    '"Q: What is 3 + 4?\\nA:[X]\\nQ: What is 5 + 1?\\nA:[Y]\\n" where INT(X) and INT(Y)',
    '"Hello[X]" where len(TOKENS(X)) < 6',
]
CONSTRAINED = ["[0-9]{3}", "[A-Z]{2}-[0-9]", "(xyz)+", r"[^\n]{5,30}", "[äöü]{2}|日本", r"\"[\\\\a-z]*\""]


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    python, binary = os.environ.get("LMQLC_LLAMA_CPP_PYTHON"), os.environ.get("LMQLC_LLAMA_SERVER")
    file = tmp_path_factory.mktemp("gguf") / "demo.gguf"
    writer = Path(__file__).with_name("demo_gguf.py")
    subprocess.run([python or sys.executable, str(writer), str(DEMO_DIRECTORY), str(file)], check=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    place = ["--host", "127.0.0.1", "--port", port]
    if binary:
        command = [binary, "-m", str(file), "--alias", "demo", "-c", "512", *place]
    else:
        command = [str(python), "-m", "llama_cpp.server", "--model", str(file), "--model_alias", "demo", "--n_ctx", "512", *place]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait(f"http://127.0.0.1:{port}/v1/models", server)
        yield f"127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(20)


def _wait(url: str, server: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        if server.poll() is not None:
            pytest.fail(f"the server ended with {server.returncode}")
        try:
            if httpx.get(url).is_success:
                return
        except httpx.HTTPError:
            time.sleep(0.1)
    pytest.fail("the server did not start")


@pytest.fixture
def model(endpoint: str) -> Any:
    return lmqlc.model("llama.cpp/demo", endpoint=endpoint)


@pytest.mark.parametrize("program", PROGRAMS)
def test_greedy_text_is_that_of_this_process(program: str, model: Any) -> None:
    here = lmqlc.run_sync(program, model="demo", max_tokens=24, token_healing=False)
    there = lmqlc.run_sync(program, model=model, max_tokens=24)
    assert there.variables == here.variables
    assert there.prompt == here.prompt


@pytest.mark.parametrize("pattern", CONSTRAINED)
def test_grammars_are_held(pattern: str, model: Any) -> None:
    result = lmqlc.run_sync(f'"Hello[X]" where REGEX(X, r"""{pattern}""")', model=model, max_tokens=60)
    assert re.fullmatch(pattern, result.variables["X"])


def test_types(model: Any) -> None:
    program = """
import dataclasses
@dataclasses.dataclass
class Person:
    name: str
    age: int
"Name: Anna. Age: 5.\\n[P: Person]" where len(P) < 60
"""
    person = lmqlc.run_sync(program, model=model, max_tokens=100).variables["P"]
    assert isinstance(person.name, str)
    assert isinstance(person.age, int)


def test_sampling_is_seeded(model: Any) -> None:
    def said(seed: int) -> str:
        options: dict[str, Any] = {"decoder": "sample", "temperature": 2.0, "top_k": 40, "max_tokens": 12}
        return str(lmqlc.run_sync('"Hello[X]"', model=model, seed=seed, **options).variables["X"])

    assert len({said(seed) for seed in range(4)}) > 1


@pytest.mark.parametrize("where", ['X in ["Rome", "Paris"]', 'STOPS_BEFORE(X, "\\n")'])
def test_chats(where: str, model: Any) -> None:
    program = f'"{{:user}}What is the capital of Italy?{{:assistant}}[X]" where {where}'
    here = lmqlc.run_sync(program, model="demo", max_tokens=24)
    assert lmqlc.run_sync(program, model=model, max_tokens=24).variables == here.variables
