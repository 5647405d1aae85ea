"""What is written without asking begins the tokenizer's own way to write every text that may still come.

Languages of up to 1,000 texts are compared wholly, others by 64 sampled continuations. `LMQLC_LONG=1` draws 20,000 formulas for each
tokenizer; `LMQLC_TOKENIZERS` and `LMQLC_REAL` name folders of real ones.
"""

from __future__ import annotations

import heapq
import os
import random
import re
import time
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path

import numpy as np
import pytest

import lmqlc
from lmqlc.backends.base import Tokenizer
from lmqlc.backends.tokenizer import load_tokenizer
from lmqlc.compiler import constraints as c
from lmqlc.compiler.automata.automaton import TextAutomaton
from lmqlc.compiler.automata.build import build
from lmqlc.compiler.masks.canonical import InText
from lmqlc.compiler.masks.compose import compose
from lmqlc.compiler.masks.heal import covering
from lmqlc.compiler.masks.hole import Budget, HoleRun
from lmqlc.grammar.errors import UnsatisfiableConstraint
from tests.property.trained_tokenizers import TRAINED, tokenizer

FORMULAS = 20_000 if os.environ.get("LMQLC_LONG") else 24
WHOLE, SAMPLED = 1000, 64

# --- formulas

WORDS = [
    *("the", " the", " answer", "answer", " is", "is", " Rome", " Paris", " Berlin", "Rome", "Rom", "R", " ", "  ", "   ", "\n", "\n\n"),
    *("\n\n\n", "\t", " \n", "\r\n", "The", "'", "'s", "'ll", "'ve", "don", "'t", "I", "1", "12", "123", "2024", "-", ".", ",", "..."),
    *('"', '": "', "{", "}", "},", "[]", "ing", "ed", "er", "un", "able", "é", "ï", "naïve", "日本", "語", "漢字", "かな", "🙂", "😀", "—"),
    *("’", "’s", "“", "\u00a0", "\u0301", "Привет", "мир", "안녕"),
    *("New York", "New York City", "yes", "no", "true", "false", "null", "a", "b", "x", "aaa", "    ", "def ", "self.", "return"),
]
PATTERNS = [
    *("[a-z]+", "[0-9]{1,4}", r"\w+", "[A-Z][a-z]*", ".", ".{0,3}", r"\s+", r"\S+", "(a|the)?", '[^"]*', "(yes|no)", r"\d+", "[é日]"),
    *(r"[\w' ]+", "x?"),
]
Q = c.Const


def text(rng: random.Random, most: int = 4) -> str:
    return "".join(rng.choices(WORDS, k=rng.randint(1, most)))


def pattern(rng: random.Random) -> str:
    parts = [re.escape(text(rng, 3)) if rng.random() < 0.6 else rng.choice(PATTERNS) for _ in range(rng.randint(1, 4))]
    return "".join(parts)


def options(rng: random.Random) -> list[str]:
    begin = text(rng, 3) if rng.random() < 0.7 else ""
    end = text(rng, 2) if rng.random() < 0.5 else ""
    return [begin + text(rng, 2) + end for _ in range(rng.randint(1, 6))]


def formula(rng: random.Random, depth: int = 2) -> c.Constraint:
    kind = rng.random()
    if depth and kind < 0.25:
        joined = c.And if rng.random() < 0.6 else c.Or
        return joined((formula(rng, depth - 1), formula(rng, depth - 1)))
    if kind < 0.45:
        return c.InSet(Q(options(rng)))
    if kind < 0.7:
        return c.Matches(Q(pattern(rng)))
    if kind < 0.8:
        return c.StartsWith(Q(text(rng)))
    if kind < 0.85:
        return c.Equals(Q(text(rng, 6)))
    if kind < 0.9:
        return c.Count("chars", rng.choice(["<", "<=", "=="]), Q(rng.randint(2, 30)))
    if kind < 0.93:
        return c.Not(c.Contains(Q(rng.choice(WORDS))))
    if kind < 0.96:
        return c.EndsWith(Q(text(rng, 2)))
    return c.Number(rng.choice(["int", "float"]))


# --- the language, byte by byte

Place = tuple[int, int]
"""A state of the automaton, and the characters left."""


