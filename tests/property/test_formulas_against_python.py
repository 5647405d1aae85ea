"""Random formulas over all regular atoms mean what Python says of the text; stops end where their definition, spelled out, says.
`LMQLC_LONG=1` draws 20,000 formulas and as many with stops."""

from __future__ import annotations

import math
import operator
import os
import random
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lmqlc.compiler import constraints as c
from lmqlc.compiler.automata.automaton import TextAutomaton
from lmqlc.compiler.automata.build import build
from lmqlc.compiler.automata.query import examples, matches, region_of
from lmqlc.compiler.passes.normalize import normalize
from lmqlc.grammar.errors import UnsatisfiableConstraint

LONG = bool(os.environ.get("LMQLC_LONG"))
COUNT = 20_000 if LONG else 300
ALPHABET = "aab1 .\n!?日😀é\u0301AßǅK\u212a-0257"
Holds = Callable[[str, int], bool]
"""Whether a formula holds for a text that took some number of tokens."""
Formula = tuple[c.Constraint, Holds]

INTEGER = re.compile("-?(0|[1-9][0-9]*)")
DECIMAL = re.compile("-?(0|[1-9][0-9]*)([.][0-9]+)?")
JSON_NUMBER = re.compile("-?(0|[1-9][0-9]*)([.][0-9]+)?([eE][+-]?[0-9]+)?")
OPS: dict[c.Op, Callable[[Any, Any], bool]] = {
    "<": operator.lt, "<=": operator.le, "==": operator.eq, "!=": operator.ne, ">=": operator.ge, ">": operator.gt,
}  # fmt: skip
PATTERNS = [
    ".*", r"\w+", "[^a]*", "(?i)k+", "a.b?", "(?s).{2,5}", r"\d+(\.\d+)?", "(a|b)*1", ".{0,40}", "[ab1]{1,30}", r"\bA.*", ".*(?<!1)",
    "(?!a).*",
]  # fmt: skip
BOUNDS = [
    0,
    5,
    -3,
    12,
    120,
    25,
    True,
    3.5,
    -0.5,
    0.1,
    1e3,
    1e-3,
    math.inf,
    -math.inf,
    math.nan,
    Decimal("2.50"),
    Decimal("0.05"),
    Decimal("-7"),
]
COUNTS = [0, 1, 2, 3, 4, 2.5, -1, 20, math.inf, math.nan]

short = st.text(alphabet=ALPHABET, max_size=3)
nonempty = st.text(alphabet=ALPHABET, min_size=1, max_size=3)


def sentences(text: str) -> int:
    """Ends are runs of marks before white space or the end; an unended rest that is not blank counts."""
    ends = list(re.finditer(r"[.!?]+(?=\s|\Z)", text))
    return len(ends) + bool(text[ends[-1].end() if ends else 0 :].strip())


def _number(kind: str, op: c.Op, bound: Any) -> Formula:
    compare = OPS[op]
    exact = Decimal(repr(bound)) if isinstance(bound, float) and math.isfinite(bound) else bound

    def holds(text: str, _tokens: int) -> bool:
        if kind == "int":
            return bool(INTEGER.fullmatch(text)) and compare(int(text), bound)
        return bool(DECIMAL.fullmatch(text)) and compare(float(text) if isinstance(exact, float) else Decimal(text), exact)

    return c.NumberCompare("int" if kind == "int" else "float", op, c.Const(bound)), holds


def _count(unit: c.Unit, op: c.Op, bound: Any) -> Formula:
    measures: dict[str, Callable[[str, int], int]] = {
        "chars": lambda text, _: len(text), "tokens": lambda _, tokens: tokens, "words": lambda text, _: len(text.split()),
        "sentences": lambda text, _: sentences(text),
    }  # fmt: skip
    return c.Count(unit, op, c.Const(bound)), lambda text, tokens: OPS[op](measures[unit](text, tokens), bound)


def _text_test(name: c.TextTest) -> Formula:
    return c.TextIs(name), lambda text, _: bool(getattr(text, name)())


def _pattern(pattern: str) -> Formula:
    return c.Matches(c.Const(pattern)), lambda text, _: bool(re.fullmatch(pattern, text))


atoms = st.one_of(
    st.lists(st.text(alphabet=ALPHABET, max_size=4), max_size=4).map(lambda o: (c.InSet(c.Const(o)), lambda text, _: text in o)),
    st.text(alphabet=ALPHABET, max_size=6).map(lambda s: (c.InSet(c.Const(s)), lambda text, _: text in s)),
    short.map(lambda s: (c.Equals(c.Const(s)), lambda text, _: text == s)),
    short.map(lambda s: (c.Contains(c.Const(s)), lambda text, _: s in text)),
    st.one_of(short, st.tuples(short, short)).map(lambda s: (c.StartsWith(c.Const(s)), lambda text, _: text.startswith(s))),
    st.one_of(short, st.tuples(short, short)).map(lambda s: (c.EndsWith(c.Const(s)), lambda text, _: text.endswith(s))),
    st.sampled_from(["isdigit", "isalpha", "isalnum", "isupper", "islower"]).map(_text_test),
    st.sampled_from(PATTERNS).map(_pattern),
    st.just((c.Number("int"), lambda text, _: bool(INTEGER.fullmatch(text)))),
    st.just((c.Number("float"), lambda text, _: bool(JSON_NUMBER.fullmatch(text)))),
    st.builds(_number, st.sampled_from(["int", "float"]), st.sampled_from(list(OPS)), st.sampled_from(BOUNDS)),
    st.builds(_count, st.sampled_from(["chars", "tokens", "words", "sentences"]), st.sampled_from(list(OPS)), st.sampled_from(COUNTS)),
)


