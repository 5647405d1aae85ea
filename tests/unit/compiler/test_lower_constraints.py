"""`where` clauses as constraint trees: each atom, both ways round, with constants, slots and other holes."""

from __future__ import annotations

from typing import Any

import pytest

from lmqlc.compiler.constraints import OPEN
from lmqlc.compiler.driver import check_source, compile_source
from lmqlc.compiler.ir_check import ir_check
from lmqlc.compiler.ir_print import print_constraint
from lmqlc.grammar.source import Source


def lowered(where: str, hole: int = 0, string: str = "[X]") -> tuple[str, tuple[str, ...]]:
    """The tree of a hole, on one line, and the texts of its slots."""
    program = compile_source(Source("q", f'"{string}" where {where}'))
    ir_check(program)
    found = program.holes[hole]
    return " ".join(print_constraint(found.constraint).split()), found.slots


@pytest.mark.parametrize(
    ("where", "tree"),
    [
        ('X in ["a", "b"]', "in ['a', 'b']"),
        ('X in ("a",)', "in ('a',)"),
        ('X in {"b", "a", "b"}', "in ('b', 'a', 'b')"),
        ('X in {"k": 1}', "in ('k',)"),
        ('X in "abc"', "in 'abc'"),
        ('X not in ["a"]', "not in ['a']"),
        ('not X in ["a"]', "not in ['a']"),
        ('X == "a" "b"', "== 'ab'"),
        ('X == "a" + "b"', "== 'ab'"),
        ('"a" == X', "== 'a'"),
        ('X != "a"', "not == 'a'"),
        ('"a" in X', "contains 'a'"),
        ('"a" not in X', "not contains 'a'"),
        ('not "a" in X', "not contains 'a'"),
        ('X.startswith("a")', "startswith 'a'"),
        ('X.startswith(("a", "b"))', "startswith ('a', 'b')"),
        ('X.endswith("a")', "endswith 'a'"),
        ("X.isdigit()", "isdigit"),
        ("not X.isupper()", "not isupper"),
        ("X.isalpha() and X.isalnum() and X.islower()", "and isalpha isalnum islower"),
        ('REGEX(X, r"\\d+")', "matches '\\\\d+'"),
        ('REGEX(X, pattern="a")', "matches 'a'"),
        ('lmql.REGEX(X, "a")', "matches 'a'"),
        ("INT(X)", "int"),
        ("FLOAT(X)", "float"),
        ("int(X) < 5", "int < 5"),
        ("5 > int(X)", "int < 5"),
        ("-1 <= int(X) <= 120", "and int >= -1 int <= 120"),
        ("float(X) != 0.5", "float != 0.5"),
        ("len(X) < 5", "chars < 5"),
        ("5 >= len(X)", "chars <= 5"),
        ("3 < len(X) <= 9", "and chars > 3 chars <= 9"),
        ("len(TOKENS(X)) == 4", "tokens == 4"),
        ("len(lmql.TOKENS(X)) == 4", "tokens == 4"),
        ("len(WORDS(X)) != 4", "words != 4"),
        ("4 < len(SENTENCES(X))", "sentences > 4"),
        ("JSON(X)", "json"),
        ('JSON(X, {"type": "object"})', "json {'type': 'object'}"),
        ("JSON(X, schema=True)", "json True"),
        ("type(X) is int", "type is int"),
        ("type(X) == str", "type is str"),
        ("type(X) is not bool", "not type is bool"),
        ("GRAMMAR(X, 'start: \"a\"')", "grammar 'start: \"a\"'"),
        ('STOPS_AT(X, "a")', "stop at 'a'"),
        ('STOPS_BEFORE(X, ["a", "b"])', "stop before ['a', 'b']"),
        ('STOPS_AT(X, "a") or STOPS_BEFORE(X, "b") or STOPS_AT(X, "c")', "and stop at 'a' stop before 'b' stop at 'c'"),
        ('(STOPS_AT(X, "a") and len(X) < 3) and len(X) > 1', "and stop at 'a' chars < 3 chars > 1"),
        ('len(X) < 3 or X == "hello"', "or chars < 3 == 'hello'"),
        ('not (len(X) < 3 or X == "hello")', "not or chars < 3 == 'hello'"),
        ("True and len(X) < 3", "chars < 3"),
        ("False or len(X) < 3", "or False chars < 3"),
    ],
)
def test_constant_atoms(where: str, tree: str) -> None:
    assert lowered(where) == (tree, ())


