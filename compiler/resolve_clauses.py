"""Checks of `where` and `distribution` clauses, each clause once: known constraints, right arguments, holes that it can see, stops."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lmqlc.compiler.constraint_calls import CALLS, CONSTRAINT_NAMES, COUNTERS, Scope, arguments, calls_in, mentions
from lmqlc.compiler.findings import Findings, did_you_mean, nearest
from lmqlc.compiler.lower_constraint import stop_alternatives
from lmqlc.compiler.prompts import Function, has_holes
from lmqlc.compiler.static import static_bool
from lmqlc.grammar.nodes import Clause, Distribution, Hole, QueryString


@dataclass(frozen=True, slots=True)
class Visible:
    """The holes of a clause: those it speaks about, those it cannot see (with their functions); its query string, None where it is the
    program's own; and the other holes of the program."""

    holes: frozenset[str]
    hidden: Mapping[str, tuple[Hole, Function]]
    string: QueryString | None
    others: frozenset[str] = frozenset()


def check_where(clause: Clause, visible: Visible, scope: Scope, findings: Findings) -> None:
    """Report what is wrong with a clause as a whole."""
    before = len(findings.diagnostics)
    for call in calls_in(clause.expr):
        _check_call(call, visible, scope, findings)
    _check_loose_names(clause.expr, visible, scope, findings)
    _check_stops(clause.expr, scope, findings)
    is_constant = static_bool(clause.expr) is not None
    if len(findings.diagnostics) == before and not is_constant and not mentions(clause.expr, visible.holes):
        _report_no_hole(clause, visible, findings)


def _report_no_hole(clause: Clause, visible: Visible, findings: Findings) -> None:
    """A clause that names none of its holes: a condition on all holes of its string where it names no hole at all, which is seldom meant;
    where it names other holes, or is the program's, it would hold for nothing that it names."""
    names = ", ".join(f"`{name}`" for name in sorted(visible.holes)) or "none"
    where, hint = "its query string" if visible.string is not None else "the program", f"holes that it can name: {names}"
    if visible.string is None or mentions(clause.expr, visible.others):
        findings.error("L0503", f"the clause names no hole of {where}", clause.span, hint)
    else:
        findings.warn("L0503", f"the clause names no hole of {where}: it is a condition on each of them", clause.span, hint)


# -- calls -------------------------------------------------------------------------------------------------------------


def _check_call(call: ast.Call, visible: Visible, scope: Scope, findings: Findings) -> None:
    name = scope.constraint_name(call.func)
    if name is None:
        _check_unknown(call, visible, scope, findings)
    elif not call.args or not isinstance(call.args[0], ast.Name) or call.args[0].id not in visible.holes:
        _report_first(call, name, visible, scope, findings)
    elif name in CALLS and arguments(call, name) is None:
        findings.error("L0451", f"`{name}` is called with the wrong arguments", findings.span(call), f"write `{CALLS[name].usage(name)}`")
    elif name in COUNTERS and (len(call.args) != 1 or call.keywords):
        findings.error("L0451", f"`{name}` takes the hole and nothing else", findings.span(call), f"write `len({name}(X)) < 10`")


def _usage(name: str) -> str:
    return CALLS[name].usage(name) if name in CALLS else f"len({name}(X)) < 10"


def _report_first(call: ast.Call, name: str, visible: Visible, scope: Scope, findings: Findings) -> None:
    """The first argument of a constraint is no hole that the clause can see."""
    first = call.args[0] if call.args else None
    if isinstance(first, ast.Name) and not any(isinstance(a, ast.Name) and a.id in visible.holes for a in call.args):
        _report_hole(first, visible, findings)
    else:
        findings.error("L0451", f"the first argument of `{name}` is the hole", findings.span(call), f"write `{_usage(name)}`")


