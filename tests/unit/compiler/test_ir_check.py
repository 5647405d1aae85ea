"""The IR checker finds what it is there to find."""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from lmqlc.compiler import constraints as c
from lmqlc.compiler.driver import compile_source
from lmqlc.compiler.ir import HoleIR, Program
from lmqlc.compiler.ir_check import IrError, ir_check
from lmqlc.grammar.nodes import Prompt, QueryString
from lmqlc.grammar.source import Source, Span

TEXT = """
def ask():
    pass
    "[A]" where A in names
    return A
"[@deco X: int] {ask()} [Y]" where (len(X) < 3 or len(Y) < n) and STOPS_AT(Y, ".")
return X
"""


@pytest.fixture
def program() -> Program:
    return compile_source(Source("q", TEXT))


def violations(program: Program) -> str:
    with pytest.raises(IrError) as raised:
        ir_check(program)
    return "\n".join(raised.value.violations)


def test_programs_of_the_compiler_are_well_formed(program: Program) -> None:
    ir_check(program)
    assert program.conditions


def with_hole(program: Program, number: int, changes: dict[str, Any]) -> Program:
    holes: list[HoleIR] = list(program.holes)
    holes[number] = dataclasses.replace(holes[number], **changes)
    return dataclasses.replace(program, holes=tuple(holes))


STOP = c.Stop(c.Const("."), True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 0}, "version 0 instead of 1"),
        ({"holes": ()}, "the holes of the queries"),
        ({"queries": ()}, "the holes of the queries"),
        ({"parameters": ("n", "n")}, "a parameter is listed twice"),
        ({"parameters": ("n",), "optional": ("n",)}, "a parameter is listed twice"),
        ({"parameters": ("a b",)}, "the parameter 'a b' is no name"),
        ({"conditions": ()}, "`holds` of an unknown condition"),
        ({"conditions": (STOP,)}, "condition 0: a stop is no condition"),
        ({"conditions": (c.Equals(c.Slot(0)),)}, "condition 0 is judged with too few slots"),
        ({"body": ast.Module([], [])}, "the body does not end in"),
    ],
)
def test_tables(program: Program, change: dict[str, Any], message: str) -> None:
    assert message in violations(dataclasses.replace(program, **change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"index": 5}, "hole numbers are not dense"),
        ({"span": Span(0, 10**6)}, "is outside the source"),
        ({"span": Span(5, 2)}, "is outside the source"),
        ({"slots": ()}, "a slot is outside the 0 slots"),
        ({"slots": ("a", "b")}, "the call has other slots"),
        ({"decorators": 3}, "the call has other decorators"),
        ({"distribution": True}, "is decoded by `hole`"),
        ({"constraint": c.Not(STOP)}, "a stop is no conjunct"),
        ({"constraint": c.Or((STOP, c.Number("int")))}, "a stop is no conjunct"),
        ({"constraint": c.And((STOP,))}, "`And` of fewer than two"),
        ({"constraint": c.Count("chars", "=", c.Const(3))}, "unknown comparison '='"),  # type: ignore[arg-type]
        ({"constraint": c.Count("chars", "<", c.Const("3"))}, "`Count` of '3'"),
        ({"constraint": c.Equals(c.Const(3), Span(0, 10**6))}, "`Equals` of 3"),
    ],
)
def test_holes(program: Program, change: dict[str, Any], message: str) -> None:
    assert message in violations(with_hole(program, 0, change))


def test_types(program: Program) -> None:
    assert "hole 1: the call has a type" in violations(with_hole(program, 1, {"has_type": False}))


def with_body(program: Program, change: Callable[[Any], object]) -> Program:
    program.body.body[-1] = ast.parse(ast.unparse(program.body.body[-1])).body[0]
    change(program.body.body[-1])
    return program


def statement(text: str) -> ast.stmt:
    return ast.parse(f"async def f():\n {text}").body[0].body[0]  # type: ignore[attr-defined,no-any-return]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda main: main.body.append(statement("__lmql__.invent()")), "unknown host call `invent`"),
        (lambda main: main.body.append(statement("__lmql__.text('x')")), "`text` is not awaited"),
        (lambda main: main.body.append(statement("await __lmql__.result(1)")), "`result` is awaited"),
        (lambda main: main.body.append(statement("x = __lmql__.text")), "`text` is not called"),
        (lambda main: main.body.append(statement("x = __lmql__.OPEN()")), "`OPEN` is called"),
        (lambda main: main.body.append(statement("x = await __lmql__.hole(0, (1,))")), "hole 0 is decoded in 2 places"),
        (lambda main: main.body.append(statement("x = await __lmql__.hole(9, ())")), "`hole` of an unknown hole"),
        (lambda main: main.body.append(statement("x = await __lmql__.hole(y, ())")), "`hole` of an unknown hole"),
        (lambda main: main.body.clear() or main.body.append(ast.Pass()), "hole 2 is decoded in 0 places"),
        (lambda main: main.body.append(ast.Pass()), "a Pass has no line of the source"),
        (lambda main: main.body.append(ast.Pass(lineno=99, col_offset=0)), "a Pass has no line of the source"),
        (lambda main: main.body.append(Prompt(QueryString((), "", Span(0, 0)))), "a prompt is left in the body"),
        (lambda main: main.args.args.append(ast.arg("more")), "the body does not end in"),
    ],
)
def test_body(program: Program, change: Callable[[Any], object], message: str) -> None:
    assert message in violations(with_body(program, change))


def test_only_future_imports_stand_before_the_coroutine(program: Program) -> None:
    program.body.body.insert(0, statement("x = 1"))
    assert "something but `from __future__` imports" in violations(program)
