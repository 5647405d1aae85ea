"""Copies of branches: a program runs again up to where its branch stood, and what reaches outside happens once."""

from __future__ import annotations

import sys
import textwrap
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import lmqlc
from lmqlc.grammar.errors import LmqlError

RUN = {"model": "random:3", "decoder": "sample", "n": 3, "seed": 4, "max_tokens": 2}


class Outside:
    """A world with effects that are counted: functions that no program defines."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def tool(self) -> Callable[..., Any]:
        calls = self.calls

        def tool(*args: Any, **kwargs: Any) -> Any:
            calls.append((args, kwargs))
            return {"call": len(calls), "args": list(args)}

        return tool

    def async_tool(self) -> Callable[..., Any]:
        calls = self.calls

        async def tool(value: Any) -> Any:
            calls.append(value)
            return [value, len(calls)]

        return tool

    def failing(self) -> Callable[..., Any]:
        calls = self.calls

        def tool(value: Any) -> Any:
            calls.append(value)
            raise KeyError(value)

        return tool


def run(text: str, **arguments: Any) -> list[Any]:
    """What three branches return."""
    results = lmqlc.run_sync(textwrap.dedent(text), **{**RUN, **arguments})
    assert len(results) == RUN["n"]
    return list(results)


def same(values: list[Any]) -> Any:
    """The one value that all branches saw."""
    assert all(value == values[0] for value in values), values
    return values[0]


def test_calls_before_the_first_hole_are_made_once(capsys: pytest.CaptureFixture[str]) -> None:
    outside = Outside()
    values = run("print('once')\nx = tool(1, k=2)\n'[X]'\nprint('each')\nreturn x", tool=outside.tool())
    assert same(values) == {"call": 1, "args": [1]}
    assert outside.calls == [((1,), {"k": 2})]
    assert capsys.readouterr().out == "once\neach\neach\neach\n"


def test_branches_share_no_value_that_can_change() -> None:
    values = run("x = tool(1)\n'[X]'\nx['args'].append(len(x['args']))\nreturn x", tool=Outside().tool())
    assert same(values) == {"call": 1, "args": [1, 1]}


def test_the_programs_own_functions_classes_and_objects_run_again() -> None:
    text = """
        log = []
        class Counter:
            def __init__(self): self.n = 0
            def up(self):
                self.n += 1
                log.append(tool(self.n)["call"])
        def twice(f):
            f(); f()
        c = Counter()
        twice(c.up)
        twice(lambda: log.append("λ"))
        make = lambda k: (lambda: k + tool(k)["call"])
        total = make(10)()
        "[X]"
        c.up
        return log, c.n, total, isinstance(c, Counter)
    """
    outside = Outside()
    assert same(run(text, tool=outside.tool())) == ([1, 2, "λ", "λ"], 2, 13, True)
    assert len(outside.calls) == 3


def test_functions_made_of_the_programs_own_are_made_again() -> None:
    module = ModuleType("decorating")
    code = """
        def twice(function):
            def call(*args):
                function(*args)
                return function(*args)
            return call
    """
    exec(textwrap.dedent(code), module.__dict__)
    text = """
        import functools
        log = []
        def add(x): log.append(x); return len(log)
        g = m.twice(add)
        @functools.lru_cache(maxsize=None)
        def cached(x): log.append(("cached", x)); return x
        h = functools.partial(add, 5)
        values = [g(1), cached(2), cached(2), h()]
        "[X]"
        return log, values, g(7)
    """
    assert same(run(text, m=module)) == ([1, 1, ("cached", 2), 5, 7, 7], [2, 2, 2, 4], 6)


def test_errors_are_raised_again() -> None:
    outside = Outside()
    text = """
        seen = []
        for k in range(2):
            try:
                tool(k)
            except KeyError as error:
                seen.append(error.args)
            finally:
                seen.append("f")
        "[X]"
        return seen
    """
    assert same(run(text, tool=outside.failing())) == [(0,), "f", (1,), "f"]
    assert outside.calls == [0, 1]


def test_what_is_awaited_is_recorded() -> None:
    outside = Outside()
    text = """
        import asyncio
        a = tool(1)
        b = await tool(2)
        c = await asyncio.gather(tool(3), tool(4))
        task = asyncio.create_task(tool(5))
        d = await task
        async def mine(v):
            got = await tool(v)
            got.append("mine")
            return got
        e = mine(6)
        f = [tool(v) for v in (7, 8)]
        "[X]"
        return a, b, c, d, e, f
    """
    expected = ([1, 1], [2, 2], [[3, 3], [4, 4]], [5, 5], [6, 6, "mine"], [[7, 7], [8, 8]])
    assert same(run(text, tool=outside.async_tool())) == expected
    assert outside.calls == [1, 2, 3, 4, 5, 6, 7, 8]


def test_random_values_and_times_are_those_of_the_first_branch() -> None:
    text = """
        import random, time
        from random import choice
        from datetime import datetime
        cards = [[n] for n in range(30)]
        random.shuffle(cards)
        picked = choice(cards)
        picked.append("picked")
        values = [random.random(), random.randint(1, 10**9), time.time(), datetime.now(), random.sample(range(100), 5)]
        generator = random.Random()
        values.append(generator.random())
        "[X]"
        return cards, values, sum(card is picked for card in cards), ["picked" in card for card in cards].count(True)
    """
    _, _, found, marked = same(run(text))
    assert (found, marked) == (1, 1)


def test_methods_of_objects_the_program_made_run_again() -> None:
    text = """
        import heapq, json, re
        from collections import Counter, deque, namedtuple
        from dataclasses import dataclass
        @dataclass
        class Point:
            x: int = 0
        queue = deque([3, 1]); queue.append(2); queue.rotate(1)
        heap = []
        for item in queue: heapq.heappush(heap, item)
        counts = Counter("hello"); counts.update("lo")
        Pair = namedtuple("Pair", "a b")
        text = json.dumps({"a": re.sub("l+", "L", "hello")})
        point = Point(); point.x += 1
        "[X]"
        return list(queue), heap, counts["l"], Pair(1, 2).b, text, point.x, str.upper("a"), sorted([2, 1], key=lambda v: v)
    """
    assert same(run(text)) == ([2, 3, 1], [1, 3, 2], 3, 2, '{"a": "heLo"}', 1, "A", [1, 2])


def test_files_are_opened_read_and_written_once(tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("a\nb\nc\n")
    text = """
        from pathlib import Path
        lines = []
        with open(folder + "/in.txt") as source:
            first = next(source)
            for line in source: lines.append(line)
        with open(folder + "/out.txt", "a") as out:
            out.write("x"); print("y", file=out)
        with (Path(folder) / "log.txt").open("a") as log:
            log.writelines([str(n) for n in range(3)])
        size = Path(folder, "out.txt").stat().st_size
        rest = list(open(folder + "/in.txt"))
        rest.extend(open(folder + "/in.txt"))
        open_files = []
        open_files.append(open(folder + "/in.txt"))
        rest += [len(open_files), open_files[0].readline()]
        "[X]"
        return first, lines, size, rest
    """
    assert same(run(text, folder=str(tmp_path))) == ("a\n", ["b\n", "c\n"], 3, ["a\n", "b\n", "c\n"] * 2 + [1, "a\n"])
    assert (tmp_path / "out.txt").read_text() == "xy\n"
    assert (tmp_path / "log.txt").read_text() == "012"


def test_generators_and_contexts(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("outside_module")
    code = """
        import contextlib
        made = []
        def numbers():
            for n in range(3):
                made.append(n)
                yield n
        async def later():
            for n in range(2):
                made.append(n)
                yield n
        class Context:
            def __init__(self): self.lock = __import__("threading").Lock()
            def __enter__(self): made.append("in"); return 7
            def __exit__(self, *error): made.append("out")
            async def __aenter__(self): made.append("ain"); return 8
            async def __aexit__(self, *error): made.append("aout"); return True
    """
    exec(textwrap.dedent(code), module.__dict__)
    monkeypatch.setitem(sys.modules, "outside_module", module)
    text = """
        import contextlib
        def own():
            for n in m.numbers(): yield n * 10
        got = list(own()) + [n async for n in m.later()]
        stream = m.numbers()
        got.append(next(stream)); got.append(next(stream))
        @contextlib.contextmanager
        def around():
            got.append("<"); yield 1; got.append(">")
        with m.Context() as a, around() as b:
            got += [a, b]
        async with m.Context() as c:
            got.append(c)
            raise ValueError
        "[X]"
        return got
    """
    assert same(run(text, m=module)) == [0, 10, 20, 0, 1, 0, 1, "<", 7, 1, ">", 8]
    assert module.made == [0, 1, 2, 0, 1, 0, 1, "in", "out", "ain", "aout"]


def test_nested_queries_prompt_functions_and_decorators() -> None:
    outside = Outside()
    text = """
        notes = []
        def note(value, text):
            notes.append(tool(text)["call"])
            return value
        @lmql.query
        def inner(k):
            '''lmql
            "<{tool(k)['call']}[A]" where len(A) == 1
            return A + "!"
            '''
        def ask(k):
            "({k}[@note B])" where B == "b"
            return tool(B)["call"]
        "[V: inner('k')]"
        w = ask(3)
        "[X]"
        return V[1:], w, notes
    """
    values = run(text, tool=outside.tool())
    assert all(value[0] == "!" and len(value[2]) == 1 for value in values)
    assert len(outside.calls) == 1 + 3 + 3  # up to the first hole once, then for each branch


def test_calls_of_queries_are_recorded() -> None:
    outside = Outside()
    text = """
        @lmql.query
        def other(k):
            '''lmql
            "[A]" where A == "a"
            tool(k)
            return [A]
            '''
        tool
        got = other(1)
        def plain(): return other(2)
        more = plain()
        got.append("x")
        "[X]"
        return got, more
    """
    assert same(run(text, tool=outside.tool())) == (["a", "x"], ["a"])
    assert [args for args, _ in outside.calls] == [(1,), (2,)]


def test_queries_with_branches_of_their_own_record_for_themselves() -> None:
    outside = Outside()
    text = """
        seen = []
        def mine(value):
            seen.append(value)
            return tool("mine")["call"]
        @lmql.query(decoder="sample", n=2, seed=1)
        def other():
            '''lmql
            tool("inner")
            mine(1)
            "[A]" where A in ["a", "b"]
            return 0
            '''
        got = other()
        more = mine(2)
        "[X]"
        return got, more
    """
    assert same(run(text, tool=outside.tool())) == ([0, 0], 3)
    assert [args for args, _ in outside.calls] == [("inner",), ("mine",), ("mine",)]


def test_arguments_are_copied_or_shared() -> None:
    class Store:
        def __init__(self) -> None:
            self.items: list[Any] = []

        def put(self, item: Any) -> int:
            self.items.append(item)
            return len(self.items)

    store, history = Store(), ["h"]
    values = run("n = store.put('a')\nhistory.append(n)\n'[X]'\nhistory.append('x')\nreturn n, history", store=store, history=history)
    assert same(values) == (1, ["h", 1, "x"])
    assert (store.items, history) == (["a"], ["h"])


def test_a_run_without_holes_happens_once() -> None:
    outside = Outside()
    assert same(run("return tool(1)['call']", tool=outside.tool())) == 1
    assert len(outside.calls) == 1


def test_a_program_that_takes_another_way_is_an_error() -> None:
    module = ModuleType("switching")
    module.flag = True
    text = "if m.flag: a = tool(1)\nelse: a = other(2)\nm.flag = False\n'[X]'\nreturn a"
    with pytest.raises(LmqlError, match=r"took another way through the program: it came to `\S*async_tool\S*`, the"):
        run(text, m=module, tool=Outside().tool(), other=Outside().async_tool())


def test_lines_of_errors_are_the_programs() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        run("def f(x):\n    return 1 / x\n'[X]'\nf(\n    0)\n")
    assert [frame.lineno for frame in traceback.extract_tb(caught.value.__traceback__) if frame.filename == "<string>"] == [4, 2]


def test_python_keeps_its_meaning() -> None:
    text = """
        class Base:
            def __init__(self, v): self.__v = v
            def get(self): return self.__v
        class Derived(Base):
            def __init__(self): super().__init__(5)
            def get(self): return super().get() + len(locals())
        def f(*args, self=1, function=2, **kwargs): return args, self, function, kwargs
        def g(a: int = int("3"), *, b: "str" = str(4)) -> dict(): return a, b
        values = [Derived().get(), f(*[1, 2], self=3, **{"function": 4, "args": 5}), g(), eval("1 + 1"), [n for n in map(str, range(2))]]
        squares = {n: (m := n * n) for n in range(3) if abs(n)}
        match f(1):
            case ((one,), *rest): values.append(one)
        "[X]"
        return values, squares, m, "X" in dir(), sum(int(c) for c in "123"), "{}".format(1), "X" in locals()
    """
    values, squares, m, in_dir, total, text_, in_locals = same(run(text))
    assert values == [7, ((1, 2), 3, 4, {"args": 5}), (3, "4"), 2, ["0", "1"], 1]
    assert (squares, m, in_dir, total, text_, in_locals) == ({1: 1, 2: 4}, 4, True, 6, "1", True)
