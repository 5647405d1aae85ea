"""One test from its query to its outcome: on a model, on texts that the test gives, or on a recording."""

from __future__ import annotations

import ast
import contextlib
import io
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import click

from lmqlc.api import CompiledQuery, compile_source_to_query
from lmqlc.backends.base import Backend
from lmqlc.grammar.errors import LmqlError
from lmqlc.queries import run_program, settings_of
from lmqlc.run_command import parse_decoder
from lmqlc.runtime.execute import run_coroutine
from lmqlc.runtime.results import Result
from lmqlc.runtime.run import Settings
from lmqlc.sources import read_source
from lmqlc.testing import cassettes
from lmqlc.testing.cases import Check, QueryTest, written_tests
from lmqlc.testing.cassettes import CassetteMismatch, Recording
from lmqlc.testing.recording import RecordingBackend
from lmqlc.testing.replaying import ReplayBackend
from lmqlc.tracebacks import at_fault, format_program_error

How = Literal["model", "script", "replay", "recorded"]
_LONGEST = 200


@dataclass(frozen=True, slots=True)
class Choices:
    """How tests run. model: of all tests that give no texts; fallback: of tests that name none; mode: "replay" uses recordings where
    there are some, "record" makes them, "live" leaves them alone."""

    model: str | None = None
    fallback: str | None = None
    mode: Literal["replay", "record", "live"] = "replay"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a test. failures: a text for each claim that does not hold, and each error; printed: what the program printed."""

    test: QueryTest
    how: How
    failures: tuple[str, ...]
    seconds: float
    printed: str = ""

    @property
    def passed(self) -> bool:
        return not self.failures


@dataclass
class TestedQuery:
    """A query with its tests and recordings. Raises LmqlError where one of them cannot be read."""

    __test__ = False  # for pytest, which else takes it for tests

    path: Path
    compiled: CompiledQuery
    tests: Sequence[QueryTest]
    recordings: dict[str, Recording] = field(default_factory=dict)
    changed: bool = False

    @classmethod
    def read(cls, path: Path) -> TestedQuery:
        """The query of a file; it is compiled."""
        source = read_source(path)
        tests = written_tests(source, path)
        return cls(path, compile_source_to_query(source), tests, cassettes.load(path))

    def run(self, test: QueryTest, choices: Choices) -> Outcome:
        """Run one of its tests. An error of the program is a failure; nothing is raised but interrupts."""
        started = time.perf_counter()
        printed = io.StringIO()
        how: How = "model"
        try:
            with contextlib.redirect_stdout(printed), _beside(self.path):
                how, failures = _Runner(self, test, choices).run()
        except Exception as error:  # noqa: BLE001 - whatever goes wrong is this test's failure
            failures = [_told(error, self)]
        return Outcome(test, how, tuple(failures), time.perf_counter() - started, printed.getvalue())

    def save(self) -> Path | None:
        """Write what was recorded, without the recordings of tests that there are no more."""
        if not self.changed:
            return None
        names = {test.name for test in self.tests}
        return cassettes.save(self.path, {name: one for name, one in self.recordings.items() if name in names})


class _Runner:
    """The run of one test."""

    def __init__(self, query: TestedQuery, test: QueryTest, choices: Choices) -> None:
        self._query = query
        self._test = test
        self._choices = choices

    def run(self) -> tuple[How, list[str]]:
        how, settings, recorder = self._settings()
        arguments = {name: eval(text, {"__builtins__": __builtins__}) for name, text in self._test.args.items()}  # noqa: S307 - the test's own code
        try:
            results = run_coroutine(run_program(self._query.compiled.program, (), arguments, settings))
        except CassetteMismatch as error:
            return how, [f"{error.message}\n  hint: {self._again()}"]
        except Exception as error:  # noqa: BLE001 - the test may expect it
            return how, self._raised(error)
        if how == "replay":
            results = in_recorded_order(results, self._query.recordings[self._test.name])
        failures = self._checked(results, arguments)
        if how == "replay":
            failures = self._replayed(results) or failures
        if recorder and not failures:
            decoder = settings.decoder or self._query.compiled.program.decoder
            self._query.recordings[self._test.name] = recorder[0].recording(results, decoder)
            self._query.changed = True
        return how, failures

    def _again(self) -> str:
        return f"record again: lmqlc test {self._query.path} --record"

    def _settings(self) -> tuple[How, Settings, list[RecordingBackend]]:
        test, choices = self._test, self._choices
        name, options = parse_decoder(test.decoder)
        settings = replace(settings_of(self._query.compiled), decoder=name, options=options)
        recorder: list[RecordingBackend] = []
        if test.says is not None:
            from lmqlc.backends.scripted import scripted

            return "script", replace(settings, model=scripted(*test.says, chat=True)), recorder
        recorded = self._query.recordings.get(test.name)
        if recorded is not None and choices.mode == "replay":
            settings = replace(settings, model=ReplayBackend(recorded), **_branches(recorded))
            return "replay", settings, recorder
        settings = replace(settings, model=choices.model or test.model or choices.fallback)
        if choices.mode != "record" or test.raises is not None:
            return "model", settings, recorder

        def listen(backend: Backend) -> Backend:
            if not recorder:  # branches that begin together may ask more than once
                recorder.append(RecordingBackend(backend))
            return recorder[0]

        return "recorded", replace(settings, around=listen), recorder

    def _raised(self, error: Exception) -> list[str]:
        if self._test.raises is None:
            return [_told(error, self._query)]
        name, part = self._test.raises
        names = [kind.__name__ for kind in type(error).__mro__]
        if name not in names:
            return [f"expected {name}, but {names[0]} was raised: {error}"]
        return [] if part in str(error) else [f"{name} was raised, but {part!r} is not in its message: {error}"]

    def _checked(self, results: Sequence[Result], arguments: Mapping[str, Any]) -> list[str]:
        if self._test.raises is not None:
            return [f"expected {self._test.raises[0]}, but nothing was raised"]
        names = names_of(results, arguments)
        return [failure for check in self._test.checks if (failure := failed(check, names)) is not None]

    def _replayed(self, results: Sequence[Result]) -> list[str]:
        """What differs from the outcome that was recorded."""
        recorded = self._query.recordings[self._test.name].outcome
        now = [_outcome(result) for result in results]
        for ours, theirs in zip(now, recorded, strict=False):
            for one, other in zip(ours, theirs, strict=False):
                if one != other:
                    text = f"hole {one[0]} is now {one[1]!r}, but {other[0]} {other[1]!r} was recorded: its constraint has changed"
                    return [f"{text}\n  hint: {self._again()}"]
        if [len(branch) for branch in now] != [len(branch) for branch in recorded]:
            return [f"the program fills another number of holes than was recorded\n  hint: {self._again()}"]
        return []


def _branches(recorded: Recording) -> dict[str, Any]:
    """How a recording is replayed: as it was decoded; the results of a search as so many samples, since only what it found was kept."""
    from lmqlc.runtime.decoders import decoder_class

    if not getattr(decoder_class(recorded.decoder), "searches", False):
        return {}
    return {"decoder": "sample", "options": {"n": len(recorded.outcome)}}


def in_recorded_order(results: Sequence[Result], recorded: Recording) -> list[Result]:
    """The results in the order of those that were recorded; others come last."""
    left, found = list(results), []
    for outcome in recorded.outcome:
        place = next((number for number, result in enumerate(left) if _outcome(result) == outcome), None)
        found += [] if place is None else [left.pop(place)]
    return [*found, *left]


def _outcome(result: Result) -> tuple[tuple[str, str], ...]:
    return tuple((hole.name, hole.text) for hole in result.holes)


def names_of(results: Sequence[Result], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What assertions may speak about: the query's variables and arguments; `result`, what the query gives; `results`, those of all
    branches; `prompt`, `holes`, `variables`, `probabilities` of the likeliest."""
    best = results[0]
    shares = dict(best.distribution_values or ())
    own = {
        "result": best.value if best.returned else best,
        "results": [one.value if one.returned else one for one in results],
        "prompt": best.prompt,
        "holes": best.holes,
        "variables": best.variables,
        "probabilities": shares,
        "lmql": sys.modules["lmqlc"],
    }
    return {**own, **arguments, **{name: value for name, value in best.variables.items() if name.isidentifier()}}


