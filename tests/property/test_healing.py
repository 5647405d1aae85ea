"""The first step of a healed hole equals brute force, over the automata and vocabularies of `test_masks_of_automata`; and what a healed
hole writes is a text of the constraint behind the prompt."""

from __future__ import annotations

import importlib.util
import os
import random
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from lmqlc.compiler.masks.core import core_of
from lmqlc.compiler.masks.heal import covering, taken_back
from lmqlc.compiler.masks.hole import Budget, HoleRun
from lmqlc.compiler.masks.token_automaton import TokenAutomaton, finished
from lmqlc.grammar.errors import UnsatisfiableConstraint

CASES = 20_000 if os.environ.get("LMQLC_LONG") else 600
PLENTY = 40


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


brute = load("test_masks_of_automata")


def expected_first(oracle: "brute.Oracle", start: tuple[int, int, int], heal: bytes) -> dict[int, object]:  # noqa: UP037
    """The tokens that may come first, and where they lead: None for the prompt's own text (where the hole's may still begin behind it), an
    overrun or a place else, "follow" where the text ends."""
    found: dict[int, object] = {}
    afresh = oracle.can_finish(start)
    for token_id, token in oracle.texts.items():
        if not token.startswith(heal):
            continue
        rest = token[len(heal) :]
        if not rest:
            found |= {token_id: None} if afresh else {}
            continue
        if oracle.budget is None or oracle.budget > 0:
            then = oracle.read(start, rest)
            if isinstance(then, int) or (then is not None and oracle.can_finish(oracle.short(then))):
                found[token_id] = then
                continue
        follow = oracle.follow
        if follow and oracle.final(start) and (follow.startswith(rest) or rest.startswith(follow)):
            found[token_id] = "follow"
    return found


def linked_case(seed: int) -> tuple[random.Random, "brute.Oracle", TokenAutomaton]:  # noqa: UP037
    rng = random.Random(seed)
    automaton, vocabulary = brute.random_automaton(rng), brute.random_vocabulary(rng)
    budget, follow = rng.choice([None, None, 0, 1, 2, 3, 4, 6, 9]), rng.choice(["", "", "b", "ab", "é"])
    linked = finished(core_of(automaton, vocabulary), max_tokens=budget, follow=follow, encode=None)
    return rng, brute.Oracle(automaton, vocabulary, budget, follow), linked


def texts_to_heal(oracle: "brute.Oracle") -> list[bytes]:  # noqa: UP037
    return sorted({token[:size] for token in oracle.texts.values() for size in range(1, min(len(token), 24))})


def check_first_step(oracle: "brute.Oracle", linked: TokenAutomaton, heal: bytes) -> bool:  # noqa: UP037
    """Compare the first step of one healed hole; whether it heals."""
    start = (oracle.automaton.start, 0, 0)
    expected = expected_first(oracle, start, heal)
    exact = heal in oracle.texts.values()  # without a token of its own, nothing is taken back
    fits = oracle.can_finish(start) or (exact and any(then is not None for then in expected.values()))
    assert linked.satisfiable(heal) == fits
    if not fits:
        with pytest.raises(UnsatisfiableConstraint):
            linked.require(heal)
        return False
    budget = Budget(PLENTY if oracle.budget is None else oracle.budget, "budget")
    hole = HoleRun("X", oracle.vocabulary, linked, budget, heal=heal)
    longer = any(then is not None for then in expected.values())
    assert hole.heals == (longer and exact and hole.reason is None)
    if not hole.heals:
        return False
    width = len(oracle.vocabulary)
    masked = hole.masked(np.zeros(width, np.float32))
    assert np.flatnonzero(np.isfinite(masked)).tolist() == sorted(expected)
    assert [i for i in range(width) if hole.legal(i)] == sorted(expected)
    for token_id, then in expected.items():
        check_after(oracle, linked, heal, (token_id, then, budget))
    return True


def check_after(
    oracle: "brute.Oracle",  # noqa: UP037
    linked: TokenAutomaton,
    heal: bytes,
    first: tuple[int, object, Budget],
) -> None:
    token_id, then, budget = first
    hole = HoleRun("X", oracle.vocabulary, linked, budget, heal=heal)
    hole.push(token_id, -1.0)
    rest = oracle.texts[token_id][len(heal) :]
    assert hole.last_bytes() == rest
    if then is None:
        assert hole.data() == b""
        assert hole.written().ids == (token_id,)
        assert not hole.heals
        plain = HoleRun("X", oracle.vocabulary, linked, budget)
        zeros = np.zeros(len(oracle.vocabulary), np.float32)
        assert hole.reason is plain.reason is None
        assert np.array_equal(hole.masked(zeros), plain.masked(zeros))
    elif then == "follow":
        assert (hole.reason, hole.data(), hole.written().ids, hole.written().healed) == ("follow", b"", (), False)
    elif isinstance(then, int):
        assert hole.data() == rest[: max(len(rest) - then - oracle.removed_bytes, 0)]  # the phrases of these automata end anywhere
        assert hole.written().healed == (then + oracle.removed_bytes == 0)
    else:
        assert hole.written().healed
        assert isinstance(then, tuple)
        if hole.reason is None:
            state = linked.enter(linked.start(), token_id, len(heal))
            brute.check_state(oracle, linked, state, oracle.short(then))


@pytest.mark.parametrize("part", range(4))
def test_first_step_equals_brute_force(part: int) -> None:
    healed = 0
    for seed in range(part, CASES, 4):
        rng, oracle, linked = linked_case(seed)
        texts = texts_to_heal(oracle)
        for heal in rng.sample(texts, min(4, len(texts))):
            try:
                healed += check_first_step(oracle, linked, heal)
            except Exception as error:
                raise AssertionError(f"case {seed}, {heal!r}") from error
    assert healed > CASES / 40


def test_what_is_taken_back_is_a_token_that_begins_a_longer_one() -> None:
    rng = random.Random(5)
    for _ in range(300):
        vocabulary = brute.random_vocabulary(rng)
        usable = [i for i, token in enumerate(vocabulary.tokens) if token and i not in vocabulary.special]
        ids = rng.choices(range(len(vocabulary)), k=rng.randint(0, 5))
        count, text = taken_back(vocabulary, ids)
        ends = [b"".join(vocabulary.tokens[i] for i in ids[len(ids) - n :]) for n in range(1, len(ids) + 1)]
        fits = []
        for n, end in enumerate(ends, 1):
            if not vocabulary.tokens[ids[-n]] or len(end) > 24:
                break
            longer = [i for i in usable if vocabulary.tokens[i].startswith(end) and vocabulary.tokens[i] != end]
            same = [i for i in usable if vocabulary.tokens[i] == end]
            assert covering(vocabulary, end)[0].tolist() == same
            assert sorted(covering(vocabulary, end)[1].tolist()) == longer
            if longer and same:
                fits.append(n)
        assert count == max(fits, default=0)
        assert text == (ends[count - 1] if count else b"")
