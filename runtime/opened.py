"""A hole that a program has come to: everything about it that does not change while it is decoded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lmqlc.compiler.automata.automaton import StopPhrase
from lmqlc.compiler.masks.hole import HoleRun


@dataclass(frozen=True, eq=False, slots=True)
class OpenedHole:
    """A hole before, and with another `hole` after, its decoding.

    ids: of the whole prompt; `kept` of them the model sees, the others are taken back. taken: how many might be taken back.
    leading: one space may stand before its text. kind: `int` or `float` where its constraint says so.
    """

    name: str
    hole: HoleRun
    ids: tuple[int, ...]
    kept: int
    taken: int
    leading: bool
    kind: object
    phrases: Sequence[StopPhrase]

    @property
    def prompt(self) -> tuple[int, ...]:
        """The ids that the model sees before the hole."""
        return self.ids[: self.kept]
