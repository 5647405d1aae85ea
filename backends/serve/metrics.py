"""Counts of a server in Prometheus' text format (version 0.0.4)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lmqlc.backends.serve.served import Served

_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


class Histogram:
    """Seconds in buckets."""

    def __init__(self) -> None:
        self._counts = [0] * (len(_BOUNDS) + 1)
        self._sum = 0.0

    def add(self, seconds: float) -> None:
        self._counts[sum(seconds > bound for bound in _BOUNDS)] += 1
        self._sum += seconds

    def lines(self, name: str) -> Iterator[str]:
        total = 0
        for bound, count in zip([*map(str, _BOUNDS), "+Inf"], self._counts, strict=True):
            total += count
            yield f'{name}_bucket{{le="{bound}"}} {total}'
        yield f"{name}_sum {self._sum:.6f}"
        yield f"{name}_count {total}"


class Metrics:
    """What requests add up to."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: dict[tuple[str, int], int] = {}
        self.seconds = Histogram()
        self.first_token = Histogram()
        self.prompt_tokens = 0
        self.tokens = 0

    def answered(self, route: str, status: int, seconds: float) -> None:
        """A request was answered."""
        with self._lock:
            key = (route, status)
            self._requests[key] = self._requests.get(key, 0) + 1
            self.seconds.add(seconds)

    def decoded(self, prompt: int, tokens: int) -> None:
        """A text was decoded: tokens of its prompt, and of what was said."""
        with self._lock:
            self.prompt_tokens += prompt
            self.tokens += tokens

    def text(self, served: Served) -> str:
        """All metrics."""
        with self._lock:
            lines = [*self._own(), *_of_model(served)]
        return "\n".join(lines) + "\n"

    def _own(self) -> Iterator[str]:
        yield from _head("lmqlc_requests_total", "counter", "Requests answered, by route and status.")
        for (route, status), count in sorted(self._requests.items()):
            yield f'lmqlc_requests_total{{route="{route}",status="{status}"}} {count}'
        yield from _head("lmqlc_request_seconds", "histogram", "Seconds from a request to the end of its answer.")
        yield from self.seconds.lines("lmqlc_request_seconds")
        yield from _head("lmqlc_first_token_seconds", "histogram", "Seconds from a request to its first token.")
        yield from self.first_token.lines("lmqlc_first_token_seconds")
        yield from _one("lmqlc_prompt_tokens_total", "counter", "Tokens of prompts.", self.prompt_tokens)
        yield from _one("lmqlc_tokens_total", "counter", "Tokens decoded.", self.tokens)


def _of_model(served: Served) -> Iterator[str]:
    yield from _one("lmqlc_ready", "gauge", "1 where the model is loaded.", int(served.status == "ready"))
    if served.status != "ready":
        return
    scheduler = served.ready().scheduler
    counts, usage = scheduler.counts, scheduler.usage
    yield from _one("lmqlc_active", "gauge", "Works under way.", scheduler.active)
    yield from _one("lmqlc_waiting", "gauge", "Works in the queue.", scheduler.waiting)
    yield from _one("lmqlc_steps_total", "counter", "Steps of the model for works under way.", counts.steps)
    yield from _one("lmqlc_step_rows_total", "counter", "Sequences in these steps.", counts.rows)
    yield from _one("lmqlc_finished_total", "counter", "Works done.", counts.finished)
    yield from _one("lmqlc_failed_total", "counter", "Works that failed.", counts.failed)
    yield from _one("lmqlc_cancelled_total", "counter", "Works whose client went away.", counts.cancelled)
    yield from _one("lmqlc_refused_total", "counter", "Works refused because the queue was full.", counts.refused)
    yield from _one("lmqlc_positions_computed_total", "counter", "Positions that the model computed.", usage.tokens_computed)
    yield from _one("lmqlc_positions_reused_total", "counter", "Positions that were known from before.", usage.tokens_reused)


def _head(name: str, kind: str, about: str) -> Iterator[str]:
    yield f"# HELP {name} {about}"
    yield f"# TYPE {name} {kind}"


def _one(name: str, kind: str, about: str, value: float) -> Iterator[str]:
    yield from _head(name, kind, about)
    yield f"{name} {value}"
