"""The last look at a lowered program: Python's compiler judges its body, and names that stay free become its parameters."""

from __future__ import annotations

import ast
import dataclasses
import warnings
from collections.abc import Iterator
from types import CodeType

from lmqlc.compiler.code import compile_body
from lmqlc.compiler.findings import Findings
from lmqlc.compiler.ir import Program
from lmqlc.compiler.names import BUILTINS, free_names, has_star_import
from lmqlc.compiler.resolve import Resolved
from lmqlc.compiler.resolve_scope import RESERVED_NAME
from lmqlc.grammar.source import Span

_BINDERS = frozenset({"exec", "globals", "locals", "vars"})
"""Builtins through which a program may bind names that no statement binds."""


def close(program: Program, resolved: Resolved, findings: Findings) -> Program:
    """The program with its parameters; what Python's compiler refuses is reported."""
    code = _compiled(program, findings)
    if code is None:
        return program
    required, optional = _parameters(program, code, resolved)
    return dataclasses.replace(program, parameters=required, optional=optional)


def _compiled(program: Program, findings: Findings) -> CodeType | None:
    """The body's code; what Python's compiler refuses or doubts is reported."""
    source = program.source
    with warnings.catch_warnings(record=True) as doubts:
        warnings.simplefilter("always")
        try:
            code = compile_body(program)
        except SyntaxError as error:
            if all(finding.code != RESERVED_NAME for finding in findings.diagnostics):
                findings.error("L0701", _message(error), _span(error, findings))
            return None
    for doubt in doubts:
        start = source.offset(doubt.lineno, 1)
        findings.warn("L0703", str(doubt.message), Span(start, start + len(source.line(doubt.lineno))))
    return code


def _message(error: SyntaxError) -> str:
    return str(error.msg).replace("'__lmql_main__'", "the program")


def _span(error: SyntaxError, findings: Findings) -> Span | None:
    """Where Python's compiler found an error: line from 1, columns in bytes from 1, because it saw a tree and no text."""
    if error.lineno is None:
        return None
    source = findings.source
    start = source.offset_utf8(error.lineno, (error.offset or 1) - 1)
    end = source.offset_utf8(error.end_lineno or error.lineno, error.end_offset - 1) if error.end_offset else start + 1
    return Span(start, max(start + 1, end))


def _parameters(program: Program, code: CodeType, resolved: Resolved) -> tuple[tuple[str, ...], tuple[str, ...]]:
    free = free_names(code) - set(resolved.names)
    if not free:
        return (), ()
    ordered = [name for name in dict.fromkeys(_names(program.body)) if name in free]
    ordered += sorted(free - set(ordered))
    if _binds_at_run_time(resolved):
        return (), tuple(ordered)
    excused = _excused(program.body)
    return tuple(n for n in ordered if n not in excused), tuple(n for n in ordered if n in excused)


def _names(node: ast.AST) -> Iterator[str]:
    """Names in the order of the text."""
    loads = [part for part in ast.walk(node) if isinstance(part, ast.Name)]
    return (part.id for part in sorted(loads, key=lambda part: (part.lineno, part.col_offset)))


def _binds_at_run_time(resolved: Resolved) -> bool:
    """Names may come from `import *`, `exec` and the like."""
    if has_star_import(resolved.query.statements):
        return True
    used = {part.id for statement in resolved.query.statements for part in ast.walk(statement) if isinstance(part, ast.Name)}
    return bool(used & _BINDERS & BUILTINS - resolved.scope.bound)


def _excused(body: ast.Module) -> frozenset[str]:
    """Names that a program tries out: used in a `try` that handles `NameError`."""
    found: set[str] = set()
    for node in ast.walk(body):
        if isinstance(node, ast.Try) and any(_handles_name_error(handler) for handler in node.handlers):
            found.update(part.id for statement in node.body for part in ast.walk(statement) if isinstance(part, ast.Name))
    return frozenset(found)


def _handles_name_error(handler: ast.ExceptHandler) -> bool:
    return handler.type is not None and any(isinstance(part, ast.Name) and part.id == "NameError" for part in ast.walk(handler.type))