def _report_hole(name: ast.Name, visible: Visible, findings: Findings) -> None:
    """A name stands where a hole is needed, and is none that the clause can see."""
    span = findings.span(name)
    if name.id in visible.hidden:
        hole, function = visible.hidden[name.id]
        notes = [(f"it belongs to the function `{function.name}`", hole.name_span)]
        findings.error("L0504", f"the clause cannot see the hole `{name.id}`", span, "put the clause on the hole's own query string", notes)
        return
    where = "this query string" if visible.string is not None else "this program"
    hint = did_you_mean(name.id, visible.holes, f"its holes are {', '.join(sorted(visible.holes))}" if visible.holes else None)
    findings.error("L0504", f"there is no hole `{name.id}` in {where}", span, hint)


def _check_unknown(call: ast.Call, visible: Visible, scope: Scope, findings: Findings) -> None:
    """A call of something that is no constraint, but may be meant as one."""
    function = call.func
    if isinstance(function, ast.Name) and not scope.is_known(function.id):
        name = function.id
    elif isinstance(function, ast.Attribute) and scope.in_package(function):
        name = function.attr
    else:
        return
    on_hole = any(isinstance(argument, ast.Name) and argument.id in visible.holes for argument in call.args)
    match = nearest(name, CONSTRAINT_NAMES)
    if (on_hole and (match or name.isupper())) or (match and name.isupper()):
        hint = f"did you mean `{match}`?" if match else f"constraints are {', '.join(sorted(CONSTRAINT_NAMES))}"
        findings.error("L0450", f"unknown constraint `{name}`", findings.span(function), hint)


def _check_loose_names(expr: ast.expr, visible: Visible, scope: Scope, findings: Findings) -> None:
    """Names that nothing binds and that look like a hole or a constraint."""
    called = {id(call.func) for call in calls_in(expr)}
    firsts = {id(call.args[0]) for call in calls_in(expr) if call.args and scope.constraint_name(call.func)}
    for node in ast.walk(expr):
        if not isinstance(node, ast.Name) or id(node) in called | firsts or node.id in visible.holes:
            continue
        if node.id in visible.hidden:
            _report_hole(node, visible, findings)
        elif scope.is_known(node.id) or not node.id.isupper():
            continue
        elif node.id in CONSTRAINT_NAMES:
            findings.error("L0451", f"`{node.id}` is called with a hole", findings.span(node), f"write `{_usage(node.id)}`")
        elif nearest(node.id, visible.holes) is not None:
            _report_hole(node, visible, findings)


# -- stops -------------------------------------------------------------------------------------------------------------


def _check_stops(expr: ast.expr, scope: Scope, findings: Findings) -> None:
    """Report stops that are no conjuncts of the formula."""
    if isinstance(expr, ast.BoolOp) and isinstance(expr.op, ast.And):
        for value in expr.values:
            _check_stops(value, scope, findings)
    elif stop_alternatives(expr, scope) is None:
        for call in calls_in(expr):
            if scope.is_stop(call):
                hint = "join it with `and`; stops may be or-ed with each other only"
                message = f"`{findings.text(call)}` is no condition: it can only be a conjunct of the whole clause"
                findings.error("L0406", message, findings.span(call), hint)


# -- distribution ------------------------------------------------------------------------------------------------------


def check_distribution(
    clause: Distribution, string: QueryString, after: Sequence[ast.stmt], findings: Findings, others: frozenset[str] = frozenset()
) -> None:
    """The variable of a distribution is the last hole: of its query string, and with nothing to decode after it."""
    names = [hole.name for hole in string.holes]
    if clause.name not in names:
        known = others or frozenset(names)
        if clause.name in known:
            findings.error("L0506", f"`{clause.name}` is not the last hole", clause.name_span, f"the last hole is `{names[-1]}`")
            return
        hint = did_you_mean(clause.name, known, f"the last hole is `{names[-1]}`")
        findings.error("L0505", f"there is no hole `{clause.name}`", clause.name_span, hint)
    elif names[-1] != clause.name:
        notes = [("this hole comes after it", string.holes[-1].span)]
        findings.error("L0506", f"`{clause.name}` is not the last hole", clause.name_span, "end the query with it", notes)
    elif has_holes(after):
        findings.error("L0506", f"`{clause.name}` is not the last hole: more holes follow", clause.name_span, "end the query with it")
