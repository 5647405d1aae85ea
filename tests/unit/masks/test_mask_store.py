"""Linked automata as arrays: round trips, and files that were damaged or made by an enemy."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest

from lmqlc.backends.base import Vocabulary
from lmqlc.compiler import constraints as c
from lmqlc.compiler.automata.build import build
from lmqlc.compiler.masks import files, store
from lmqlc.compiler.masks.token_automaton import TokenAutomaton, link
from lmqlc.grammar.errors import ArtifactError, UnsatisfiableConstraint

TOKENS = [b"<e>", b"a", b"b", b"ab", b"1", b"12", b".", b".\n", b"\n", "é".encode(), b"\xc3", b"\xa9", b"foo", b" ", b"", b"<s>"]
VOCABULARY = Vocabulary.build(TOKENS, [0], [0, 14, 15])


def const(value: object) -> c.Const:
    return c.Const(value)


CONSTRAINTS = {
    "words": c.InSet(const(["ab", "a1", "é.", "foo"])),
    "regex": c.Matches(const(r"[ab]+(\.\d*)?")),
    "counted": c.And((c.Matches(const(r"[^\n]{1,40}")), c.Contains(const("foo")))),
    "stops": c.And((c.Stop(const([".", "\n"]), False), c.Not(c.Contains(const("b"))))),
    "mixed": c.And((c.Stop(const(".\n"), True), c.Stop(const("\n"), False), c.Count("chars", ">", const(1)))),
    "tokens": c.And((c.Stop(const("."), True), c.Count("tokens", "<", const(4)))),
}


def same_everywhere(one: TokenAutomaton, other: TokenAutomaton, depth: int = 4) -> None:
    pending = [(one.start(), other.start(), depth)]
    while pending:
        a, b, left = pending.pop()
        assert np.array_equal(one.mask(a), other.mask(b))
        assert one.is_final(a) == other.is_final(b) and one.is_closed(a) == other.is_closed(b) and one.stopped(a) == other.stopped(b)
        for token in range(len(VOCABULARY)) if left else ():
            then, too = one.advance(a, token), other.advance(b, token)
            assert (then is None) == (too is None)
            if then is not None and random.Random(f"{token}{left}").random() < 0.5:
                pending.append((then, too, left - 1))


@pytest.mark.parametrize("name", CONSTRAINTS)
@pytest.mark.parametrize(("budget", "follow"), [(None, None), (5, "b"), (3, None)])
def test_a_stored_automaton_is_the_same(name: str, budget: int | None, follow: str | None, tmp_path: Path) -> None:
    linked = link(build(CONSTRAINTS[name]), VOCABULARY)
    files.write_arrays(tmp_path / "x.bin", store.to_arrays(linked), {})
    arrays, _ = files.read_arrays(tmp_path / "x.bin")
    again = store.from_arrays(arrays, VOCABULARY, max_tokens=budget, follow=follow)
    same_everywhere(link(build(CONSTRAINTS[name]), VOCABULARY, max_tokens=budget, follow=follow), again)


@pytest.mark.parametrize("bound", [5, 300, 10**6, 2**39])
@pytest.mark.parametrize("pattern", ["(ab)*", "(aab|ba)*", "a{3,40}", "é+"])
def test_costs_at_the_first_tokens_are_kept_as_runs(pattern: str, bound: int) -> None:
    vocabulary = Vocabulary.build([b"<e>", b"a", b"b", b"\xc3", b"\xa9"], [0], [0])  # no token is longer, so that counts come in turns
    for op in ("<", "==", ">"):
        constraint = c.And((c.Matches(const(pattern)), c.Count("tokens", op, const(bound))))
        try:
            linked = link(build(constraint), vocabulary)
        except UnsatisfiableConstraint:
            continue
        again = store.from_arrays(store.to_arrays(linked), vocabulary)
        for count in sorted({*range(9), *range(max(bound - 50, 0), bound), bound // 2, bound // 2 + 1}):
            one, other = linked.core.costs.after(count, None), again.core.costs.after(count, None)
            assert one is not None and other is not None and np.array_equal(one, other), (op, count)


@pytest.mark.parametrize("pattern", ["(ab|é)*", "a*b*", r"(?s).*", "a(ba)*|é*b"])
@pytest.mark.parametrize("limit", [17, 60, 200])
@pytest.mark.parametrize("tokens", [[b"a", b"b", b"\xc3", b"\xa9"], [b"a", b"b", b"ab", b"aba", b"\xc3", b"\xa9"]])
def test_costs_that_grow_are_found_without_steps(pattern: str, limit: int, tokens: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    from lmqlc.compiler.masks import core, counters

    vocabulary = Vocabulary.build([b"<e>", *tokens], [0], [0])
    constraint = c.And((c.Matches(const(pattern)), c.Count("chars", "<=", const(limit)), c.Count("tokens", "==", const(2 * limit - 10))))
    automaton = build(constraint)
    found = []
    for periods in (12, 0):
        monkeypatch.setattr(counters, "_PERIODS", periods)
        core.forget_cores()
        costs = core.core_of(automaton, vocabulary).costs
        found.append([costs.after(count, None) for count in range(2 * limit)])
    states = automaton.delta.shape[1]
    for one, other in zip(*found, strict=True):
        assert one is not None and other is not None and np.array_equal(one[:states], other[:states])


def test_large_automata_in_blocks_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    from lmqlc.compiler.masks import classes, core

    monkeypatch.setattr(classes, "ONE_BLOCK", 4)
    monkeypatch.setattr(classes, "BLOCK", 5)
    core.forget_cores()
    automaton = build(CONSTRAINTS["tokens"])
    cut = link(automaton, VOCABULARY, max_tokens=6)
    assert cut.core.classes.whole is None and len(list(cut.core.classes.all())) > 1
    again = store.from_arrays(store.to_arrays(cut), VOCABULARY, max_tokens=6)
    monkeypatch.undo()
    core.forget_cores()
    whole = link(automaton, VOCABULARY, max_tokens=6)
    same_everywhere(whole, cut)
    same_everywhere(whole, again)


def test_another_vocabulary_is_refused() -> None:
    arrays = store.to_arrays(link(build(CONSTRAINTS["words"]), VOCABULARY))
    with pytest.raises(ArtifactError, match="another vocabulary"):
        store.from_arrays(arrays, Vocabulary.build([*TOKENS, b"x"], [0], [0, 14, 15]))


def test_a_budget_that_no_text_meets_is_refused() -> None:
    arrays = store.to_arrays(link(build(c.Equals(const("abab"))), VOCABULARY))
    with pytest.raises(UnsatisfiableConstraint, match="at most 1 tokens"):
        store.from_arrays(arrays, VOCABULARY, max_tokens=1)


@pytest.mark.parametrize("name", CONSTRAINTS)
def test_random_damage_is_refused_or_harmless(name: str) -> None:
    arrays = store.to_arrays(link(build(CONSTRAINTS[name]), VOCABULARY))
    rng = random.Random(3)
    refused = 0
    for _ in range(150):
        key = rng.choice([key for key, array in arrays.items() if array.size])
        raw = bytearray(arrays[key].tobytes())
        raw[rng.randrange(len(raw))] = rng.randrange(256)
        damaged = arrays | {key: np.frombuffer(bytes(raw), arrays[key].dtype).reshape(arrays[key].shape)}
        try:
            linked = store.from_arrays(damaged, VOCABULARY, max_tokens=rng.choice([None, 4]))
        except (ArtifactError, UnsatisfiableConstraint):
            refused += 1
            continue
        state = linked.start()
        for _ in range(6):
            linked.mask(state)
            found = [linked.advance(state, token) for token in range(len(VOCABULARY))]
            state = rng.choice([then for then in found if then is not None] or [linked.start()])
    assert refused


@pytest.mark.parametrize("change", ["shape", "dtype", "missing", "about", "special"])
def test_described_damage_is_refused(change: str) -> None:
    arrays = store.to_arrays(link(build(CONSTRAINTS["regex"]), VOCABULARY))
    if change == "shape":
        arrays["delta"] = arrays["delta"][0]
    elif change == "dtype":
        arrays["finish"] = arrays["finish"].astype(np.int64)
    elif change == "missing":
        del arrays["rows"]
    elif change == "special":
        arrays["rows"] = arrays["rows"] | np.uint32(1)
    else:
        about = json.loads(arrays["about"].tobytes())
        arrays["about"] = np.frombuffer(json.dumps(about | {"version": 99}).encode(), np.uint8)
    with pytest.raises(ArtifactError):
        store.from_arrays(arrays, VOCABULARY)


def test_the_cache_keeps_and_recalls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LMQLC_CACHE", str(tmp_path))
    assert store.recall("key", VOCABULARY) is None
    linked = link(build(CONSTRAINTS["words"]), VOCABULARY)
    store.keep("key", linked)
    again = store.recall("key", VOCABULARY, max_tokens=3)
    assert again is not None
    same_everywhere(link(build(CONSTRAINTS["words"]), VOCABULARY, max_tokens=3), again)
    (path,) = tmp_path.rglob("*.bin")
    path.write_bytes(path.read_bytes()[:500])
    assert store.recall("key", VOCABULARY) is None


@pytest.mark.parametrize("data", [b"", b"LMQARR\x01\x00", b"x" * 200, b"LMQARR\x63\x00" + bytes(100), b"LMQARR\x01\x00" + b"\xff" * 100])
def test_files_that_hold_no_arrays(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.bin").write_bytes(data)
    with pytest.raises(ArtifactError):
        files.read_arrays(tmp_path / "x.bin")


@pytest.mark.parametrize(
    "entry", [["a", "<i4", [99], 0], ["a", "<f8", [1], 0], ["a", "O", [1], 0], ["a", "<i4", [-1], 0], ["a", "<i4", [1], -64],
              ["a", "<i4", [1 << 62, 4], 0], ["a", "<i4", 3, 0], ["a"], "abcd", ["a", ["<i4"], [1], 0], ["a", "<i4", [True], 0]],
)  # fmt: skip
def test_arrays_that_are_described_wrongly(entry: object) -> None:
    header = json.dumps({"meta": {}, "arrays": [entry]}).encode()
    data = (b"LMQARR\x01\x00" + len(header).to_bytes(8, "little") + header).ljust(512, b"\0")[:192]
    with pytest.raises(ArtifactError):
        files.unpack_arrays(data, "x")


def test_arrays_go_both_ways(tmp_path: Path) -> None:
    arrays = {"b": np.array([[True, False]]), "i": np.arange(7, dtype=np.int64), "none": np.zeros((0, 3), np.float32), "u": np.uint16([1])}
    files.write_arrays(tmp_path / "deep" / "x.bin", arrays, {"kind": "test"})
    read, meta = files.read_arrays(tmp_path / "deep" / "x.bin")
    assert meta == {"kind": "test"} and read.keys() == arrays.keys()
    for name, array in arrays.items():
        assert read[name].dtype == array.dtype and np.array_equal(read[name], array)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["x.bin"]
    with pytest.raises(ValueError, match="complex"):
        files.pack_arrays({"c": np.zeros(1, np.complex64)}, {})
