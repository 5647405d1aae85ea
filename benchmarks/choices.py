"""The likeliest of few texts against token by token: calls of the model, positions computed and CPU seconds.

python -m benchmarks.choices MODEL [--repeats N]

MODEL is a model string, such as `local:FOLDER`. Every program has one hole. Each is run once before it is measured, so that its texts and
masks are known; before each measured run the model forgets what it has read. Seconds are CPU time of the process, the least of the runs.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from typing import Any

from lmqlc.api import CompiledQuery, compile
from lmqlc.models import model as model_of
from lmqlc.queries import run_sync
from lmqlc.runtime.results import Result

ADJECTIVES = "old new big small red blue green white black grey warm cold wet dry loud quiet"
NOUNS = (
    "house dog cat car tree river mountain book table chair window door garden street bridge boat "
    "bird fish horse cow apple pear bread cheese cup plate lamp clock coat hat shoe key"
)
CITIES = (
    "Rome Paris Berlin Madrid Lisbon Vienna Athens Oslo Warsaw Dublin London Prague "
    "Budapest Helsinki Stockholm Brussels Sofia Riga Tallinn Vilnius"
)


@dataclass(frozen=True)
class Row:
    """One program: a prompt, and the texts that may follow."""

    name: str
    prompt: str
    texts: tuple[str, ...]


ROWS = (
    Row("2 options", "Is the sky blue? Answer:", (" yes", " no")),
    Row(
        "5 options, one begins another", "The film was wonderful. Sentiment:", (" very good", " good", " bad", " very bad", " good enough")
    ),
    Row("20 cities", "The capital of Portugal is", tuple(f" {city}" for city in CITIES.split())),
    Row(
        "512 pairs of words",
        "Once upon a time there was a",
        tuple(f" {one} {other}" for one in ADJECTIVES.split() for other in NOUNS.split()),
    ),
    Row("512 years", "The first man walked on the moon in the year", tuple(f" {year}" for year in range(1600, 2112))),
    Row("10,000 numbers", "The first man walked on the moon in the year", tuple(f" {number:04}" for number in range(10_000))),
)


@dataclass
class Figures:
    """What one way of decoding a program took."""

    text: str
    calls: int
    computed: int
    seconds: float

    def __str__(self) -> str:
        return f"{self.calls} / {self.computed} / {self.seconds:.2f}"


def query_of(row: Row, *, greedy: bool) -> CompiledQuery:
    """The program of a row."""
    return compile(f'argmax(greedy={greedy})\n    "{row.prompt}[X]" where X in {list(row.texts)!r}')


def measured(row: Row, model: Any, repeats: int, *, greedy: bool) -> Figures:
    """The figures of a row, and its answer."""
    query = query_of(row, greedy=greedy)
    seconds, result = [], Result()
    for number in range(repeats + 1):
        started = time.process_time()
        result = run_sync(query, model=model, cache=False)
        if number:
            seconds.append(time.process_time() - started)
    (hole,) = result.holes
    assert hole.exact is not greedy
    return Figures(hole.text, result.usage.forward_passes, result.usage.tokens_computed, min(seconds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    model = model_of(given.model)
    print("calls / positions / CPU seconds\n")
    print("| texts | likeliest | token by token | calls | seconds | answers |")
    print("|---|---|---|---|---|---|")
    for row in ROWS:
        exact, greedy = (measured(row, model, given.repeats, greedy=by) for by in (False, True))
        ratio = f"{exact.calls / max(greedy.calls, 1):.1f}× | {exact.seconds / greedy.seconds:.2f}×"
        answers = f"`{exact.text}`, `{greedy.text}`" if exact.text != greedy.text else f"`{exact.text}`"
        print(f"| {row.name} | {exact} | {greedy} | {ratio} | {answers} |", flush=True)


if __name__ == "__main__":
    main()