@pytest.mark.parametrize(
    ("where", "tree", "slots"),
    [
        ("X in options()", "in slot 0", ("options()",)),
        ("X in [a, 'b']", "in slot 0", ("[a, 'b']",)),
        ("X in {a}", "in slot 0", ("{a}",)),
        ("len(X) < 2 * n", "chars < slot 0", ("2 * n",)),
        ("len(X) < n < 9", "and chars < slot 0 slot 1", ("n", "__lmql_0__ < 9")),
        ("0 < n < len(X)", "and slot 0 chars > slot 1", ("0 < n", "n")),
        ("0 < f() < len(X)", "and slot 1 chars > slot 0", ("f()", "0 < __lmql_0__")),
        ("len(X) < f() < 9", "and chars < slot 0 slot 1", ("f()", "__lmql_0__ < 9")),
        ("REGEX(X, re.compile('a'))", "matches slot 0", ("re.compile('a')",)),
        ("type(X) is T", "type is slot 0", ("T",)),
        ("type(X) is list[int]", "type is slot 0", ("list[int]",)),
        ("f(X, 1, b)", "custom slot 0(1, slot 1)", ("f", "b")),
        ("m.f(X)", "custom slot 0()", ("m.f",)),
        ("flag and len(X) < 3", "and slot 0 chars < 3", ("flag",)),
        ("a > 1 and b and X == c", "and slot 0 slot 1 == slot 2", ("a > 1", "b if slot 0", "c if slot 0 and slot 1")),
        ("a or X == b", "or slot 0 == slot 1", ("a", "b if not slot 0")),
        ("(a and b or c) and X == d", "and slot 0 == slot 1", ("a and b or c", "d if slot 0")),
        ("not a or X == b", "or slot 0 == slot 1", ("not a", "b if not slot 0")),
        ("(X == a if t else X == b)", "or and slot 0 == slot 1 and not slot 0 == slot 2", ("t", "a if slot 0", "b if not slot 0")),
        ("X == 'a' and any(x for x in y)", "and == 'a' slot 0", ("any((x for x in y))",)),
        ("X in [X2 for X2 in y]", "in slot 0", ("[X2 for X2 in y]",)),
        ("X == f'{a}'", "== slot 0", ("f'{a}'",)),
        ("STOPS_AT(X, s)", "stop at slot 0", ("s",)),
        ("len(X) == (await n())", "chars == slot 0", ("await n()",)),
    ],
)
def test_computed_atoms(where: str, tree: str, slots: tuple[str, ...]) -> None:
    assert lowered(where) == (tree, slots)


def test_imported_names_are_constraints() -> None:
    text = 'import lmqlc as l\nfrom lmql import INT as Whole, STOPS_AT\n"[X]" where Whole(X) and l.INT(X) and STOPS_AT(X, "a")'
    program = compile_source(Source("q", text))
    assert " ".join(print_constraint(program.holes[0].constraint).split()) == "and int int stop at 'a'"


def test_names_of_the_program_go_before_constraints() -> None:
    text = 'import lmql\n@lmql.constraint\ndef INT(x, final): return True\n"[X]" where INT(X)'
    assert print_constraint(compile_source(Source("q", text)).holes[0].constraint) == "custom slot 0()"


def test_names_around_the_program_are_known() -> None:
    program = compile_source(Source("q", '"[X]" where INTS(X)'), surrounding=frozenset({"INTS"}))
    assert program.holes[0].slots == ("INTS",)


@pytest.mark.parametrize("surrounding", [(), ("lmql",), ("lmql", "lmqlc", "REGEX")])
def test_the_package_is_known_wherever_it_comes_from(surrounding: tuple[str, ...]) -> None:
    program = compile_source(Source("q", '"[X]" where lmql.REGEX(X, "a") and REGEX(X, "a")'), surrounding=frozenset(surrounding))
    assert " ".join(print_constraint(program.holes[0].constraint).split()) == "and matches 'a' matches 'a'"


def test_a_package_that_the_program_binds_is_its_own() -> None:
    text = 'def lmql(): pass\n"[X]" where lmql.REGEX(X, "a")'
    assert print_constraint(compile_source(Source("q", text)).holes[0].constraint) == "custom slot 0('a')"


def test_names_around_the_program_do_not_hide_constraints() -> None:
    program = compile_source(Source("q", '"[X]" where X in WORDS and len(WORDS(X)) < 3'), surrounding=frozenset({"WORDS"}))
    assert " ".join(print_constraint(program.holes[0].constraint).split()) == "and in slot 0 words < 3"


