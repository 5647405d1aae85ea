"""Stop phrases met while a text is written, for constraints whose stops no single automaton can judge.

A thread follows one phrase from a place in the text: `(phrase, q, begin)`, with q the state of the phrase's own automaton and `begin`
the byte where the phrase starts. Threads of one phrase in one state are one: the earliest begin, since the longest phrase wins. Threads
of a kept phrase start anywhere; those of a removed one only where the formula holds before it, which is asked when its first byte fits.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from lmqlc.compiler.automata import operands
from lmqlc.compiler.automata.automaton import StopPhrase, TextAutomaton
from lmqlc.compiler.constraints import Const, Matches, Stop
from lmqlc.grammar.errors import UnsatisfiableConstraint
from lmqlc.grammar.source import Source, Span

Thread = tuple[int, int, int]
Holds = Callable[[int], bool]
"""Whether the formula, judged as a final text, holds for the text up to a byte."""


@dataclass(frozen=True, eq=False)
class Phrase:
    """One phrase as a byte automaton: `steps[q][byte]` is the next state, 0 where the phrase cannot be completed any more."""

    shown: StopPhrase
    start: int
    steps: list[list[int]]
    ends: list[bool]

    @property
    def keep(self) -> bool:
        return self.shown.keep


def phrases_of(stops: Sequence[Stop], source: Source | None = None) -> tuple[Phrase, ...]:
    """The phrases of stops whose operands are known; those that match nothing drop out."""
    found = []
    for stop in stops:
        for phrase in operands.phrases(operands.value(stop.phrase), stop.span):
            made = _phrase(phrase, stop, source)
            if made is not None:
                found.append(made)
    return tuple(found)


def _phrase(value: str | re.Pattern[str], stop: Stop, source: Source | None) -> Phrase | None:
    if isinstance(value, str):
        return _chain(StopPhrase(stop.keep, value))
    return _searched(StopPhrase(stop.keep, None, value.pattern, value.flags), value, stop.span, source)


@lru_cache(maxsize=512)
def phrase_as_shown(shown: StopPhrase) -> Phrase | None:
    """The phrase of a linked automaton; None where it matches nothing."""
    if shown.text is not None:
        return _chain(shown)
    if shown.automaton is not None:
        steps = shown.automaton.steps[:, shown.automaton.byte_class]
        return Phrase(shown, shown.automaton.start, steps.tolist(), shown.automaton.ends.tolist())
    return None if shown.pattern is None else _searched(shown, re.compile(shown.pattern, shown.flags))


def _chain(shown: StopPhrase) -> Phrase | None:
    """A fixed phrase, one state after another; None for one that no UTF-8 text has."""
    assert shown.text is not None
    try:
        data = shown.text.encode()
    except UnicodeEncodeError:
        return None
    steps = [[0] * 256 for _ in range(len(data) + 2)]
    for at, byte in enumerate(data, 1):
        steps[at][byte] = at + 1
    return Phrase(shown, 1, steps, [at == len(data) + 1 for at in range(len(steps))])


def _searched(shown: StopPhrase, pattern: re.Pattern[str], span: Span | None = None, source: Source | None = None) -> Phrase | None:
    """A phrase that is a pattern; None where it matches nothing."""
    from lmqlc.compiler.automata.build import build

    try:
        automaton = build(Matches(Const(pattern), span), source=source, counters=False)  # a phrase's length is judged by its states alone
    except UnsatisfiableConstraint:
        return None
    live = _live(automaton)
    states = np.where(live, np.arange(len(live)), 0)
    steps = states[automaton.delta[0]][:, automaton.byte_class]
    return Phrase(shown, automaton.start, steps.tolist(), automaton.accepts[0].tolist())


def _live(automaton: TextAutomaton) -> npt.NDArray[np.bool_]:
    """bool[S]: an accepting state can be reached."""
    live: npt.NDArray[np.bool_] = automaton.accepts[0].copy()
    while True:
        grown: npt.NDArray[np.bool_] = live | live[automaton.delta[0]].any(axis=1)
        if (grown == live).all():
            return live
        live = grown


class PhraseSearch:
    """All phrases of one constraint."""

    def __init__(self, phrases: tuple[Phrase, ...]) -> None:
        self._phrases = phrases
        first = {byte for phrase in phrases for byte, after in enumerate(phrase.steps[phrase.start]) if after}
        self._first = re.compile(b"[" + b"".join(b"\\x%02x" % byte for byte in sorted(first)) + b"]" if first else rb"(?!)")

    def __bool__(self) -> bool:
        return bool(self._phrases)

    def removes(self, thread: Thread) -> bool:
        return not self._phrases[thread[0]].keep

    def step(self, threads: Sequence[Thread], byte: int, at: int, holds: Holds) -> list[Thread]:
        """The threads after the byte that stands at place `at`, new ones included."""
        begins: dict[tuple[int, int], int] = {}
        fresh = [
            (number, phrase.start, at)
            for number, phrase in enumerate(self._phrases)
            if phrase.steps[phrase.start][byte] and (phrase.keep or holds(at))
        ]
        for number, state, begin in [*threads, *fresh]:
            after = self._phrases[number].steps[state][byte]
            if after:
                begins[number, after] = min(begin, begins.get((number, after), begin))
        return [(number, state, begin) for (number, state), begin in begins.items()]

    def ended(self, threads: Sequence[Thread], at: int, holds: Holds) -> int | None:
        """Where the text is cut if it stops at place `at`, just after the last byte; None where it goes on."""
        best: tuple[int, int] | None = None
        for number, state, begin in threads:
            phrase = self._phrases[number]
            if phrase.ends[state] and (best is None or begin < best[0]) and (not phrase.keep or holds(at)):
                best = (begin, at if phrase.keep else begin)
        return None if best is None else best[1]

    def meet(self, threads: Sequence[Thread], token: bytes, at: int, holds: Holds) -> tuple[int | None, tuple[Thread, ...]]:
        """A token that stands at place `at`: where the text is cut if it stops inside, else None and the threads after it."""
        first = None if threads else self._first.search(token)
        if not threads and first is None:
            return None, ()
        for offset in range(0 if first is None else first.start(), len(token)):
            threads = self.step(threads, token[offset], at + offset, holds)
            cut = self.ended(threads, at + offset + 1, holds)
            if cut is not None:
                return cut, ()
        return None, tuple(sorted(threads))

    def may_concern(self, token: bytes) -> bool:
        """Whether a token may complete a phrase or begin a removed one, wherever the formula may hold."""
        cut, threads = self.meet((), token, 0, lambda _: True)
        return cut is not None or any(self.removes(thread) for thread in threads)

    def next_bytes(self, threads: Sequence[Thread]) -> frozenset[int]:
        """First bytes of the tokens with which some thread goes on."""
        return frozenset(b for number, state, _ in threads for b, after in enumerate(self._phrases[number].steps[state]) if after)
