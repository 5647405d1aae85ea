"""The tests of queries in pytest: every `.lmql` file with tests is collected.

`--lmql-model M` names the model of all tests that give no texts, `--lmql-record` records what it says, `--lmql-live` leaves recordings
alone.
Nothing of the toolchain is imported before a query is found.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from lmqlc.testing.running import Choices, TestedQuery


class QueryFailure(Exception):
    """A test of a query does not hold; the message says why."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """The plugin's options."""
    group = parser.getgroup("lmql", "tests of LMQL queries")
    group.addoption("--lmql-model", metavar="M", help="the model of queries' tests, such as local:gpt2")
    group.addoption("--lmql-record", action="store_true", help="record what the model says in queries' tests")
    group.addoption("--lmql-live", action="store_true", help="run queries' tests on the model, whatever was recorded")
    group.addoption("--no-lmql", action="store_true", help="leave queries alone")


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """A query with tests."""
    if file_path.suffix != ".lmql" or parent.config.getoption("no_lmql"):
        return None
    from lmqlc.testing.command import tested

    return QueryFile.from_parent(parent, path=file_path) if tested(file_path) else None


class QueryFile(pytest.File):
    """One query; it is compiled when its tests are collected, and its recordings are written when they have run."""

    query: TestedQuery | None = None

    def collect(self) -> Iterator[pytest.Item]:
        from lmqlc.grammar.errors import LmqlError
        from lmqlc.testing.running import TestedQuery

        try:
            self.query = TestedQuery.read(self.path)
        except LmqlError as error:
            raise self.CollectError(error.message) from None
        for test in self.query.tests:
            yield QueryItem.from_parent(self, name=test.name, test=test)

    def teardown(self) -> None:
        """Write what was recorded."""
        if self.query is not None:
            self.query.save()


class QueryItem(pytest.Item):
    """One test of a query."""

    def __init__(self, *, test: Any, **more: Any) -> None:
        super().__init__(**more)
        self._test = test

    def runtest(self) -> None:
        """Run the test on what its options say."""
        from lmqlc.configuration import applied

        assert isinstance(self.parent, QueryFile) and self.parent.query is not None
        with applied(self.path.parent) as configuration:
            outcome = self.parent.query.run(self._test, self._choices(configuration.text("test-model")))
        if outcome.printed:
            self.add_report_section("call", "stdout", outcome.printed)
        if not outcome.passed:
            raise QueryFailure("\n".join(outcome.failures))

    def _choices(self, fallback: str | None) -> Choices:
        from lmqlc.testing.running import Choices

        option = self.config.getoption
        mode: Any = "record" if option("lmql_record") else "live" if option("lmql_live") else "replay"
        return Choices(option("lmql_model"), fallback, mode)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """What does not hold, without the frames of the toolchain."""
        return str(excinfo.value) if isinstance(excinfo.value, QueryFailure) else super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """The place of the test."""
        return self._test.file, self._test.line - 1, f"{self.path.name}: {self.name}"
