"""Each atom of the language as an automaton, against what Python says; operands of the wrong kind."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from lmqlc.compiler import constraints as c
from lmqlc.compiler.automata.build import build
from lmqlc.compiler.automata.query import examples, matches
from lmqlc.grammar.errors import LmqlCompileError, UnsatisfiableConstraint, UnsupportedConstraint

UPPER = ["A", "ABC", "A B1", "É", "ǅ", "Aǅ", "Ⅷ", "a", "Aa", "1", "", "😀A", "ªA", "ẞ", "𝐀"]


def accepts(constraint: c.Constraint, text: str) -> bool:
    try:
        return matches(build(constraint), text)
    except UnsatisfiableConstraint:
        return False


def const(value: Any) -> c.Const:
    return c.Const(value)


def test_membership_with_members_that_begin_others() -> None:
    automaton = build(c.InSet(const(["car", "cart", "carton"])))
    assert examples(automaton, 5) == ["car", "cart", "carton"]
    assert not matches(automaton, "carto")


def test_membership_of_emoji_and_cjk() -> None:
    automaton = build(c.InSet(const({"😀", "日本", "日", "e\u0301"})))
    assert all(matches(automaton, text) for text in ("😀", "日本", "日", "e\u0301"))
    assert not any(matches(automaton, text) for text in ("本", "é", "e", ""))


def test_union_of_two_sets() -> None:
    automaton = build(c.Or((c.InSet(const(["a", "b"])), c.InSet(const(["bc", "d"])))))
    assert examples(automaton, 9) == ["a", "b", "d", "bc"]


def test_membership_of_a_string_is_substring() -> None:
    automaton = build(c.InSet(const("banana")))
    for text in ("", "b", "ana", "nan", "banana", "aa", "bananab", "an an"):
        assert matches(automaton, text) == (text in "banana")


def test_no_member_is_unsatisfiable() -> None:
    with pytest.raises(UnsatisfiableConstraint, match="no text can meet this condition: X in \\(\\)"):
        build(c.InSet(const(())))


@pytest.mark.parametrize("test", ["isdigit", "isalpha", "isalnum", "isupper", "islower"])
def test_text_tests(test: c.TextTest) -> None:
    for text in [*UPPER, "12", "²", "½", "a1", "日", "a b", "ß", "aǅ", "ŉ", "_"]:
        assert accepts(c.TextIs(test), text) == getattr(text, test)(), text


def test_positive_and_negative_containment() -> None:
    automaton = build(c.And((c.Contains(const("foo")), c.Not(c.Contains(const("bar"))))))
    for text in ("foo", "afoob", "fofoo", "foobar", "barfoo", "fobar", ""):
        assert matches(automaton, text) == ("foo" in text and "bar" not in text)


def test_starts_and_ends() -> None:
    for text in ("ab", "abab", "ba", "a", "", "bab"):
        assert accepts(c.StartsWith(const(("ab", "b"))), text) == text.startswith(("ab", "b"))
        assert accepts(c.EndsWith(const("ab")), text) == text.endswith("ab")
        assert accepts(c.EndsWith(const(())), text) == text.endswith(())


NUMBERS = [
    "0",
    "-0",
    "5",
    "-5",
    "05",
    "12",
    "120",
    "121",
    "",
    "+5",
    "5.0",
    "-0.5",
    "0.50",
    "0.5",
    "0.05",
    "1e3",
    "2.5",
    "2.49",
    "2.51",
    "-7",
]
NUMBERS += ["1.", ".5"]
BOUNDS = [0, 5, -5, 12, 120, 2.5, -0.5, 0.1, True, 10**30, Decimal("2.50"), Decimal("-7"), math.inf, -math.inf, math.nan]


@pytest.mark.parametrize("bound", BOUNDS, ids=str)
@pytest.mark.parametrize("op", ["<", "<=", "==", "!=", ">=", ">"])
def test_number_comparisons(op: c.Op, bound: Any) -> None:
    exact = Decimal(repr(bound)) if isinstance(bound, float) and math.isfinite(bound) else bound
    for text in NUMBERS:
        value: Any = int(text) if re.fullmatch("-?(0|[1-9][0-9]*)", text) else None
        expected = value is not None and _compare(value, op, bound)
        assert accepts(c.NumberCompare("int", op, const(bound)), text) == expected, text
        value = Decimal(text) if re.fullmatch("-?(0|[1-9][0-9]*)([.][0-9]+)?", text) else None
        value = float(value) if value is not None and isinstance(exact, float) else value
        assert accepts(c.NumberCompare("float", op, const(bound)), text) == (value is not None and _compare(value, op, exact)), text


def _compare(left: Any, op: str, right: Any) -> bool:
    return {"<": left < right, "<=": left <= right, "==": left == right, "!=": left != right, ">=": left >= right, ">": left > right}[op]


def test_every_integer_of_a_range() -> None:
    automaton = build(c.And((c.NumberCompare("int", ">=", const(-12)), c.NumberCompare("int", "<=", const(107)))))
    for value in range(-1200, 1200):
        assert matches(automaton, str(value)) == (-12 <= value <= 107)


def test_digits_must_end() -> None:
    automaton = build(c.Matches(const("[0-9]+")))
    assert bool(automaton.accepts[0].any())
    assert not matches(automaton, "")
    assert matches(automaton, "007")


def test_exact_length_in_characters() -> None:
    automaton = build(c.Count("chars", "==", const(50)))
    assert matches(automaton, "日" * 50)
    assert not matches(automaton, "日" * 49)
    assert not matches(automaton, "a" * 51)


def test_words_and_sentences() -> None:
    texts = [
        "",
        " ",
        "a",
        " a b ",
        "a\u2003b\tc",
        "Hi.",
        "Hi. Ho",
        "Hi.Ho",
        "... ",
        "a! b?! c",
        "x. ",
        "Wait... what?",
        ".",
        ". .",
        "a\u0085b",
        "a\x1cb",
    ]
    for text in texts:
        words = len(text.split())
        ends = list(re.finditer(r"[.!?]+(?=\s|\Z)", text))
        sentences = len(ends) + bool(text[ends[-1].end() if ends else 0 :].strip())
        for count in range(5):
            assert accepts(c.Count("words", "==", const(count)), text) == (words == count), text
            assert accepts(c.Count("sentences", "<=", const(count)), text) == (sentences <= count), text


def test_token_counts_make_regions() -> None:
    automaton = build(c.Or((c.Count("tokens", "<", const(3)), c.And((c.Count("tokens", "==", const(7)), c.Equals(const("a")))))))
    assert automaton.token_bounds.tolist() == [0, 3, 7, 8]
    assert [matches(automaton, "a", tokens) for tokens in (0, 2, 3, 6, 7, 8, 100)] == [True, True, False, False, True, False, False]
    assert matches(automaton, "b", 2)
    assert not matches(automaton, "b", 7)


BAD = [
    (c.InSet(const(5)), "needs strings to choose from"),
    (c.InSet(const(b"ab")), "needs strings to choose from"),
    (c.InSet(const(["a", 1])), "an option of `in` must be a string, not the int 1"),
    (c.Equals(const(5)), "must be a string, not the int 5"),
    (c.Equals(const(None)), "must be a string, not None"),
    (c.Contains(const(b"a")), "must be a string, not the bytes b'a'"),
    (c.StartsWith(const(["a"])), "must be a string"),
    (c.Matches(const(3)), "a regular expression must be a string"),
    (c.Count("chars", "<", const("a")), "must be compared with a number"),
    (c.Count("tokens", "<", const(None)), "must be compared with a number"),
    (c.Count("words", "<", const(Fraction(1, 3))), "must be compared with a number"),
    (c.NumberCompare("int", "<", const("5")), "must be compared with a number"),
    (c.NumberCompare("int", "<", const(10**5000)), "too many digits"),
    (c.NumberCompare("float", "<", const(Decimal("1e-9999"))), "too many digits"),
    (c.NumberCompare("float", "<", const(1 + 2j)), "must be compared with a number"),
]  # fmt: skip


@pytest.mark.parametrize(("constraint", "message"), BAD, ids=lambda value: value if isinstance(value, str) else "")
def test_operands_of_the_wrong_kind(constraint: c.Constraint, message: str) -> None:
    with pytest.raises(LmqlCompileError, match=re.escape(message)) as caught:
        build(constraint)
    assert caught.value.diagnostics[0].code == "L0400"
    assert caught.value.diagnostics[0].hint


@pytest.mark.parametrize("constraint", [c.Json(None), c.Grammar(const("start: A")), c.Custom(const(print), ())])
def test_what_is_not_regular_is_refused(constraint: c.Constraint) -> None:
    with pytest.raises(UnsupportedConstraint, match="is not regular"):
        build(constraint)


def test_numbers_with_an_index_count_as_integers() -> None:
    import numpy as np

    assert matches(build(c.Count("chars", "==", const(np.int64(2)))), "ab")
    assert matches(build(c.Count("chars", "!=", const(Decimal("NaN")))), "ab")


def test_lone_surrogates_are_no_text() -> None:
    assert not matches(build(c.Count("chars", ">=", const(0))), "\ud800")
    with pytest.raises(UnsatisfiableConstraint):
        build(c.Equals(const("a\udfff")))
    with pytest.raises(UnsatisfiableConstraint):
        build(c.Matches(const("[\ud800-\udfff]")))
