"""Comparisons about the hole being decoded: `X in C`, `s in X`, `X == s`, `len(X) < n`, `int(X) < n`, `type(X) is T`, either way round."""

from __future__ import annotations

import ast
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

from lmqlc.compiler import constraints as c
from lmqlc.compiler.constraint_calls import COUNTERS, mentions
from lmqlc.compiler.constraints import Const, Constraint, Not, Op, Operand
from lmqlc.compiler.lower_problems import METHODS, is_hole, unsupported, wrong_kind
from lmqlc.compiler.static import fold

if TYPE_CHECKING:
    from lmqlc.compiler.lower_constraint import Lowering

Kind = Literal["text", "chars", "tokens", "words", "sentences", "int", "float", "type"]

ORDER: dict[type[ast.cmpop], Op] = {ast.Lt: "<", ast.LtE: "<=", ast.Eq: "==", ast.NotEq: "!=", ast.GtE: ">=", ast.Gt: ">"}
MIRRORED: dict[Op, Op] = {"<": ">", "<=": ">=", "==": "==", "!=": "!=", ">=": "<=", ">": "<"}
BUILTIN_TYPES: dict[str, type] = {"bool": bool, "float": float, "int": int, "str": str}


@dataclass(frozen=True, slots=True)
class Pair:
    """One comparison with the hole's side first."""

    node: ast.Compare
    kind: Kind
    op: ast.cmpop
    operand: ast.expr
    mirrored: bool


def compare(low: Lowering, node: ast.Compare) -> Constraint:
    """The atom of one comparison of two sides."""
    hole = frozenset({low.view.hole})
    left, op, right = node.left, node.ops[0], node.comparators[0]
    if mentions(left, hole) and mentions(right, hole):
        return unsupported(low, node, "only one side of a comparison can be about the hole being decoded")
    mirrored = bool(mentions(right, hole))
    side, operand = (right, left) if mirrored else (left, right)
    kind = subject(low, side)
    if kind is None:
        return unsupported(low, node, _side_hint(low, side))
    pair = Pair(node, kind, op, operand, mirrored)
    if kind == "text":
        return _text(low, pair)
    return _type(low, pair) if kind == "type" else _count_or_number(low, pair)


def subject(low: Lowering, node: ast.expr) -> Kind | None:
    """What a side of a comparison measures: the text itself, its length in some unit, its number or its type."""
    if is_hole(low, node):
        return "text"
    argument = _only_argument(node)
    if argument is None or not isinstance(node, ast.Call):
        return None
    if isinstance(node.func, ast.Name) and low.scope.is_builtin(node.func.id):
        return _builtin_subject(low, node.func.id, argument)
    return None


def _builtin_subject(low: Lowering, name: str, argument: ast.expr) -> Kind | None:
    if name == "len":
        inner = _only_argument(argument)
        if inner is not None and isinstance(argument, ast.Call) and is_hole(low, inner):
            return COUNTERS.get(low.scope.constraint_name(argument.func) or "")
        return "chars" if is_hole(low, argument) else None
    if not is_hole(low, argument):
        return None
    kinds: dict[str, Kind] = {"int": "int", "float": "float", "type": "type"}
    return kinds.get(name)


def _only_argument(node: ast.expr) -> ast.expr | None:
    if isinstance(node, ast.Call) and len(node.args) == 1 and not node.keywords:
        return node.args[0]
    return None


def _side_hint(low: Lowering, side: ast.expr) -> str | None:
    hole = low.view.hole
    if isinstance(side, ast.Call) and low.scope.constraint_name(side.func) in COUNTERS:
        return f"compare its length: `len({low.findings.text(side)})`"
    if isinstance(side, ast.Subscript):
        return f"for the start of the text write `{hole}.startswith(…)`, or match a pattern: `REGEX({hole}, r'…')`"
    if isinstance(side, ast.Call) and isinstance(side.func, ast.Attribute):
        if side.func.attr in METHODS:
            return "a method that tests the text is a condition by itself; negate it with `not`"
        return f"name the spellings, or match a pattern: `REGEX({hole}, r'…')`"
    if isinstance(side, ast.BinOp):
        return "only the hole's own text, length, number or type can be compared; move the arithmetic to the other side"
    return None


# -- the text ----------------------------------------------------------------------------------------------------------


