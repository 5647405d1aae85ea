"""Automata as they travel: what arrives is what was sent; whatever else arrives is refused, and harms nobody."""

from __future__ import annotations

import hashlib
import random
import re
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmqlc.backends import wire_automaton
from lmqlc.backends.byte_tokenizer import ByteTokenizer
from lmqlc.backends.wire_automaton import pack_automaton, pack_formula, unpack_automaton, unpack_formula
from lmqlc.compiler import constraints as c
from lmqlc.compiler.automata.automaton import StopPhrase, TextAutomaton
from lmqlc.compiler.automata.build import build
from lmqlc.compiler.masks.files import pack_arrays, unpack_arrays
from lmqlc.compiler.masks.token_automaton import link
from lmqlc.errors import ArtifactError, LmqlCompileError

VOCABULARY = ByteTokenizer().vocabulary
CONSTRAINTS = [
    c.Matches(c.Const(r"(ab|c){2,40}é?")),
    c.And((c.Count("chars", "<", c.Const(300)), c.Stop(c.Const("end"), keep=False))),
    c.And((c.Count("tokens", "<=", c.Const(6)), c.Contains(c.Const("a")))),
    c.And((c.Stop(c.Const(["x", "yz"]), keep=False), c.Stop(c.Const("w"), keep=True), c.Count("words", "<", c.Const(4)))),
    c.InSet(c.Const(("yes", "no", "perhaps"))),
    c.And((c.InSet(c.Const(("yes", "no", "note"))), c.Stop(c.Const([re.compile(r"\s+x?\n"), "."]), keep=False))),
    c.And((c.Count("words", "<=", c.Const(2)), c.Stop(c.Const(re.compile("[a-z]!+")), keep=False), c.Stop(c.Const("?"), keep=True))),
]


def walk(automaton: TextAutomaton, seed: int, *, budget: int | None = 30) -> list[Any]:
    """The masks along a random text."""
    linked = link(automaton, VOCABULARY, max_tokens=budget)
    source, state, seen = random.Random(seed), linked.start(), []
    for _ in range(12):
        mask = linked.mask(state)
        seen.append((mask.tobytes(), linked.is_final(state), linked.is_closed(state), linked.stopped(state)))
        allowed = np.flatnonzero(np.unpackbits(mask.view(np.uint8), bitorder="little"))
        if not len(allowed) or linked.stopped(state) is not None:
            break
        state = linked.advance(state, int(source.choice(allowed)))
        assert state is not None
    return seen


@pytest.mark.parametrize("constraint", CONSTRAINTS)
def test_the_same_masks_at_the_other_end(constraint: c.Constraint) -> None:
    automaton = build(constraint)
    name, data = pack_automaton(automaton)
    arrived = unpack_automaton(data, name)
    for seed in range(5):
        assert walk(arrived, seed) == walk(automaton, seed)


@given(st.sampled_from(CONSTRAINTS), st.data())
@settings(deadline=None, max_examples=60)
def test_damaged_bytes_are_refused(constraint: c.Constraint, data: Any) -> None:
    name, packed = pack_automaton(build(constraint))
    damaged = bytearray(packed)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        damaged[at] = data.draw(st.integers(0, 255).filter(lambda value, at=at: value != damaged[at]))
    cut = damaged[: data.draw(st.integers(0, len(damaged)))] if data.draw(st.booleans()) else damaged
    with pytest.raises(ArtifactError):
        unpack_automaton(bytes(cut), name)
        assert bytes(cut) == packed  # damage that undid itself
        raise ArtifactError("the same")


