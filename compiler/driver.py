"""The compiler's stages, in order. Every other module of the compiler is reached from here."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lmqlc.compiler.automata.problems import UNSATISFIABLE
from lmqlc.compiler.check_constraints import check_constraints
from lmqlc.compiler.close import close
from lmqlc.compiler.findings import Findings
from lmqlc.compiler.ir import Program
from lmqlc.compiler.lower import lower
from lmqlc.compiler.resolve import resolve
from lmqlc.grammar.diagnostics import Diagnostic
from lmqlc.grammar.errors import LmqlCompileError, LmqlSyntaxError, UnsatisfiableConstraint
from lmqlc.grammar.nodes import Query
from lmqlc.grammar.parse import parse_with_diagnostics
from lmqlc.grammar.source import Source

Hook = Callable[[str, object], None]
"""Told the name of a stage and its result."""

DEEPEST = 12_000
"""Nested calls of Python functions while compiling."""

_COMPILING = threading.RLock()
"""Held while compiling: the recursion limit is the whole interpreter's."""

DECODER_GROUP = "lmqlc.decoders"
"""Entry points of decoders that other packages bring."""


def compile_source(source: Source, *, surrounding: frozenset[str] = frozenset(), hook: Hook | None = None) -> Program:
    """Compile a program. Raises LmqlSyntaxError or LmqlCompileError with everything that was found; UnsatisfiableConstraint where that is
    only constraints that no text meets.

    surrounding: names that the place of the program's definition gives it (for a query function, those of its module and closure).
    hook: called after every stage.
    """
    findings, tell = Findings(source), hook or _no_hook
    with _deep_recursion():
        query = _parse(source, findings)
        tell("parse", query)
        program = None if query is None else _stages(query, findings, surrounding, tell)
    if program is None or findings.has_errors:
        error = LmqlSyntaxError if query is None else _error_for(findings)
        raise error(diagnostics=findings.diagnostics, source=source)
    return program


def compile_query(query: Query, *, surrounding: frozenset[str] = frozenset(), hook: Hook | None = None) -> Program:
    """Compile a program that is parsed already. Raises LmqlCompileError with everything that was found."""
    findings = Findings(query.source)
    with _deep_recursion():
        program = _stages(query, findings, surrounding, hook or _no_hook)
    if program is None or findings.has_errors:
        raise _error_for(findings)(diagnostics=findings.diagnostics, source=query.source)
    return program


def _error_for(findings: Findings) -> type[LmqlCompileError]:
    """The error for what was found; the more telling one where all errors say the same."""
    codes = {finding.code for finding in findings.diagnostics if finding.severity == "error"}
    return UnsatisfiableConstraint if codes == {UNSATISFIABLE} else LmqlCompileError


def check_source(source: Source, *, surrounding: frozenset[str] = frozenset()) -> list[Diagnostic]:
    """Everything that is wrong or doubtful about a program, in the order of its text; never raises for a bad one."""
    findings = Findings(source)
    with _deep_recursion():
        query = _parse(source, findings)
        if query is not None:
            _stages(query, findings, surrounding, _no_hook)
    return sorted(findings.diagnostics, key=lambda d: d.span.start if d.span else -1)


def _parse(source: Source, findings: Findings) -> Query | None:
    """The syntax tree. Decoders of other packages are looked up only where a program would not parse without them."""
    query, diagnostics = parse_with_diagnostics(source.text, source.name)
    if query is None:
        from importlib.metadata import entry_points  # slow to import, and seldom needed

        others = [entry.name for entry in entry_points(group=DECODER_GROUP)]
        if others:
            query, diagnostics = parse_with_diagnostics(source.text, source.name, decoders=others)
    findings.diagnostics.extend(diagnostics)
    return query


def _stages(query: Query, findings: Findings, surrounding: frozenset[str], tell: Hook) -> Program | None:
    """Everything after the parse; None where the tree is too deep to be walked."""
    try:
        resolved = resolve(query, findings, surrounding)
        tell("resolve", resolved)
        program = lower(resolved, findings)
        tell("lower", program)
        program = close(program, resolved, findings)
        tell("close", program)
        if not findings.has_errors:
            check_constraints(program, findings)
    except RecursionError:
        findings.error("L0702", "the program is nested too deeply", None, "split its longest expression into several statements")
        return None
    return program


def _no_hook(stage: str, result: object) -> None:
    """Nobody listens."""


@contextmanager
def _deep_recursion() -> Iterator[None]:
    """Room for the walks over deep trees: Python's parser takes deeper ones than its default limit lets a program visit."""
    with _COMPILING:
        before = sys.getrecursionlimit()
        sys.setrecursionlimit(max(before, DEEPEST))
        try:
            yield
        finally:
            sys.setrecursionlimit(before)
