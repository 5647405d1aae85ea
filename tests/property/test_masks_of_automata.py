"""Masks of random automata equal brute force: every token is read byte by byte, every continuation is searched.

The automata are drawn over characters of one, two and three bytes, with regions of token counts, stops, limits and following literals;
vocabularies hold pieces that split characters, duplicates, empty, special and padding tokens.
"""

from __future__ import annotations

import os
import random

import numpy as np
import pytest

from lmqlc.backends.base import Vocabulary
from lmqlc.compiler.automata.automaton import StopPhrase, TextAutomaton
from lmqlc.compiler.masks.forms import unpack
from lmqlc.compiler.masks.token_automaton import TokenAutomaton, link
from lmqlc.grammar.errors import UnsatisfiableConstraint

CASES = 20_000 if os.environ.get("LMQLC_LONG") else 400
ALPHABET = "abé漢"


def random_vocabulary(rng: random.Random) -> Vocabulary:
    tokens = [b"", b"<eos>", b"<pad>"]
    for _ in range(rng.randint(3, 14)):
        text = "".join(rng.choices(ALPHABET, k=rng.randint(1, 3))).encode()
        start = rng.randrange(len(text))
        tokens.append(text[start : rng.randint(start + 1, len(text))])
    if rng.random() < 0.5:
        tokens += [bytes([byte]) for byte in sorted(set(ALPHABET.encode()))]
    if rng.random() < 0.2:
        tokens.append(rng.choice(ALPHABET).encode() * 30)
    tokens += [rng.choice(tokens[3:]), b"", b""]
    return Vocabulary.build(tokens, [1, len(tokens) - 1] if rng.random() < 0.3 else [1], [0, 1, 2, len(tokens) - 1])


class Builder:
    """A complete byte automaton from random moves between states over characters."""

    def __init__(self, rng: random.Random, states: int, regions: int) -> None:
        self.rng = rng
        self.byte_class = np.zeros(256, np.uint8)
        for number, byte in enumerate(sorted(set(ALPHABET.encode())), 1):
            self.byte_class[byte] = number
        moves = [{c: rng.randint(0, states) for c in ALPHABET} for _ in range(states)]
        self.rows: list[list[int]] = [[0] * 16 for _ in range(states + 1)]
        self.regions = regions
        for state, row in enumerate(moves, 1):
            for character, to in row.items():
                self._character(state, character.encode(), to)

    def _character(self, state: int, data: bytes, to: int) -> None:
        for byte in data[:-1]:
            below = self.rows[state][self.byte_class[byte]]
            if not below and to:
                below = self.rows[state][self.byte_class[byte]] = len(self.rows)
                self.rows.append([0] * 16)
            state = below
        if to:
            self.rows[state][self.byte_class[data[-1]]] = to


def random_automaton(rng: random.Random) -> TextAutomaton:
    states, regions = rng.randint(1, 6), rng.choice([1, 1, 1, 2, 3])
    built = Builder(rng, states, regions)
    total = len(built.rows)
    accepts, stops = np.zeros((regions, total), np.bool_), np.zeros((regions, total), np.bool_)
    accepts[:, 1 : states + 1] = np.array([[rng.random() < 0.3 for _ in range(states)] for _ in range(regions)])
    phrases: tuple[StopPhrase, ...] = ()
    if rng.random() < 0.5:
        text = rng.choice(["a", "é", "ab"])
        phrases = (StopPhrase(rng.random() < 0.5, text),)
        same = rng.random() < 0.4
        row = [rng.random() < 0.25 for _ in range(states)]
        stops[:, 1 : states + 1] = [row if same else [rng.random() < 0.25 for _ in range(states)] for _ in range(regions)]
        stops[:, 1] = False
        accepts &= ~stops
    differ = regions > 1 and (bool((stops != stops[0]).any()) or rng.random() < 0.5)
    delta = np.array([built.rows] * (regions if differ else 1), np.int32)
    if differ and rng.random() < 0.5:
        for region in range(1, regions):
            delta[region, rng.randrange(1, states + 1)] = 0
    for region in range(len(delta)):
        delta[region, stops[region]] = 0
    bounds = np.cumsum([0] + [rng.randint(1, 3) for _ in range(regions - 1)])
    limit = rng.randint(0, 6) if rng.random() < 0.4 else None
    return TextAutomaton(delta, built.byte_class, 1, accepts, stops, bounds, limit, phrases)


