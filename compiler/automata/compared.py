"""Comparisons of a hole's value: the texts of a type whose values compare with another value as Python says.

Numbers are compared as the written decimals, dates and times by their places, known values one by one.
"""

from __future__ import annotations

import datetime
import json
import operator
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any, cast

from lmqlc.compiler import shapes as s
from lmqlc.compiler.automata import calendar, numbers, operands
from lmqlc.compiler.automata.expression import Expressions, Node
from lmqlc.compiler.automata.machine import words
from lmqlc.compiler.automata.problems import operand
from lmqlc.compiler.automata.typed import Typed
from lmqlc.compiler.constraints import Op
from lmqlc.compiler.types import can_order, read_type
from lmqlc.grammar.source import Span

_TESTS: dict[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt, "<=": operator.le, "==": operator.eq, "!=": operator.ne, ">=": operator.ge, ">": operator.gt,
}  # fmt: skip
_NUMBERS = (int, float, Decimal)


def comparable(kind: object, value: object) -> bool:
    """Whether some values of a type can be compared with a value."""
    return any(_meant(arm, value) for arm in _arms(read_type(kind)))


def compared(build: Expressions, kind: object, op: str, value: Any, span: Span | None) -> Node:
    """The texts of a type whose values compare with a value; of a union, those of the options that are meant.

    Raises LmqlCompileError where no value of the type can be compared with it.
    """
    shape = read_type(kind, span)
    typed = Typed(build, span)
    write = typed.json if s.structured(shape) else typed.text
    arms = list(_arms(shape))
    if op in ("in", "not in"):
        items = [value] if isinstance(value, range) else list(value)
        found = [_texts(build, arms, write, "==", item, kind, span) for item in items]
        meant = [arm for arm in arms if any(_meant(arm, item) for item in items)]
        inside = build.union(found)
        return inside if op == "in" else build.intersection((build.union(map(write, meant or arms)), build.complement(inside)))
    return _texts(build, arms, write, op, value, kind, span)


def _texts(
    build: Expressions, arms: list[s.Shape], write: Callable[[s.Shape], Node], op: str, value: Any, kind: object, span: Span | None
) -> Node:
    meant = [arm for arm in arms if _meant(arm, value)]
    if not meant:
        name = getattr(kind, "__name__", None) or str(kind)
        message = f"a value of {name:.60} cannot be compared with {operands.show(value)}"
        raise operand(message, span, "compare values of one type, or the text: write a string")
    if op == "!=" and value is None:
        return build.union(write(arm) for arm in arms if arm not in meant)
    quoted = write(s.Plain("date")) is not Typed(build, span).text(s.Plain("date"))
    return build.union(_arm(build, arm, write, op, value, quoted) for arm in meant)


def _arms(shape: s.Shape) -> Iterator[s.Shape]:
    if isinstance(shape, s.UnionOf):
        for option in shape.options:
            yield from _arms(option)
    else:
        yield shape


def _values(arm: s.Shape) -> list[tuple[Any, Any]] | None:
    """The texts and values of an option that has few."""
    if isinstance(arm, s.Fixed):
        return list(arm.options)
    if isinstance(arm, s.Plain) and arm.kind == "bool":
        return [(True, True), (False, False)]
    return [(None, None)] if isinstance(arm, s.Plain) and arm.kind == "none" else None


def _meant(arm: s.Shape, value: object) -> bool:
    """Whether a comparison with a value means an option of a type."""
    known = _values(arm)
    if known is not None:
        alike = ((isinstance(one, _NUMBERS) and isinstance(value, (*_NUMBERS, range))) or type(one) is type(value) for _, one in known)
        return any(alike)
    if not isinstance(arm, s.Plain) or arm.make is not None:
        return False
    if arm.kind in ("int", "float", "decimal"):
        return isinstance(value, range) or (isinstance(value, _NUMBERS) and can_order(arm.kind, value))
    return can_order(arm.kind, value)


def _arm(build: Expressions, arm: s.Shape, write: Callable[[s.Shape], Node], op: str, value: Any, quoted: bool) -> Node:
    known = _values(arm)
    if known is not None:
        kept = [(written, one) for written, one in known if _holds(op, one, value)]
        texts = [json.dumps(written, ensure_ascii=False) if quoted else str(written) for written, _ in kept]
        return words(build, texts)
    if isinstance(value, range):
        return build.intersection((write(arm), _range(build, value)))
    if isinstance(value, datetime.date | datetime.time):
        node = calendar.compared(build, cast(Op, op), value)
        return build.intersection((write(arm), build.sequence([build.literal('"'), node, build.literal('"')]) if quoted else node))
    exact = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
    node = numbers.decimals(build, cast(Op, op), exact)
    if quoted and isinstance(arm, s.Plain) and arm.kind == "decimal":
        node = build.union((node, build.sequence([build.literal('"'), node, build.literal('"')])))
    return build.intersection((write(arm), node))


def _holds(op: str, one: Any, value: Any) -> bool:
    if isinstance(value, range):
        return one in value
    try:
        return bool(_TESTS[op](one, value))
    except TypeError:
        return False


def _range(build: Expressions, value: range) -> Node:
    """The integers of a range, also as decimals."""
    if not value:
        return build.empty
    low, high, step = min(value[0], value[-1]), max(value[0], value[-1]), abs(value.step)
    inside = build.intersection((numbers.decimals(build, ">=", Decimal(low)), numbers.decimals(build, "<=", Decimal(high))))
    if step > 1 and low % step:
        return build.union(numbers.decimals(build, "==", Decimal(one)) for one in value)
    return build.intersection((inside, numbers.multiples(build, Decimal(step))))