def _text(low: Lowering, pair: Pair) -> Constraint:
    span = low.findings.span(pair.node)
    if isinstance(pair.op, ast.In | ast.NotIn):
        inner = _contains(low, pair) if pair.mirrored else _in_set(low, pair)
        return Not(inner, span) if isinstance(pair.op, ast.NotIn) else inner
    if isinstance(pair.op, ast.Eq | ast.NotEq):
        inner = _by_value(low, pair, "==", low.operand(pair.operand)) or _equals(low, pair)
        return Not(inner, span) if isinstance(pair.op, ast.NotEq) else inner
    if isinstance(pair.op, ast.Is | ast.IsNot):
        return unsupported(low, pair.node, "compare texts with `==`")
    op = ORDER[type(pair.op)]
    bound = low.operand(pair.operand)
    if isinstance(bound, Const) and isinstance(bound.value, str):
        hint = f"texts have no order here; compare a number: `int({low.view.hole}) < 10`, or a length: `len({low.view.hole}) < 10`"
        return unsupported(low, pair.node, hint)
    return c.Compared(MIRRORED[op] if pair.mirrored else op, bound, None, _is_other(low, pair.operand), low.findings.span(pair.node))


def _is_other(low: Lowering, node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in low.view.others


def _by_value(low: Lowering, pair: Pair, op: str, operand: Operand) -> Constraint | None:
    """A comparison whose operand may be a value of the hole's type; None where it is a text, or texts."""
    if isinstance(operand, Const) and (_is_options(operand.value) or isinstance(operand.value, bytes)):
        return None
    return c.Compared(op, operand, None, _is_other(low, pair.operand), low.findings.span(pair.node))


def string_operand(low: Lowering, node: ast.expr, hint: str | None = None) -> Operand:
    """A string operand; a constant of another kind is an error, and another hole stands for its text."""
    operand = low.text_operand(node)
    if isinstance(operand, Const) and not isinstance(operand.value, str):
        wrong_kind(low, node, "a string", hint)
    return operand


def _equals(low: Lowering, pair: Pair) -> Constraint:
    node = pair.operand
    hint = f"compare the number: `int({low.view.hole}) == {low.findings.text(node)}`" if isinstance(node, ast.Constant) else None
    return c.Equals(string_operand(low, node, hint), low.findings.span(pair.node))


def _contains(low: Lowering, pair: Pair) -> Constraint:
    return c.Contains(string_operand(low, pair.operand), low.findings.span(pair.node))


def _in_set(low: Lowering, pair: Pair) -> Constraint:
    node = pair.operand
    options = fold(ast.Tuple(node.elts, ast.Load())) if isinstance(node, ast.Set) else None
    operand = options or low.operand(node)
    if isinstance(operand, Const) and not isinstance(operand.value, str | list | tuple | dict):
        return wrong_kind(low, node, "a list of strings, or a string")
    by_value = _by_value(low, pair, "in", operand)
    if by_value is not None:
        return by_value
    if isinstance(operand, Const) and isinstance(operand.value, dict):
        operand = Const(tuple(operand.value))
    return c.InSet(operand, low.findings.span(pair.node))


def _is_options(value: Any) -> bool:
    if isinstance(value, str):
        return True
    return isinstance(value, list | tuple | dict) and all(isinstance(item, str) for item in value)


# -- counts, numbers, types --------------------------------------------------------------------------------------------


def _count_or_number(low: Lowering, pair: Pair) -> Constraint:
    op = ORDER.get(type(pair.op))
    if op is None:
        return unsupported(low, pair.node, "compare with `<`, `<=`, `==`, `!=`, `>=` or `>`; for a range write `3 <= len(X) <= 9`")
    op = MIRRORED[op] if pair.mirrored else op
    bound, span = low.operand(pair.operand), low.findings.span(pair.node)
    if pair.kind in ("int", "float"):
        if isinstance(bound, Const) and not _is_number(bound.value, (int, float)):
            return wrong_kind(low, pair.operand, "a number")
        return c.NumberCompare("int" if pair.kind == "int" else "float", op, bound, span)
    if isinstance(bound, Const) and not _is_number(bound.value, (int,)):
        return wrong_kind(low, pair.operand, "a whole number")
    assert pair.kind in ("chars", "tokens", "words", "sentences")
    return c.Count(pair.kind, op, bound, span)


def _is_number(value: Any, kinds: tuple[type, ...]) -> bool:
    return isinstance(value, kinds) and not isinstance(value, bool) and (isinstance(value, int) or math.isfinite(cast(float, value)))


def _type(low: Lowering, pair: Pair) -> Constraint:
    if not isinstance(pair.op, ast.Is | ast.Eq | ast.IsNot | ast.NotEq):
        return unsupported(low, pair.node, f"write `type({low.view.hole}) is T`")
    node = pair.operand
    if isinstance(node, ast.Name) and node.id in BUILTIN_TYPES and low.scope.is_builtin(node.id):
        operand: Operand = Const(BUILTIN_TYPES[node.id])
    else:
        operand = low.operand(node)
        if isinstance(operand, Const) and operand.value is not None:
            return wrong_kind(low, node, "a type")
    span = low.findings.span(pair.node)
    inner = c.TypeIs(operand, span)
    return Not(inner, span) if isinstance(pair.op, ast.IsNot | ast.NotEq) else inner
