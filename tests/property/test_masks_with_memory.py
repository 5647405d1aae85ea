"""Masks with a memory beside the automaton against brute force: distinct keys and items, long strings, many items, within budgets.

What is valid is told in another way: by the type's automaton with every bound written out, and by `json` and Python's own comparison of
keys and items.
"""

from __future__ import annotations

import json
import os
import random
from functools import lru_cache
from typing import Annotated, Any, Literal

import pytest
from annotated_types import Ge, Le, Len, MaxLen, MinLen

from lmqlc.backends.base import Vocabulary
from lmqlc.compiler.automata import typed_memory
from lmqlc.compiler.automata.automaton import TextAutomaton
from lmqlc.compiler.automata.build import build
from lmqlc.compiler.automata.query import matches
from lmqlc.compiler.constraints import And, Const, Matches, TypeIs
from lmqlc.compiler.masks.forms import unpack
from lmqlc.compiler.masks.memory import Remembering
from lmqlc.compiler.masks.token_automaton import TokenAutomaton, link
from lmqlc.grammar.errors import UnsatisfiableConstraint

CASES = 3_000 if os.environ.get("LMQLC_LONG") else 60
PIECES = [
    "{", "}", "[", "]", '"', "a", "b", "aa", ": ", ":", " ", ", ", ",", "1", "2", "0", "12", "-", '": 1', '": 1}', '", "', ', "', '"a"',
    '"b"',
    '"a": 1', '{"a": 1', '{"', '["', '["a"', ', "a',
    "1, 1", "1, ", ", 1", ", 2]", "]]", "}}", '"]', "\\", "n", "é", '\\n"', "[1", "null",
    "true", "true, ", "1.0", ".", "0]", "[[", '], ["', "], [", "}, {", '"}', "é".encode()[:1], "é".encode()[1:],
]  # fmt: skip
SHORT = r"[a-bé\n]{0,2}"
WORD = Annotated[str, MaxLen(2)]
TYPES: list[Any] = [
    dict[SHORT, int],
    dict[Literal["a", "b", "aa"], Literal[1, 2]],
    Annotated[dict[Literal["a", "b"], Literal[1]], MinLen(2)],
    Annotated[set[Annotated[int, Ge(0), Le(12)]], MinLen(2)],
    Annotated[set[Literal["a", "b", "aa"]], MinLen(2)],
    Annotated[set[float], MinLen(2)],
    Annotated[set[bool | None], MinLen(2)],
    Annotated[set[tuple[Literal[1, 2], Literal["a", "b"]]], MinLen(2)],
    Annotated[frozenset[str], Len(2, 3)],
    list[dict[Literal["a", "b"], int]],
    Annotated[str, MaxLen(4)] | list[Annotated[str, MaxLen(4)]],
    list[Annotated[str, Len(1, 4)]],
    Annotated[list[int], MaxLen(3)],
    Annotated[dict[Literal["a", "b", "aa"], int], MaxLen(2)],
    tuple[Annotated[str, MaxLen(3)], Annotated[set[str], MinLen(2)]],
]
FORMULAS: list[Any] = [None, None, None, r"[^b]*", r"[^\]]{0,9}\]?.*"]


@pytest.fixture(autouse=True)
def _everything_is_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(typed_memory, "LONG", 2)
    monkeypatch.setattr(typed_memory, "MANY", 1)


def vocabulary_of(rng: random.Random) -> Vocabulary:
    chosen = [*rng.sample(PIECES, rng.randint(6, 16)), *'{}[]":, 1ab2']
    tokens = [b"<eos>", *(piece if isinstance(piece, bytes) else piece.encode() for piece in chosen), b""]
    return Vocabulary.build(tokens, [0], [0, len(tokens) - 1])


