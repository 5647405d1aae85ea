"""The automaton of one hole's text: what the front end hands to the mask engine.

Text is read as UTF-8 bytes. State 0 is dead. The automaton is deterministic and complete; every state but 0 is reachable.

Token counts are judged outside: the count of tokens lies in one of the regions `token_bounds[r] <= count < token_bounds[r + 1]`
(the last region has no upper end), and acceptance and stopping depend on the region. Without token atoms there is one region.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lmqlc.compiler.automata.remembered import Rule


@dataclass(frozen=True, slots=True, eq=False)
class PhraseAutomaton:
    """A pattern's automaton over bytes, with 0 the dead state. byte_class: uint8[256]. steps: int32[S, B]. ends: bool[S]."""

    byte_class: npt.NDArray[np.uint8]
    steps: npt.NDArray[np.int32]
    start: int
    ends: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class StopPhrase:
    """One stop: `text` where it is a fixed string, else `pattern`, a source for `re` (with `flags`). automaton: of a pattern that came from
    elsewhere, and is not compiled here; a phrase with none of them matches nothing."""

    keep: bool
    text: str | None
    pattern: str | None = None
    flags: int = 0
    automaton: PhraseAutomaton | None = None


@dataclass(frozen=True, slots=True, eq=False)
class TextAutomaton:
    """Deterministic automaton over UTF-8 bytes, with regions of token counts.

    delta: int32[D, S, B], next state by region, state and byte class; D is 1 (same in every region) or R. The first byte of a token
        uses the region of the count before the token, its other bytes the region of the count with it.
    byte_class: uint8[256], values below B.
    start: the state of the empty text.
    accepts: bool[R, S]: the text may end here (by end-of-text, closure, or the text that follows) if the count lies in region r. Only
        at whole characters.
    stops: bool[R, S]: a stop phrase ends here and the rest of the formula holds: decoding ends. A stop state's own `delta` row is dead.
        Not part of `accepts`.
    token_bounds: int64[R], first count of every region; `token_bounds[0] == 0`.
    char_limit: the text has at most this many code points (a counter beside the state), None where unbounded or inside the states.
        Characters of a removed stop phrase, and those past a stop, do not count.
    phrases: the stop phrases, for how much to cut.
    memory: what is remembered beside the states (`remembered.py`): texts that break one of its rules are none.
    holds: bool[R, S], where some phrases are kept and some removed: the formula holds for the whole text, so a kept phrase may stop it. At
        other states than those that stop it says the same as `accepts`.
    spaces_end: words or sentences are counted, so that white space may end a text to which nothing else could be added behind it.
    """

    delta: npt.NDArray[np.int32]
    byte_class: npt.NDArray[np.uint8]
    start: int
    accepts: npt.NDArray[np.bool_]
    stops: npt.NDArray[np.bool_]
    token_bounds: npt.NDArray[np.int64]
    char_limit: int | None = None
    phrases: tuple[StopPhrase, ...] = ()
    holds: npt.NDArray[np.bool_] | None = None
    memory: tuple[Rule, ...] = ()
    spaces_end: bool = False