class Language:
    """The legal continuations from places of a text automaton without counts of tokens. A stop ends the text."""

    def __init__(self, automaton: TextAutomaton) -> None:
        self.limit = automaton.char_limit
        self.start: Place = (automaton.start, 0 if self.limit is None else self.limit)
        self._kinds: list[int] = automaton.byte_class.tolist()
        self._members = [np.flatnonzero(automaton.byte_class == kind).tolist() for kind in range(automaton.delta.shape[2])]
        self._delta: list[list[int]] = automaton.delta[-1].tolist()
        self._accepts: list[bool] = automaton.accepts[-1].tolist()
        self._stops: list[bool] = automaton.stops[-1].tolist()
        self._leads = [any(not 0x80 <= byte < 0xC0 for byte in members) for members in self._members]
        self._needs = self._distances()

    def _distances(self) -> list[tuple[float, float]]:
        """Characters, where they are limited, and bytes that the nearest text from every state takes."""
        back: list[list[tuple[int, int]]] = [[] for _ in self._delta]
        for q, row in enumerate(self._delta):
            for kind, after in enumerate(row):
                if after and self._members[kind] and not self._stops[q]:
                    back[after].append((q, int(self.limit is not None and self._leads[kind])))
        needs = [(np.inf, np.inf)] * len(self._delta)
        queue = [(0.0, 0.0, q) for q in range(len(needs)) if self._stops[q] or self._accepts[q]]
        while queue:
            chars, size, q = heapq.heappop(queue)
            if (chars, size) < needs[q]:
                needs[q] = (chars, size)
                for before, lead in back[q]:
                    heapq.heappush(queue, (chars + lead, size + 1, before))
        return needs

    def ended(self, place: Place) -> bool:
        return self._stops[place[0]]

    def final(self, place: Place) -> bool:
        return self.ended(place) or (place[1] >= 0 and self._accepts[place[0]])

    def _step(self, place: Place, kind: int) -> Place | None:
        q, room = place
        after = self._delta[q][kind]
        left = room - self._leads[kind] if self.limit is not None else 0
        if not after or self._stops[q] or (self._needs[after][0] > left if self.limit is not None else self._needs[after][0] == np.inf):
            return None
        return (after, left)

    def read(self, place: Place, data: bytes) -> Place | None:
        found: Place | None = place
        for byte in data:
            found = found and self._step(found, self._kinds[byte])
        return found

    def after(self, place: Place) -> list[tuple[int, Place]]:
        """The classes of bytes that may come next, and where they lead."""
        found = ((kind, self._step(place, kind)) for kind, members in enumerate(self._members) if members)
        return [(kind, then) for kind, then in found if then]

    def whole(self, place: Place, most: int) -> list[bytes] | None:
        """All continuations; None where there are more than some, or they are long."""
        found: list[bytes] = []
        todo: list[tuple[Place, bytes]] = [(place, b"")]
        steps = 0
        while todo:
            at, data = todo.pop()
            steps += 1
            if self.final(at):
                found.append(data)
            if len(found) > most or len(todo) > 4 * most or steps > 8 * most or len(data) > 200:
                return None
            todo += [(then, data + bytes([byte])) for kind, then in self.after(at) for byte in self._members[kind]]
        return found

    def sample(self, place: Place, rng: random.Random) -> bytes | None:
        """One continuation."""
        data = bytearray()
        length = rng.choice([0, 1, 2, 3, 5, 9, 20])
        while True:
            choices = self.after(place)
            if self.final(place) and (len(data) >= length or not choices):
                return bytes(data)
            if len(data) > 400:
                return None
            if len(data) >= length:  # towards an end
                best = min(self._needs[then[0]] for _, then in choices)
                choices = [choice for choice in choices if self._needs[choice[1][0]] == best]
            kind, place = rng.choice(choices)
            members = self._members[kind]
            usual = [byte for byte in USUAL if self._kinds[byte] == kind]
            data.append(rng.choice(usual) if usual and rng.random() < 0.7 else rng.choice(members))


USUAL = b"aesltrdvTM' \n01.A\""


# --- the tokenizer's own way


