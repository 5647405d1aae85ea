"""Large automata: the classes of one state, and where tokens lead from all states, are those that all states together have."""

from __future__ import annotations

import random

import numpy as np
import pytest

from lmqlc.backends.base import Vocabulary
from lmqlc.compiler import constraints as c
from lmqlc.compiler.automata.build import build
from lmqlc.compiler.automata.query import matches
from lmqlc.compiler.masks import classes, counters, token_edges
from lmqlc.compiler.masks.classes import build_block
from lmqlc.compiler.masks.core import Core, forget_cores
from lmqlc.compiler.masks.counters import FOREVER
from lmqlc.compiler.masks.forms import unpack
from lmqlc.compiler.masks.one_state import OneState
from lmqlc.compiler.masks.token_automaton import link
from lmqlc.compiler.masks.trie import DEPTH
from lmqlc.grammar.errors import LmqlCompileError, UnsatisfiableConstraint


def _vocabulary() -> Vocabulary:
    """All bytes, and longer tokens that split characters anywhere; some are longer than the trie is deep, some twice there."""
    rng = random.Random(5)
    text = "".join(rng.choices("abcd  .\né漢😀", k=5_000)).encode()
    cuts = [text[at : at + rng.randint(2, 9)] for at in (rng.randrange(len(text) - 9) for _ in range(1_500))]
    longer = [b"ab" * 40, b" " * (DEPTH + 1), b"a" * DEPTH, ("é" * 30).encode(), b"ab" * 17 + b"c", b"ab" * 40]
    return Vocabulary.build([b"<e>", *(bytes([byte]) for byte in range(256)), *cuts, *longer, b""], [0], [0])


def const(value: object) -> c.Const:
    return c.Const(value)


VOCABULARY = _vocabulary()
CONSTRAINTS = {
    "words": c.Count("words", "==", const(3)),
    "choices": c.InSet(const(["abab", "abc", "ab" * 40, "é漢", "d" * 50])),
    "negated": c.Not(c.Equals(const("ab" * 20))),
    "limit": c.And((c.Matches(const(r"[^\n]{1,60}")), c.Contains(const("ab")))),
    "limit and stop": c.And((c.Stop(const(".\n"), False), c.Count("chars", "<", const(50)))),
    "regions": c.And((c.Stop(const(["a", "bc"]), False), c.Or((c.Count("tokens", "<", const(4)), c.Contains(const("é")))))),
}


@pytest.mark.parametrize("name", CONSTRAINTS)
def test_classes_of_one_state(name: str) -> None:
    core = Core(build(CONSTRAINTS[name]), VOCABULARY)
    steps, walks = core.steps, OneState(core.steps, core.index)
    whole = build_block(core.index, steps, 0, steps.states)
    for state in range(steps.states):
        block = walks.block(state)
        alone, together = (np.asarray(one.class_of, np.intp) for one in (block, whole))
        assert np.array_equal(block.table[:, 0, alone], whole.table[:, state, together])
        live = block.table[:, 0, alone].any(axis=0)
        assert np.array_equal(block.chars[alone][live], whole.chars[together][live])
        assert len(np.unique(np.vstack([block.table[:, 0], block.chars]), axis=1).T) == block.classes, "classes that are alike"
        allowed = np.arange(block.classes) % 2 == 1
        assert np.array_equal(block.flags(allowed), allowed[alone])


@pytest.mark.parametrize("name", CONSTRAINTS)
@pytest.mark.parametrize("at_once", [1 << 20, 64])
def test_edges_of_all_states(name: str, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_edges, "_AT_ONCE", at_once)
    core = Core(build(CONSTRAINTS[name]), VOCABULARY)
    steps = core.steps
    whole = build_block(core.index, steps, 0, steps.states)
    for pair in range(steps.pairs):
        walked = token_edges.walked_edges(steps, core.index, pair, np.arange(1, steps.states))
        expected = token_edges.edges_of(whole, pair, steps.width)
        assert walked is not None
        for one, other in zip(
            (walked.sources, walked.targets, walked.chars), (expected.sources, expected.targets, expected.chars), strict=True
        ):
            assert np.array_equal(one, other)


def test_the_fewest_tokens_that_finish_a_text() -> None:
    for name in ("words", "choices", "negated"):
        core = Core(build(CONSTRAINTS[name]), VOCABULARY)
        needed = core.costs._tokens_needed
        assert needed is not None
        for left in range(12):
            finish = core.costs.terminal(0)
            for _ in range(left):
                finish = core.costs.step(finish, 0, 0)
            assert np.array_equal(finish < FOREVER, needed <= left)
            assert np.array_equal(core.costs.within(left) < FOREVER, needed <= left) or left >= (core.costs.bytes_needed or 99)


def _rough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classes, "ONE_BLOCK", 0)
    monkeypatch.setattr(counters, "ONE_BLOCK", 0)
    monkeypatch.setattr(token_edges, "MOST_WORK", 0)
    forget_cores()


@pytest.mark.parametrize("name", ["words", "limit", "negated"])
@pytest.mark.parametrize("budget", [3, 9, 70])
def test_budgets_are_met_where_tokens_cannot_be_counted(name: str, budget: int, monkeypatch: pytest.MonkeyPatch) -> None:
    _rough(monkeypatch)
    automaton = build(CONSTRAINTS[name])
    try:
        linked = link(automaton, VOCABULARY, max_tokens=budget)
    except LmqlCompileError as problem:
        assert not isinstance(problem, UnsatisfiableConstraint)
        assert "too large to tell" in problem.message and budget < 9
        return
    assert linked.core.costs.rough
    rng = random.Random(budget)
    for _ in range(20):
        state, taken = linked.start(), b""
        for left in range(budget, -1, -1):
            allowed = np.flatnonzero(unpack(linked.mask(state), len(VOCABULARY)))
            assert len(allowed), (taken, left)
            token = int(rng.choice(allowed))
            then = linked.advance(state, token)
            assert then is not None
            state = then
            if linked.stopped(state) is not None:
                break
            taken += VOCABULARY.tokens[token]
        assert linked.stopped(state) is not None
        assert matches(automaton, taken.decode())


def test_a_text_of_too_many_bytes_is_not_called_impossible(monkeypatch: pytest.MonkeyPatch) -> None:
    _rough(monkeypatch)
    automaton = build(c.Contains(const("ab" * 10)))
    with pytest.raises(LmqlCompileError, match="too large to tell whether one of its texts fits into 10 tokens") as raised:
        link(automaton, VOCABULARY, max_tokens=10)
    assert raised.value.diagnostics[0].hint == "allow 20 tokens or more, or make the constraint smaller"
    with pytest.raises(UnsatisfiableConstraint):
        link(build(c.Contains(const("ab" * 99))), VOCABULARY, max_tokens=2)
    assert link(automaton, VOCABULARY, max_tokens=20).satisfiable()
