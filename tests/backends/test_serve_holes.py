"""A query says the same at a server as in process: text, tokens, log-probabilities, usage."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

import lmqlc
from lmqlc.backends.base import ModelSpec
from lmqlc.backends.registry import load
from lmqlc.backends.serve.server import Server
from lmqlc.backends.serve.settings import Settings
from lmqlc.queries import program_of, run_program


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    settings = Settings(names=("demo", "small"), host="127.0.0.1", port=0)
    with Server(load(ModelSpec("demo", "")), settings) as running:
        yield running


def both(server: Server, text: str, **arguments: Any) -> tuple[list[Any], list[Any]]:
    """The results of a program here and at the server; the cache is as empty for one as for the other."""
    here = load(ModelSpec("demo", ""))

    def results(model: Any) -> list[Any]:
        here._engine.branches.clear()  # type: ignore[attr-defined]
        return asyncio.run(run_program(program_of(text), (), {"model": model, **arguments}))

    return results("demo"), results(lmqlc.model("demo", endpoint=f"127.0.0.1:{server.port}"))


PROGRAMS = {
    "stop": '"Hello[WHO]" where STOPS_AT(WHO, "\\n") and len(TOKENS(WHO)) < 10',
    "stop before": '"Once upon a time[X]." where STOPS_BEFORE(X, " a") and len(X) < 60',
    "stops of several lengths": '"Say[X]" where STOPS_BEFORE(X, ["an", ", my"]) and STOPS_AT(X, "z") and len(TOKENS(X)) < 30',
    "pattern": 'import re\n"Say[X]" where STOPS_BEFORE(X, re.compile("[aeiou]n?")) and len(TOKENS(X)) < 30',
    "choice before a pattern": 'import re\n"Is it? [X]" where X in ["yes", "no", "nope"] and STOPS_BEFORE(X, re.compile(r"\\s+\\w"))',
    "squeezed": 'argmax(max_tokens=6)\n    "Hello[A]" where len(A) > 8 and A.endswith("!")\n    "and[B]" where len(B) < 3',
    "words": 'argmax(max_tokens=40)\n    "Hello[A]" where len(WORDS(A)) == 2\n    " and[B]." where len(SENTENCES(B)) <= 1 and len(B) < 60',
    "healed": 'argmax(max_tokens=3) "The answer is [A]" where A in ["yes it is", "no", "perhaps"]',
    "free": '"Hello[A]" where len(TOKENS(A)) < 8\n"\\nBye[B]" where len(TOKENS(B)) < 5',
    "unconstrained": 'argmax(max_tokens=12) "The capital of France is[X]"',
    "choice": '"Is the sky blue? [X: Literal]" where X in ["yes", "no", "perhaps"]'.replace(": Literal", ""),
    "number": '"2 + 2 =[N]" where INT(N) and 0 <= int(N) <= 500',
    "typed": "from typing import Literal\n\"A: [X: Literal['yes', 'no']]\"\n\"B: [Y: int]\"",
    "special": 'argmax(max_tokens=30) "Hello[WHO]" where STOPS_AT(WHO, "<|endoftext|>") and STOPS_BEFORE(WHO, ["y n", "zzzz"])',
    "searched": 'beam(n=2, max_tokens=8) "Hello[A]" where len(TOKENS(A)) < 6',
    "custom": ('@lmql.constraint\ndef short(text, final):\n    return len(text) < 9\n"Hello[A]" where short(A) and len(TOKENS(A)) < 4'),
    "follow": '"Name: [X], age" where len(X) < 12',
    "forced": '"[X]" where X == "Bazinga, said the cat"',
    "json": (
        'SCHEMA = {"type": "object", "properties": {"ok": {"type": "boolean"}, "n": {"enum": [1, 25]}}, "required": ["ok", "n"]}\n'
        '"A record: [X]" where JSON(X, SCHEMA)'
    ),
    "formula": '"[X]" where GRAMMAR(X, \'start: "a" start "b" | "ab"\') and len(X) < 9',
    "sampled": 'sample(temperature=1.3, seed=7, top_p=0.9) "Hello[A]" where len(TOKENS(A)) < 12',
    "branches": 'sample(n=3, temperature=1.0, seed=3) "Hello[A]" where len(TOKENS(A)) < 12',
    "penalties": 'argmax(repetition_penalty=1.4, frequency_penalty=0.4, presence_penalty=0.2, max_tokens=20) "a a a b[A]"',
    "distribution": '"The answer is[X]" distribution X in [" yes", " no", " perhaps so"]',
}


def test_what_is_too_large_for_a_server_is_decoded_here(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lmqlc.backends.wire_automaton.MAX_STATES", 20)
    here, there = both(server, '"Name: [X], age" where X == "Bazinga, said the cat, and went to the harbour again"')
    assert there[0].prompt == here[0].prompt == "Name: Bazinga, said the cat, and went to the harbour again, age"


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_same_as_in_process(server: Server, name: str) -> None:
    here, there = both(server, PROGRAMS[name])
    assert len(here) == len(there)
    for one, other in zip(here, there, strict=True):
        assert one.prompt == other.prompt
        assert one.variables == other.variables
        for hole, same in zip(one.holes, other.holes, strict=True):
            assert [(t.id, t.text, t.forced) for t in hole.tokens] == [(t.id, t.text, t.forced) for t in same.tokens]
            assert [t.logprob for t in hole.tokens] == pytest.approx([t.logprob for t in same.tokens], abs=1e-4)
            assert (hole.text, hole.value, hole.finish_reason) == (same.text, same.value, same.finish_reason)
            assert (hole.count, hole.squeezed, hole.healed, hole.exact) == (same.count, same.squeezed, same.healed, same.exact)
        if len(here) == 1:
            one.usage.seconds = other.usage.seconds = 0.0
            assert one.usage == other.usage


ENDLESS = 'REGEX(A, "[a-z ]*") and len(A) > 20'
ROOM = {
    "the window, without return": (f'"Hello{" hello" * 400}[A]" where {ENDLESS}', {"max_tokens": 10_000}),
    "the window, with return": (f'"Hello{" hello" * 400}[A]" where {ENDLESS}\nreturn A', {"max_tokens": 10_000}),
    "max_len": (f'"Hello[A]" where {ENDLESS}\nreturn A', {"max_len": 20}),
    "max_total_tokens": ('"Hello[A]" where len(TOKENS(A)) == 7\n"and[B]"\nreturn A', {"max_total_tokens": 12}),
    "nothing": (f'"Hello[A]" where STOPS_AT(A, "zzz") and {ENDLESS}\n"and[B]" where len(B) < 9\nreturn A, B', {}),
    "a number at the end": ('"2 + 2 =[N]" where INT(N) and int(N) > 10**6\nreturn N', {"max_len": 13}),
}


@pytest.mark.parametrize("name", ROOM)
def test_room_is_the_same_as_in_process(server: Server, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LMQLC_MAX_TOKENS", "25")
    text, bounds = ROOM[name]

    def outcome(model: Any) -> tuple[Any, ...]:
        error = ""
        try:
            results = asyncio.run(run_program(program_of(text), (), {"model": model, **bounds}))
        except lmqlc.errors.RunEnded as ended:
            results, error = [*ended.results], ended.message
        holes = [(hole.name, hole.text, hole.finish_reason, hole.bound) for hole in results[0].holes]
        return error, results[0].prompt, results[0].finish_reason, results[0].warnings, holes

    here = outcome("demo")
    assert here == outcome(lmqlc.model("demo", endpoint=f"127.0.0.1:{server.port}"))
    assert bool(here[0]) == (name not in ("the window, without return", "nothing"))
