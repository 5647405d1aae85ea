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
    """A slot that must be true (false where `negated`) for a later operand to matter, as `and` and `or` have it in Python."""

    slot: int
    negated: bool


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

    def guard(self, slot: Slot, *, negated: bool) -> Guard:
        self.found[slot.index].is_named = True
        return Guard(slot.index, negated)

    def reference(self, slot: Slot, place: ast.expr) -> ast.expr:
        """An expression for the value of an earlier slot."""
        self.found[slot.index].is_named = True
        return at(ast.Name(slot_name(slot.index), ast.Load()), place)


def slot_name(index: int) -> str:
    """The variable that keeps a slot's value where later slots look at it."""
    return f"__lmql_{index}__"


def slot_expression(slot: SlotExpr, index: int, value: ast.expr | None) -> ast.expr:
    """What the coroutine evaluates for a slot; `value` is the slot's expression, as lowered."""
    open_value = at(ast.Attribute(ast.Name(INTERPRETER, ast.Load()), "OPEN", ast.Load()), slot.place)
    if value is None:
        return open_value
    tests = [_test(guard) for guard in slot.guards] + ([_bound(slot.holes)] if slot.holes else [])
    if tests:
        value = ast.IfExp(tests[0] if len(tests) == 1 else ast.BoolOp(ast.And(), tests), value, open_value)
    if slot.is_named:
        value = ast.NamedExpr(ast.Name(slot_name(index), ast.Store()), value)
    return at(value, slot.place)


def _test(guard: Guard) -> ast.expr:
    name = ast.Name(slot_name(guard.slot), ast.Load())
    return ast.UnaryOp(ast.Not(), name) if guard.negated else name


def _bound(holes: tuple[str, ...]) -> ast.expr:
    function = ast.Attribute(ast.Name(INTERPRETER, ast.Load()), "bound", ast.Load())
    return ast.Call(function, [ast.Constant(name) for name in holes], [])
