"""What bounds a run: tokens of the whole query, its deadline, and the context window; and what is left of it then."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

import lmqlc
from lmqlc.backends.scripted import RandomBackend, ScriptedSession, scripted
from lmqlc.errors import ContextOverflow, DeadlineExceeded, LmqlCompileError
from lmqlc.runtime import deadline


def produced(result: Any) -> int:
    return int(result.usage.tokens + result.usage.forced)


class TestTotalTokens:
    def test_all_holes_share_it(self) -> None:
        result: Any = lmqlc.run_sync("'a[X]b[Y]c[Z]'", model="random:1", max_total_tokens=10, max_tokens=4, token_healing=False)
        assert [len(hole.tokens) for hole in result.holes] == [4, 4, 2]
        assert [hole.finish_reason for hole in result.holes] == ["budget", "budget", "length"]
        assert result.finish_reason == "length"
        assert produced(result) == 10

    def test_a_constrained_hole_is_valid_within_what_is_left(self) -> None:
        text = "'a[X]b[Y]' where len(Y) > 4 and REGEX(Y, r'[a-z]+')"
        result: Any = lmqlc.run_sync(text, model="random:2", max_total_tokens=9, max_tokens=3)
        x, y = result.holes
        assert len(y.text) > 4
        assert y.text.islower()
        assert produced(result) <= 9 + bool(x.healed) + bool(y.healed)

    def test_branches_have_equal_parts(self) -> None:
        results = lmqlc.run_sync("'a[X]'", model="random:1", decoder="sample", n=3, seed=5, max_total_tokens=14, token_healing=False)
        assert [len(result.holes[0].tokens) for result in results] == [4, 4, 4]

    def test_nested_and_called_queries_spend_it_too(self) -> None:
        program = """
import lmqlc

@lmqlc.query
def inner():
    '''lmql
    "x[W]"
    return W
    '''

"a[X: inner]"
"b[Y: inner()]"
called = inner()
"c[Z]"
"""
        result: Any = lmqlc.run_sync(program, model="random:4", max_total_tokens=7, max_tokens=3, token_healing=False)
        names = [(hole.name, len(hole.tokens)) for hole in result.holes if hole.tokens]
        assert names[:2] == [("W", 3), ("W", 3)]
        assert sum(count for _, count in names) <= 7
        assert result.finish_reason == "length"

    def test_a_query_that_is_called_ends_with_what_is_left(self) -> None:
        program = """
import lmqlc

@lmqlc.query
def inner():
    '''lmql
    "x[W]"
    return W
    '''

