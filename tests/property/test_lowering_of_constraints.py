"""Clauses mean what Python says of the final texts: trees and operands together judge as the formula itself does.

A formula over two holes of one string is run with given texts; what the first and the second hole's trees say, with the operands that the
coroutine evaluated, is compared with the formula evaluated by Python. `LMQLC_LONG=1` tries many more formulas.
"""

from __future__ import annotations

import asyncio
import operator
import os
import re
from collections.abc import Sequence
from typing import Any

import hypothesis.strategies as st
from hypothesis import HealthCheck, given, settings

from lmqlc.compiler import constraints as c
from lmqlc.compiler.code import entry_for
from lmqlc.compiler.driver import check_source, compile_source
from lmqlc.compiler.ir import Program
from lmqlc.compiler.ir_check import ir_check
from lmqlc.grammar.source import Source

LONG = bool(os.environ.get("LMQLC_LONG"))
OPS = {"<": operator.lt, "<=": operator.le, "==": operator.eq, "!=": operator.ne, ">=": operator.ge, ">": operator.gt}
INTEGER = re.compile(r"-?(0|[1-9][0-9]*)")


class NoNumber:
    """What a text that is no number compares as: nothing holds."""

    __hash__ = None  # type: ignore[assignment]

    def _never(self, other: object) -> bool:
        return False

    __lt__ = __le__ = __eq__ = __ne__ = __ge__ = __gt__ = _never  # type: ignore[assignment]


def number(text: str) -> Any:
    return int(text) if INTEGER.fullmatch(text) else NoNumber()


def judge(tree: c.Constraint, text: str, slots: Sequence[Any]) -> bool | None:
    """What a tree says of a text; None where it cannot know yet."""
    if isinstance(tree, c.And | c.Or):
        decisive = isinstance(tree, c.Or)
        found = [judge(arg, text, slots) for arg in tree.args]
        return decisive if decisive in found else None if None in found else not decisive
    if isinstance(tree, c.Not):
        inner = judge(tree.arg, text, slots)
        return None if inner is None else not inner
    operands = {name: getattr(tree, name) for name in tree.__slots__}
    values = {n: slots[o.index] if isinstance(o, c.Slot) else o.value for n, o in operands.items() if isinstance(o, c.Slot | c.Const)}
    return None if any(value is c.OPEN for value in values.values()) else judge_atom(tree, text, values)


def judge_atom(atom: c.Constraint, text: str, values: dict[str, Any]) -> bool:
    match atom:
        case c.Truth():
            return bool(values["value"])
        case c.InSet():
            return text in values["options"]
        case c.Equals():
            return bool(text == values["value"])
        case c.Contains():
            return values["text"] in text
        case c.StartsWith():
            return text.startswith(values["text"])
        case c.EndsWith():
            return text.endswith(values["text"])
        case c.TextIs(test):
            return bool(getattr(text, test)())
        case c.Matches():
            return re.fullmatch(values["pattern"], text) is not None
        case c.Number():
            return INTEGER.fullmatch(text) is not None
        case c.Compared(op=op):
            return text in values["value"] if op == "in" else bool(OPS[op](text, values["value"]))
        case c.NumberCompare(op=op):
            return bool(OPS[op](number(text), values["bound"]))
        case c.Count(unit, op):
            return bool(OPS[op](len(text) if unit == "chars" else len(text.split()), values["bound"]))
    raise AssertionError(atom)


class Host:
    """Gives the holes their texts and keeps the operands."""

    OPEN = c.OPEN

    def __init__(self, program: Program, texts: Sequence[str]) -> None:
        self.program = program
        self.texts = dict(zip("XY", texts, strict=True))
        self.slots: list[tuple[Any, ...]] = []
        self.decoded: set[str] = set()

    async def hole(self, index: int, slots: tuple[Any, ...]) -> str:
        name = self.program.holes[index].name
        self.slots.append(slots)
        self.decoded.add(name)
        return self.texts[name]

    async def call(self, value: Any) -> Any:
        return value

    def configure(self, decoder: str, arguments: dict[str, Any]) -> None:
        assert (decoder, arguments) == ("argmax", {})

    def bound(self, *names: str) -> bool:
        return self.decoded.issuperset(names)

    def holds(self, name: str, condition: int, slots: tuple[Any, ...]) -> bool:
        found = judge(self.program.conditions[condition], self.texts[name], slots)
        assert found is not None
        return found


def says(text: str, variables: dict[str, Any], texts: Sequence[str]) -> bool:
    """Whether both holes' trees hold for the texts, an unknown part restricting nothing."""
    program = compile_source(Source("q", text))
    ir_check(program)
    host = Host(program, texts)
    asyncio.run(entry_for(program, {"__builtins__": __builtins__, **variables})(host))
    return all(
        judge(hole.constraint, host.texts[hole.name], slots) is not False for hole, slots in zip(program.holes, host.slots, strict=True)
    )