def in_place(made: Tokenizer, written: bytes, data: bytes, heal: bytes) -> list[int] | None:
    """The ids of a continuation behind what was written, or with the prompt's end that is healed."""
    tokens = made.vocabulary.tokens

    def encode(part: bytes) -> list[int]:
        ids = made.encode(part.decode(), first=False)
        return ids if b"".join(tokens[i] for i in ids) == part else []

    if heal:
        ids = encode(heal + data)
        if not ids or not tokens[ids[0]].startswith(heal):
            ids = [int(covering(made.vocabulary, heal)[0][0]), *encode(data)]
        return ids
    ids = encode(written + data)
    ends = [0, *accumulate(len(tokens[i]) for i in ids)]
    if ids and len(written) in ends:
        return ids[ends.index(len(written)) :]
    return encode(data) or None


@lmqlc.constraint
def even(text: str, final: bool) -> bool:
    return not final or len(text) % 2 == 0


@lmqlc.constraint
def no_digit(text: str, final: bool) -> bool:
    return not any(character.isdigit() for character in text)


class Case:
    """A random formula over one tokenizer, in every fourth case joined with a Python function."""

    def __init__(self, made: Tokenizer, seed: int) -> None:
        self.rng, self.seed, self.made = random.Random(seed), seed, made
        self.constraint = formula(self.rng)
        self.language = Language(build(self.constraint))
        self.judge: Callable[[str, bool], bool] | None = self.rng.choice([even, no_digit]) if seed % 4 == 3 else None
        whole = self.constraint if self.judge is None else c.And((self.constraint, c.Custom(Q(self.judge), ())))
        self.follow = self.rng.choice(["", "", "\n", " The", ".", "'s", "The"])
        self.linked = compose(whole, made.vocabulary, follow=self.follow or None, encode=InText(made))
        self.compared = self.forced = 0

    def hole(self, heal: bytes = b"") -> HoleRun:
        return HoleRun("X", self.made.vocabulary, self.linked, Budget(10_000, "budget"), heal=heal)

    def coming(self, hole: HoleRun, place: Place) -> list[bytes]:
        """The legal continuations: all of them, or some."""
        found = self.language.whole(place, WHOLE)
        if found is None:
            found = [data for data in (self.language.sample(place, self.rng) for _ in range(SAMPLED)) if data is not None]
        written, judge = hole.data(), self.judge
        return found if judge is None else [data for data in found if judge((written + data).decode(), True)]

    def check(self, hole: HoleRun, place: Place, heal: bytes = b"") -> None:
        """Compare what is forced with all that may come."""
        if hole.reason is not None:
            return
        forced = hole.forced()
        self.forced += len(forced)
        for data in self.coming(hole, place):
            ids = in_place(self.made, hole.data(), data, heal)
            if ids is not None:
                assert ids[: len(forced)] == forced, self._told(hole, forced, ids)
                self.compared += 1

    def _told(self, hole: HoleRun, forced: list[int], ids: list[int]) -> str:
        tokens = self.made.vocabulary.tokens
        shown = [[tokens[i] for i in part] for part in (forced, ids)]
        return f"case {self.seed}: {self.constraint}\nbehind {hole.data()!r}: {shown[0]} is no beginning of {shown[1]}"

    def run(self) -> None:
        """Check at the start, at the start behind text that is healed, and on the way of some texts of the language."""
        self.check(self.hole(), self.language.start)
        for heal in self.rng.sample([b" ", b"\n", b"a", b"the", b" the", b'"', b"R", b"1", b":", b" N"], 2):
            hole = self.hole(heal)
            if hole.heals:
                self.check(hole, self.language.start, heal)
        for _ in range(2):
            data = self.language.sample(self.language.start, self.rng)
            if data:
                self._go_along(data)

    def _go_along(self, data: bytes) -> None:
        """Write a text as the tokenizer does, and check at every whole character."""
        hole, place, tokens = self.hole(), self.language.start, self.made.vocabulary.tokens
        for token_id in self.made.encode(data.decode(), first=False)[:12]:
            after = self.language.read(place, tokens[token_id])
            if after is None or hole.reason is not None or not hole.legal(token_id):
                return
            place = after
            hole.push(token_id, 0.0)
            if hole.data().decode("utf-8", "ignore").encode() == hole.data():
                self.check(hole, place)


