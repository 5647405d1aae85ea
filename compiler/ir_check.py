"""The specification of the IR as a check: what must hold of a program between stages, whatever it was compiled from."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import get_args

from lmqlc.compiler import constraints as c
from lmqlc.compiler.constraint_parts import operands_in, parts
from lmqlc.compiler.ir import ENTRY, HOST_CALLS, INTERPRETER, VERSION, HoleIR, Program
from lmqlc.grammar.nodes import Prompt
from lmqlc.grammar.source import Span

AWAITED = frozenset(name for name, usage in HOST_CALLS.items() if "await " in usage.partition(":")[0])
ATTRIBUTES = frozenset(name for name, usage in HOST_CALLS.items() if usage.startswith("attribute"))

_TEXTS: dict[str, tuple[type, ...]] = {
    "InSet.options": (str, list, tuple),
    "Equals.value": (str,),
    "Contains.text": (str,),
    "StartsWith.text": (str, tuple),
    "EndsWith.text": (str, tuple),
    "Matches.pattern": (str,),
    "NumberCompare.bound": (int, float),
    "Count.bound": (int,),
    "Json.schema": (dict, str, bool),
    "TypeIs.type": (type, type(None)),
    "Grammar.grammar": (str,),
    "Stop.phrase": (str, list, tuple),
    "Truth.value": (bool,),
}
"""Kinds that constant operands may have."""


class IrError(AssertionError):
    """A program breaks the specification: an error of the compiler, never of the program's author."""

    def __init__(self, violations: Sequence[str]) -> None:
        self.violations = tuple(violations)
        super().__init__("the IR is not well formed:\n" + "\n".join(f"- {violation}" for violation in violations))


def ir_check(program: Program) -> None:
    """Raises IrError with everything in a program that breaks the specification."""
    found = [*_tables(program), *_constraints(program), *_body(program)]
    if found:
        raise IrError(found)


# -- tables ------------------------------------------------------------------------------------------------------------


def _tables(program: Program) -> Iterator[str]:
    if program.version != VERSION:
        yield f"version {program.version} instead of {VERSION}"
    if [hole.index for hole in program.holes] != list(range(len(program.holes))):
        yield "hole numbers are not dense"
    if [query.index for query in program.queries] != list(range(len(program.queries))):
        yield "query numbers are not dense"
    if [number for query in program.queries for number in query.holes] != list(range(len(program.holes))):
        yield "the holes of the queries are not the holes of the program, in order"
    for span in [hole.span for hole in program.holes] + [query.span for query in program.queries]:
        yield from _span(span, program)
    names = program.parameters + program.optional
    if len(set(names)) != len(names):
        yield "a parameter is listed twice"
    for name in names:
        if not name.isidentifier():
            yield f"the parameter {name!r} is no name"


def _span(span: Span | None, program: Program) -> Iterator[str]:
    if span is not None and not 0 <= span.start <= span.end <= len(program.source.text):
        yield f"the span {span.start}..{span.end} is outside the source"


# -- constraints -------------------------------------------------------------------------------------------------------


def _constraints(program: Program) -> Iterator[str]:
    for hole in program.holes:
        yield from (f"hole {hole.index}: {problem}" for problem in _constraint(hole.constraint, len(hole.slots), program))
    for number, condition in enumerate(program.conditions):
        yield from (f"condition {number}: {problem}" for problem in _constraint(condition, None, program))
        if any(isinstance(part, c.Stop) for part in parts(condition)):
            yield f"condition {number}: a stop is no condition"


def _constraint(constraint: c.Constraint, slots: int | None, program: Program) -> Iterator[str]:
    """Violations in one tree with operands over `slots` slots (None: known where it is called)."""
    used = {operand.index for operand in operands_in(constraint) if isinstance(operand, c.Slot)}
    if slots is not None and any(not 0 <= index < slots for index in used):
        yield f"a slot is outside the {slots} slots"
    if not _stops_are_conjuncts(constraint):
        yield "a stop is no conjunct"
    for part in parts(constraint):
        yield from _span(part.span, program)
        yield from _kinds(part)
        if isinstance(part, c.And | c.Or) and len(part.args) < 2:
            yield f"`{type(part).__name__}` of fewer than two"
        if isinstance(part, c.Count | c.NumberCompare) and part.op not in get_args(c.Op):
            yield f"unknown comparison {part.op!r}"


def _kinds(part: c.Constraint) -> Iterator[str]:
    for name in part.__slots__:
        value = getattr(part, name)
        allowed = _TEXTS.get(f"{type(part).__name__}.{name}")
        if allowed is not None and isinstance(value, c.Const) and not isinstance(value.value, allowed):
            yield f"`{type(part).__name__}` of {value.value!r}"


