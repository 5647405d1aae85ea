"""Streams of events, and output writers."""

from __future__ import annotations

import asyncio
import io
import time
from typing import Any

import pytest

import lmqlc
from lmqlc.backends.scripted import scripted
from lmqlc.events import HoleEnd, HoleStart, RunEnd, TextEvent, TokenEvent, ValueEvent
from lmqlc.runtime.streaming import LIMIT

TWO = '"Hi [X]," where len(X) == 3\n" {X} is [N: int]."\n'
LONG = "for i in range(1000):\n    '{i}[X]' where len(X) == 1\n    seen.append(i)\n"


def collect(query: Any, *args: Any, **kwargs: Any) -> list[Any]:
    async def all_of_them() -> list[Any]:
        return [event async for event in lmqlc.stream(query, *args, **kwargs)]

    return asyncio.run(all_of_them())


def test_events_come_in_order_with_everything_in_them() -> None:
    events = collect(TWO, model=scripted("Bob", "42"))
    kinds = [type(event).__name__ for event in events]
    tokens = ["TokenEvent"] * 4  # the first one puts the space back
    assert kinds[:10] == ["TextEvent", "HoleStart", *tokens, "HoleEnd", "ValueEvent", "TextEvent", "TextEvent"]
    assert kinds[-4:] == ["HoleEnd", "ValueEvent", "TextEvent", "RunEnd"]
    end = events[-1]
    assert isinstance(end, RunEnd)
    assert "".join(_text(event) for event in events) == end.result.prompt == "Hi Bob, Bob is 42."
    assert [event.value for event in events if isinstance(event, ValueEvent)] == ["Bob", 42]
    logged = [token for hole in end.result.holes for token in hole.tokens]
    assert [event.token for event in events if isinstance(event, TokenEvent)] == logged
    assert all(token.logprob <= 0 for token in logged)
    assert end.value is end.result


def _text(event: Any) -> str:
    if isinstance(event, HoleEnd):
        return event.rest
    return event.text if isinstance(event, TextEvent | TokenEvent) else ""


def test_synchronous_loops_give_the_same_events_also_inside_a_running_loop() -> None:
    expected = collect(TWO, model=scripted("Bob", "42"))

    async def notebook() -> list[Any]:
        return list(lmqlc.stream(TWO, model=scripted("Bob", "42")))

    for events in (list(lmqlc.stream(TWO, model=scripted("Bob", "42"))), asyncio.run(notebook())):
        assert events[:-1] == expected[:-1]
        assert events[-1].result.variables == {"X": "Bob", "N": 42}


def test_query_functions_and_f_stream_too() -> None:
    @lmqlc.query(model=scripted("abcdef"))
    def shorten(most: int) -> str:
        """lmql
        "[SHORT]" where len(SHORT) <= most
        return SHORT + "!"
        """
        return ""

    stream = lmqlc.stream(shorten, 2)
    assert [_text(event) for event in stream] == ["", "a", "", "b", "", ""]  # what may still be cut waits for the hole's end
    assert stream.value == "ab!"
    assert stream.results[0].variables == {"SHORT": "ab"}
    events = list(lmqlc.stream(lmqlc.F("Hi {name}, [X]", "len(X) == 2", model=scripted("abc")), name="Bob"))
    assert events[-1].result.prompt == "Hi Bob, ab"


def test_events_carry_the_branch_and_writers_see_the_first_one_only() -> None:
    events = collect("'a[X]'", model="random:3", decoder="sample", n=3, seed=5, max_tokens=4)
    assert {event.branch for event in events[:-1]} == {0, 1, 2}
    texts = ["".join(_text(event) for event in events[:-1] if event.branch == branch) for branch in range(3)]
    assert sorted(texts) == sorted(result.prompt for result in events[-1].results)
    written: list[Any] = []
    lmqlc.run_sync("'a[X]'", model="random:3", decoder="sample", n=3, seed=5, max_tokens=4, output_writer=written.append)
    assert {event.branch for event in written[:-1]} == {0}
    assert isinstance(written[-1], RunEnd)


def test_errors_come_out_of_the_loop_after_the_events_before_them() -> None:
    async def read() -> list[Any]:
        events: list[Any] = []
        with pytest.raises(KeyError) as caught:
            async for event in lmqlc.stream(TWO + "{}[X]\n", model=scripted("Bob", "42")):
                events.append(event)  # noqa: PERF401 - kept when the loop fails
        assert caught.value.lmql_result.variables == {"X": "Bob", "N": 42}  # type: ignore[attr-defined]
        return events

    events = asyncio.run(read())
    assert isinstance(events[-1], TextEvent)
    assert not any(isinstance(event, RunEnd) for event in events)
    with pytest.raises(lmqlc.errors.LmqlSyntaxError):
        list(lmqlc.stream('"[X'))


