"""Events of a run, in the order they happen: for terminals, notebooks and servers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from lmqlc.runtime.results import HoleResult, TokenResult


@dataclass(frozen=True, slots=True)
class TextEvent:
    """Prompt text that the program wrote."""

    text: str


@dataclass(frozen=True, slots=True)
class HoleStart:
    """Decoding of a hole begins."""

    name: str


@dataclass(frozen=True, slots=True)
class TokenEvent:
    """A token was decoded. `text` is what became certain with it: whole characters that no later token can cut."""

    name: str
    token: TokenResult
    text: str


@dataclass(frozen=True, slots=True)
class HoleEnd:
    """A hole is complete."""

    hole: HoleResult


Event = TextEvent | HoleStart | TokenEvent | HoleEnd


class OutputWriter(Protocol):
    """Receives the events of a run as they happen."""

    def write(self, event: Event) -> None: ...
