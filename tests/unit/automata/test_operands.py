"""Whatever a program gives an atom to compare with: masks, or a finding with code, place and hint. Never an exception of another kind."""

from __future__ import annotations

import collections
import datetime
import decimal
import enum
import fractions
import itertools
import pathlib
import re
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import pytest
from tokenizers import Tokenizer, models

import lmqlc
from lmqlc.compiler import constraints as c
from lmqlc.compiler.automata import operands
from lmqlc.compiler.automata.build import build
from lmqlc.compiler.automata.query import matches
from lmqlc.compiler.constraints import Const
from lmqlc.compiler.passes.bind import bind
from lmqlc.grammar.errors import LmqlCompileError, UnsatisfiableConstraint

TOKENS = ["a", "b", "1", "2", "3", "-", ".", " ", "\n", '"', "{", "}", "[", "]", "ab", "<end>"]
TOKENIZER = Tokenizer(models.WordLevel({text: i for i, text in enumerate(TOKENS)}, unk_token="<end>"))


class Plain:
    pass


class Unshown:
    def __repr__(self) -> str:
        raise RuntimeError


class Text(str):
    pass


class Color(enum.Enum):
    RED = "a"


class Word(str, enum.Enum):  # noqa: UP042 - as programs of older Python have it
    A = "a"


class Number(enum.IntEnum):
    ONE = 1


class Index:
    def __index__(self) -> int:
        return 3


def _circle() -> list[Any]:
    found: list[Any] = []
    found.append(found)
    return found


VALUES: dict[str, Any] = {
    "None": None,
    "True": True,
    "NaN": float("nan"),
    "inf": float("inf"),
    "-inf": -float("inf"),
    "huge": 10**5000,
    "long": 2**63,
    "negative": -3,
    "half": 2.5,
    "large float": 1e308,
    "numpy int": np.int64(3),
    "numpy float": np.float64(2.5),
    "numpy NaN": np.float32("nan"),
    "numpy bool": np.bool_(True),
    "numpy str": np.str_("a"),
    "array": np.array(["a", "b"]),
    "numbers": np.array([1, 2]),
    "0-d": np.array(3),
    "0-d text": np.array("a"),
    "bytes": b"a",
    "bytearray": bytearray(b"a"),
    "set": {"a", "b"},
    "frozenset": frozenset({"a"}),
    "dict": {"a": 1},
    "empty": [],
    "class": Plain,
    "object": Plain(),
    "function": len,
    "module": re,
    "unshown": Unshown(),
    "enum class": Color,
    "enum": Color.RED,
    "text enum": Word.A,
    "number enum": Number.ONE,
    "Decimal": decimal.Decimal("3"),
    "Decimal NaN": decimal.Decimal("NaN"),
    "signalling NaN": decimal.Decimal("sNaN"),
    "large Decimal": decimal.Decimal("1E+100000"),
    "fraction": fractions.Fraction(7, 2),
    "third": fractions.Fraction(1, 3),
    "complex": 3j,
    "own str": Text("ab"),
    "range": range(3),
    "tuple": ("a", "b"),
    "mixed": ("a", 1),
    "nested": [["a"]],
    "date": datetime.date(2020, 1, 1),
    "path": pathlib.Path("a"),
    "pattern": re.compile("a"),
    "bytes pattern": re.compile(b"a"),
    "index": Index(),
    "ellipsis": ...,
    "deque": collections.deque(["a"]),
    "keys": {"a": 1}.keys(),
    "type": int,
    "generic": list[int],
    "circle": _circle(),
    "surrogate": "\ud800",
    "surrogates": ["\udfff", "a"],
    "long text": "ab" * 500,
    "lambda": lambda x: x,
}
WHERE = [
    "X in v", "X not in v", "X == v", "X != v", "v in X", "X.startswith(v)", "X.endswith(v)", "REGEX(X, v)", "int(X) < v", "int(X) == v",
    "int(X) != v", "float(X) >= v", "len(X) < v", "len(X) == v", "len(X) != v", "len(TOKENS(X)) < v", "not len(TOKENS(X)) > v",
    "len(WORDS(X)) < v", "len(SENTENCES(X)) <= v", "STOPS_AT(X, v)", "STOPS_BEFORE(X, v)", "type(X) is v", "len(X) < 5 and v",
    "0 < len(X) < v", "X in [v]",
]  # fmt: skip


@pytest.mark.parametrize("where", WHERE)
def test_any_operand(where: str) -> None:
    for name, value in VALUES.items():
        try:
            lmqlc.token_automaton(where, tokenizer=TOKENIZER, env={"v": value}, eos="<end>")
        except UnsatisfiableConstraint:
            continue  # no text in these few tokens, or none at all
        except LmqlCompileError as problem:
            [found] = problem.diagnostics
            assert found.code.startswith("L04") and found.span is not None and found.hint, (name, found)