def _join(kind: type[c.And] | type[c.Or], parts: list[Formula]) -> Formula:
    every = all if kind is c.And else any
    return kind(tuple(part[0] for part in parts)), lambda text, tokens: every(part[1](text, tokens) for part in parts)


def _deeper(inner: st.SearchStrategy[Formula]) -> st.SearchStrategy[Formula]:
    return st.one_of(
        inner.map(lambda part: (c.Not(part[0]), lambda text, tokens: not part[1](text, tokens))),
        st.builds(_join, st.sampled_from([c.And, c.Or]), st.lists(inner, min_size=2, max_size=3)),
    )


def _formulas(depth: int) -> st.SearchStrategy[Formula]:
    found: st.SearchStrategy[Formula] = atoms
    for _ in range(depth):
        found = st.one_of(atoms, _deeper(found))
    return found


def built(constraint: c.Constraint) -> TextAutomaton | None:
    """None where no text meets it."""
    try:
        return build(constraint)
    except UnsatisfiableConstraint:
        return None


def telling(constraint: c.Constraint) -> list[str]:
    """Texts that a formula's operands suggest."""
    if isinstance(constraint, c.And | c.Or):
        return [text for arg in constraint.args for text in telling(arg)]
    if isinstance(constraint, c.Not):
        return telling(constraint.arg)
    found: list[str] = []
    for value in (getattr(constraint, name).value for name in constraint.__slots__ if isinstance(getattr(constraint, name), c.Const)):
        if isinstance(value, int | float | Decimal) and math.isfinite(value):
            found += [str(value), str(int(value)), str(int(value) + 1)]
        found += [value] if isinstance(value, str) else list(value) if isinstance(value, list | tuple) else []
    return found


def _tried(rng: random.Random, pieces: list[str], count: int) -> list[str]:
    """Random texts, many of them made of telling pieces."""
    letters = ["", *ALPHABET]
    return [
        "".join(rng.choice(pieces) if pieces and rng.random() < 0.5 else rng.choice(letters) for _ in range(rng.randint(0, 5)))
        for _ in range(count)
    ]


@settings(max_examples=COUNT, deadline=None, suppress_health_check=list(HealthCheck))
@given(formula=_formulas(4), seed=st.integers(0, 1 << 30))
def test_formulas(formula: Formula, seed: int) -> None:
    constraint, holds = formula
    found, same, rng = built(constraint), built(normalize(constraint)), random.Random(seed)
    texts = _tried(rng, telling(constraint), 15) + (examples(found, 3) if found is not None and len(found.token_bounds) == 1 else [])
    for text in texts:
        tokens = rng.randint(0, 6)
        expected = bool(holds(text, tokens))
        assert (found is not None and matches(found, text, tokens)) == expected, (text, tokens)
        assert (same is not None and matches(same, text, tokens)) == expected, (text, tokens)


Phrase = tuple[str | re.Pattern[str], bool]
"""A stop phrase, and whether it is kept."""
STOP_PATTERNS = [re.compile(pattern) for pattern in ["a+b?", r"\d{2}", "[.!?]", "\n+", "b.a", "(?i)k"]]
phrases = st.lists(
    st.tuples(st.one_of(nonempty, nonempty, nonempty, st.sampled_from(STOP_PATTERNS)), st.booleans()), min_size=1, max_size=4
)


def _stops_here(found: list[Phrase], holds: Holds, text: str, token_of: list[int]) -> bool:
    """Whether decoding ends after `text`; token_of: by character, the number of its token."""
    for phrase, kept in found:
        for begin in range(len(text)):
            tail = text[begin:]
            if tail == phrase if isinstance(phrase, str) else phrase.fullmatch(tail):
                judged = text if kept else text[:begin]
                if holds(judged, token_of[len(judged) - 1] + 1 if judged else 0):
                    return True
    return False


def _check_run(automaton: TextAutomaton, holds: Holds, found: list[Phrase], tokens: list[str]) -> None:
    """Read tokens one by one, and compare what the automaton says after every character."""
    state, text, token_of = automaton.start, "", []
    limit = math.inf if automaton.char_limit is None else automaton.char_limit
    removed = {0 if kept or not isinstance(phrase, str) else len(phrase) for phrase, kept in found}
    assert len(removed) == 1 or limit == math.inf
    for number, token in enumerate(tokens):
        for at, character in enumerate(token):
            for byte_at, byte in enumerate(character.encode()):
                region = region_of(automaton, number if at == byte_at == 0 else number + 1)
                state = int(automaton.delta[min(region, len(automaton.delta) - 1), state, automaton.byte_class[byte]])
            text += character
            token_of.append(number)
            region = region_of(automaton, number + 1)
            stops = _stops_here(found, holds, text, token_of)
            ended = bool(automaton.stops[region, state]) and len(text) - max(removed) <= limit
            assert ended == stops, (text, tokens)
            assert bool(automaton.accepts[region, state] and len(text) <= limit) == (holds(text, number + 1) and not stops), (text, tokens)
            if stops:
                return


@settings(max_examples=COUNT, deadline=None, suppress_health_check=list(HealthCheck))
@given(formula=_formulas(2), found=phrases, seed=st.integers(0, 1 << 30))
def test_stops(formula: Formula, found: list[Phrase], seed: int) -> None:
    constraint, holds = formula
    automaton = built(c.And((constraint, *(c.Stop(c.Const(phrase), kept) for phrase, kept in found))))
    if automaton is None:
        return
    rng = random.Random(seed)
    pieces = telling(constraint) + [phrase if isinstance(phrase, str) else "ab12.\nbaKab" for phrase, _ in found]
    for text in _tried(rng, pieces, 10):
        tokens = []
        while text:
            width = rng.randint(1, 3)
            tokens.append(text[:width])
            text = text[width:]
        _check_run(automaton, holds, found, tokens)
