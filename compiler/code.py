"""Python code of a program: compiled under the program's own name, so that tracebacks show its lines."""

from __future__ import annotations

import ast
import linecache
import warnings
from collections.abc import Callable, Coroutine
from dataclasses import replace
from types import CodeType
from typing import Any
from weakref import WeakKeyDictionary

from lmqlc.compiler.ir import ENTRY, Program
from lmqlc.compiler.record_calls import record_calls
from lmqlc.grammar.source import Source


def compile_body(program: Program) -> CodeType:
    """The code of a program's body. Raises SyntaxError for what Python's compiler refuses, and warns of what it doubts."""
    return compile(program.body, program.source.name, "exec", dont_inherit=True)


_codes: WeakKeyDictionary[ast.Module, CodeType] = WeakKeyDictionary()


def code_for(program: Program) -> CodeType:
    """The code of a program's body, its text known to tracebacks; compiled once. Executed, it defines the coroutine function."""
    register_lines(program.source)
    if program.body not in _codes:
        _codes[program.body] = _compiled(program)
    return _codes[program.body]


def _compiled(program: Program) -> CodeType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)  # reported when the program was compiled
        code = compile_body(program)
    return _named_as_module(code)


def recording_code_for(program: Program) -> CodeType:
    """The code of a program's body in the form that branches can be copied in."""
    return code_for(replace(program, body=record_calls(program.body)))


def names_in(code: CodeType) -> frozenset[str]:
    """Every name that code or what it defines looks up by name."""
    inner = (names_in(constant) for constant in code.co_consts if isinstance(constant, CodeType))
    return frozenset(code.co_names).union(*inner)


def entry_for(program: Program, namespace: dict[str, Any], code: CodeType | None = None) -> Callable[[Any], Coroutine[Any, Any, None]]:
    """The program's coroutine function, with `namespace` for its globals; the coroutine takes the interpreter. code: of the program's
    body, where it has been compiled."""
    exec(code or code_for(program), namespace)  # noqa: S102 - running programs is what this is for
    entry: Callable[[Any], Coroutine[Any, Any, None]] = namespace.pop(ENTRY)
    return entry


def import_star(namespace: dict[str, Any], module: str | None, level: int) -> None:
    """`from module import *` into a program's globals; `level` counts the dots of a relative import."""
    statement = ast.ImportFrom(module, [ast.alias("*", lineno=1, col_offset=0)], level, lineno=1, col_offset=0)
    exec(compile(ast.Module([statement], []), "<import>", "exec", dont_inherit=True), namespace)  # noqa: S102 - a plain import


def register_lines(source: Source) -> None:
    """Let `linecache` know a program's lines."""
    lines = [source.line(number) + "\n" for number in range(1, source.line_count + 1)]
    linecache.cache[source.name] = (len(source.text), None, lines, source.name)


def _named_as_module(code: CodeType) -> CodeType:
    """The code with the names that module code has: the coroutine's frames are `<module>`, and nothing is local to it."""
    constants = tuple(_named_as_module(constant) if isinstance(constant, CodeType) else constant for constant in code.co_consts)
    if code.co_name == ENTRY:
        return code.replace(co_consts=constants, co_name="<module>", co_qualname="<module>")
    return code.replace(co_consts=constants, co_qualname=code.co_qualname.removeprefix(f"{ENTRY}.<locals>."))
