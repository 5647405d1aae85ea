"""How holes end, over the formulas and vocabularies of `test_masks_of_formulas`: the final text meets the formula with the tokens that the
hole says it has, whatever ended it; the budget is kept; and a hole is squeezed where the budget alone made its text.

The model is a row of random scores for every step. A hole is decoded twice where it can be: as it is, and with the budget out of the way.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lmqlc.backends.base import Vocabulary
from lmqlc.compiler import constraints as c
from lmqlc.compiler.automata.build import build
from lmqlc.compiler.masks.core import core_of
from lmqlc.compiler.masks.forms import unpack
from lmqlc.compiler.masks.hole import Budget, HoleRun
from lmqlc.compiler.masks.interface import TokenConstraint
from lmqlc.compiler.masks.token_automaton import TokenAutomaton, finished
from lmqlc.grammar.errors import UnsatisfiableConstraint

EXAMPLES = int(os.environ.get("LMQLC_ENDS", "20000" if os.environ.get("LMQLC_LONG") else "400"))


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


formulas = load("test_masks_of_formulas")


def counted(hole: HoleRun, vocabulary: Vocabulary) -> int:
    """The tokens that reach into the text: the pieces are laid one behind the other, and those with a byte of the text are counted."""
    written = b"".join(vocabulary.tokens[i] for i in hole.ids)
    owners = [number for number, i in enumerate(hole.ids) for _ in vocabulary.tokens[i]]
    text = hole.data()
    begin = len(hole.healed.encode())
    assert written[begin : begin + len(text)] == text
    return len(set(owners[begin : begin + len(text)]))


def linked_for(constraint: c.Constraint, vocabulary: Vocabulary, follow: str) -> TokenAutomaton | None:
    try:
        automaton = build(constraint)
    except UnsatisfiableConstraint:
        return None
    return finished(core_of(automaton, vocabulary), max_tokens=None, follow=follow, encode=None, named=vocabulary.named)


def allowed(constraint: TokenConstraint, hole: HoleRun) -> set[int]:
    """What may come next in a hole, as far as a constraint says; the hole's own first step is asked apart."""
    return set(np.flatnonzero(unpack(constraint.mask(hole._state), len(hole.vocabulary))).tolist())


def decode(hole: HoleRun, whole: TokenConstraint, rows: np.random.Generator, greedy: bool) -> bool:
    """Decode a hole to its end; whether its budget made it what it is."""
    squeezed = False
    free = None if hole._healing is None else HoleRun(hole.name, hole.vocabulary, whole, Budget(99, "budget"), heal=hole._healing.text)
    while hole.reason is None:
        row = rows.standard_normal(len(hole.vocabulary)).astype(np.float32)
        masked = hole.masked(row)
        legal = {i for i in range(len(row)) if hole.legal(i)}
        assert legal == set(np.flatnonzero(np.isfinite(masked)).tolist())
        others = {i for i in range(len(row)) if free.legal(i)} if free is not None else allowed(whole, hole)
        assert legal <= others
        token = int(masked.argmax()) if greedy else int(rows.choice(sorted(legal)))
        squeezed |= any(row[i] > row[token] for i in others - legal)
        free = None
        hole.push(token, -1.0)
    return squeezed or not (hole.reason in ("eos", "stop", "follow") or whole.is_closed(hole._state))


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), derandomize=EXAMPLES <= 400)
@given(
    formulas.constraints,
    formulas.vocabularies(),
    st.sampled_from([1, 2, 2, 3, 4, 6]),
    st.sampled_from(["", "", "b", "a.", "é", "1 a"]),
    st.sampled_from(["", "", "a", "b", "1", " ", "ab", "."]),
    st.integers(0, 1 << 30),
)
def test_every_end(constraint: c.Constraint, vocabulary: Vocabulary, budget: int, follow: str, before: str, seed: int) -> None:
    whole = linked_for(constraint, vocabulary, follow)
    if whole is None or not whole.within(budget).satisfiable(before.encode()):
        return
    phrases = whole.core.automaton.phrases
    for attempt in range(3):
        hole = HoleRun("X", vocabulary, whole.within(budget), Budget(budget, "budget"), phrases, before.encode())
        squeezed = decode(hole, whole, np.random.default_rng([seed, attempt]), greedy=attempt == 0)
        text = hole.data().decode()
        assert hole.count == counted(hole, vocabulary)
        assert formulas.holds(constraint, text, hole.count), (text, hole.count, hole.reason)
        assert len(hole.ids) - (hole.healed != "" and hole.healed == hole.tokens[0].text) <= budget
        assert hole.squeezed == squeezed, (text, hole.reason)
        assert (hole.reason == "budget") <= squeezed
        check_follow(hole, vocabulary, follow)


def check_follow(hole: HoleRun, vocabulary: Vocabulary, follow: str) -> None:
    """A token that is dropped whole at the end is the text that follows, or wholly in a stop."""
    last: Any = hole.tokens[-1].id if hole.tokens else None
    if hole.reason == "follow":
        rest = hole.last_bytes()
        assert follow and rest and hole.cut == len(rest)
        assert follow.encode().startswith(rest) or rest.startswith(follow.encode())
    elif hole.reason in ("closed", "budget"):
        assert hole.cut == 0
    elif hole.reason == "eos":
        assert last in vocabulary.eos_ids
