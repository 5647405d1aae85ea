"""Programs with effects under decoders that search: every branch comes to what the program comes to by itself with the same values, and no
effect happens twice."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any
from zlib import crc32

import hypothesis.strategies as st
from hypothesis import HealthCheck, given, settings

import lmqlc
from lmqlc.backends.scripted import scripted

LONG = bool(os.environ.get("LMQLC_LONG"))

HEAD = """
import functools, random
log = []
class Box:
    def __init__(self): self.items = []
    def put(self, item):
        self.items.append(item)
        return tool("box", history())
def history(): return "|".join(map(str, log))
def note(value): log.append(value); return tool("note", history())
async def later(value):
    got = await slow("later", value, history())
    log.append(got)
    return got
def numbers():
    for k in range(2):
        yield tool("number", k, history())
def ask(k):
    "({k}[P])" where P in ["a", "b"]
    log.append("P" + P)
    return note(P)
@functools.lru_cache(maxsize=None)
def cached(k): return tool("cached", k)
box = Box()
used = fail, shuffle
"""

SIMPLE = [
    'log.append(tool("plain", history()))',
    "log.append(note(len(log)))",
    "log.append(box.put(len(log)))",
    'log.append(await slow("awaited", history()))',
    "log.append(later(len(log)))",
    "log.extend(numbers())",
    "log.append(cached(3))",
    'log.append([tool("item", k, history()) for k in range(2)])',
    "log.append((lambda v: tool(v, history()))(len(log)))",
    "items = [3, 1, 2]; shuffle(items, history()); log.append(items)",
    'state = tool("state", history()); state.append(1); log.append(state)',
    '"x[X]" where X in ["a", "b", "c"]\nlog.append("X" + X)',
    '"y[Y]" where Y in ["a", "c"]\nlog.append("Y" + Y)',
    "log.append(ask(len(log)))",
]


def indented(body: str) -> str:
    return "\n".join("    " + line for line in body.split("\n"))


def compound(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    bodies = st.lists(inner, min_size=1, max_size=3).map("\n".join).map(indented)
    return st.one_of(
        bodies.map(lambda body: f"for k in range(2):\n{body}"),
        st.tuples(bodies, bodies).map(lambda t: f'if log and "a" in str(log[-1]):\n{t[0]}\nelse:\n{t[1]}'),
        st.tuples(bodies, bodies).map(
            lambda t: f"try:\n{t[0]}\n    fail(history())\nexcept KeyError as error:\n    log.append(error.args[0])\n{t[1]}"
        ),
        bodies.map(lambda body: f"try:\n{body}\nfinally:\n    log.append(note('finally'))"),
    )


STATEMENTS = st.recursive(st.sampled_from(SIMPLE), compound, max_leaves=6)
PROGRAMS = st.lists(STATEMENTS, min_size=2, max_size=5).map(
    lambda parts: HEAD + "\n".join(parts) + '\n"z[Z]" where Z in ["a", "b"]\nreturn log, Z\n'
)


def world() -> tuple[dict[str, Callable[..., Any]], list[Any]]:
    """Functions that give what depends on their arguments alone, and the calls that were made of them."""
    calls: list[Any] = []

    def tool(*args: Any) -> list[Any]:
        calls.append(args)
        return ["t", crc32(repr(args).encode())]

    async def slow(*args: Any) -> str:
        calls.append(args)
        return f"s{crc32(repr(args).encode())}"

    def fail(*args: Any) -> None:
        calls.append(("fail", *args))
        raise KeyError(f"f{crc32(repr(args).encode())}")

    def shuffle(items: list[Any], *args: Any) -> None:
        calls.append(("shuffle", *args))
        items.reverse()

    return {"tool": tool, "slow": slow, "fail": fail, "shuffle": shuffle}, calls


DECODERS = st.sampled_from(
    [
        {"decoder": "beam", "n": 3},
        {"decoder": "var", "b": 2, "n": 3},
        {"decoder": "beam_var", "n": 2},
        {"decoder": "best_k", "k": 2, "budget": 40},
        {"decoder": "sample", "n": 3, "seed": 1},
    ]
)


@settings(max_examples=1000 if LONG else 50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(PROGRAMS, DECODERS, st.integers(0, 9))
def test_branches_are_what_the_program_is_by_itself(program: str, decoder: dict[str, Any], seed: int) -> None:
    functions, calls = world()
    searched = lmqlc.run_sync(program, model=f"random:{seed}", max_len=400, **decoder, **functions)
    keyed = [call for call in calls if call[0] != "cached"]
    if decoder["decoder"] != "sample":
        assert len(keyed) == len(set(keyed))  # every call has the history of its branch among its arguments
    for log, z in searched:
        values = [value[1:] for value in _holes(log)] + [z]
        own, _ = world()
        alone = lmqlc.run_sync(program, model=scripted(*values), **own)
        assert alone == (log, z)


def _holes(log: list[Any]) -> list[str]:
    return [value for value in log if isinstance(value, str) and value[:1] in "XYP" and len(value) == 2]
