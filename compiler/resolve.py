"""Names, holes and clauses of a program: which clause speaks about which hole, and whether it can.

The result says for every hole what the lowering needs to know of it; everything wrong is reported.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lmqlc.compiler.constraint_calls import Scope, mentions
from lmqlc.compiler.findings import Findings
from lmqlc.compiler.lower_constraint import ClauseView
from lmqlc.compiler.names import bound_names
from lmqlc.compiler.prompts import Function, Place, global_names, places
from lmqlc.compiler.resolve_clauses import Visible, check_distribution, check_where
from lmqlc.compiler.resolve_header import check_header
from lmqlc.compiler.resolve_scope import check_names, program_scope
from lmqlc.grammar.nodes import Hole, Literal, Prompt, Query, QueryString


@dataclass(frozen=True, slots=True)
class ResolvedHole:
    """One hole: its number, its clauses as it sees them, the literal after it, and the options where it is a distribution's variable."""

    index: int
    node: Hole
    views: tuple[ClauseView, ...]
    follow: str | None
    options: ast.expr | None


@dataclass(frozen=True, slots=True)
class Resolved:
    """A program whose names and clauses are resolved.

    names: what program-level code binds, in order. prompts: the number of each query string and its holes, by the prompt's identity.
    """

    query: Query
    scope: Scope
    names: tuple[str, ...]
    prompts: Mapping[int, tuple[int, tuple[ResolvedHole, ...]]]
    decoder: str


def resolve(query: Query, findings: Findings, surrounding: frozenset[str] = frozenset()) -> Resolved:
    """Resolve a parsed program. `surrounding` are names that the place of its definition gives it, beside builtins."""
    found = places(query)
    scope = program_scope(query, surrounding)
    check_names(query, found, findings)
    decoder = check_header(query, findings)
    _check_clauses(query, found, scope, findings)
    return Resolved(query, scope, _program_names(query), _prompts(query, found), decoder)


def _program_names(query: Query) -> tuple[str, ...]:
    """What program-level code binds; a walrus in a clause of the program counts."""
    clauses = [clause.expr for clause in (query.model, query.where) if clause is not None]
    clauses += [query.distribution.options] if query.distribution is not None else []
    clauses += [keyword.value for keyword in query.header.keywords] if query.header is not None else []
    return bound_names([*query.statements, *(ast.Expr(expr) for expr in clauses)])


def _is_program_hole(place: Place, name: str) -> bool:
    """A hole binds its name in the program's own scope."""
    return place.function is None or name in global_names(place.function)


def program_holes(found: Sequence[Place]) -> frozenset[str]:
    """Names of the holes that program-level clauses can see."""
    return frozenset(hole.name for place in found for hole in place.prompt.query.holes if _is_program_hole(place, hole.name))


def _hidden(query: Query, found: Sequence[Place]) -> dict[str, tuple[Hole, Function]]:
    """Holes that bind in a function, by name, where the program's own scope has no such name."""
    own = bound_names(query.statements)
    return {
        hole.name: (hole, place.function)
        for place in found
        for hole in place.prompt.query.holes
        if place.function is not None and hole.name not in own and not _is_program_hole(place, hole.name)
    }


def _check_clauses(query: Query, found: Sequence[Place], scope: Scope, findings: Findings) -> None:
    holes, hidden = program_holes(found), _hidden(query, found)
    if query.where is not None:
        check_where(query.where, Visible(holes, hidden, None), scope, findings)
    for place in found:
        string = place.prompt.query
        names = frozenset(hole.name for hole in string.holes)
        if string.where is not None and names:
            check_where(string.where, Visible(names, {}, string, holes - names), scope, findings)
        if string.distribution is not None and names:
            check_distribution(string.distribution, string, place.after, findings)
    if query.distribution is not None:
        _check_program_distribution(query, found, holes, findings)


def _check_program_distribution(query: Query, found: Sequence[Place], holes: frozenset[str], findings: Findings) -> None:
    assert query.distribution is not None
    last = [place for place in found if any(_is_program_hole(place, hole.name) for hole in place.prompt.query.holes)]
    inline = next((p.prompt.query.distribution for p in found if p.prompt.query.distribution is not None), None)
    if inline is not None:
        notes = [("the other one", inline.span)]
        findings.error("L0507", "a query has one `distribution` clause", query.distribution.span, "remove one of them", notes)
    elif not last:
        findings.error(
            "L0505", f"there is no hole `{query.distribution.name}`", query.distribution.name_span, "write it as `[NAME]` in a query string"
        )
    else:
        check_distribution(query.distribution, last[-1].prompt.query, (), findings, holes)


def _prompts(query: Query, found: Sequence[Place]) -> dict[int, tuple[int, tuple[ResolvedHole, ...]]]:
    made: dict[int, tuple[int, tuple[ResolvedHole, ...]]] = {}
    count, everywhere = 0, program_holes(found)
    above = set[str]()
    options = _program_options(query, found)
    for number, place in enumerate(found):
        string = place.prompt.query
        holes = []
        for at, hole in enumerate(string.holes):
            views = _views(query, place, at, everywhere, frozenset(above))
            own = string.distribution.options if string.distribution is not None and hole is string.holes[-1] else None
            holes.append(ResolvedHole(count, hole, views, _follow(string, hole), own or options.get(id(hole))))
            count += 1
        made[id(place.prompt)] = (number, tuple(holes))
        above |= {hole.name for hole in string.holes}
    return made


def _program_options(query: Query, found: Sequence[Place]) -> dict[int, ast.expr]:
    """The options of the program's own distribution clause, for the last hole of its name."""
    if query.distribution is None:
        return {}
    holes = [hole for place in found for hole in place.prompt.query.holes if _is_program_hole(place, hole.name)]
    named = [hole for hole in holes if hole.name == query.distribution.name]
    return {id(named[-1]): query.distribution.options} if named else {}


def _views(query: Query, place: Place, at: int, everywhere: frozenset[str], above: frozenset[str]) -> tuple[ClauseView, ...]:
    """The clauses that name a hole, inline first. `everywhere` are the program's holes, `above` those in query strings before this one."""
    string = place.prompt.query
    name = string.holes[at].name
    before = frozenset(hole.name for hole in string.holes[:at]) - {name}
    later = frozenset(hole.name for hole in string.holes[at + 1 :]) - before - {name}
    own, views = frozenset(hole.name for hole in string.holes), []
    named = frozenset() if string.where is None else mentions(string.where.expr, own)
    if string.where is not None and (name in named or not named):  # a clause that names no hole is a condition on each
        views.append(ClauseView(string.where.expr, name, before, later))
    if query.where is not None and _is_program_hole(place, name) and mentions(query.where.expr, frozenset({name})):
        unsure = everywhere - before - later - {name}
        views.append(ClauseView(query.where.expr, name, before & everywhere, later & everywhere, unsure, unsure - above))
    return tuple(views)


def _follow(string: QueryString, hole: Hole) -> str | None:
    """The literal after a hole in its own query string."""
    after = string.parts[string.parts.index(hole) + 1 :]
    return after[0].text if after and isinstance(after[0], Literal) else None


def prompt_of(resolved: Resolved, prompt: Prompt) -> tuple[int, tuple[ResolvedHole, ...]]:
    """The number of a prompt's query string, and its holes."""
    return resolved.prompts[id(prompt)]