def failed(check: Check, names: Mapping[str, Any]) -> str | None:
    """Why a claim does not hold, None where it does."""
    scope = dict(names)
    try:
        if eval(f"({check.text}\n)", scope):  # noqa: S307 - the test's own code
            return None
    except Exception as error:  # noqa: BLE001 - a claim may raise anything
        return f"line {check.line}: assert {check.text}\n  {type(error).__name__}: {error}"
    return "\n  ".join([f"line {check.line}: assert {check.text}", *_shown(check.text, names)])


def _shown(text: str, names: Mapping[str, Any]) -> Iterator[str]:
    """The values in a claim: of the sides of its comparisons, and of its names."""
    tree = ast.parse(f"({text}\n)", mode="eval").body
    sides = [side for node in ast.walk(tree) if isinstance(node, ast.Compare) for side in (node.left, *node.comparators)]
    own = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id in names]
    seen: dict[str, None] = {}
    for node in [side for side in sides if not isinstance(side, ast.Constant | ast.Name)] + own:
        source = ast.unparse(node)
        if source in seen or callable(names.get(source)):
            continue
        seen[source] = None
        with contextlib.suppress(Exception):
            value = repr(eval(source, dict(names)))  # noqa: S307 - the test's own code
            yield f"{source} = {value if len(value) <= _LONGEST else value[:_LONGEST] + '…'}"


def _told(error: Exception, query: TestedQuery) -> str:
    """An error as a person should see it."""
    if isinstance(error, LmqlError | click.ClickException):
        return error.message
    source = query.compiled.program.source
    if at_fault(error, source):
        return format_program_error(error, source)
    return f"{type(error).__name__}: {error}"


@contextlib.contextmanager
def _beside(path: Path) -> Iterator[None]:
    """Modules beside the query can be imported, as when it runs from the command line."""
    folder = str(path.resolve().parent)
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(folder)