def check_many(made: Tokenizer, seeds: range) -> tuple[int, int]:
    """The tokens that were forced, and the texts they were compared with."""
    forced = compared = 0
    for seed in seeds:
        try:
            case = Case(made, seed)
        except UnsatisfiableConstraint:
            continue
        case.run()
        forced, compared = forced + case.forced, compared + case.compared
    return forced, compared


@pytest.mark.parametrize("name", TRAINED)
def test_what_is_forced_begins_every_continuation(name: str) -> None:
    forced, compared = check_many(tokenizer(name), range(FORMULAS))
    assert forced > 5 * FORMULAS
    assert compared > 100 * FORMULAS


@pytest.mark.real
def test_what_is_forced_begins_every_continuation_on_a_real_tokenizer() -> None:
    folder = os.environ.get("LMQLC_REAL")
    if not folder:
        pytest.skip("LMQLC_REAL names no folder made by `python -m tests.real.prepare FOLDER`")
    check_many(load_tokenizer(Path(folder) / "gemma"), range(FORMULAS))


def decode_within(made: Tokenizer, constraint: c.Constraint, budget: int, rng: random.Random) -> HoleRun | None:
    """A hole that is filled at random within a budget of tokens, forced text without asking; None where nothing fits."""
    try:
        linked = compose(constraint, made.vocabulary, max_tokens=budget, encode=InText(made))
    except UnsatisfiableConstraint:
        return None
    hole = HoleRun("X", made.vocabulary, linked, Budget(budget, "budget"))
    while hole.reason is None:
        forced = hole.forced()
        for token_id in forced:
            assert hole.legal(token_id)
            hole.push(token_id, 0.0, forced=True)
        if not forced:
            legal = np.flatnonzero(np.isfinite(hole.masked(np.zeros(len(made.vocabulary), np.float32))))
            hole.push(int(rng.choice(legal)), 0.0)
    return hole


@pytest.mark.parametrize("name", ["gpt2", "byte_fallback"])
def test_at_the_edge_of_a_budget_every_text_is_whole(name: str) -> None:
    made, filled = tokenizer(name), 0
    for seed in range(FORMULAS // 2):
        rng = random.Random(-1 - seed)
        constraint = formula(rng)
        try:
            language = Language(build(constraint))
        except UnsatisfiableConstraint:
            continue
        for budget in (1, 2, 3, 4, 5, 6, 8, 11, 15):
            hole = decode_within(made, constraint, budget, rng)
            if hole is not None:
                place = language.read(language.start, hole.data())
                assert place is not None and language.final(place), (seed, budget, hole.data())
                assert len(hole.ids) <= budget
                filled += 1
    assert filled > FORMULAS


def seconds_to_write(made: Tokenizer, size: int, budget: int) -> float:
    """Computing time of a long forced text before a choice, the automaton's own left out."""
    rng = random.Random(size)
    written = " ".join(rng.choices(["the", "answer", "is", "what", "they", "said", "12", "of", "it"], k=size // 4))[:size]
    texts = c.InSet(c.Const([written + " yes", written + " no"]))
    linked = compose(texts, made.vocabulary, max_tokens=budget, encode=InText(made))
    hole = HoleRun("X", made.vocabulary, linked, Budget(budget, "budget"))
    begun = time.process_time()
    while hole.reason is None:
        forced = hole.forced()
        for token_id in forced or np.flatnonzero(np.isfinite(hole.masked(np.zeros(len(made.vocabulary), np.float32))))[:1].tolist():
            hole.push(token_id, 0.0, forced=bool(forced))
    spent = time.process_time() - begun
    assert hole.data().startswith(written.encode())
    assert sum(not token.forced for token in hole.tokens) <= 5
    return spent


def test_long_texts_cost_about_the_same_for_every_token() -> None:
    made = tokenizer("gpt2")
    seconds_to_write(made, 1000, 10_000)
    short = min(seconds_to_write(made, 3_000, 2_500) for _ in range(2))
    assert seconds_to_write(made, 24_000, 20_000) < max(20 * short, 1.0)