class Oracle:
    """The meaning of masks, by search. A place is (state, tokens so far, code points so far)."""

    def __init__(self, automaton: TextAutomaton, vocabulary: Vocabulary, budget: int | None, follow: str) -> None:
        self.automaton, self.vocabulary, self.budget, self.follow = automaton, vocabulary, budget, follow.encode()
        self.removed = sum(len(phrase.text or "") for phrase in automaton.phrases if not phrase.keep)
        self.removed_bytes = sum(len((phrase.text or "").encode()) for phrase in automaton.phrases if not phrase.keep)
        self.texts = {
            i: token for i, token in enumerate(vocabulary.tokens) if token and i not in vocabulary.special and i not in vocabulary.eos_ids
        }
        self.known: dict[tuple[int, int, int], bool] = {}

    def region(self, count: int) -> int:
        return sum(bound <= count for bound in self.automaton.token_bounds) - 1

    def fits(self, chars: int) -> bool:
        return self.automaton.char_limit is None or chars <= self.automaton.char_limit

    def final(self, place: tuple[int, int, int]) -> bool:
        q, count, chars = place
        return bool(self.automaton.accepts[self.region(count), q]) and self.fits(chars)

    def read(self, place: tuple[int, int, int], token: bytes) -> tuple[int, int, int] | int | None:
        """The place after a token, the overrun where it reaches a stop, None where it is dead."""
        q, count, chars = place
        for at, byte in enumerate(token):
            region = self.region(count if at == 0 else count + 1)
            q = int(self.automaton.delta[region % len(self.automaton.delta), q, self.automaton.byte_class[byte]])
            chars += byte < 0x80 or byte >= 0xC0
            if q == 0:
                return None
            if self.automaton.stops[self.region(count + 1), q]:
                return len(token) - at - 1 if self.fits(chars - self.removed) else None
        return (q, count + 1, chars)

    def short(self, place: tuple[int, int, int]) -> tuple[int, int, int]:
        """Without a budget, counts past the last bound, and characters without a limit, are all the same."""
        q, count, chars = place
        if self.budget is None:
            count = min(count, int(self.automaton.token_bounds[-1]))
        return (q, count, 0 if self.automaton.char_limit is None else chars)

    def spent(self, place: tuple[int, int, int]) -> bool:
        return (self.budget is not None and place[1] >= self.budget) or not self.fits(place[2] - self.removed)

    def can_finish(self, place: tuple[int, int, int]) -> bool:
        seen, pending = {place}, [place]
        while pending:
            at = pending.pop()
            if self.final(at) or self.known.get(at):
                self.known[place] = True
                return True
            if self.spent(at) or at in self.known:
                continue
            for token in self.texts.values():
                then = self.read(at, token)
                if isinstance(then, int):
                    self.known[place] = True
                    return True
                if then is not None and (then := self.short(then)) not in seen:
                    seen.add(then)
                    pending.append(then)
        self.known.update(dict.fromkeys(seen, False))
        return False

    def legal(self, place: tuple[int, int, int], token_id: int) -> bool:
        if token_id not in self.texts or (self.budget is not None and place[1] >= self.budget):
            return False
        then = self.read(place, self.texts[token_id])
        return isinstance(then, int) or (then is not None and self.can_finish(self.short(then)))

    def becomes_another(self, place: tuple[int, int, int], most: int) -> bool:
        """Some way on from a valid text, within some more tokens, ends with another text than that."""
        pending = [(place, 0, most)]
        while pending:
            at, grown, left = pending.pop()
            for token_id, token in self.texts.items() if left else ():
                if not self.legal(at, token_id):
                    continue
                then = self.read(at, token)
                if isinstance(then, int):
                    if grown + len(token) - then != self.removed_bytes:
                        return True
                elif then is not None:
                    if self.final(then):
                        return True
                    pending.append((then, grown + len(token), left - 1))
        return False

    def agrees(self, token_id: int) -> bool:
        text = self.texts.get(token_id)
        return text is not None and bool(self.follow) and (self.follow.startswith(text) or text.startswith(self.follow))

    def allowed(self, place: tuple[int, int, int]) -> list[bool]:
        final = self.final(place)
        return [
            self.legal(place, i) or (final and (i in self.vocabulary.eos_ids or self.agrees(i))) for i in range(len(self.vocabulary.tokens))
        ]


