"""`where` clauses to constraint trees: what each clause says about one hole.

The Boolean structure of a clause is kept. Below it stand atoms about the hole (`lower_atoms.py`), conditions about other holes, and Python
conditions; the last two are evaluated by the program when it reaches the hole. An atom about other holes alone restricts nothing as a
conjunct, because it is enforced there; inside `or` and `not` it is a condition, OPEN while its hole is not decoded.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass, field

from lmqlc.compiler.constraint_calls import Scope, mentions
from lmqlc.compiler.constraint_parts import is_true
from lmqlc.compiler.constraints import TRUE, And, Compared, Const, Constraint, Not, Operand, Or, Slot, Truth
from lmqlc.compiler.findings import Findings
from lmqlc.compiler.ir import INTERPRETER
from lmqlc.compiler.lower_atoms import atom
from lmqlc.compiler.lower_slots import Slots, slot_expression
from lmqlc.compiler.rebuild import at
from lmqlc.compiler.static import fold, static_bool


@dataclass(frozen=True, slots=True)
class ClauseView:
    """A clause as one hole sees it.

    The other holes that its names may mean: those `decoded` before this one for certain, those `later` in the same string, and those of
    which only the running program knows; `after` are the ones of these that first appear below this hole.
    """

    expr: ast.expr
    hole: str
    decoded: frozenset[str] = frozenset()
    later: frozenset[str] = frozenset()
    unsure: frozenset[str] = frozenset()
    after: frozenset[str] = frozenset()

    @property
    def others(self) -> frozenset[str]:
        """Every other hole that a name may mean."""
        return self.decoded | self.later | self.unsure

    def about(self, other: str) -> ClauseView:
        """The same clause as seen by another hole, once that hole is decoded."""
        rest = self.others - {other}
        return ClauseView(self.expr, other, self.decoded & rest, self.later & rest, self.unsure & rest, self.after & rest)


@dataclass(slots=True)
class Lowering:
    """The lowering of clauses for one hole: where findings, slots and conditions go."""

    view: ClauseView
    scope: Scope
    findings: Findings
    slots: Slots = field(default_factory=Slots)
    conditions: list[Constraint] = field(default_factory=list)
    _operands: dict[int, Operand] = field(default_factory=dict)

    # -- structure ------------------------------------------------------------------------------------------------------------

    def tree(self, node: ast.expr, *, conjunct: bool) -> Constraint:
        """The constraint of a clause's part; `conjunct`: it stands only under `and`."""
        if not mentions(node, self._holes):
            return self._condition(node)
        if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.And):
            return conjunction(self._parts(node.values, conjunct=conjunct, negated=False), node, self.findings)
        if isinstance(node, ast.BoolOp):
            return self._either(node, conjunct=conjunct)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return Not(self.tree(node.operand, conjunct=False), self.findings.span(node))
        if isinstance(node, ast.IfExp):
            return self._choice(node)
        return self._leaf(node, conjunct=conjunct)

    @property
    def _holes(self) -> frozenset[str]:
        return self.view.others | {self.view.hole}

    def _parts(self, nodes: Sequence[ast.expr], *, conjunct: bool, negated: bool) -> list[Constraint]:
        """Operands of `and` (of `or`, where `negated`): what a Python condition decides already is not evaluated, as in Python."""
        made = []
        with self.slots.guarded() as guards:
            for node in nodes:
                part = self.tree(node, conjunct=conjunct)
                made.append(part)
                if isinstance(part, Truth) and isinstance(part.value, Slot) and node is not nodes[-1]:
                    guards += self.slots.guard(part.value, negated=negated)
        return made

    def _either(self, node: ast.BoolOp, *, conjunct: bool) -> Constraint:
        leaves = stop_alternatives(node, self.scope)
        if leaves is not None:  # stops or-ed with each other: each adds its phrase
            return conjunction([self.tree(leaf, conjunct=conjunct) for leaf in leaves], node, self.findings)
        return Or(tuple(self._parts(node.values, conjunct=False, negated=True)), self.findings.span(node))

    def _choice(self, node: ast.IfExp) -> Constraint:
        """`A if T else B`: (T and A) or (not T and B)."""
        test = self.tree(node.test, conjunct=False)
        branches = []
        for value, negated in ((node.body, False), (node.orelse, True)):
            with self.slots.guarded() as guards:
                if isinstance(test, Truth) and isinstance(test.value, Slot):
                    guards += self.slots.guard(test.value, negated=negated)
                branches.append(And((Not(test) if negated else test, self.tree(value, conjunct=False))))
        return Or(tuple(branches), self.findings.span(node))

    def _leaf(self, node: ast.expr, *, conjunct: bool) -> Constraint:
        if isinstance(node, ast.Compare) and len(node.ops) > 1:
            return self._chain(node, conjunct=conjunct)
        if mentions(node, frozenset({self.view.hole})):
            return self._atom(node, conjunct=conjunct)
        if mentions(node, self.view.others):
            return TRUE if conjunct or self.scope.is_stop(node) else self._elsewhere(node)
        return self._condition(node)

    def _atom(self, node: ast.expr, *, conjunct: bool) -> Constraint:
        """An atom about the hole. With a hole that comes later it is that hole's to enforce."""
        if mentions(node, self.view.later):
            return self._unknown(node, conjunct=conjunct)
        if not mentions(node, self.view.after):
            return atom(self, node)
        findings, self.findings = self.findings, Findings(self.findings.source)
        kept = len(self.slots.found)
        found = atom(self, node)
        findings, self.findings = self.findings, findings
        if findings.has_errors:  # no form for this hole; the later one may know it
            del self.slots.found[kept:]
            return self._unknown(node, conjunct=conjunct)
        return found

    def _unknown(self, node: ast.expr, *, conjunct: bool) -> Constraint:
        """A part that needs a hole which is never decoded yet: as a conjunct it restricts nothing."""
        return TRUE if conjunct else Truth(self.slots.add_open(node), self.findings.span(node))

    def _chain(self, node: ast.Compare, *, conjunct: bool) -> Constraint:
        """`a < b < c`: `a < b` and `b < c`, with a call in the middle evaluated once."""
        for middle in node.comparators[:-1]:
            if not isinstance(middle, ast.Name) and not mentions(middle, self._holes):
                self.operand(middle)
        pairs, left = [], node.left
        for op, right in zip(node.ops, node.comparators, strict=True):
            pair = ast.copy_location(ast.Compare(left, [op], [right]), left)
            pair.end_lineno, pair.end_col_offset = right.end_lineno, right.end_col_offset
            pairs.append(self._leaf(pair, conjunct=conjunct))
            left = right
        return conjunction(pairs, node, self.findings)

    # -- Python conditions and other holes ----------------------------------------------------------------------------------------

    def _condition(self, node: ast.expr) -> Constraint:
        """A Python condition without a hole."""
        known = static_bool(node)
        if known is not None:
            return Truth(Const(known), self.findings.span(node))
        return Truth(self.slots.add(self._with_references(node)), self.findings.span(node))

    def _with_references(self, node: ast.expr) -> ast.expr:
        """A comparison with the values of operands that were evaluated before, for a pair of the same chain."""
        if not isinstance(node, ast.Compare):
            return node
        left, right = (self._reference(side) for side in (node.left, node.comparators[0]))
        return ast.copy_location(ast.Compare(left, node.ops, [right, *node.comparators[1:]]), node)

    def _reference(self, node: ast.expr) -> ast.expr:
        earlier = self._operands.get(id(node))
        return self.slots.reference(earlier, node) if isinstance(earlier, Slot) else node

    def _elsewhere(self, node: ast.expr) -> Constraint:
        """A part about other holes only: a condition once they are decoded."""
        span = self.findings.span(node)
        holes = mentions(node, self.view.others)
        if holes & self.view.later:
            return self._unknown(node, conjunct=False)
        judged = self._judged(node, holes)
        return Truth(self.slots.add(judged, holes & self.view.unsure), span)

    def _judged(self, node: ast.expr, holes: frozenset[str]) -> ast.expr:
        """The condition as Python: an atom is judged by the interpreter, on the hole's text; anything else is evaluated as it stands."""
        for hole in sorted(holes):
            trial = Lowering(self.view.about(hole), self.scope, Findings(self.findings.source))
            tree = atom(trial, node)
            if trial.findings.has_errors or (isinstance(tree, Compared | Not) and isinstance(getattr(tree, "arg", tree), Compared)):
                continue  # values are compared as Python does
            self.conditions.append(tree)
            operands = [slot_expression(slot, i, slot.expr) for i, slot in enumerate(trial.slots.found)]
            arguments = [ast.Constant(hole), ast.Constant(len(self.conditions) - 1), ast.Tuple(operands, ast.Load())]
            return at(ast.Call(ast.Attribute(ast.Name(INTERPRETER, ast.Load()), "holds", ast.Load()), arguments, []), node)
        return node

    # -- operands -----------------------------------------------------------------------------------------------------------------

    def operand(self, node: ast.expr) -> Operand:
        """An operand without the hole itself: a constant, or a slot that waits for the holes it needs."""
        constant = fold(node)
        if constant is not None:
            return constant
        if id(node) not in self._operands:
            self._operands[id(node)] = self.slots.add(node, mentions(node, self.view.unsure))
        return self._operands[id(node)]

    def text_operand(self, node: ast.expr) -> Operand:
        """An operand that must be a string; another hole, whatever its value, stands for what it wrote."""
        if isinstance(node, ast.Name) and node.id in self.view.others:
            text = at(ast.JoinedStr([ast.FormattedValue(node, -1)]), node)
            return self.slots.add(text, mentions(node, self.view.unsure))
        return self.operand(node)


def conjunction(parts: Sequence[Constraint], node: ast.expr | None, findings: Findings) -> Constraint:
    """`and`, flat, without what is always true."""
    flat: list[Constraint] = []
    for part in parts:
        flat.extend(part.args if isinstance(part, And) else [part])
    kept = [part for part in flat if not is_true(part)]
    if len(kept) <= 1:
        return kept[0] if kept else TRUE
    return And(tuple(kept), findings.span(node) if node is not None else None)


def stop_alternatives(node: ast.expr, scope: Scope) -> list[ast.expr] | None:
    """The stops of an `or` of nothing but stops; None for anything else."""
    if scope.is_stop(node):
        return [node]
    if not (isinstance(node, ast.BoolOp) and isinstance(node.op, ast.Or)):
        return None
    leaves: list[ast.expr] = []
    for value in node.values:
        part = stop_alternatives(value, scope)
        if part is None:
            return None
        leaves += part
    return leaves