def _stops_are_conjuncts(constraint: c.Constraint) -> bool:
    if isinstance(constraint, c.And):
        return all(_stops_are_conjuncts(arg) for arg in constraint.args)
    return isinstance(constraint, c.Stop) or not any(isinstance(part, c.Stop) for part in parts(constraint))


# -- the coroutine -----------------------------------------------------------------------------------------------------


def _body(program: Program) -> Iterator[str]:
    *before, main = program.body.body or [ast.Pass()]
    if not (isinstance(main, ast.AsyncFunctionDef) and main.name == ENTRY and [a.arg for a in main.args.args] == [INTERPRETER]):
        yield f"the body does not end in `async def {ENTRY}({INTERPRETER})`"
        return
    if not all(isinstance(s, ast.ImportFrom) and s.module == "__future__" for s in before):
        yield "something but `from __future__` imports stands before the coroutine"
    yield from _places(main, program)
    yield from _calls(main, program)


def _places(main: ast.AST, program: Program) -> Iterator[str]:
    lines = program.source.line_count
    for node in ast.walk(main):
        if isinstance(node, Prompt):
            yield "a prompt is left in the body"
        elif "lineno" in node._attributes and not 1 <= getattr(node, "lineno", 0) <= lines:
            yield f"a {type(node).__name__} has no line of the source"


def _calls(main: ast.AST, program: Program) -> Iterator[str]:
    seen: Counter[int] = Counter()
    awaited = {id(node.value) for node in ast.walk(main) if isinstance(node, ast.Await)}
    called = {id(node.func): node for node in ast.walk(main) if isinstance(node, ast.Call)}
    for node in ast.walk(main):
        if not (isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == INTERPRETER):
            continue
        call = called.get(id(node))
        yield from _host_call(node.attr, call, call is not None and id(call) in awaited)
        if call is not None and node.attr in ("hole", "distribution"):
            yield from _hole_call(call, node.attr, program, seen)
        elif call is not None and node.attr == "holds":
            yield from _holds_call(call, program)
    for hole in program.holes:
        if seen[hole.index] != 1:
            yield f"hole {hole.index} is decoded in {seen[hole.index]} places"


def _host_call(name: str, call: ast.Call | None, is_awaited: bool) -> Iterator[str]:
    if name not in HOST_CALLS:
        yield f"unknown host call `{name}`"
    elif (call is None) != (name in ATTRIBUTES):
        yield f"`{name}` is {'not ' if call is None else ''}called"
    elif is_awaited != (name in AWAITED):
        yield f"`{name}` is {'' if is_awaited else 'not '}awaited"


def _hole_call(call: ast.Call, name: str, program: Program, seen: Counter[int]) -> Iterator[str]:
    index = call.args[0].value if call.args and isinstance(call.args[0], ast.Constant) else None
    if not isinstance(index, int) or not 0 <= index < len(program.holes):
        yield f"`{name}` of an unknown hole"
        return
    seen[index] += 1
    hole = program.holes[index]
    if hole.distribution != (name == "distribution"):
        yield f"hole {index} is decoded by `{name}`"
        return
    rest = call.args[2:] if hole.distribution else call.args[1:]
    yield from (f"hole {index}: {problem}" for problem in _hole_arguments(hole, rest))


def _hole_arguments(hole: HoleIR, rest: Sequence[ast.expr]) -> Iterator[str]:
    slots = rest[0] if rest else None
    if not isinstance(slots, ast.Tuple) or len(slots.elts) != len(hole.slots):
        yield "the call has other slots"
    type_given = len(rest) > 1 and not (isinstance(rest[1], ast.Constant) and rest[1].value is None)
    if type_given and not hole.has_type:
        yield "the call has a type"
    decorators = rest[2] if len(rest) > 2 else ast.Tuple([], ast.Load())
    if not isinstance(decorators, ast.Tuple) or len(decorators.elts) != hole.decorators:
        yield "the call has other decorators"


def _holds_call(call: ast.Call, program: Program) -> Iterator[str]:
    number = call.args[1].value if len(call.args) == 3 and isinstance(call.args[1], ast.Constant) else None
    if not isinstance(number, int) or not 0 <= number < len(program.conditions):
        yield "`holds` of an unknown condition"
        return
    used = {operand.index for operand in operands_in(program.conditions[number]) if isinstance(operand, c.Slot)}
    slots = call.args[2]
    if not isinstance(slots, ast.Tuple) or any(index >= len(slots.elts) for index in used):
        yield f"condition {number} is judged with too few slots"