def check_state(oracle: Oracle, linked: TokenAutomaton, state: object, place: tuple[int, int, int]) -> list[int]:
    """Compare everything about one state; the legal tokens, for the walk to go on."""
    expected = oracle.allowed(place)
    bits = linked.mask(state)
    assert unpack(bits, len(expected)).tolist() == expected
    assert not unpack(bits, 32 * len(bits))[len(expected) :].any()
    final = oracle.final(place)
    assert linked.is_final(state) == final
    legal = [i for i in range(len(expected)) if oracle.legal(place, i)]
    closed = linked.is_closed(state)
    assert not closed or (final and not oracle.becomes_another(place, 3))
    assert closed or not final or legal
    assert linked.stopped(state) is None
    for token_id, allowed in enumerate(expected):
        then = linked.advance(state, token_id)
        assert (then is not None) == allowed
        if then is not None:
            check_end(oracle, linked, then, place, token_id, token_id in legal)
    return legal


def check_end(oracle: Oracle, linked: TokenAutomaton, then: object, place: tuple[int, int, int], token_id: int, legal: bool) -> None:
    hash(then)
    if not legal:
        cut: int | None = 0 if token_id in oracle.vocabulary.eos_ids else len(oracle.texts[token_id])
    else:
        read = oracle.read(place, oracle.texts[token_id])
        cut = read + oracle.removed_bytes if isinstance(read, int) else None
    assert linked.stopped(then) == cut
    if cut is not None:
        assert not linked.mask(then).any()
        assert all(linked.advance(then, i) is None for i in range(len(oracle.vocabulary.tokens)))


def run_case(seed: int) -> None:
    rng = random.Random(seed)
    automaton, vocabulary = random_automaton(rng), random_vocabulary(rng)
    budget, follow = rng.choice([None, None, 0, 1, 2, 3, 4, 6, 9]), rng.choice(["", "", "b", "ab", "é"])
    oracle = Oracle(automaton, vocabulary, budget, follow)
    place = (automaton.start, 0, 0)
    if not oracle.can_finish(place):
        with pytest.raises(UnsatisfiableConstraint):
            link(automaton, vocabulary, max_tokens=budget, follow=follow or None)
        return
    linked = link(automaton, vocabulary, max_tokens=budget, follow=follow or None)
    for _ in range(3):
        state, place = linked.start(), (automaton.start, 0, 0)
        for _ in range(8):
            legal = check_state(oracle, linked, state, place)
            if not legal:
                break
            token_id = rng.choice(legal)
            then = oracle.read(place, oracle.texts[token_id])
            if isinstance(then, int):
                break
            assert then is not None
            state, place = linked.advance(state, token_id), oracle.short(then)
            assert state is not None


@pytest.mark.parametrize("part", range(8))
def test_masks_equal_brute_force(part: int) -> None:
    for seed in range(part, CASES, 8):
        try:
            run_case(seed)
        except Exception as error:
            raise AssertionError(f"case {seed}") from error
