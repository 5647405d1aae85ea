"""The benchmarks whose figures are counts: they run, they count right, and what is claimed of them holds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.choices import ROWS, measured
from benchmarks.paper import PAPER, STUDIES, Counts, Server, all_items, made_tokenizer, mean, saved
from lmqlc.backends.base import Tokenizer
from lmqlc.backends.scripted import scripted

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return made_tokenizer()


def test_the_baselines_server_counts_as_the_paper_does() -> None:
    """One token per character: two calls, the second of which has seen all but what was put in between."""
    server = Server(scripted(after={"2+2": "=4. 3+3"}))
    assert server.generate("2+2", 3) == "=4."
    assert server.counts == Counts(calls=1, queries=3, billable=6, cached=6)
    assert server.generate("2+2=4. ", 9, ("+",)) == "3+"
    assert (server.counts.calls, server.counts.queries, server.counts.billable) == (2, 5, 6 + 9)
    assert server.counts.cached == pytest.approx(6 + 9 - 0.9 * 6)
    server.score("2+2", ["=4", "=5"])
    assert (server.counts.calls, server.counts.queries, server.counts.billable) == (4, 5, 15 + 5 + 5)


@pytest.mark.parametrize("study", STUDIES, ids=lambda study: study.name)
def test_programs_save_what_the_paper_says_and_are_never_behind(study, tokenizer: Tokenizer) -> None:  # type: ignore[no-untyped-def]
    rows = all_items(study, tokenizer)
    assert 5 <= len(rows) <= 10
    means = mean(rows)
    for what, percent in PAPER[study.name].items():
        assert saved(means, "A", what) >= percent, (what, means)
    for row in rows:
        for what in ("calls", "queries", "billable", "cached"):
            assert getattr(row["ours"], what) <= getattr(row["C"], what), (what, row)
            assert getattr(row["ours"], what) <= getattr(row["B"], what), (what, row)


def test_every_study_is_part_of_the_table() -> None:
    out = subprocess.run(
        [sys.executable, "-m", "benchmarks.paper", "--study", "arithmetic"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    lines = out.stdout.splitlines()
    assert len(lines) == 2 + 4
    assert all(line.count("|") == lines[0].count("|") for line in lines)


def test_the_runner_of_peers_answers_for_lmqlc() -> None:
    """The same protocol that peers are measured through, on the embedded model."""
    asked = "".join(json.dumps({"row": row, "prompt": "Say 1."}) + "\n" for row in ("date", "record", "choice"))
    runner = [sys.executable, str(ROOT / "benchmarks" / "peer_runner.py"), "lmqlc", str(ROOT / "backends" / "demo" / "model")]
    out = subprocess.run(runner, input=asked, cwd=ROOT, capture_output=True, text=True, check=True)
    ready, date, record, choice = map(json.loads, out.stdout.splitlines())
    assert ready == "ready"
    assert 0 < date["calls"] <= 8  # ten characters, two of them forced
    assert set(json.loads(record["text"])) == {"name", "age", "job"}
    assert choice["text"].startswith(" with ")
    assert 0 < choice["calls"] <= 3
    assert min(run["cpu"] for run in (date, record, choice)) > 0


@pytest.mark.parametrize("row", ROWS[:5], ids=lambda row: row.name)
def test_the_likeliest_text_costs_no_more_than_twice_the_calls(row) -> None:  # type: ignore[no-untyped-def]
    exact, greedy = (measured(row, "demo", 1, greedy=by) for by in (False, True))
    assert exact.text in row.texts and greedy.text in row.texts
    assert exact.calls <= 2 * greedy.calls and exact.calls <= 4
