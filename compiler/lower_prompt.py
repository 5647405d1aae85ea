"""Query strings to calls of the interpreter: one statement for each part, with the part's own place."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass

from lmqlc.compiler.ir import HoleIR
from lmqlc.compiler.lower_calls import CallLowerer, host
from lmqlc.compiler.lower_slots import SlotExpr, slot_expression
from lmqlc.compiler.rebuild import at
from lmqlc.grammar.nodes import Hole, Interpolation, Literal, Prompt, RoleTag
from lmqlc.grammar.source import Source, Span


@dataclass(frozen=True, slots=True)
class LoweredHole:
    """A hole of the IR with what the coroutine evaluates for it: slots, and options where it is a distribution's variable."""

    ir: HoleIR
    slots: tuple[SlotExpr, ...]
    options: ast.expr | None


def place(span: Span, source: Source) -> ast.expr:
    """A node that stands for a place in the text."""
    (line, _), (end_line, _) = source.position(span.start), source.position(span.end)
    node = ast.Constant(None)
    node.lineno, node.end_lineno = line, end_line
    node.col_offset, node.end_col_offset = _bytes_before(source, span.start), _bytes_before(source, span.end)
    return node


def _bytes_before(source: Source, offset: int) -> int:
    """The column of an offset in UTF-8 bytes from 0, as `ast` has it."""
    line, column = source.position(offset)
    before = source.line(line)[: column - 1]
    return len(before) if before.isascii() else len(before.encode("utf-8", "surrogatepass"))


def lower_prompt(prompt: Prompt, holes: Sequence[LoweredHole], calls: CallLowerer, source: Source) -> list[ast.stmt]:
    """The statements of one query string; `pass` where it is empty."""
    made: list[ast.stmt] = []
    rest = iter(holes)
    for part in prompt.query.parts:
        statement = _hole(part, next(rest), calls) if isinstance(part, Hole) else _text(part, calls)
        made.append(at(statement, place(part.span, source)))
    return made or [ast.copy_location(ast.Pass(), prompt)]


def _text(part: Literal | Interpolation | RoleTag, calls: CallLowerer) -> ast.stmt:
    if isinstance(part, Literal):
        return ast.Expr(ast.Await(host("text", ast.Constant(part.text))))
    if isinstance(part, RoleTag):
        return ast.Expr(ast.Await(host("role", ast.Constant(part.role))))
    spec = None if part.format_spec is None else calls.visit(part.format_spec)
    value = ast.FormattedValue(calls.visit(part.expr), ord(part.conversion) if part.conversion else -1, spec)
    return ast.Expr(ast.Await(host("value", ast.JoinedStr([value]))))


def _hole(part: Hole, hole: LoweredHole, calls: CallLowerer) -> ast.stmt:
    slots = [slot_expression(slot, i, None if slot.expr is None else calls.visit(slot.expr)) for i, slot in enumerate(hole.slots)]
    written: list[ast.expr] = [ast.Tuple(slots, ast.Load())]
    if part.type is not None or part.decorators or hole.options is not None:
        written.append(ast.Constant(None) if part.type is None else calls.as_written(part.type))
    if part.decorators or hole.options is not None:
        written.append(ast.Tuple([calls.as_written(decorator) for decorator in part.decorators], ast.Load()))
    index = ast.Constant(hole.ir.index)
    method, options = ("hole", []) if hole.options is None else ("distribution", [calls.visit(hole.options)])
    call = host(method, index, *options, *written)
    return ast.Assign([ast.Name(part.name, ast.Store())], ast.Await(call))
