"""A resolved program to the IR: constraint trees for its holes, and the coroutine that runs it."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from lmqlc.compiler.constraints import Constraint
from lmqlc.compiler.findings import Findings
from lmqlc.compiler.ir import HoleIR, Program, QueryIR
from lmqlc.compiler.lower_body import lower_body
from lmqlc.compiler.lower_calls import call_names
from lmqlc.compiler.lower_constraint import Lowering, conjunction
from lmqlc.compiler.lower_prompt import LoweredHole
from lmqlc.compiler.lower_slots import Slots
from lmqlc.compiler.resolve import Resolved, ResolvedHole
from lmqlc.compiler.resolve_scope import walk
from lmqlc.grammar.nodes import Prompt


def lower(resolved: Resolved, findings: Findings) -> Program:
    """The program without its parameters, which are found in the finished body."""
    conditions: list[Constraint] = []
    holes: dict[int, tuple[LoweredHole, ...]] = {}
    queries: list[QueryIR] = []
    for prompt in resolved.query.prompts():
        number, found = resolved.prompts[id(prompt)]
        holes[id(prompt)] = tuple(_hole(hole, resolved, conditions, findings) for hole in found)
        queries.append(QueryIR(number, tuple(hole.index for hole in found), prompt.query.span))

    def holes_of(prompt: Prompt) -> Sequence[LoweredHole]:
        return holes[id(prompt)]

    calls = call_names(walk(resolved.query), resolved.scope.bound)
    body: ast.Module = lower_body(resolved.query, resolved.names, calls, holes_of, findings)
    every = tuple(hole.ir for lowered in holes.values() for hole in lowered)
    return Program(findings.source, body, tuple(queries), every, resolved.decoder, (), conditions=tuple(conditions))


def _hole(hole: ResolvedHole, resolved: Resolved, conditions: list[Constraint], findings: Findings) -> LoweredHole:
    slots = Slots()
    parts = [Lowering(view, resolved.scope, findings, slots, conditions).tree(view.expr, conjunct=True) for view in hole.views]
    node = hole.node
    ir = HoleIR(
        index=hole.index,
        name=node.name,
        constraint=conjunction(parts, None, findings),
        slots=tuple(slot.text() for slot in slots.found),
        has_type=node.type is not None,
        decorators=len(node.decorators),
        follow=hole.follow,
        distribution=hole.options is not None,
        span=node.span,
    )
    return LoweredHole(ir, tuple(slots.found), hole.options)
