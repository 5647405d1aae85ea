"""The intermediate representation: what the compiler knows of a program once names and clauses are resolved.

Python control flow is not modelled: it stays in `Program.body`, an `ast` of a coroutine in which every query string has become calls
into the interpreter (`docs/architecture.md` shows one). The calls name what is listed here by number.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import Any

from lmqlc.compiler.constraints import Constraint
from lmqlc.grammar.source import Source, Span

VERSION = 1


@dataclass(frozen=True, slots=True)
class HoleIR:
    """One hole of one query string.

    index: its number in `Program.holes`. name: the variable it binds.
    constraint: its whole constraint (inline and program-level clauses anded; not its type), over `slots` operands.
    slots: source text of each slot's expression, for `--emit ir`.
    has_type: the host passes a TYPE value. decorators: how many decorators the host passes.
    follow: the literal text that follows in the same query string, None where a value, a turn or the end follows.
    distribution: the hole is the variable of a distribution clause.
    """

    index: int
    name: str
    constraint: Constraint
    slots: tuple[str, ...]
    has_type: bool
    decorators: int
    follow: str | None
    distribution: bool
    span: Span


@dataclass(frozen=True, slots=True)
class QueryIR:
    """One query string: its number, the numbers of its holes in order, and its place."""

    index: int
    holes: tuple[int, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class Program:
    """A compiled program.

    body: a module that defines one coroutine function, `ENTRY`, taking the interpreter; its nodes carry the source's own lines.
    parameters: names that the program leaves free: its arguments, in order of first use. A run without one of them fails before the
        first model call.
    optional: free names that something else may bind at run time (`import *`, `exec`, a handler of `NameError`); no error where absent.
    conditions: atoms about other holes than the one being decoded, which `holds` judges by their number here.
    decoder: name; the arguments and the `from` expression are evaluated by the host, as the first calls of `body`.
    """

    source: Source
    body: ast.Module
    queries: tuple[QueryIR, ...]
    holes: tuple[HoleIR, ...]
    decoder: str
    parameters: tuple[str, ...]
    optional: tuple[str, ...] = ()
    conditions: tuple[Constraint, ...] = ()
    version: int = VERSION


ENTRY = "__lmql_main__"
INTERPRETER = "__lmql__"

HOST_CALLS: dict[str, str] = {
    "configure": "sync: configure(decoder: str, arguments: dict[str, object]) before anything else, where a header stands",
    "model": "sync: model(value) where a `from` clause stands",
    "text": "await text(literal: str): append prompt text as written",
    "value": "await value(rendered: str): append inert text that came from an expression",
    "role": "await role(name: str): start a chat turn",
    "hole": "NAME = await hole(index: int, slots: tuple, type=None, decorators=()): decode a hole, return its value",
    "distribution": "NAME = await distribution(index: int, options, slots, type, decorators): the last hole, with its options",
    "call": "await call(value): the value, or what awaiting it gives where it is a coroutine or query call",
    "bound": "sync: bound(*names) -> bool: all these holes are decoded in this run",
    "holds": "sync: holds(name, condition: int, slots: tuple) -> bool: whether the text of this decoded hole meets a condition",
    "import_star": "sync: import_star(module: str | None, level: int): `from module import *` into the program's globals",
    "result": "sync: result(value): what a top-level `return value` hands back; the coroutine then returns",
    "OPEN": "attribute: the operand value for a hole not decoded yet",
}
"""The calls that a program's coroutine makes on the interpreter. `ir_check` refuses any other."""

Environment = dict[str, Any]
