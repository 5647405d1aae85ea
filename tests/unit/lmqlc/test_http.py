"""Fetching inside of programs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

import lmqlc
from lmqlc.backends.scripted import scripted
from lmqlc.http import fetch


class Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        known = {"/json?q=a%20b": b'{"query": {"pages": [{"title": "Norse"}]}}', "/text": "plain é".encode()}
        body = known.get(self.path)
        self.send_response(200 if body else 404)
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, *_args: object) -> None: ...


@pytest.fixture
def address() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_json_text_and_paths(address: str) -> None:
    assert asyncio.run(fetch(f"{address}/json?q=a b", "query.pages.0.title")) == "Norse"
    assert asyncio.run(fetch(f"{address}/text")) == "plain é"
    with pytest.raises(lmqlc.errors.LmqlError, match="has no 'nothing'"):
        asyncio.run(fetch(f"{address}/json?q=a b", "query.nothing"))


def test_what_cannot_be_fetched(address: str) -> None:
    with pytest.raises(lmqlc.errors.BackendUnavailable, match="/missing cannot be fetched: Not Found"):
        asyncio.run(fetch(f"{address}/missing?api_key=secret"))
    with pytest.raises(lmqlc.errors.BackendUnavailable):
        asyncio.run(fetch("http://127.0.0.1:9/"))
    with pytest.raises(lmqlc.errors.LmqlError, match="begins with http"):
        asyncio.run(fetch("file:///etc/passwd"))


def test_in_a_program(address: str) -> None:
    text = "from lmql.http import fetch\n\"{fetch(address + '/text')} [X]\" where len(X) == 1"
    assert lmqlc.run_sync(text, address=address, model=scripted("x")).prompt == "plain é x"


def test_names_that_programs_of_lmql_import() -> None:
    text = """
from lmql.runtime.program_state import ProgramState
from lmql.language.qstrings import TemplateVariable
from lmql.runtime.decorators import LMQLDecorator
known = {"ITEM0": "A shopping cart"}
@lmql.decorators.pre
def cache(variable: TemplateVariable, context: ProgramState):
    return known.get(variable.name, variable)
"-[@cache ITEM0]\\n-[@cache ITEM1]" where STOPS_BEFORE(ITEM1, "\\n")
return isinstance(TemplateVariable("X"), TemplateVariable), issubclass(LMQLDecorator, object), ITEM0, ITEM1
"""
    assert lmqlc.run_sync(text, model=scripted("milk\n")) == (True, True, "A shopping cart", "milk")