def python_says(formula: str, variables: dict[str, Any], texts: Sequence[str]) -> bool:
    names = {"REGEX": lambda x, r: re.fullmatch(r, x) is not None, "INT": INTEGER.fullmatch, "WORDS": str.split, "int": number}
    return bool(eval(formula, {**names, **variables, "X": texts[0], "Y": texts[1]}))


VARIABLES = {"p": True, "q": False, "n": 2, "s": "a", "options": ["a", "b1"], "empty": [], "f": lambda x: x}
TEXTS = st.sampled_from(["", "a", "b", "ab", "b1", "12", "3", "-1", "a b", "AB"])
HOLES = st.sampled_from(["X", "Y"])
STRINGS = st.sampled_from(["'a'", "'ab'", "s", "f(s)", "'3'"])
BOUNDS = st.sampled_from(["0", "1", "2", "n", "n + 1", "f(n)", "-1"])
COMPARISONS = st.sampled_from(list(OPS))
MEASURES = st.tuples(st.sampled_from(["len({})", "int({})", "len(WORDS({}))"]), HOLES).map(lambda t: t[0].format(t[1]))


def _other(name: str) -> str:
    return "Y" if name == "X" else "X"


ATOMS = st.one_of(
    st.tuples(MEASURES, COMPARISONS, BOUNDS).map(" ".join),
    st.tuples(BOUNDS, COMPARISONS, MEASURES).map(" ".join),
    st.tuples(BOUNDS, COMPARISONS, MEASURES, COMPARISONS, BOUNDS).map(" ".join),
    st.tuples(HOLES, st.sampled_from(["in", "not in"]), st.sampled_from(["options", "['a', 'ab']", "'abc'", "empty", "{'a'}"])).map(
        " ".join
    ),
    st.tuples(STRINGS, st.sampled_from(["in", "not in", "==", "!="]), HOLES).map(" ".join),
    st.tuples(HOLES, st.sampled_from(["startswith", "endswith"]), STRINGS).map(lambda t: f"{t[0]}.{t[1]}({t[2]})"),
    st.tuples(HOLES, st.sampled_from(["isdigit", "isalpha", "isupper"])).map(lambda t: f"{t[0]}.{t[1]}()"),
    HOLES.map(lambda x: f"REGEX({x}, 'a|b.*')"),
    HOLES.map(lambda x: f"INT({x})"),
    st.tuples(HOLES, st.sampled_from(["==", "!=", "in", "not in"])).map(lambda t: f"{t[0]} {t[1]} {_other(t[0])}"),
    HOLES.map(lambda x: f"len({x}) < len({_other(x)})"),
    HOLES.map(lambda x: f"{x}.startswith({_other(x)}[:1])"),
    st.sampled_from(["p", "q", "n > 1", "options", "empty", "f(q)", "True", "n < 3 < 4"]),
    HOLES.map(lambda x: f"len(empty) > 0 and {x} == empty[0]"),
    HOLES.map(lambda x: f"len(empty) == 0 or {x} == empty[0]"),
).map("({})".format)


def _grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.tuples(inner, st.sampled_from([" and ", " or "]), inner).map(lambda t: f"({''.join(t)})"),
        inner.map(lambda e: f"(not {e})"),
        st.tuples(inner, inner, inner).map(lambda t: f"({t[0]} if {t[1]} else {t[2]})"),
        st.lists(inner, min_size=2, max_size=4).map(" and ".join).map("({})".format),
    )


FORMULAS = st.recursive(ATOMS, _grown, max_leaves=6)


def compiles(text: str) -> bool:
    """The formula has no part that only another order of the holes could enforce, and some text meets it."""
    return all(finding.severity != "error" for finding in check_source(Source("q", text)))


@settings(max_examples=8000 if LONG else 250, deadline=None, suppress_health_check=list(HealthCheck))
@given(FORMULAS, TEXTS, TEXTS)
def test_one_string(formula: str, x: str, y: str) -> None:
    text = f'"[X][Y]" where {formula}'
    if compiles(text):
        assert says(text, VARIABLES, (x, y)) == python_says(formula, VARIABLES, (x, y))


@settings(max_examples=4000 if LONG else 150, deadline=None, suppress_health_check=list(HealthCheck))
@given(FORMULAS, TEXTS, TEXTS)
def test_two_strings_and_a_clause_of_the_program(formula: str, x: str, y: str) -> None:
    text = f'argmax\n    "[X]"\n    "[Y]"\nwhere\n    {formula}'
    if compiles(text):
        assert says(text, VARIABLES, (x, y)) == python_says(formula, VARIABLES, (x, y))
