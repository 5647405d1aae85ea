"""OpenTelemetry spans of runs and holes, where the application uses OpenTelemetry: where its API is loaded, and a span is recorded.

A run is a span `lmqlc.run`, the current one while it goes on; each of its holes is a child, `lmqlc.hole NAME`. Attributes follow the
conventions for generative models (`gen_ai.*`) where there is one, else they begin with `lmqlc.`. Texts are not recorded.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from lmqlc.runtime.results import HoleResult, Result
from lmqlc.runtime.stream import Event, HoleEnd, HoleStart, RunEnd

if TYPE_CHECKING:
    from lmqlc.runtime.run import Run, Settings

API = "opentelemetry.trace"


@contextmanager
def run_span(name: str, settings: Settings) -> Iterator[tuple[Settings, HoleSpans | None]]:
    """The span of a run of a program, and settings that let its holes have theirs; nothing where nobody records spans."""
    api = sys.modules.get(API)
    if api is None:
        yield settings, None
        return
    tracer = api.get_tracer("lmqlc")
    with tracer.start_as_current_span("lmqlc.run", attributes={"gen_ai.operation.name": "text_completion", "lmqlc.program": name}) as span:
        if not span.is_recording():
            yield settings, None
            return
        holes = HoleSpans(api, tracer, span)
        yield settings.listening(holes), holes


class HoleSpans:
    """An output writer that makes a span of every hole."""

    every_branch = True

    def __init__(self, api: Any, tracer: Any, span: Any) -> None:
        self._context = api.set_span_in_context(span)
        self._tracer = tracer
        self._span = span
        self._begun: dict[int, int] = {}

    def write(self, event: Event) -> None:
        """Note when a hole begins; make its span when it ends."""
        if isinstance(event, HoleStart):
            self._begun[event.branch] = time.time_ns()
        elif isinstance(event, HoleEnd):
            begun = self._begun.get(event.branch)
            name, attributes = f"lmqlc.hole {event.hole.name}", _of_hole(event.hole, event.branch)
            self._tracer.start_span(name, context=self._context, start_time=begun, attributes=attributes).end()
        elif isinstance(event, RunEnd):
            self._span.set_attributes(_of_results(event.results))

    def ended(self, run: Run) -> None:
        """Note what only the run knows."""
        attributes: dict[str, Any] = {"lmqlc.decoder": run.decoder.name}
        if run.opened is not None:
            attributes["gen_ai.request.model"] = run.opened.name
        self._span.set_attributes(attributes)


def _of_hole(hole: HoleResult, branch: int) -> dict[str, Any]:
    return {
        "lmqlc.hole": hole.name,
        "lmqlc.branch": branch,
        "lmqlc.logprob": hole.logprob,
        "lmqlc.forced": sum(token.forced for token in hole.tokens),
        "gen_ai.usage.output_tokens": len(hole.tokens),
        "gen_ai.response.finish_reasons": [hole.finish_reason],
    }


def _of_results(results: tuple[Result, ...]) -> dict[str, Any]:
    usage = results[0].usage
    return {
        "gen_ai.usage.output_tokens": sum(result.usage.tokens for result in results),
        "lmqlc.forced": sum(result.usage.forced for result in results),
        "lmqlc.forward_passes": usage.forward_passes,
        "lmqlc.tokens_computed": usage.tokens_computed,
        "lmqlc.tokens_reused": usage.tokens_reused,
        "gen_ai.response.finish_reasons": [result.finish_reason for result in results],
    }
