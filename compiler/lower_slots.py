"""The operands of one hole's constraint that the program evaluates: its slots."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from lmqlc.compiler.constraints import Slot
from lmqlc.compiler.ir import INTERPRETER
from lmqlc.compiler.python_text import python_text
from lmqlc.compiler.rebuild import at


@dataclass(frozen=True, slots=True)
class Guard:
    """A slot that must be true (false where `negated`) for a later operand to matter, as `and` and `or` have it in Python.

    may_be_open: the slot may wait for another hole; while it does, nothing is decided and the operand matters.
    """

    slot: int
    negated: bool
    may_be_open: bool


@dataclass(slots=True)
class SlotExpr:
    """One slot: its expression, what it waits for, and whether later slots look at its value.

    holes: other holes that must be decoded for the expression to make sense. expr is None where one of them never is.
    """

    expr: ast.expr | None
    guards: tuple[Guard, ...]
    holes: tuple[str, ...]
    place: ast.expr
    is_named: bool = False

    def text(self) -> str:
        """The slot as `--emit ir` shows it."""
        if self.expr is None:
            return "OPEN"
        needs = [f"{'not ' if guard.negated else ''}slot {guard.slot}" for guard in self.guards]
        needs += [f"bound({', '.join(self.holes)})"] if self.holes else []
        return python_text(self.expr) + (f" if {' and '.join(needs)}" if needs else "")


@dataclass(slots=True)
class Slots:
    """The slots of one hole, in the order of evaluation."""

    found: list[SlotExpr] = field(default_factory=list)
    _guards: list[Guard] = field(default_factory=list)

    def add(self, expr: ast.expr, holes: Iterable[str] = ()) -> Slot:
        """A slot for an expression that waits for some holes."""
        self.found.append(SlotExpr(expr, tuple(self._guards), tuple(sorted(holes)), expr))
        return Slot(len(self.found) - 1)

    def add_open(self, place: ast.expr) -> Slot:
        """A slot that is OPEN whenever the hole is reached."""
        self.found.append(SlotExpr(None, (), (), place))
        return Slot(len(self.found) - 1)

    @contextmanager
    def guarded(self) -> Iterator[list[Guard]]:
        """Guards appended to the list hold for the slots added inside the block."""
        before = len(self._guards)
        yield self._guards
        del self._guards[before:]

    def guard(self, slot: Slot, *, negated: bool) -> list[Guard]:
        """What the slot decides for the operands after it; nothing where it is always open."""
        found = self.found[slot.index]
        if found.expr is None:
            return []
        found.is_named = True
        return [Guard(slot.index, negated, bool(found.holes))]

    def reference(self, slot: Slot, place: ast.expr) -> ast.expr:
        """An expression for the value of an earlier slot."""
        self.found[slot.index].is_named = True
        return at(ast.Name(slot_name(slot.index), ast.Load()), place)


def slot_name(index: int) -> str:
    """The variable that keeps a slot's value where later slots look at it."""
    return f"__lmql_{index}__"


def slot_expression(slot: SlotExpr, index: int, value: ast.expr | None) -> ast.expr:
    """What the coroutine evaluates for a slot; `value` is the slot's expression, as lowered."""
    if value is None:
        return at(_open(), slot.place)
    tests = [_test(guard) for guard in slot.guards] + ([_bound(slot.holes)] if slot.holes else [])
    if tests:
        value = ast.IfExp(tests[0] if len(tests) == 1 else ast.BoolOp(ast.And(), tests), value, _open())
    if slot.is_named:
        value = ast.NamedExpr(ast.Name(slot_name(index), ast.Store()), value)
    return at(value, slot.place)


def _test(guard: Guard) -> ast.expr:
    """OPEN is true as a Python value."""
    name = ast.Name(slot_name(guard.slot), ast.Load())
    if not guard.negated:
        return name
    negated = ast.UnaryOp(ast.Not(), name)
    return ast.BoolOp(ast.Or(), [ast.Compare(name, [ast.Is()], [_open()]), negated]) if guard.may_be_open else negated


def _open() -> ast.expr:
    return ast.Attribute(ast.Name(INTERPRETER, ast.Load()), "OPEN", ast.Load())


def _bound(holes: tuple[str, ...]) -> ast.expr:
    function = ast.Attribute(ast.Name(INTERPRETER, ast.Load()), "bound", ast.Load())
    return ast.Call(function, [ast.Constant(name) for name in holes], [])
