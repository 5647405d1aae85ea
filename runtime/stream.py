"""Events of a run, in the order they happen: for terminals, notebooks and servers."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from lmqlc.compiler.automata.automaton import StopPhrase
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


class CertainText:
    """Turns the bytes of a hole's tokens into text that no later token can take back.

    A stop phrase that is removed may still be growing at the end of the text: as much of the end as could be one is held back; where a
    removed stop is a pattern, everything is.
    """

    def __init__(self, phrases: Sequence[StopPhrase] = ()) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._removed = [phrase.text for phrase in phrases if not phrase.keep and phrase.text is not None]
        self._closed = any(not phrase.keep and phrase.text is None for phrase in phrases)
        self._text = ""
        self._shown = 0

    def feed(self, data: bytes) -> str:
        """The text that becomes certain with these bytes."""
        self._text += self._decoder.decode(data)
        end = self._shown if self._closed else len(self._text) - self._growing()
        fresh, self._shown = self._text[self._shown : end], max(self._shown, end)
        return fresh

    def rest(self, final: str) -> str:
        """What is left to show once the whole text is known."""
        return final[self._shown :]

    def _growing(self) -> int:
        """How many characters at the end may be the beginning of a removed phrase."""
        longest = 0
        for phrase in self._removed:
            for size in range(min(len(phrase), len(self._text)), longest, -1):
                if self._text.endswith(phrase[:size]):
                    longest = size
                    break
        return longest
