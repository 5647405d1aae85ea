"""One hole: what may come next, how it ends, and what it leaves in the prompt. The constraint is a hand-written one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from lmqlc.backends.base import Vocabulary
from lmqlc.compiler.automata.automaton import StopPhrase
from lmqlc.compiler.masks.hole import Budget, HoleRun, logprob
from lmqlc.compiler.masks.interface import NOTHING, Before, Bits, State
from lmqlc.grammar.errors import ConstraintViolated

TOKENS = Vocabulary.build([b"", b"a", b"b", b".", b".\n", b"b.", "é".encode()[:1], "é".encode()[1:], b"x" + "é".encode()[:1]], eos_ids=[0])
EOS, A, B, DOT, DOT_LF, B_DOT, E1, E2, XE1 = range(9)
PLENTY = Budget(99, "length")


@dataclass(frozen=True)
class Ends:
    """Any text of the bytes `letters`, at most `most` of them; `stop` ends it, as the text that follows where `follows`. A state is the
    text, or the text and what to cut."""

    letters: bytes = b"abx.\xc3\xa9"
    most: int = 99
    stop: bytes = b"."
    keep: bool = True
    exact: bool = True
    follows: bool = False

    def start(self) -> State:
        return (b"", None)

    def mask(self, state: State) -> Bits:
        flags = np.zeros(32, np.uint8)
        flags[: len(TOKENS)] = [self.advance(state, i) is not None or (i == EOS and self.is_final(state)) for i in range(len(TOKENS))]
        return np.packbits(flags, bitorder="little").view(np.uint32)

    def advance(self, state: State, token_id: int) -> State | None:
        text, cut = state  # type: ignore[misc]
        if cut is not None or token_id == EOS:
            return None
        text += TOKENS.tokens[token_id]
        at = text.find(self.stop)
        if at >= 0:
            return (text, len(text) - at - (len(self.stop) if self.keep else 0))
        return (text, None) if len(text) <= self.most else None

    def is_final(self, state: State) -> bool:
        return state[1] is None and b"a" in state[0]  # type: ignore[index]

    def is_closed(self, state: State) -> bool:
        return self.is_final(state) and len(state[0]) >= self.most  # type: ignore[index]

    def forced(self, state: State, before: Before = NOTHING) -> list[int]:
        return []

    def stopped(self, state: State) -> int | None:
        return state[1]  # type: ignore[index,no-any-return]

    def followed(self, state: State) -> bool:
        return self.follows

    def within(self, max_tokens: int | None) -> Ends:
        return self


KEEP, DROP = StopPhrase(True, "."), StopPhrase(False, ".")


def run(constraint: Ends | None, *ids: int, budget: Budget = PLENTY, phrases: tuple[StopPhrase, ...] = ()) -> HoleRun:
    hole = HoleRun("X", TOKENS, constraint, budget, phrases)
    for token_id in ids:
        assert hole.reason is None
        assert hole.legal(token_id)
        hole.push(token_id, -1.0)
    return hole


def test_unconstrained_takes_everything_until_end_of_text() -> None:
    hole = run(None, A, DOT, EOS)
    assert hole.reason == "eos"
    assert hole.written().ids == (A, DOT)
    assert [token.id for token in hole.tokens] == [A, DOT, EOS]
    logits = np.zeros(9, np.float32)
    assert HoleRun("X", TOKENS, None, PLENTY).masked(logits) is logits


def test_budget_ends_an_unconstrained_hole() -> None:
    assert run(None, A, B, budget=Budget(2, "budget")).reason == "budget"
    assert run(None, A, budget=Budget(1, "length")).reason == "length"


def test_stop_keeps_the_phrase_and_drops_the_overrun() -> None:
    hole = run(Ends(), A, DOT_LF, phrases=(KEEP,))
    assert hole.reason == "stop"
    written = hole.written()
    assert (written.ids, written.tail, written.text) == ((A,), ".", "a.")


def test_removed_stop_leaves_the_rest_of_its_token() -> None:
    hole = run(Ends(keep=False), A, B_DOT, phrases=(DROP,))
    assert (hole.reason, hole.written().ids, hole.written().tail, hole.written().text) == ("stop", (A,), "b", "ab")


def test_whole_tokens_that_are_cut_leave_no_tail() -> None:
    hole = run(Ends(keep=False), A, DOT, phrases=(DROP,))
    assert (hole.reason, hole.written().ids, hole.written().tail) == ("stop", (A,), "")


def test_a_cut_inside_a_token_that_began_inside_a_character() -> None:
    tokens = Vocabulary.build([b"", b"a", "é".encode()[:1], "é".encode()[1:] + b".\n"], eos_ids=[0])
    hole = HoleRun("X", tokens, Cut(3), PLENTY, (KEEP,))
    for token_id in (1, 2, 3):
        hole.push(token_id, 0.0)
    assert (hole.written().ids, hole.written().tail, hole.written().text) == ((1,), "é.", "aé.")


@dataclass(frozen=True)
class Cut(Ends):
    """Stops after a number of tokens, and cuts one byte."""

    after: int = 3

    def __init__(self, after: int) -> None:
        object.__setattr__(self, "after", after)

    def start(self) -> State:
        return 0

    def advance(self, state: State, token_id: int) -> State | None:
        return state + 1  # type: ignore[operator]

    def is_final(self, state: State) -> bool:
        return False

    def stopped(self, state: State) -> int | None:
        return 1 if state == self.after else None


def test_the_text_that_follows_is_told_from_a_stop() -> None:
    assert run(Ends(keep=False, follows=True), A, DOT, phrases=(DROP,)).reason == "follow"
    assert run(Ends(keep=False), A, DOT, phrases=(StopPhrase(False, None, r"\."),)).reason == "stop"


def test_closure_needs_no_further_token() -> None:
    hole = run(Ends(most=2), A, B)
    assert hole.reason == "closed"
    assert hole.forced() == []


def test_end_of_text_is_legal_only_where_the_text_may_end() -> None:
    hole = HoleRun("X", TOKENS, Ends(), PLENTY)
    assert not hole.legal(EOS)
    assert not np.isfinite(hole.masked(np.zeros(9, np.float32))[EOS])
    hole.push(A, 0.0)
    assert hole.legal(EOS)
    assert np.isfinite(hole.masked(np.zeros(9, np.float32))[EOS])


def test_an_illegal_token_and_an_incomplete_text_at_the_budget_are_errors() -> None:
    with pytest.raises(ConstraintViolated, match="not allowed"):
        HoleRun("X", TOKENS, Ends(most=0), PLENTY).push(A, 0.0)
    with pytest.raises(ConstraintViolated, match="incomplete"):
        HoleRun("X", TOKENS, Ends(), Budget(1, "budget")).push(B, 0.0)
    with pytest.raises(ConstraintViolated, match="no token can follow"):
        HoleRun("X", TOKENS, Ends(most=0, stop=b"#"), PLENTY).masked(np.zeros(9, np.float32))


def test_incomplete_character_at_the_end_is_replaced() -> None:
    assert run(None, A, E1, budget=Budget(2, "budget")).written().text == "a\ufffd"
    assert run(None, XE1, E2, budget=Budget(2, "budget")).written().text == "xé"


def test_logprob() -> None:
    logits = np.array([1.0, 2.0, 3.0], np.float32)
    expected = np.log(np.exp(3.0) / np.exp([1.0, 2.0, 3.0]).sum())
    assert logprob(logits, 2) == pytest.approx(expected, abs=1e-6)
    assert logprob(np.array([0.0, -np.inf], np.float32), 0) == 0.0
