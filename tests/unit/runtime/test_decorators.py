"""Decorators: which are called when, with what."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from lmqlc.grammar.errors import LmqlCompileError
from lmqlc.runtime import decorators as deco


def called(function: Any, *arguments: Any) -> Any:
    return asyncio.run(deco.call(function, *arguments))


def test_a_function_gets_as_many_arguments_as_it_takes() -> None:
    assert called(lambda value: value, 1, 2, 3) == 1
    assert called(lambda value, text: (value, text), 1, 2, 3) == (1, 2)
    assert called(lambda *all_of_them: all_of_them, 1, 2, 3) == (1, 2, 3)
    assert called(lambda value, *, key=4: (value, key), 1, 2, 3) == (1, 4)
    assert called(str.upper, "a", 2, 3) == "A"
    assert called(int, "7", "7", None) == 7


def test_async_functions_are_awaited() -> None:
    async def later(value: int) -> int:
        await asyncio.sleep(0)
        return value + 1

    assert called(later, 1) == 2


def test_moments_and_order() -> None:
    @deco.pre
    def before() -> None: ...

    @deco.streaming
    def during() -> None: ...

    def after() -> None: ...

    def last() -> None: ...

    ready = deco.prepared([before, during, after, last])
    assert deco.steps(ready, "pre") == [before]
    assert deco.steps(ready, "streaming") == [during]
    assert deco.steps(ready, "post") == [last, after]


def test_a_class_takes_part_in_every_moment_with_one_instance() -> None:
    class Both:
        def pre(self) -> None: ...

        def post(self, value: str) -> str:
            return value

    ready = deco.prepared([Both])
    (pre,), (post,) = deco.steps(ready, "pre"), deco.steps(ready, "post")
    assert pre.__self__ is post.__self__  # type: ignore[attr-defined]
    assert deco.steps(ready, "streaming") == []


def test_what_is_no_decorator_is_refused() -> None:
    with pytest.raises(LmqlCompileError, match="must be a function"):
        deco.prepared(["x"])
