"""Which conditions are to blame where no text, or every text, meets a formula."""

from __future__ import annotations

from itertools import combinations

import pytest

from lmqlc.compiler import constraints as c
from lmqlc.compiler.automata.build import build
from lmqlc.compiler.driver import compile_source
from lmqlc.compiler.passes.conflict import conflict, vacuous
from lmqlc.grammar.errors import LmqlCompileError, UnsatisfiableConstraint
from lmqlc.grammar.source import Source


def test_the_smallest_conflict_is_named_with_its_places() -> None:
    where = '"l" in X and len(X) < 3 and X.isalpha() and X == "hello" and len(WORDS(X)) < 9'
    with pytest.raises(LmqlCompileError) as caught:
        compile_source(Source("q.lmql", f'"[X]" where {where}'))
    (finding,) = caught.value.diagnostics
    assert finding.message == 'no text can meet these conditions together: len(X) < 3 and X == "hello"'
    text = f'"[X]" where {where}'
    places = [finding.span, *(span for _, span in finding.notes)]
    assert [text[span.start : span.end] for span in places if span] == ["len(X) < 3", 'X == "hello"']
    assert finding.hint


CORES: dict[str, tuple[list[c.Constraint], set[int]]] = {
    "lengths": ([c.Count("chars", "<", c.Const(3)), c.Contains(c.Const("a")), c.Count("chars", ">", c.Const(5))], {0, 2}),
    "tokens": ([c.Count("tokens", "<", c.Const(3)), c.Equals(c.Const("a")), c.Count("tokens", ">=", c.Const(3))], {0, 2}),
    "one alone": ([c.Contains(c.Const("a")), c.InSet(c.Const(())), c.Equals(c.Const("b"))], {1}),
    "numbers": ([c.NumberCompare("int", ">", c.Const(5)), c.TextIs("isdigit"), c.NumberCompare("int", "<", c.Const(6))], {0, 2}),
    "three together": (
        [c.InSet(c.Const(["a", "b"])), c.Not(c.Equals(c.Const("a"))), c.Number("float"), c.Not(c.Equals(c.Const("b")))],
        {0, 2},
    ),
    "three needed": ([c.InSet(c.Const(["a", "b"])), c.Not(c.Equals(c.Const("a"))), c.Not(c.Equals(c.Const("b")))], {0, 1, 2}),
    "a counter": ([c.Matches(c.Const("[a-z]{0,200}")), c.Count("words", "==", c.Const(1)), c.Count("chars", ">", c.Const(300))], {0, 2}),
    "a type": ([c.TypeIs(c.Const(list[int])), c.Count("chars", "<", c.Const(2))], {0, 1}),
    "negation": ([c.Matches(c.Const("a+")), c.Not(c.StartsWith(c.Const("a"))), c.Stop(c.Const("b"), True)], {0, 1}),
}


@pytest.mark.parametrize("name", CORES)
def test_cores_are_minimal(name: str) -> None:
    parts, blamed = CORES[name]
    with pytest.raises(UnsatisfiableConstraint) as caught:
        build(c.And(tuple(parts)))
    (finding,) = caught.value.diagnostics
    assert finding.code == "L0402"
    assert len(finding.notes) == len(blamed) - 1
    assert finding == conflict(c.And(tuple(parts)))
    core = [parts[at] for at in sorted(blamed)]
    for fewer in combinations(core, len(core) - 1):
        if fewer:
            build(c.And(fewer))


@pytest.mark.parametrize(
    ("where", "shown"),
    [
        ("'a' in X and not 'a' in X", "'a' in X and not 'a' in X"),
        ("'a' in X and 'a' not in X", "'a' in X and 'a' not in X"),
        ("X == 'a' and not (X == 'a' or X == 'b')", "X == 'a' and not (X == 'a')"),
        ("not X.isdigit() and INT(X) and X.isdigit()", "not X.isdigit() and X.isdigit()"),
        ("len(X) == 3 and not len(X) >= 2", "len(X) == 3 and not len(X) >= 2"),
        ("not not X == 'a' and X == 'b'", "not not X == 'a' and X == 'b'"),
        ("not (len(X) > 2 or X != 'abc')", "not (len(X) > 2) and not (X != 'abc')"),
        ("not (X == 'a' or not X == 'b') and len(X) > 1", "not (not X == 'b') and len(X) > 1"),
        ("not not (X == 'a' and X == 'b')", "X == 'a' and X == 'b'"),
    ],
)
def test_negations_are_shown_as_negations(where: str, shown: str) -> None:
    with pytest.raises(LmqlCompileError) as caught:
        compile_source(Source("q.lmql", f'"[X]" where {where}'))
    (finding,) = caught.value.diagnostics
    assert finding.message == f"no text can meet these conditions together: {shown}"
    assert finding.span


def test_no_text_within_a_character_limit() -> None:
    with pytest.raises(UnsatisfiableConstraint, match=r"len\(X\) <= 40 and len\(WORDS\(X\)\) > 30"):
        build(c.And((c.Count("chars", "<=", c.Const(40)), c.Count("words", ">", c.Const(30)))))


VACUOUS: list[tuple[c.Constraint, bool]] = [
    (c.Count("chars", ">=", c.Const(0)), True),
    (c.Count("tokens", ">=", c.Const(0)), True),
    (c.Count("tokens", ">=", c.Const(1)), False),
    (c.Contains(c.Const("")), True),
    (c.Matches(c.Const("(?s).*")), True),
    (c.Matches(c.Const(".*")), False),
    (c.Or((c.Count("chars", "<", c.Const(5)), c.Count("chars", ">", c.Const(3)))), True),
    (c.Or((c.Contains(c.Const("ab")), c.Not(c.Contains(c.Const("a"))))), False),
    (c.Not(c.InSet(c.Const(()))), True),
    (c.TypeIs(c.Const(str)), True),
    (c.Truth(c.Const(True)), False),
]


@pytest.mark.parametrize(("constraint", "always"), VACUOUS, ids=range(len(VACUOUS)))
def test_vacuous_conditions_are_warned_of(constraint: c.Constraint, always: bool) -> None:
    found = vacuous(c.And((constraint, c.Equals(c.Const("a")))))
    assert len(found) == always
    assert all(finding.severity == "warning" and finding.code == "L0403" and finding.hint for finding in found)
