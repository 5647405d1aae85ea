"""Query functions of every kind, as functions and inside of other queries."""

from __future__ import annotations

import asyncio
import inspect
import threading
from typing import Any

import pytest

import lmqlc
from lmqlc.backends.scripted import scripted


def model(**texts: str) -> Any:
    return scripted(after={f"{key}: ": text for key, text in texts.items()})


class Asker:
    word = "why"

    def __init__(self, suffix: str = "!") -> None:
        self.suffix = suffix

    @lmqlc.query
    def method(self, word: str = "why") -> str:
        """lmql
        "{word}: [A]" where len(A) <= 7
        return A + self.suffix
        """
        return ""

    @classmethod
    @lmqlc.query
    def of_class(cls) -> str:
        """lmql
        "{cls.word}: [A]" where len(A) <= 3
        return A, cls.__name__
        """
        return ""

    @lmqlc.query
    @staticmethod
    def static(word: str) -> str:
        """lmql
        "{word}: [A]" where len(A) <= 2
        return A
        """
        return ""

    @lmqlc.query
    def uses_others(self) -> Any:
        """lmql
        "[X: self.method] and [Y: Asker.static('how')] and [Z: Asker.of_class]."
        called = self.method("how")
        return X, Y, Z, called
        """
        return ""


def test_methods_of_every_kind() -> None:
    said = model(why="because", how="somehow")
    assert Asker("?").method(model=said) == "because?"
    assert Asker("?").method("how", model=said) == "somehow?"
    assert Asker.method(Asker("."), word="how", model=said) == "somehow."
    assert Asker.of_class(model=said) == Asker().of_class(model=said) == ("bec", "Asker")
    assert Asker.static("how", model=said) == Asker().static("how", model=said) == "so"
    assert list(inspect.signature(Asker().method).parameters) == ["word"]


def test_methods_in_the_place_of_holes() -> None:
    assert Asker("?").uses_others(model=model(why="because", how="somehow")) == ("because?", "so", ("bec", "Asker"), "somehow?")


def test_names_are_captured_where_the_function_is_defined() -> None:
    def made(suffix: str) -> Any:
        later = "before"

        @lmqlc.query
        def ask(word: str = "why", *rest: str, extra: str = "") -> str:
            """lmql
            "{word}: [A]" where len(A) == 1
            return A + suffix + later + extra + "".join(rest)
            """
            return later  # a real closure: the value at the call counts

        later = "after"
        return ask

    one, two = made("1"), made("2")
    said = model(why="because")
    assert (one(model=said), two(model=said)) == ("b1after", "b2after")
    assert one("why", "x", "y", extra="z", model=said) == "b1afterzxy"
    queries = []
    for number in range(3):  # noqa: B007 - the program uses it

        @lmqlc.query
        def numbered() -> int:
            """lmql
            return number
            """
            return 0

        queries.append(numbered)
    assert [query() for query in queries] == [0, 1, 2]


def test_a_query_may_call_itself() -> None:
    @lmqlc.query
    def count(n: int) -> Any:
        """lmql
        "{n}: [A]" where len(A) == 1
        rest = count(n - 1) if n > 0 else ""
        return A + rest
        """
        return ""

    assert count(2, model=scripted(after={"2: ": "c", "1: ": "b", "0: ": "a"})) == "cba"


def test_async_queries_look_async() -> None:
    @lmqlc.query
    async def ask(word: str) -> str:
        """lmql
        "{word}: [A]" where len(A) == 1
        return A
        """
        return ""

    assert asyncio.iscoroutinefunction(ask)
    assert asyncio.run(ask("why", model=model(why="b"))) == "b"

    async def gathered() -> list[str]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(ask(word, model=model(a="x", b="y"))) for word in "ab"]
        return [task.result() for task in tasks]

    assert asyncio.run(gathered()) == ["x", "y"]


def test_keywords_reach_the_decoder_and_the_model() -> None:
    @lmqlc.query(decoder="sample", n=2, temperature=0)
    def ask(word: str, **rest: Any) -> Any:
        """lmql
        "{word}: [A]" where len(A) <= 3
        return A, sorted(rest)
        """
        return ""

    said = model(why="because")
    assert ask("why", model=said) == [("bec", []), ("bec", [])]
    assert ask("why", model=said, n=1, other=5) == ("bec", ["other"])
    assert ask("why", model=said, decoder="argmax", max_tokens=3) == [("bec", []), ("bec", [])]
    with pytest.raises(lmqlc.errors.LmqlCompileError, match="temperature"):
        ask("why", model=said, temperature=-1)


def test_texts_compiled_once() -> None:
    said = model(why="because", how="somehow")
    ask = lmqlc.query('"{word}: [A]" where len(A) <= most\nreturn A', model=said)
    assert asyncio.run(ask("why", 3)) == "bec"
    assert asyncio.iscoroutinefunction(ask)
    now = lmqlc.query('"{word}: [A]" where len(A) <= most\nreturn A', model=said, is_async=False)
    assert now(word="how", most=4) == "some"
    assert list(inspect.signature(now).parameters) == ["word", "most"]
    with pytest.raises(TypeError, match="most"):
        now("how")
    assert lmqlc.run_sync("\"[X: now('how', 2)]!\"\nreturn X", now=now, model=said) == "so"


def test_f_takes_constraints_by_either_name() -> None:
    assert lmqlc.F("why: [A]", constraints="len(A) == 2", model=model(why="because"))() == "be"
    assert lmqlc.F('He said "{word}: [A]', "len(A) == 2", model=model(why="because"))(word="why") == "be"


def test_sync_queries_called_from_tools_and_threads_use_the_models_around_them() -> None:
    @lmqlc.query
    def inner(word: str) -> str:
        """lmql
        "{word}: [A]" where len(A) == 1
        return A
        """
        return ""

    def tool(word: str) -> str:
        return inner(word).upper()  # type: ignore[no-any-return]

    assert lmqlc.run_sync('"why: [X]" where len(X) == 2\nreturn X, tool("how")', tool=tool, model=model(why="yes", how="so")) == ("ye", "S")
    found: list[str] = []
    said = model(why="because")
    threads = [threading.Thread(target=lambda: found.append(inner("why", model=said))) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["b"] * 16
