"""OpenTelemetry spans of runs."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest
from opentelemetry.sdk import trace as sdk

import lmqlc
from lmqlc.backends.scripted import scripted

TEXT = '"{word}: [X]," where len(X) == 2\n" [Y]" where Y in ["yes", "no"]'


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> Any:
    from opentelemetry import trace
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter, provider = InMemorySpanExporter(), sdk.TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    return exporter


def test_a_run_and_its_holes(exported: Any) -> None:
    result = lmqlc.run_sync(TEXT, word="a", model=scripted(after={"a: ": "xy", ", ": "yes"}))
    x, y, run = exported.get_finished_spans()
    assert (x.name, y.name, run.name) == ("lmqlc.hole X", "lmqlc.hole Y", "lmqlc.run")
    assert x.parent.span_id == y.parent.span_id == run.context.span_id
    assert run.start_time <= x.start_time <= x.end_time <= y.start_time <= y.end_time <= run.end_time
    assert run.attributes["gen_ai.request.model"] == "scripted"
    assert run.attributes["gen_ai.usage.output_tokens"] == result.usage.tokens
    assert run.attributes["lmqlc.forward_passes"] == result.usage.forward_passes
    assert x.attributes["gen_ai.usage.output_tokens"] == 2
    assert x.attributes["gen_ai.response.finish_reasons"] == ("closed",)
    assert x.attributes["lmqlc.logprob"] == pytest.approx(result.holes[0].logprob)
    assert not any("xy" in str(value) for span in (x, y, run) for value in span.attributes.values())


def test_runs_nest_in_the_spans_around_them_and_show_their_errors(exported: Any) -> None:
    from opentelemetry import trace

    async def work() -> None:
        with trace.get_tracer("app").start_as_current_span("request"):
            await asyncio.gather(*(lmqlc.run(TEXT, word=w, model=scripted(after={f"{w}: ": "xy", ", ": "no"})) for w in "ab"))
            with pytest.raises(ZeroDivisionError):
                await lmqlc.run("1 / 0", model=scripted())

    asyncio.run(work())
    spans = exported.get_finished_spans()
    request = next(span for span in spans if span.name == "request")
    runs = [span for span in spans if span.name == "lmqlc.run"]
    assert len(runs) == 3
    assert {span.parent.span_id for span in runs} == {request.context.span_id}
    assert runs[-1].status.status_code is trace.StatusCode.ERROR
    assert [event.name for event in runs[-1].events] == ["exception"]


def test_branches_have_spans_of_their_own(exported: Any) -> None:
    lmqlc.run_sync("'a[X]'", model="random:3", decoder="sample", n=3, seed=5, max_tokens=4)
    holes = [span for span in exported.get_finished_spans() if span.name == "lmqlc.hole X"]
    assert sorted(span.attributes["lmqlc.branch"] for span in holes) == [0, 1, 2]


def test_nothing_is_loaded_where_nobody_traces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "opentelemetry.trace")
    assert lmqlc.run_sync('"[X]" where len(X) == 1', model=scripted("x")).variables == {"X": "x"}
    assert "opentelemetry.trace" not in sys.modules