@pytest.mark.parametrize("where", ["JSON(X, v)", "GRAMMAR(X, v)"])
@pytest.mark.parametrize("name", ["huge", "NaN", "array", "bytes", "mixed", "object", "unshown", "circle", "class", "half", "set"])
def test_operands_of_engines(where: str, name: str) -> None:
    with pytest.raises(LmqlCompileError) as raised:
        lmqlc.token_automaton(where, tokenizer=TOKENIZER, env={"v": VALUES[name]}, eos="<end>")
    [found] = raised.value.diagnostics
    assert found.span is not None
    assert found.hint


SHOWN = [
    ("X in v", Plain, "`in` needs strings to choose from, not the class Plain"),
    ("len(X) < v", Plain, "a count must be compared with a number, not the class Plain"),
    ("len(X) < v", "5", "a count must be compared with a number, not the str '5'"),
    ("X == v", 5, "what a hole is compared with must be a string, not the int 5"),
    ("X == v", 10**5000, "what a hole is compared with must be a string, not an int of more than 4,000 digits"),
    ("X == v", Unshown(), "what a hole is compared with must be a string, not an object of class Unshown"),
    ("X in v", ["a", 1], "an option of `in` must be a string, not the int 1"),
    ("int(X) < v", np.array([1, 2]), "a number must be compared with a number, not the ndarray array([1, 2])"),
    ("X == 'a' and v", np.array([1, 2]), "a condition must be true or false, and the ndarray array([1, 2]) is neither"),
]  # fmt: skip


@pytest.mark.parametrize(("where", "value", "message"), SHOWN, ids=lambda part: part if isinstance(part, str) else "")
def test_messages_name_the_type(where: str, value: object, message: str) -> None:
    with pytest.raises(LmqlCompileError) as raised:
        lmqlc.token_automaton(where, tokenizer=TOKENIZER, env={"v": value}, eos="<end>")
    assert message in raised.value.diagnostics[0].message


def test_exceptions_of_a_programs_own_code_reach_it() -> None:
    def items() -> Iterator[str]:
        yield "a"
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        lmqlc.token_automaton("X in v", tokenizer=TOKENIZER, env={"v": items()}, eos="<end>")


def test_endless_iterators_are_bounded() -> None:
    with pytest.raises(LmqlCompileError, match="more than 200,000 strings"):
        bind(c.InSet(c.Slot(0)), [map(str, itertools.count())])


def test_numbers_of_other_libraries_compare_as_they_are_written() -> None:
    for value in (np.float32(0.1), fractions.Fraction(1, 10), np.float64(0.1), decimal.Decimal("0.1")):
        automaton = build(c.NumberCompare("float", "==", Const(value)))
        assert matches(automaton, "0.1") and not matches(automaton, "0.10000001"), value
    for value in (np.int8(7), Index(), Number.ONE, np.array(3)):
        automaton = build(c.NumberCompare("int", "==", Const(value)))
        assert matches(automaton, str(int(operands.number(value, "", None))))


def test_a_member_of_a_text_enum_is_its_text() -> None:
    assert matches(build(bind(c.Equals(c.Slot(0)), [Word.A])), "a")
    assert matches(build(bind(c.InSet(c.Slot(0)), [Word])), "a")


HALF = "\ud800"
NEVER = [
    c.Equals(Const(HALF)), c.Contains(Const("a" + HALF)), c.StartsWith(Const(HALF)), c.EndsWith(Const(("b" + HALF,))),
    c.InSet(Const([HALF])),
        c.Matches(Const(HALF)), c.Matches(Const("[\ud800-\udfff]+")), c.TypeIs(Const(Literal[HALF])),
]  # fmt: skip


@pytest.mark.parametrize("atom", NEVER, ids=lambda atom: type(atom).__name__)
def test_no_text_has_half_of_a_surrogate_pair(atom: c.Constraint) -> None:
    with pytest.raises(UnsatisfiableConstraint, match="no text can meet this condition"):
        build(atom)
    always = build(c.Not(atom))
    assert all(matches(always, text) for text in ("", "a", "ab\n", "\ud7ff\ue000", "😀"))
    either = build(c.Or((atom, c.Equals(Const("b")))))
    assert matches(either, "b") and not matches(either, "a")


def test_halves_of_surrogate_pairs_beside_others() -> None:
    assert matches(build(c.InSet(Const(["a", "b" + HALF]))), "a")
    part = build(c.InSet(Const("ab" + HALF + "cd")))
    assert [text for text in ("", "ab", "cd", "bc", "abcd") if matches(part, text)] == ["", "ab", "cd"]
    assert matches(build(c.Matches(Const("[a\ud800-\udfff]+"))), "aa")
    stops = build(c.And((c.Stop(Const([HALF, "b"]), True), c.Stop(Const(re.compile(HALF)), False))))
    assert [phrase.text for phrase in stops.phrases] == ["b"]


def test_counts_that_no_text_has() -> None:
    for unit in ("chars", "words", "sentences", "tokens"):
        for bound in (2**63, 1e300, decimal.Decimal("1e40")):
            for op in ("<", "<=", "!="):
                assert matches(build(c.Count(unit, op, Const(bound))), "a b. c")
            for op in (">", ">=", "=="):
                with pytest.raises(UnsatisfiableConstraint):
                    build(c.Count(unit, op, Const(bound)))
