"""`lmqlc test`: the tests of queries, found and run."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lmqlc.grammar.errors import LmqlError
from lmqlc.sources import read_bytes
from lmqlc.terminal import uses_colour, visible
from lmqlc.testing.cases import companions, has_tests
from lmqlc.testing.running import Choices, Outcome, TestedQuery

_SKIPPED = frozenset({"node_modules", "build", "dist", "__pycache__"})
_WORDS = {"model": "", "script": "", "replay": " (replayed)", "recorded": " (recorded)"}


@dataclass(slots=True)
class _Counts:
    passed: int = 0
    failed: int = 0
    broken: int = 0

    @property
    def tests(self) -> int:
        return self.passed + self.failed


def run_tests(paths: Sequence[str], choices: Choices, *, pattern: str | None, verbose: bool) -> int:
    """Run the tests in files and below folders; 0 where all hold, 1 where one does not, 2 where there is none."""
    counts = _Counts()
    for path in queries_in(paths or (".",)):
        try:
            query = TestedQuery.read(path)
        except LmqlError as error:
            counts.broken += 1
            print(f"{path}\n{visible(error.message)}\n")
            continue
        _run(query, choices, counts, pattern, verbose=verbose)
    print(_summary(counts))
    if not counts.tests and not counts.broken:
        print("lmqlc: no test found; a comment `# test: NAME` in a .lmql file begins one", file=sys.stderr)
        return 2
    return 1 if counts.failed or counts.broken else 0


def queries_in(paths: Sequence[str]) -> Iterator[Path]:
    """The files named, and the queries with tests below the folders named, hidden and built ones aside."""
    for name in paths:
        path = Path(name)
        if not path.is_dir():
            yield path
            continue
        for folder, inner, files in os.walk(path):
            inner[:] = sorted(one for one in inner if not one.startswith(".") and one not in _SKIPPED)
            yield from (Path(folder) / file for file in sorted(files) if file.endswith(".lmql") and tested(Path(folder) / file))


def tested(path: Path) -> bool:
    """A query has tests, in its comments or beside it."""
    try:
        return has_tests(read_bytes(path).decode("utf-8", "replace")) or any(companions(path))
    except LmqlError:
        return False


def _run(query: TestedQuery, choices: Choices, counts: _Counts, pattern: str | None, *, verbose: bool) -> None:
    chosen = [test for test in query.tests if pattern is None or pattern.lower() in test.name.lower()]
    if not chosen:
        return
    print(query.path)
    for test in chosen:
        outcome = query.run(test, choices)
        counts.passed += outcome.passed
        counts.failed += not outcome.passed
        print("\n".join(_lines(outcome, verbose=verbose)), flush=True)
    written = query.save()
    if written is not None:
        print(f"  wrote {written}")


def _lines(outcome: Outcome, *, verbose: bool) -> Iterator[str]:
    mark = _coloured("ok  ", "32") if outcome.passed else _coloured("FAIL", "31")
    took = f", {outcome.seconds:.2f} s" if verbose else ""
    yield f"  {mark} {visible(outcome.test.name)}{_WORDS[outcome.how]}{took}"
    for failure in outcome.failures:
        yield from (f"       {visible(line)}" for line in failure.splitlines())
    if outcome.printed and (verbose or not outcome.passed):
        yield "       printed:"
        yield from (f"         {visible(line)}" for line in outcome.printed.splitlines())


def _summary(counts: _Counts) -> str:
    broken = f", {counts.broken} {'file' if counts.broken == 1 else 'files'} that cannot be tested" if counts.broken else ""
    return f"{counts.tests} {'test' if counts.tests == 1 else 'tests'}: {counts.passed} passed, {counts.failed} failed{broken}"


def _coloured(text: str, colour: str) -> str:
    return f"\x1b[{colour}m{text}\x1b[0m" if uses_colour(sys.stdout) else text
