"""Combinations of regular atoms, grammars and Python functions against brute force over a small vocabulary.

Soundness: whatever ends, ends with a text that meets the formula; a stop cuts where the language says. Completeness: every sequence of
tokens that the language lets end validly can be chosen. Prefixes may be allowed that no valid text has (`exact` is False).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from lmqlc.backends.base import Vocabulary
from lmqlc.compiler import constraints as c
from lmqlc.compiler.masks.combine import Combination
from lmqlc.compiler.masks.compose import compose, is_external
from lmqlc.compiler.masks.forms import unpack
from lmqlc.compiler.masks.residues import external_atoms
from lmqlc.grammar.errors import UnsatisfiableConstraint
from lmqlc.runtime.constraint import constraint

EXAMPLES = int(os.environ.get("LMQLC_COMBINATIONS", "8000" if os.environ.get("LMQLC_LONG") else "250"))
DEEPEST = 4
EOS = 0
PIECES = ("a", "b", ";", "é", "ab", "ba", "aa", "b;", ";a", ";;", "aé", "a;b")


@constraint
def palindrome(text: str, final: bool) -> bool | None:
    return text == text[::-1] if final else None


@constraint
def no_double(text: str, final: bool, letter: str) -> bool | None:
    """Dead as soon as the letter stands twice in a row."""
    return False if letter * 2 in text else final or None


@constraint
def starts_like_it_ends(text: str, final: bool) -> bool:
    return not final or (len(text) > 0 and text[0] == text[-1])


NESTED = 'start: "a" start "b" | "ab" | ";"'
LISTED = "start: item (/;/ item)*\nitem: /[ab]é?/"


def in_nested(text: str) -> bool:
    return text == ";" or (text.startswith("a") and text.endswith("b") and len(text) > 1 and (text == "ab" or in_nested(text[1:-1])))


def const(value: Any) -> c.Const:
    return c.Const(value)


EXTERNAL: tuple[tuple[c.Constraint, Any], ...] = (
    (c.Custom(const(palindrome), ()), lambda x: x == x[::-1]),
    (c.Custom(const(no_double), (const("a"),)), lambda x: "aa" not in x),
    (c.Custom(const(starts_like_it_ends), ()), lambda x: len(x) > 0 and x[0] == x[-1]),
    (c.Grammar(const(NESTED)), in_nested),
    (c.Grammar(const(LISTED)), lambda x: re.fullmatch("[ab]é?(;[ab]é?)*", x) is not None),
)
REGULAR: tuple[tuple[c.Constraint, Any], ...] = (
    (c.Contains(const("ab")), lambda x: "ab" in x),
    (c.Matches(const("(a|b)*;?")), lambda x: re.fullmatch("(a|b)*;?", x) is not None),
    (c.Equals(const("aba")), lambda x: x == "aba"),
    (c.EndsWith(const("é")), lambda x: x.endswith("é")),
    (c.Count("chars", "<=", const(3)), lambda x: len(x) <= 3),
    (c.Count("chars", ">", const(1)), lambda x: len(x) > 1),
    (c.StartsWith(const(";")), lambda x: x.startswith(";")),
)
TOKEN_COUNTS = tuple((c.Count("tokens", op, const(n)), op, n) for op, n in (("<=", 2), (">=", 2), ("==", 1), ("!=", 3)))
COMPARE = {"<=": int.__le__, ">=": int.__ge__, "==": int.__eq__, "!=": int.__ne__}

external = st.sampled_from([atom for atom, _ in EXTERNAL])
regular = st.sampled_from([atom for atom, _ in REGULAR] + [atom for atom, _, _ in TOKEN_COUNTS])


def formulas(depth: int) -> st.SearchStrategy[c.Constraint]:
    atoms = external | regular
    if depth == 0:
        return atoms
    below = formulas(depth - 1)
    several = st.lists(below, min_size=2, max_size=3).map(tuple)
    return st.one_of(atoms, st.builds(c.And, several), st.builds(c.Or, several), st.builds(c.Not, below))


STOPS = st.builds(
    c.Stop, st.sampled_from([";", "b", "ab", "é", ["a", ";b"], re.compile("a+b"), re.compile("[;é]{2}")]).map(const), st.booleans()
)


@st.composite
def vocabularies(draw: st.DrawFn) -> Vocabulary:
    tokens = [b"<e>"]
    for piece in draw(st.lists(st.sampled_from(PIECES), min_size=2, max_size=5, unique=True)):
        data = piece.encode()
        if "é" in piece and draw(st.booleans()):
            cut = data.index(b"\xc3") + 1
            tokens += [data[:cut], data[cut:]]
        else:
            tokens.append(data)
    return Vocabulary.build(tokens, [EOS])


def evaluate(formula: c.Constraint, text: str, tokens: int) -> bool:
    if isinstance(formula, c.And):
        return all(evaluate(arg, text, tokens) for arg in formula.args)
    if isinstance(formula, c.Or):
        return any(evaluate(arg, text, tokens) for arg in formula.args)
    if isinstance(formula, c.Not):
        return not evaluate(formula.arg, text, tokens)
    for atom, op, bound in TOKEN_COUNTS:
        if atom is formula:
            return COMPARE[op](tokens, bound)
    return bool(next(judge for atom, judge in EXTERNAL + REGULAR if atom is formula)(text))


class Oracle:
    """What the language says of sequences of tokens, by looking at every text."""

    def __init__(self, formula: c.Constraint, stops: list[c.Stop], vocabulary: Vocabulary) -> None:
        self._formula = formula
        self._phrases = [
            (phrase, stop.keep)
            for stop in stops
            for phrase in (stop.phrase.value if isinstance(stop.phrase.value, list) else [stop.phrase.value])
        ]
        self._tokens = vocabulary.tokens

    def holds(self, sequence: tuple[int, ...], end: int) -> bool:
        """The formula holds for the first `end` bytes, with the tokens that reach into them."""
        data = b"".join(self._tokens[i] for i in sequence)[:end]
        count, length = 0, 0
        while length < end:
            length += len(self._tokens[sequence[count]])
            count += 1
        try:
            return evaluate(self._formula, data.decode(), count)
        except UnicodeDecodeError:
            return False

    def undecided(self, sequence: tuple[int, ...]) -> bool:
        """Some Python function of the formula cannot say yet what it thinks of the text."""
        return any(map(self._undecided_by(sequence), external_atoms(self._formula, is_external)))

    def needs_an_undecided(self, sequence: tuple[int, ...]) -> bool:
        """One that the formula cannot hold without."""
        parts = self._formula.args if isinstance(self._formula, c.And) else (self._formula,)
        return any(map(self._undecided_by(sequence), (part for part in parts if isinstance(part, c.Custom))))

    def _undecided_by(self, sequence: tuple[int, ...]) -> Callable[[c.Constraint], bool]:
        text = b"".join(self._tokens[i] for i in sequence).decode(errors="ignore")

        def undecided(atom: c.Constraint) -> bool:
            operands = [] if not isinstance(atom, c.Custom) else [arg.value for arg in atom.args]
            return isinstance(atom, c.Custom) and atom.function.value(text, False, *operands) is None

        return undecided

    def stop(self, sequence: tuple[int, ...]) -> int | None:
        """Where the text of these tokens is cut, None where no stop ends inside the last token. Earlier tokens have no stop."""
        data = b"".join(self._tokens[i] for i in sequence)
        for end in range(len(data) - len(self._tokens[sequence[-1]]) + 1, len(data) + 1):
            best: tuple[int, int] | None = None
            for phrase, keep in self._phrases:
                for begin in self._begins(phrase, data[:end]):
                    final = end if keep else begin
                    if (best is None or begin < best[0]) and self.holds(sequence, final):
                        best = (begin, final)
            if best is not None:
                return best[1]
        return None

    @staticmethod
    def _begins(phrase: Any, data: bytes) -> list[int]:
        found = []
        for begin in range(len(data)):
            try:
                part = data[begin:].decode()
            except UnicodeDecodeError:
                continue
            if part == phrase if isinstance(phrase, str) else phrase.fullmatch(part):
                found.append(begin)
        return found


def walk(constraint_: Any, oracle: Oracle, vocabulary: Vocabulary, budget: int, follow: bytes) -> None:
    """Compare on every sequence of tokens within the budget that has not ended before."""
    open_states: list[tuple[tuple[int, ...], Any, int | None]] = [
        ((), constraint_.start(), None)
    ]  # with the length of a text that is closed
    assert constraint_.start() is not None or not oracle.holds((), 0)
    while open_states:
        sequence, state, closed = open_states.pop()
        assert closed is None or not oracle.holds(sequence, sum(len(vocabulary.tokens[i]) for i in sequence))
        length = sum(len(vocabulary.tokens[i]) for i in sequence)
        if state is not None:
            assert constraint_.is_final(state) == oracle.holds(sequence, length), sequence
            flags = unpack(constraint_.mask(state), len(vocabulary))
            assert bool(flags[EOS]) == constraint_.is_final(state)
            if constraint_.is_closed(state):
                assert constraint_.is_final(state)
                closed = length  # no text that goes on may be valid, and a stop may only cut it to this one
        for token in range(1, len(vocabulary)):
            longer = (*sequence, token)
            after = None
            if state is not None:
                after = constraint_.advance(state, token)
                assert bool(flags[token]) == (after is not None), (longer, bool(flags[token]))
            text = vocabulary.tokens[token]
            ends = (
                bool(follow) and state is not None and constraint_.is_final(state) and (follow.startswith(text) or text.startswith(follow))
            )
            if len(longer) > budget:
                assert (after is not None) == ends
                continue
            cut = oracle.stop(longer)
            total = length + len(text)
            if ends and cut is None and constraint_.followed(after) and oracle.undecided(longer):
                continue  # no function had it yet, so that it was the text that follows
            if cut is not None:
                assert closed is None or cut == closed
                assert after is not None and constraint_.stopped(after) == total - cut, (longer, cut)
                continue
            assert after is not None or not ends
            assert not (ends and oracle.needs_an_undecided(longer))
            if after is not None and constraint_.stopped(after) is not None:
                assert ends and constraint_.stopped(after) == len(text) and constraint_.is_final(after)
                assert constraint_.followed(after)
                after = None  # the token is the text that follows, and no part of this one
            if after is None:
                assert not oracle.holds(longer, total), longer
            open_states.append((longer, after, closed))


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(formulas(3), st.lists(STOPS, max_size=2), vocabularies(), st.integers(1, DEEPEST), st.sampled_from(["", ";", "ab", "é"]))
def test_combination_matches_brute_force(
    formula: c.Constraint, stops: list[c.Stop], vocabulary: Vocabulary, budget: int, follow: str
) -> None:
    assume(len(external_atoms(formula, is_external)) <= 4)
    oracle = Oracle(formula, stops, vocabulary)
    whole = c.And((formula, *stops)) if stops else formula
    try:
        made = compose(whole, vocabulary, max_tokens=budget, follow=follow)
    except UnsatisfiableConstraint:
        made = _Nothing()
    if isinstance(made, Combination | _Nothing):
        walk(made, oracle, vocabulary, budget, follow.encode())


class _Nothing:
    """What no text meets: nothing is allowed, nothing is final."""

    def start(self) -> None:
        return None