def test_leaving_early_cancels_the_run() -> None:
    async def leave() -> tuple[list[int], int]:
        seen: list[int] = []
        async for event in lmqlc.stream(LONG, seen=seen, model=scripted(after={str(i): "x" for i in range(10)})):
            if isinstance(event, HoleEnd):
                break
        await asyncio.sleep(0.05)
        return seen, len(asyncio.all_tasks())

    seen, tasks = asyncio.run(leave())
    assert len(seen) < LIMIT
    assert tasks == 1
    seen = []
    for event in lmqlc.stream(LONG, seen=seen, model=scripted(after={str(i): "x" for i in range(10)})):
        if isinstance(event, HoleStart):
            break
    before = list(seen)
    time.sleep(0.05)
    assert seen == before


def test_closing_ends_the_run_at_once_and_runs_what_has_to() -> None:
    async def close() -> list[str]:
        ended: list[str] = []
        text = "try:\n    '[X]' where len(X) == 1\n    import asyncio\n    await asyncio.sleep(60)\nfinally:\n    ended.append('yes')\n"
        async with lmqlc.stream(text, ended=ended, model=scripted("x")) as events:
            async for event in events:
                if isinstance(event, ValueEvent):
                    break
        return ended

    assert asyncio.run(close()) == ["yes"]


def test_a_slow_reader_holds_the_run_up() -> None:
    async def slow() -> int:
        seen: list[int] = []
        events = aiter(lmqlc.stream(LONG, seen=seen, model=scripted(after={str(i): "x" for i in range(10)})))
        await anext(events)
        await asyncio.sleep(0.3)
        await events.aclose()
        return len(seen)

    assert 0 < asyncio.run(slow()) <= LIMIT


def test_a_stream_is_read_once() -> None:
    stream = lmqlc.stream(TWO, model=scripted("Bob", "42"))
    assert list(stream)
    with pytest.raises(lmqlc.errors.LmqlError, match="once"):
        list(stream)


def test_ready_writers(capsys: pytest.CaptureFixture[str]) -> None:
    lmqlc.run_sync(TWO, model=scripted("Bob", "42"), output_writer=lmqlc.printing)
    assert capsys.readouterr().out == "Hi Bob, Bob is 42.\n"
    lmqlc.run_sync(TWO, model=scripted("Bob", "42"), output_writer=lmqlc.stream("X"))
    assert capsys.readouterr().out == "Bob\n"
    text = io.StringIO()
    lmqlc.run_sync(TWO, model=scripted("Bob", "42"), output_writer=text)
    assert text.getvalue() == "Hi Bob, Bob is 42.\n"
    lmqlc.run_sync(TWO, model=scripted("Bob", "42"), output_writer=lmqlc.silent)
    assert capsys.readouterr().out == ""
    with pytest.raises(lmqlc.errors.LmqlError, match="output writer"):
        lmqlc.run_sync(TWO, model=scripted("Bob", "42"), output_writer=7)


class TestInput:
    TEXT = "'You: {await input(\"name? \")}, {input()}. [X]' where len(X) == 1"

    def test_from_the_terminal(self, monkeypatch: pytest.MonkeyPatch) -> None:
        answers = iter(["Bob [X]", "Ann {:user}"])
        asked: list[object] = []
        monkeypatch.setattr("builtins.input", lambda prompt="": (asked.append(prompt), next(answers))[1])
        result = lmqlc.run_sync(self.TEXT, model=scripted("x"))
        assert result.prompt == "You: Bob [X], Ann {:user}. x"
        assert asked == ["name? ", ""]

    def test_from_whoever_shows_the_run(self) -> None:
        class Window:
            def write(self, event: Any) -> None: ...

            def input(self, prompt: str) -> str:
                return f"<{prompt}>"

        class Later(Window):
            async def input(self, prompt: str) -> str:  # type: ignore[override]
                await asyncio.sleep(0)
                return "later"

        assert lmqlc.run_sync(self.TEXT, model=scripted("x"), output_writer=Window()).prompt == "You: <name? >, <>. x"
        text = '"{await input()} [X]" where len(X) == 1'
        assert lmqlc.run_sync(text, model=scripted("x"), output_writer=Later()).prompt == "later x"

    def test_nobody_there(self) -> None:
        with pytest.raises(lmqlc.errors.LmqlError, match="without anybody"):
            lmqlc.run_sync(self.TEXT, model=scripted("x"), output_writer=lmqlc.headless)
        assert lmqlc.run_sync('"[X]" where len(X) == 1', model=scripted("x"), output_writer=lmqlc.headless).prompt == "x"

    def test_a_branch_that_is_copied_does_not_ask_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        asked: list[object] = []
        monkeypatch.setattr("builtins.input", lambda prompt="": (asked.append(prompt), f"answer {len(asked)}")[1])
        text = '"{input()} {await input()}"\n"[X]" where len(X) == 2\n"[Y]" where len(Y) == 2'
        results = lmqlc.run_sync(text, model="random:3", decoder="beam", n=3)
        assert len(asked) == 2
        assert {result.prompt[:17] for result in results} == {"answer 1 answer 2"}
