"""The classes of one state are those that all states together have."""

from __future__ import annotations

import random

import numpy as np
import pytest

from lmqlc.backends.base import Vocabulary
from lmqlc.compiler import constraints as c
from lmqlc.compiler.automata.build import build
from lmqlc.compiler.masks.classes import build_block
from lmqlc.compiler.masks.core import Core
from lmqlc.compiler.masks.one_state import OneState
from lmqlc.compiler.masks.trie import DEPTH


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