@given(st.sampled_from(CONSTRAINTS), st.data())
@settings(deadline=None, max_examples=150)
def test_hostile_arrays_are_refused_or_harmless(constraint: c.Constraint, data: Any) -> None:
    """An attacker names the bytes rightly, and says in them what he likes."""
    _, packed = pack_automaton(build(constraint))
    arrays, meta = unpack_arrays(zlib.decompress(packed), "test")
    changed = {name: np.array(array) for name, array in arrays.items()}
    kind = data.draw(st.sampled_from(["value", "shape", "drop", "meta", "dtype"]))
    name = data.draw(st.sampled_from(sorted(changed)))
    if kind == "value":
        flat = changed[name].reshape(-1)
        flat[data.draw(st.integers(0, len(flat) - 1))] = data.draw(st.integers(0, 1 if flat.dtype == bool else 255))
        if flat.dtype.itemsize > 1 and data.draw(st.booleans()):
            flat[data.draw(st.integers(0, len(flat) - 1))] = data.draw(st.sampled_from([-1, 2**31 - 1, -(2**31)]))
    elif kind == "shape":
        changed[name] = changed[name].reshape(-1)[: data.draw(st.integers(0, 5))]
    elif kind == "drop":
        del changed[name]
    elif kind == "dtype":
        changed[name] = changed[name].astype(data.draw(st.sampled_from(["<i8", "|u1", "<f4", "|b1"])))
    else:
        key = data.draw(st.sampled_from(sorted(meta)))
        meta[key] = data.draw(st.sampled_from([None, -1, 0, 1 << 60, "x", [], [[True, "a"]] * 2000, {"a": 1}, [[1, 2]], True, 1.5]))
    raw = pack_arrays(changed, meta)
    try:
        automaton = unpack_automaton(zlib.compress(raw), hashlib.sha256(raw).hexdigest())
        walk(automaton, 1)
    except (ArtifactError, LmqlCompileError):
        return


def test_bombs_and_giants_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = zlib.compress(b"\0" * (80 << 20), 9)
    assert len(bomb) < 1 << 20
    with pytest.raises(ArtifactError, match="at most"):
        unpack_automaton(bomb, hashlib.sha256(b"\0" * (80 << 20)).hexdigest())
    with pytest.raises(ArtifactError, match="at most"):
        unpack_automaton(b"x" * (wire_automaton.MAX_PACKED + 1), "")
    monkeypatch.setattr(wire_automaton, "MAX_STATES", 50)
    name, data = pack_automaton(build(c.Matches(c.Const("[ab]{60}c"))))
    with pytest.raises(ArtifactError, match="may have 50 states"):
        unpack_automaton(data, name)


def test_no_pattern_reaches_the_server() -> None:
    """A pattern that takes for ever to match is neither sent nor matched there."""
    import re

    automaton = build(c.And((c.Stop(c.Const(re.compile("(a+)+b")), keep=False), c.Count("words", "<", c.Const(9)))))
    name, data = pack_automaton(automaton)
    assert b"(a+)+b" not in zlib.decompress(data)
    assert [(phrase.text, phrase.pattern) for phrase in unpack_automaton(data, name).phrases] == [(None, None)]


FORMULAS = [
    c.Json(c.Const({"type": "object", "properties": {"a": {"$ref": "#"}}})),
    c.And((c.Grammar(c.Const('start: "a"')), c.Count("chars", "<", c.Const(9)), c.Not(c.Equals(c.Const("b"))))),
    c.And((c.Json(None), c.Stop(c.Const(["x", "y"]), keep=True))),
]


@pytest.mark.parametrize("formula", FORMULAS)
def test_formulas_arrive_as_they_were(formula: c.Constraint) -> None:
    import json

    text = pack_formula(formula)
    assert text is not None
    assert repr(unpack_formula(json.loads(text))) == repr(formula)


@pytest.mark.parametrize(
    "formula",
    [
        c.Custom(c.Const(len), ()),
        c.TypeIs(c.Const(StopPhrase)),
        c.Matches(c.Const(__import__("re").compile("a"))),
        c.Equals(c.Const("a" * 300_000)),
    ],
)
def test_what_only_this_process_can_judge_is_not_sent(formula: c.Constraint) -> None:
    assert pack_formula(formula) is None


KEYS = ["$constraint", "$tuple", "$dict", "$type", "$bytes", "$int", "$float", "$node", "$span", "args", "arg", "value", "And", "x"]
WORDS = ["And", "Not", "Equals", "Const", "Slot", "Custom", "Json", "Matches", "Expr", "int", "0x9"]
LEAVES = st.none() | st.booleans() | st.integers() | st.text(max_size=3)


def larger(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner | st.sampled_from(WORDS), max_size=3)


@given(st.recursive(LEAVES, larger, max_leaves=12))
@settings(deadline=None, max_examples=300)
def test_any_json_is_a_formula_or_refused(made: Any) -> None:
    try:
        unpack_formula(made)
    except ArtifactError:
        return