"a[X]"
first = inner(max_tokens=4)
"b[Y]"
"""
        result: Any = lmqlc.run_sync(program, model="random:4", max_total_tokens=11, max_tokens=4, token_healing=False)
        assert [(hole.name, len(hole.tokens)) for hole in result.holes] == [("X", 4), ("Y", 3)]
        greedy: Any = lmqlc.run_sync(
            program.replace("max_tokens=4", ""), model="random:4", max_total_tokens=11, max_tokens=4, token_healing=False
        )
        assert [hole.name for hole in greedy.holes] == ["X"]

    @pytest.mark.parametrize("value", [0, -1, 2.5, "many", True])
    def test_nonsense_is_an_error(self, value: object) -> None:
        with pytest.raises(LmqlCompileError, match="max_total_tokens"):
            lmqlc.run_sync("'a[X]'", model="random", max_total_tokens=value)
        with pytest.raises(LmqlCompileError, match="max_total_tokens"):
            lmqlc.compile(f"argmax(max_total_tokens={value!r})\n    'a[X]'\n")


class Slow(RandomBackend):
    """Takes its time for every token, and for ever for those after `quick` ones."""

    def __init__(self, seed: int, quick: int = 10**9) -> None:
        super().__init__(seed)
        self.quick = quick

    async def open(self) -> ScriptedSession:
        session = await super().open()
        plain = session.logits

        async def logits(sequences: Sequence[Sequence[int]]) -> Any:
            self.quick -= 1
            await asyncio.sleep(0.02 if self.quick >= 0 else 600)
            return await plain(sequences)

        session.logits = logits  # type: ignore[method-assign]
        return session


class TestDeadline:
    def failed(self, text: str, **options: Any) -> tuple[DeadlineExceeded, float]:
        started = time.perf_counter()
        with pytest.raises(DeadlineExceeded, match="longer than its timeout of") as caught:
            lmqlc.run_sync(text, **{"model": Slow(3), **options})
        return caught.value, time.perf_counter() - started

    def test_decoding_ends_and_nothing_is_lost(self) -> None:
        model = Slow(3, quick=7)  # the second hole is never decoded, however fast or slow the machine
        error, seconds = self.failed("'one [X] two [Y]'", model=model, max_tokens=5, timeout=2, token_healing=False)
        assert seconds < 30
        assert isinstance(error, TimeoutError)
        assert error.result.prompt.startswith("one ")
        assert error.result.variables["X"] == error.result.holes[0].value
        assert [len(hole.tokens) for hole in error.result.holes] == [5]
        assert error.result.usage.forward_passes >= 5

    def test_the_header_may_set_it(self) -> None:
        error, _ = self.failed("argmax(timeout=1.0)\n    'one [X]'\n")
        assert error.result.prompt == "one "

    def test_branches_end_together(self) -> None:
        error, seconds = self.failed("'one [X]'", model=Slow(3, quick=3), decoder="sample", n=4, timeout=1.0)
        assert seconds < 30
        assert error.result.prompt == "one "

    def test_a_model_that_never_waits_is_called_off_too(self) -> None:
        error, seconds = self.failed("for i in range(10**6):\n    'one [X] '\n", model="random", max_tokens=2, max_len=10**9, timeout=1.0)
        assert seconds < 30
        assert error.result.holes

    def test_searches_end(self) -> None:
        error, seconds = self.failed("'one [X]'", model=Slow(3, quick=3), decoder="beam", n=2, timeout=1.0)
        assert seconds < 30
        assert error.result is None or error.result.prompt == "one "

    def test_tools_that_await_are_called_off(self) -> None:
        async def tool() -> str:
            await asyncio.sleep(30)
            return "late"

        error, seconds = self.failed("'before '\nfound = tool()\n'{found}[X]'", tool=tool, timeout=1.0)
        assert seconds < 30
        assert error.result.prompt == "before "

    def test_a_program_that_will_not_end_is_left_behind(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(deadline, "GRACE", 0.1)
        monkeypatch.setattr("lmqlc.runtime.execute.GRACE", 0.1)

        called_off = ended = False

        async def run() -> bool:
            enough = asyncio.Event()

            async def stubborn() -> str:
                nonlocal called_off, ended
                while not enough.is_set():
                    try:
                        await enough.wait()
                    except asyncio.CancelledError:
                        called_off = True
                ended = True
                return "done"

            with pytest.raises(DeadlineExceeded):
                await lmqlc.run("'a'\nstubborn()\n'b[X]'", model="random", stubborn=stubborn, timeout=1.0)
            left_behind = not ended
            enough.set()
            return left_behind

        assert asyncio.run(run())
        assert called_off

    def test_the_programs_own_timeouts_are_its_own(self) -> None:
        async def tool() -> str:
            try:
                async with asyncio.timeout(0.01):
                    await asyncio.sleep(30)
            except TimeoutError:
                return "gave up"
            return "late"

        result: Any = lmqlc.run_sync("'a'\nfound = tool()\nreturn found", tool=tool, model="random", timeout=5)
        assert result == "gave up"

        async def fails() -> str:
            raise TimeoutError("its own")

        with pytest.raises(TimeoutError, match="its own"):
            lmqlc.run_sync("'a'\nfound = fails()\nreturn found", fails=fails, model="random", timeout=5)

    def test_a_run_within_its_time_is_as_without(self) -> None:
        with_limit, without = (lmqlc.run_sync("'a[X]'", model="random:1", max_tokens=4, timeout=limit) for limit in (60, None))
        assert np.array_equal(*[[token.id for token in result.holes[0].tokens] for result in (with_limit, without)])

    @pytest.mark.parametrize("value", [0, -1, "soon", True, float("nan")])
    def test_nonsense_is_an_error(self, value: object) -> None:
        with pytest.raises(LmqlCompileError, match="timeout"):
            lmqlc.run_sync("'a[X]'", model="random", timeout=value)


class TestContext:
    def test_the_error_says_what_fills_the_window(self) -> None:
        text = "'Read this: '\n\"{document}\\n\"\n'Sum: [S] '\nfor i in range(9):\n    'again and '\n'{short}[END]'"
        with pytest.raises(ContextOverflow) as caught:
            lmqlc.run_sync(text, document="x" * 60, short="!", model=scripted("yes", context_length=100), max_tokens=5)
        message = caught.value.message
        assert "the prompt before hole `END` is" in message
        parts = r"mostly text at <string>:5 \(\d+ tokens\), a value at <string>:2 \(60 tokens\), text at <string>:1 \(10 tokens\)"
        assert re.search(parts, message)
        assert caught.value.result.prompt.endswith("again and !")
        assert caught.value.result.variables == {"S": "yes"}

    def test_it_comes_before_the_model_is_called(self) -> None:
        model = scripted("yes", context_length=20)
        with pytest.raises(ContextOverflow, match="a value at <string>:1"):
            lmqlc.run_sync("'{document}[X]'", document="x" * 30, model=model)
        assert model.calls == []
