"""A query behind HTTP, on real sockets: JSON and events, bounds, errors, and what a client cannot do."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import lmqlc
from lmqlc.backends.scripted import scripted
from lmqlc.queryserver.server import QueryServer
from lmqlc.queryserver.service import Bounds
from lmqlc.queryserver.signature import annotation_schema, arguments_schema, problems, type_schema, variables_schema

QUERY = (
    '# Greets people.\nname: str\ntimes: int\n"Greet {name}: [WORD]" where len(WORD) < 20\n'
    '"[N: int]" where 0 <= int(N) < 10\nreturn [WORD] * times\n'
)
JSON = {"Content-Type": "application/json"}


@contextmanager
def served(text: str, *said: str, **more: Any) -> Iterator[QueryServer]:
    model = scripted(*said, chat=True) if said else None
    server = QueryServer(lmqlc.compile(text), model=more.pop("model", model), port=0, host="127.0.0.1", **more)
    with server:
        yield server


def request(
    server: QueryServer, body: Any = None, *, path: str = "/run", method: str = "POST", headers: dict[str, str] | None = None
) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    try:
        connection.request(method, path, data if method == "POST" else None, JSON if headers is None else headers)
        answer = connection.getresponse()
        content = answer.read()
        kind = answer.getheader("content-type", "")
        return answer.status, json.loads(content) if kind.startswith("application/json") else content.decode()
    finally:
        connection.close()


def test_json_in_json_out() -> None:
    with served(QUERY, "Hello", "7") as server:
        status, found = request(server, {"name": "Anna", "times": 2})
        assert status == 200
        assert found["value"] == ["Hello", "Hello"]
        assert found["variables"] == {"WORD": "Hello", "N": 7}
        assert found["prompt"].startswith("Greet Anna: Hello") and found["finish_reason"] == "end"
        assert "results" not in found
        assert request(server, path="/health", method="GET") == (200, {"status": "ok", "query": "<string>", "running": 0})
        assert request(server, path="/nowhere", method="GET")[0] == 404
        assert request(server, path="/run", method="GET")[0] == 405


def test_events() -> None:
    with served(QUERY, "Hello", "7") as server:
        status, text = request(server, {"name": "Anna", "times": 1}, headers={**JSON, "Accept": "text/event-stream"})
    assert status == 200
    events = [block.split("\n") for block in text.strip().split("\n\n")]
    kinds = [lines[0].removeprefix("event: ") for lines in events]
    data = [json.loads(lines[1].removeprefix("data: ")) for lines in events]
    assert kinds[0] == "text" and kinds[-1] == "end"
    assert {"hole", "token", "hole_end", "value"} <= set(kinds)
    said = [one["text"] for kind, one in zip(kinds, data, strict=True) if kind == "token" and one["name"] == "WORD"]
    rest = next(one["rest"] for kind, one in zip(kinds, data, strict=True) if kind == "hole_end")
    assert "".join(said) + rest == "Hello"
    assert data[-1]["value"] == ["Hello"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"name": "A"}, "the query needs a value for `times`"),
        ({"name": "A", "times": "2"}, "`times` is of the type integer"),
        ({"name": "A", "times": True}, "`times` is of the type integer"),
        ({"name": 1, "times": 1}, "`name` is of the type string"),
        ({"name": "A", "times": 1, "nmae": 1}, "no argument `nmae`; did you mean `name`?"),
        ({"name": "A", "times": 1, "model": "local:x"}, "no argument `model`"),
        ({"name": "A", "times": 1, "decoder": "sample"}, "no argument `decoder`"),
        ({"name": "A", "times": 1, "max_len": 3}, "no argument `max_len`"),
        ({"name": "A", "times": 1, "__builtins__": {}}, "no argument `__builtins__`"),
        ({"name": "A", "times": 1, "lmql": {}}, "no argument `lmql`"),
        ([1], "the body is an object"),
    ],
)
def test_only_arguments_are_taken(server: QueryServer, body: Any, message: str) -> None:
    status, found = request(server, body)
    assert status == 422
    assert found["error"]["type"] == "BadArguments"
    assert message in found["error"]["message"]


@pytest.fixture(scope="module")
def server() -> Iterator[QueryServer]:
    with served(QUERY, "Hello", "7", bounds=Bounds(body=2000)) as made:
        yield made


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"", 400),
        (b"\xff", 400),
        (b'{"name": NaN, "times": 1}', 400),
        (b"[" * 1900, 400),
        (b'{"name": "' + b"x" * 3000 + b'"}', 413),
    ],
)
def test_bodies_that_are_no_arguments(server: QueryServer, body: bytes, status: int) -> None:
    found = request(server, body)
    assert found[0] == status and "message" in found[1]["error"]


def test_pages_of_others_cannot_ask(server: QueryServer) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        assert request(server, {"name": "A", "times": 1}, headers={"Content-Type": kind})[0] == 415


def test_names_of_other_hosts_are_refused(server: QueryServer) -> None:
    for host, status in (("evil.example", 421), (f"evil.example:{server.port}", 421), ("LocalHost", 200), (f"[::1]:{server.port}", 200)):
        assert request(server, {"name": "A", "times": 1}, headers={**JSON, "Host": host})[0] == status, host


def test_values_are_inert() -> None:
    with served('text: str\n"{text}[X]" where len(X) == 2\n', "ab") as made:
        status, found = request(made, {"text": "[HOLE] {1+1} {:system} __import__('os')"})
    assert status == 200 and found["prompt"] == "[HOLE] {1+1} {:system} __import__('os')ab"
    assert found["variables"] == {"X": "ab"}


def test_names_of_options_may_be_arguments() -> None:
    with served('"{decoder} {model} {output_writer} [X]" where len(X) == 2\n', "ab") as made:
        status, found = request(made, {"decoder": "sample", "model": "local:x", "output_writer": 1})
    assert (status, found["prompt"]) == (200, "sample local:x 1 ab")


def test_errors() -> None:
    text = 'words: list[str]\n"[X]" where X in words\nif X == "b":\n    raise ValueError("a secret")\ninput("?")\n'
    with served(text, "a") as made:
        status, found = request(made, {"words": []})
        assert status == 422 and found["error"]["type"] == "UnsatisfiableConstraint"
        (diagnostic,) = found["error"]["diagnostics"]
        assert (diagnostic["code"], diagnostic["line"]) == ("L0402", 2)
        status, found = request(made, {"words": ["b"]})
        assert (status, found) == (500, {"error": {"type": "ProgramFailed", "message": "the program raised ValueError"}})
        status, found = request(made, {"words": ["a"]})
        assert status == 500 and "asks for input" in found["error"]["message"]
        status, text = request(made, {"words": ["b"]}, headers={**JSON, "Accept": "text/event-stream"})
        assert status == 200 and "event: error\n" in text and '"status": 500' in text and "secret" not in text


def test_keys() -> None:
    with served('"[X]" where len(X) == 1\n', "a", api_key="sesame") as made:
        assert request(made, {})[0] == 401
        assert request(made, {}, headers={**JSON, "Authorization": "Bearer wrong"})[0] == 401
        assert request(made, {}, headers={**JSON, "Authorization": "Bearer sesame"})[0] == 200
        assert request(made, path="/openapi.json", method="GET")[1]["security"] == [{"key": []}]


SLOW = 'import asyncio\nseconds: float\n"[X]" where len(X) == 1\nawait asyncio.sleep(seconds)\n'


def test_runs_are_concurrent_and_bounded() -> None:
    with served(SLOW, "a", bounds=Bounds(running=4, waiting=1, seconds=60)) as made:
        started = time.monotonic()
        with ThreadPoolExecutor(8) as pool:
            found = [status for status, _ in pool.map(lambda _: request(made, {"seconds": 1.5}), range(8))]
        assert sorted(found) == [200] * 5 + [503] * 3
        assert time.monotonic() - started < 5 * 1.5  # one after the other
        assert request(made, {"seconds": 0})[0] == 200


def test_time_is_bounded() -> None:
    with served(SLOW, "a", bounds=Bounds(seconds=0.3)) as made:
        status, found = request(made, {"seconds": 60})
        assert (status, found["error"]["type"]) == (504, "OutOfTime")
        assert request(made, {"seconds": 0})[0] == 200


def test_a_client_that_goes_away_ends_its_run() -> None:
    with served(SLOW, "a") as made:
        for accept in ("application/json", "text/event-stream"):
            connection = http.client.HTTPConnection("127.0.0.1", made.port, timeout=30)
            connection.request("POST", "/run", b'{"seconds": 60}', {**JSON, "Accept": accept})
            while request(made, path="/health", method="GET")[1]["running"] == 0:
                time.sleep(0.02)
            connection.close()
            deadline = time.monotonic() + 10
            while request(made, path="/health", method="GET")[1]["running"] and time.monotonic() < deadline:
                time.sleep(0.05)
            assert request(made, path="/health", method="GET")[1]["running"] == 0


def test_several_branches() -> None:
    with served('sample(n=3, seed=1)\n    "[X]" where len(X) == 2\n', model="random:1") as made:
        status, found = request(made, {})
    assert status == 200 and len(found["results"]) == 3 and found["variables"] == found["results"][0]["variables"]


def test_openapi_document() -> None:
    with served(QUERY, "Hello", "7") as made:
        document = request(made, path="/openapi.json", method="GET")[1]
    assert document["openapi"] == "3.1.0" and document["info"]["description"] == "Greets people."
    arguments = document["components"]["schemas"]["Arguments"]
    assert arguments["properties"] == {"name": {"type": "string"}, "times": {"type": "integer"}}
    assert arguments["required"] == ["name", "times"] and arguments["additionalProperties"] is False
    holes = document["components"]["schemas"]["Result"]["properties"]["variables"]["properties"]
    assert holes == {"WORD": {"type": "string"}, "N": {"type": "integer"}}
    from jsonschema import Draft202012Validator

    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


TYPES = {
    "str": {"type": "string"},
    "list[int]": {"type": "array", "items": {"type": "integer"}},
    "dict[str, float]": {"type": "object", "additionalProperties": {"type": "number"}},
    "int | None": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
    "Optional[str]": {"anyOf": [{"type": "string"}, {"type": "null"}]},
    'Literal["a", "b"]': {"enum": ["a", "b"]},
    "typing.Union[int, str]": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
    "datetime.date": {"type": "string", "format": "date"},
    "Person": {},
    "int | Person": {},
    "f(x)": {},
}


@pytest.mark.parametrize("text", TYPES)
def test_annotations(text: str) -> None:
    import ast

    assert annotation_schema(ast.parse(text, mode="eval").body) == TYPES[text]


def test_checks_agree_with_jsonschema() -> None:
    import ast

    from jsonschema import Draft202012Validator

    values: list[Any] = ["a", 1, 1.5, True, None, [1], ["a"], [[1]], {"a": 1}, {"a": "b"}, {}, []]
    for text, schema in TYPES.items():
        assert annotation_schema(ast.parse(text, mode="eval").body) == schema
        validator = Draft202012Validator(schema)
        for value in values:
            assert (not list(problems(value, schema, "x"))) == validator.is_valid(value), (text, value)


def test_types_of_holes() -> None:
    import dataclasses
    import enum

    class Colour(enum.Enum):
        RED = "red"

    Point = dataclasses.make_dataclass("Point", [("x", int), ("y", list[Colour])])
    assert type_schema(Colour) == {"enum": ["red"]}
    assert type_schema(Point)["properties"] == {"x": {"type": "integer"}, "y": {"type": "array", "items": {"enum": ["red"]}}}
    assert type_schema(tuple[int, str])["prefixItems"] == [{"type": "integer"}, {"type": "string"}]
    assert type_schema(int | None) == {"anyOf": [{"type": "integer"}, {"type": "null"}]}
    program = lmqlc.compile('"[A: int] [B: kind] [A: str] [C]" where FLOAT(C)\n').program
    assert variables_schema(program)["properties"] == {"A": {}, "B": {}, "C": {"type": "number"}}
    assert arguments_schema(program)["required"] == ["kind"]


def test_python_face() -> None:
    server = lmqlc.serve_query('"[X]" where len(X) == 1\n', model="scripted:a", port=0, block=False)
    assert server is not None
    with server:
        assert request(server, {})[1]["variables"] == {"X": "a"}
        with pytest.raises(lmqlc.errors.BackendUnavailable, match="in use"):
            lmqlc.serve_query('"[X]"', port=server.port, block=False)
    with pytest.raises(lmqlc.errors.LmqlError, match="a port is"):
        lmqlc.serve_query('"[X]"', port=-1, block=False)
    broken = lmqlc.serve_query('"[X]"', model="local:/there/is/none", port=0, block=False)
    assert broken is not None
    with pytest.raises(lmqlc.errors.ModelNotFound):
        broken.start()


class TestCommand:
    @pytest.mark.parametrize("ends", [signal.SIGTERM, signal.SIGINT])
    def test_ready_line_and_graceful_end(self, tmp_path: Path, ends: int) -> None:
        (tmp_path / "slow.lmql").write_text(SLOW)
        command = [sys.executable, "-m", "lmqlc", "serve-query", "slow.lmql", "--model", "scripted:a", "--port", "0", "--host", "127.0.0.1"]
        process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ)
        try:
            assert process.stderr is not None
            line = process.stderr.readline()
            assert line.startswith("lmqlc: ready: POST http://127.0.0.1:")
            port = int(line.split("127.0.0.1:")[1].split("/")[0])
            statuses: list[int] = []

            def ask() -> None:
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
                connection.request("POST", "/run", b'{"seconds": 1}', JSON)
                statuses.append(connection.getresponse().status)

            thread = threading.Thread(target=ask)
            thread.start()
            time.sleep(0.5)
            process.send_signal(ends)
            thread.join()
            assert statuses == [200], "what is under way is finished"
            assert process.wait(30) == 0
            assert process.communicate() == ("", "")
        finally:
            process.kill()
            process.communicate()

    def test_errors_before_anything_is_served(
        self, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from lmqlc.__main__ import main

        monkeypatch.chdir(tmp_path)
        (tmp_path / "bad.lmql").write_text('"[X"\n')
        (tmp_path / "q.lmql").write_text('"[X]"\n')
        assert main(["serve-query", "bad.lmql"]) == 1
        assert main(["serve-query", "absent.lmql"]) == 1
        assert main(["serve-query", "q.lmql", "--decoder", "1"]) == 2
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = str(taken.getsockname()[1])
            assert main(["serve-query", "q.lmql", "--host", "127.0.0.1", "--port", port, "--model", "scripted:a"]) == 3
        assert main(["serve-query", "q.lmql", "--port", "0", "--model", "local:/there/is/none"]) == 3
        assert "is in use" in capfd.readouterr().err


def test_a_run_that_ends_before_its_return_says_so_with_what_it_had() -> None:
    with served('name: str\n"Greet {name}: [WORD]"\nreturn WORD\n', "Hello " * 9, "Hello " * 9, options={"max_len": 16}) as server:
        status, found = request(server, {"name": "Anna"})
        assert status == 422 and found["error"]["type"] == "RunEnded"
        assert found["error"]["diagnostics"][0]["code"] == "L0803"
        assert found["error"]["result"]["prompt"] == "Greet Anna: " + found["error"]["result"]["variables"]["WORD"]
        assert found["error"]["result"]["finish_reason"] == "length"
        status, found = request(server, {"name": "Anna" * 9})
        assert status == 422 and found["error"]["type"] == "ContextOverflow"
        assert found["error"]["result"]["prompt"].startswith("Greet AnnaAnna")
        status, text = request(server, {"name": "Anna"}, headers={**JSON, "Accept": "text/event-stream"})
        assert status == 200 and '"type": "RunEnded"' in text and "event: end" not in text


def test_warnings_of_a_run_are_in_its_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LMQLC_MAX_TOKENS", "2")
    with served('"Greet: [WORD]!"\n', "Hello there") as server:
        status, found = request(server, {})
    assert (status, found["finish_reason"]) == (200, "end")
    assert found["warnings"][0].startswith("hole `WORD` was ended after 2 tokens")
