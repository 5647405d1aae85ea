"""Events of a run, in the order they happen: for terminals, notebooks and servers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from lmqlc.runtime.results import HoleResult, Result, TokenResult


@dataclass(frozen=True, slots=True)
class TextEvent:
    """Prompt text that the program wrote."""

    text: str
    branch: int = 0


@dataclass(frozen=True, slots=True)
class HoleStart:
    """Decoding of a hole begins."""

    name: str
    branch: int = 0


@dataclass(frozen=True, slots=True)
class TokenEvent:
    """A token was decoded. `text` is what became certain with it: whole characters that no later token can cut."""

    name: str
    token: TokenResult
    text: str
    branch: int = 0


@dataclass(frozen=True, slots=True)
class HoleEnd:
    """A hole is complete. `rest` is the end of its text that no token event has shown yet."""

    hole: HoleResult
    rest: str = ""
    branch: int = 0


@dataclass(frozen=True, slots=True)
class ValueEvent:
    """A hole's variable has its value: what the program sees, after decorators and nested queries."""

    name: str
    value: Any
    branch: int = 0


@dataclass(frozen=True, slots=True)
class RunEnd:
    """The run is over: the results of its branches, likeliest first. `value` is what a call of the query gives."""

    results: tuple[Result, ...]
    value: Any

    @property
    def result(self) -> Result:
        """The likeliest branch's result."""
        return self.results[0]


BranchEvent = TextEvent | HoleStart | TokenEvent | HoleEnd | ValueEvent
"""What happens in one branch of a run; `branch` is its number, from 0."""

Event = BranchEvent | RunEnd


class OutputWriter(Protocol):
    """Receives the events of a run as they happen: those of the first branch, and of every one where it has `every_branch = True`.

    A writer with a coroutine method `drain` is waited for between events, so that it can hold a run up that is faster than itself.
    """

    def write(self, event: Event) -> None: ...
