"""Values of expressions that are known without running the program."""

from __future__ import annotations

import ast
from typing import Any

from lmqlc.compiler.constraints import Const

MAX_ITEMS = 100_000
"""Longest literal collection that is folded; a longer one is evaluated when the program runs."""


class _NotStaticError(Exception):
    pass


def fold(node: ast.expr) -> Const | None:
    """The constant that a literal expression stands for; None where the value is known only when the program runs.

    Literals, negative numbers, strings joined by `+`, f-strings of literals only, and lists, tuples and dicts of such. Sets are left to the
    program: their order depends on hashes.
    """
    try:
        return Const(_value(node))
    except _NotStaticError:
        return None


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Constant):
        return _plain(node.value)
    if isinstance(node, ast.List | ast.Tuple):
        return _collection(node)
    if isinstance(node, ast.Dict):
        return _dict(node)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_number(node.operand)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _text(node.left) + _text(node.right)
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) for part in node.values)
    raise _NotStaticError


def _plain(value: object) -> object:
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise _NotStaticError


def _collection(node: ast.List | ast.Tuple) -> list[Any] | tuple[Any, ...]:
    if len(node.elts) > MAX_ITEMS:
        raise _NotStaticError
    values = [_value(element) for element in node.elts]
    return values if isinstance(node, ast.List) else tuple(values)


def _hashable(value: Any) -> Any:
    """Unhashable elements are an error of the program, raised when it runs."""
    try:
        hash(value)
    except TypeError:
        raise _NotStaticError from None
    return value


def _dict(node: ast.Dict) -> dict[Any, Any]:
    if len(node.keys) > MAX_ITEMS or None in node.keys:
        raise _NotStaticError
    return {_hashable(_value(key)): _value(value) for key, value in zip(node.keys, node.values, strict=True) if key is not None}


def _number(node: ast.expr) -> Any:
    value = _value(node)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _NotStaticError
    return value


def _text(node: ast.expr) -> str:
    value = _value(node)
    if not isinstance(value, str):
        raise _NotStaticError
    return value


def static_bool(node: ast.expr) -> bool | None:
    """The value of `True` or `False`; None for everything else."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, bool) else None