class Oracle:
    """What may come next, by searching all continuations."""

    def __init__(self, plain: TextAutomaton, vocabulary: Vocabulary, least: int) -> None:
        self.plain, self.tokens, self.least = plain, vocabulary.tokens, least
        self.usable = [i for i, token in enumerate(vocabulary.tokens) if token and i not in vocabulary.special]
        self.can = lru_cache(maxsize=None)(self._can)

    def state(self, text: bytes) -> int:
        state = self.plain.start
        for byte in text:
            state = int(self.plain.delta[0, state, self.plain.byte_class[byte]])
        return state

    def valid(self, text: bytes) -> bool:
        if not self.plain.accepts[0, self.state(text)]:
            return False
        doubled = False

        def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
            nonlocal doubled
            doubled = doubled or len({key for key, _ in pairs}) < len(pairs)
            return dict(pairs)

        value = json.loads(text.decode(), object_pairs_hook=members)
        return not doubled and self.distinct(value)

    def distinct(self, value: Any) -> bool:
        if self.least == 0:
            return True
        items = value[1] if isinstance(value, list) and len(value) == 2 and isinstance(value[1], list) and self.least == 2 else value
        return len({json.dumps(i) if isinstance(i, list) else i for i in items}) == len(items)

    def _can(self, text: bytes, left: int) -> bool:
        if self.state(text) == 0:
            return False
        if self.valid(text):
            return True
        return left > 0 and any(self.can(text + self.tokens[i], left - 1) for i in self.usable)


@pytest.mark.parametrize("seed", range(CASES))
def test_masks_are_brute_force(seed: int) -> None:
    rng = random.Random(seed)
    hole_type = TYPES[seed % len(TYPES)]
    pattern = rng.choice(FORMULAS)
    constraint = TypeIs(Const(hole_type)) if pattern is None else And((TypeIs(Const(hole_type)), Matches(Const(pattern))))
    vocabulary, budget = vocabulary_of(rng), rng.randint(1, 7)
    least = {5: 1, 3: 1, 4: 1, 6: 1, 7: 1, 8: 1, 14: 2}.get(seed % len(TYPES), 0)
    try:
        automaton = build(constraint)
    except UnsatisfiableConstraint:
        return
    oracle = Oracle(written_out(constraint), vocabulary, least)
    try:
        linked = link(automaton, vocabulary, max_tokens=budget)
    except UnsatisfiableConstraint:
        assert not oracle.can(b"", budget)
        return
    for _ in range(3):
        walk(linked, oracle, vocabulary, budget, rng)


def written_out(constraint: Any) -> TextAutomaton:
    """The automaton with every length in its states; keys and items are not compared."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(typed_memory, "LONG", 10_000)
        patch.setattr(typed_memory, "MANY", 10_000)
        return build(constraint, counters=False)


def walk(linked: TokenAutomaton, oracle: Oracle, vocabulary: Vocabulary, budget: int, rng: random.Random) -> None:
    state: Any = linked.start()
    text, left = b"", budget
    while True:
        allowed = set(unpack(linked.mask(state), len(vocabulary)).nonzero()[0].tolist())
        expected = {i for i in oracle.usable if left > 0 and oracle.can(text + vocabulary.tokens[i], left - 1)}
        if oracle.valid(text):
            expected.add(0)
        assert allowed == expected, (text, left, [vocabulary.tokens[i] for i in allowed ^ expected])
        assert linked.is_final(state) == oracle.valid(text)
        assert linked.is_closed(state) == (oracle.valid(text) and expected == {0})
        for i in range(len(vocabulary)):
            assert (linked.advance(state, i) is not None) == (i in expected), (text, vocabulary.tokens[i])
        going = sorted(expected - {0})
        if not going:
            return
        token = rng.choice(going)
        entered = linked.enter(linked.start(), token, 0) if not text and isinstance(linked, Remembering) else None
        state, text, left = linked.advance(state, token), text + vocabulary.tokens[token], left - 1
        assert entered is None or entered[0] == state[0]


def test_long_texts_of_a_type() -> None:
    automaton = build(TypeIs(Const(list[Annotated[str, MaxLen(70_000)]])))
    assert matches(automaton, '["' + "é" * 70_000 + '"]')
    assert not matches(automaton, '["' + "\\n" * 70_001 + '"]')
