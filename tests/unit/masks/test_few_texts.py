"""All texts of an automaton, where they are few; why not, where they are not."""

from __future__ import annotations

import random
import re
from itertools import product
from typing import Any

import pytest

from lmqlc.compiler.automata.automaton import TextAutomaton
from lmqlc.compiler.automata.query import matches
from lmqlc.compiler.driver import compile_source
from lmqlc.compiler.masks import few_texts as module
from lmqlc.compiler.masks.few_texts import FewTexts, few_texts
from lmqlc.compiler.masks.leading import with_leading_space
from lmqlc.grammar.source import Source
from lmqlc.runtime.link import Place, text_automaton, whole_constraint


def automaton(where: str) -> TextAutomaton:
    program = compile_source(Source("q.lmql", f"import re\n'[X]' where {where}"))
    (hole,) = program.holes
    values = tuple(eval(slot, {"re": re}) for slot in hole.slots)
    return text_automaton(whole_constraint(hole.constraint, values, None), Place())


def texts(where: str) -> Any:
    found = few_texts(automaton(where))
    return [text.decode() for text in found.texts] if isinstance(found, FewTexts) else found


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("X in ['b', 'a', 'b', '']", ["", "a", "b"]),
        ("X == 'é' or X == '—' or X == '🙂'", ["é", "—", "🙂"]),
        ("REGEX(X, '[ab]{0,2}')", ["", "a", "aa", "ab", "b", "ba", "bb"]),
        ("X in ['yes', 'no'] and STOPS_BEFORE(X, '\\n')", ["no", "yes"]),
        ("X in ['yes.', 'no.', 'no.no.'] and STOPS_AT(X, '.')", ["no.", "yes."]),
        ("X in ['a', 'ab', 'abc'] and STOPS_BEFORE(X, 'b')", ["a"]),
        ("X in ['a', 'a.', 'a.b'] and (STOPS_AT(X, '.') or STOPS_BEFORE(X, ';;'))", ["a", "a."]),
        ("X in ['a', 'b'] and STOPS_BEFORE(X, re.compile('[.]+;'))", ["a", "b"]),
        ("len(X) < 3 and REGEX(X, '[ab]*')", ["", "a", "aa", "ab", "b", "ba", "bb"]),
        ("len(X) == 2 and REGEX(X, '4[0-9]*')", [f"4{digit}" for digit in range(10)]),
        ("not len(X) > 1 and X in ['é', 'ab', 'c']", ["c", "é"]),
    ],
)
def test_texts_are_listed(where: str, expected: list[str]) -> None:
    assert texts(where) == sorted(expected, key=str.encode)


@pytest.mark.parametrize(
    ("where", "problem"),
    [
        ("REGEX(X, 'a*')", "there is no longest text"),
        ("STOPS_AT(X, '.')", "there is no longest text"),
        ("X in ['a', 'b'] and len(TOKENS(X)) < 2", "it counts tokens"),
        ("REGEX(X, '[0-9]{5}')", "there are too many texts"),
        ("len(X) < 9", "there are too many texts"),
        ("REGEX(X, '([ab]{1000}|c)')", "there are too many texts"),
        ("REGEX(X, '[0-9]{1,4300}')", "there are too many texts"),
    ],
)
def test_what_is_not_listed(where: str, problem: str) -> None:
    assert texts(where) == problem


def test_ten_thousand_numbers_are_few() -> None:
    assert texts("REGEX(X, '[0-9]{4}')") == [f"{number:04}" for number in range(10_000)]


def test_texts_that_are_long_together_are_not_few(monkeypatch: pytest.MonkeyPatch) -> None:
    long = automaton(f"X in ['{'a' * 300}', '{'b' * 300}']")
    assert isinstance(few_texts(long), FewTexts)
    monkeypatch.setattr(module, "MOST_BYTES", 500)
    assert few_texts(long) == "there are too many texts"


def test_a_kept_stop_may_be_run_past() -> None:
    found = few_texts(automaton("X in ['a', 'a.', 'b'] and STOPS_AT(X, '.')"))
    assert isinstance(found, FewTexts)
    assert found.stopped == {b"a."}
    assert found.longer(b"a") == (b"a.",)
    assert found.longer(b"a.") == found.longer(b"b") == ()
    assert found.longer(b"") == (b"a", b"a.", b"b")


def test_a_leading_space_makes_texts_of_its_own() -> None:
    found = few_texts(with_leading_space(automaton("REGEX(X, '-?[12]')")))
    assert isinstance(found, FewTexts)
    assert found.texts == tuple(sorted([b"1", b"2", b"-1", b"-2", b" 1", b" 2", b" -1", b" -2"]))


def test_random_patterns_against_a_list_of_all_texts() -> None:
    rng = random.Random(5)
    everything = ["".join(text) for length in range(5) for text in product("abé", repeat=length)]
    for _ in range(150):
        parts = ["a", "b", "é", "[ab]", "(a|bé)", "(é|)", "[^b]{1}", "a{0,2}", "(?:b|ab)"]
        pattern = "".join(rng.choices(parts, k=rng.randint(1, 3)))
        made = automaton(f"(REGEX(X, {pattern!r}) or X == 'b') and REGEX(X, '[abé]*') and len(X) < {rng.randint(2, 5)}")
        found = few_texts(made)
        assert isinstance(found, FewTexts), pattern
        assert [text.decode() for text in found.texts] == sorted((t for t in everything if matches(made, t)), key=str.encode), pattern
