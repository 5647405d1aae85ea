"""Random patterns mean what `re.fullmatch` says. `LMQLC_LONG=1` draws 20,000 of them."""

from __future__ import annotations

import itertools
import os
import random
import re
import warnings

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lmqlc.compiler.automata.automaton import TextAutomaton
from lmqlc.compiler.automata.build import build
from lmqlc.compiler.automata.query import examples, matches, sample
from lmqlc.compiler.constraints import Const, Matches
from lmqlc.grammar.errors import LmqlCompileError, UnsatisfiableConstraint

LONG = bool(os.environ.get("LMQLC_LONG"))
COUNT = 20_000 if LONG else 400
LETTERS = "ab1 \né日😀kK\u212aſs_-İiıßǅ\u0301\u2028\U0001d7d8\U0010ffff"
ATOMS = [
    "a", "b", "ab", "1", ".", r"\w", r"\d", r"\s", r"\W", r"\D", r"\S", "[ab]", "[^a]", "é", "[é-日]", "[^é-日]", r"[\w-]", r"[^\W_]", "",
    r"\b", r"\B", "^", "$", r"\A", r"\Z", r"\n", "(?=a)", "(?!b)", "(?<=a)", "(?<!b)", "(?=a.*b)", r"(?<=\bab)", "(?<=^a)", "(?<![^a])",
    "(?i:k)", "(?i:[^s])", "(?i:[i-k])", "(?s:.)", "(?m:^)", "(?m:$)", r"(?a:\w)", "😀", "(?P<name>a)", "(?i:ß)", r"(?i:[\Wk])", "(?:a|ab)",
    "(?#note)", "[😀-😂]", r"(?-i:a)", "(?!)", "(?=)", "a{20,30}", r"[^\n]{17,40}", "(?:ab){20}",
]  # fmt: skip
QUANTIFIERS = ["*", "+", "?", "{2}", "{1,3}", "{0,2}", "{2,}", "*?", "+?", "??", "{1,3}?", "*+", "++", "?+", "{1,2}+", "{3,4}"]
LONGEST = 12
"""`re` tries exponentially many ways to match where repetitions nest; longer texts are left to patterns with one repetition."""
REPETITION = re.compile(r"[*+?}]")
FLAGS = [0, 0, 0, re.I, re.M, re.S, re.A, re.M | re.A, re.I | re.S, re.I | re.A]


def _grow(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map(lambda both: f"(?:{both[0]}|{both[1]})"),
        st.tuples(inner, st.sampled_from(QUANTIFIERS)).map(lambda both: f"(?:{both[0]}){both[1]}"),
        st.tuples(st.sampled_from(["(?=%s)", "(?!%s)", "(%s)", "(?>%s)", "(?<=%s)", "(?i:%s)"]), inner).map(lambda both: both[0] % both[1]),
    )


patterns = st.recursive(st.sampled_from(ATOMS), _grow, max_leaves=7)
texts = st.lists(st.text(alphabet=LETTERS, max_size=7), min_size=4, max_size=12)


def compiled(pattern: str, flags: int) -> re.Pattern[str] | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return re.compile(pattern, flags)
        except re.error:
            return None


def automaton(pattern: re.Pattern[str]) -> TextAutomaton | None:
    """None where no text matches."""
    try:
        return build(Matches(Const(pattern)))
    except UnsatisfiableConstraint:
        return None


@settings(max_examples=COUNT, deadline=None, suppress_health_check=list(HealthCheck))
@given(pattern=patterns, flags=st.sampled_from(FLAGS), tried=texts, seed=st.integers(0, 1 << 30))
def test_language_is_that_of_fullmatch(pattern: str, flags: int, tried: list[str], seed: int) -> None:
    expected = compiled(pattern, flags)
    if expected is None:
        return
    try:
        found = automaton(expected)
    except LmqlCompileError as problem:
        assert "in an atomic group" in problem.message or "too large" in problem.message, pattern
        return
    for text in tried:
        assert (found is not None and matches(found, text)) == bool(expected.fullmatch(text)), (pattern, text)
    if found is not None:
        rng = random.Random(seed)
        for text in [*examples(found, 3), sample(found, rng), sample(found, rng)]:
            assert matches(found, text), (pattern, text)
            if len(text) > LONGEST and len(REPETITION.findall(pattern)) > 1:
                continue
            assert expected.fullmatch(text), (pattern, text)


SHORT = ["a", "b", "ab", "ba", "c", ".", "[ab]", "[^a]", r"\w", "(?=a)", "(?!b)", "(?<=a)", "(?<!b)", r"\b", "$", "^", r"\Z", "", "(?=b|c)"]
EVERY = ["".join(letters) for length in range(5) for letters in itertools.product("abc", repeat=length)] + [
    "a\n",
    "ab\n",
    "\n",
    "aaaaa",
    "abaab",
]


def _atomic(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.tuples(inner, inner).map("".join),
        st.lists(inner, min_size=2, max_size=3).map(lambda options: f"(?:{'|'.join(options)})"),
        st.tuples(inner, st.sampled_from([*QUANTIFIERS, "{2}+", "{2,}+"])).map(lambda both: f"(?:{both[0]}){both[1]}"),
        inner.map(lambda body: f"(?>{body})"),
        st.tuples(st.sampled_from(["(?=%s)", "(?!%s)"]), inner).map(lambda both: both[0] % both[1]),
    )


@settings(max_examples=COUNT, deadline=None, suppress_health_check=list(HealthCheck))
@given(body=st.recursive(st.sampled_from(SHORT), _atomic, max_leaves=6), end=st.sampled_from(["", "a", "b", "c?", "$"]))
def test_atomic_groups_and_possessive_quantifiers(body: str, end: str) -> None:
    pattern = f"(?>{body}){end}"
    expected = compiled(pattern, 0)
    assert expected is not None
    try:
        found = automaton(expected)
    except LmqlCompileError as problem:
        assert "in an atomic group" in problem.message, pattern
        return
    for text in EVERY:
        assert (found is not None and matches(found, text)) == bool(expected.fullmatch(text)), (pattern, text)