# -- several holes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("where", "first", "second"),
    [
        ("X != Y", ("True", ()), ("not == slot 0", ("X",))),
        ("len(Y) < len(X)", ("True", ()), ("chars < slot 0", ("len(X)",))),
        ("Y in X.split()", ("True", ()), ("in slot 0", ("X.split()",))),
        ("X in Y and len(X) < 3", ("chars < 3", ()), ("contains slot 0", ("f'{X}'",))),
        ("len(X) < 3 and len(Y) < 5", ("chars < 3", ()), ("chars < 5", ())),
        (
            "(X == 'a' and len(Y) < 3) or X == 'b'",
            ("or and == 'a' slot 0 == 'b'", ("OPEN",)),
            (
                "or and slot 0 chars < 3 slot 1",
                ("__lmql__.holds('X', 0, ())", "__lmql__.holds('X', 1, ())"),
            ),
        ),
        ("STOPS_AT(X, 'a') or STOPS_AT(Y, 'b')", ("stop at 'a'", ()), ("stop at 'b'", ())),
        ("Y in [x for x in X]", None, ("in slot 0", ("[x for x in X]",))),
    ],
)
def test_holes_of_one_string(where: str, first: Any, second: Any) -> None:
    for hole, expected in enumerate((first, second)):
        if expected is not None:
            assert lowered(where, hole, "[X][Y]") == expected


def trees(text: str) -> list[tuple[str, tuple[str, ...]]]:
    program = compile_source(Source("q", text))
    ir_check(program)
    return [(" ".join(print_constraint(hole.constraint).split()), hole.slots) for hole in program.holes]


def test_program_clauses_are_anded_with_inline_ones() -> None:
    text = 'argmax\n    "[X]" where len(X) > 1\n    "[Y]"\nwhere\n    len(X) < 5 and Y == "a"'
    assert trees(text) == [("and chars > 1 chars < 5", ()), ("== 'a'", ())]


def test_holes_of_other_strings_are_waited_for() -> None:
    text = 'argmax\n    "[X]"\n    "[Y]"\nwhere\n    X != Y'
    assert trees(text) == [("not == slot 0", ("Y if bound(Y)",)), ("not == slot 0", ("X if bound(X)",))]


def test_an_atom_only_the_later_hole_can_enforce() -> None:
    text = 'argmax\n    "[X]"\n    "[Y]"\nwhere\n    Y in X.split()'
    assert trees(text) == [("True", ()), ("in slot 0", ("X.split() if bound(X)",))]


def test_an_atom_that_the_last_hole_cannot_enforce_is_an_error() -> None:
    found = check_source(Source("q", 'argmax\n    "[Y]"\n    "[X]"\nwhere\n    Y in X.split()'))
    assert [finding.code for finding in found] == ["L0452"]


def test_program_clauses_do_not_reach_into_functions() -> None:
    text = 'argmax\n    def f():\n        pass\n        "[X]"\n    f()\n    "[X]"\nwhere\n    len(X) < 3'
    assert trees(text) == [("True", ()), ("chars < 3", ())]


def test_values_of_operands(run: Any) -> None:
    text = (
        "def options():\n    return ['a']\nn = 0\n"
        '"[X][Y]" where X in options() and (n > 0 and Y == options()[n] or Y == X)\n'
        '"[Z]" where (n and len(Z) < 10 / n) or len(Z) < n + 2'
    )
    fake = run(text, "abc")
    assert fake.slots == [(["a"], False, OPEN, OPEN), (False, OPEN, "a"), (0, OPEN, 2)]


def test_conditions_and_operands_wait_for_their_holes(run: Any) -> None:
    text = 'argmax\n    for i in range(2):\n        "[X]"\n        "[Y]"\nwhere\n    (X == "a" or len(Y) < len(X))'
    fake = run(text, ["a", "b", "c", "d"])
    assert [event for event in fake.events if event[0] in ("hole", "holds")] == [
        ("hole", "X", (OPEN,), None, "a"),
        ("holds", "X", 0, ()),
        ("hole", "Y", (True, OPEN), None, "b"),
        ("hole", "X", (1,), None, "c"),
        ("holds", "X", 0, ()),
        ("hole", "Y", (True, OPEN), None, "d"),
    ]


def test_operands_are_awaited(run: Any) -> None:
    text = 'async def later(x): return x\n"[X]" where X in later(["a"]) and len(X) < await later(3)'
    assert run(text, "a").slots == [(["a"], 3)]
