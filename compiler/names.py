"""Which names a program binds, and which it leaves free.

Bound names of the program's own scope come from a walk over its statements. Free names come from Python's own compiler: the lowered body
is compiled, and what its code looks up as a global, binds nowhere and does not find among the builtins is free. So comprehensions, classes,
closures, `global`, deferred annotations and every later scope rule are judged by Python itself.
"""

from __future__ import annotations

import ast
import builtins
import dis
from collections.abc import Iterable, Iterator, Sequence
from types import CodeType

from lmqlc.compiler.ir import INTERPRETER
from lmqlc.grammar.nodes import Hole, Interpolation, Prompt, QueryString

BUILTINS = frozenset(dir(builtins))
PREDEFINED = frozenset(
    {"lmql", INTERPRETER, "__name__", "__file__", "__doc__", "__package__", "__spec__", "__loader__", "__builtins__", "__annotations__"}
    | {"__dict__", "__path__", "__cached__"}
)
"""Names that every program finds, whatever it binds."""

_LOADS = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS", "DELETE_GLOBAL"})


def expressions(query: QueryString) -> Iterator[ast.expr]:
    """Every Python expression of a query string and its clauses, in the order of the text."""
    for part in query.parts:
        if isinstance(part, Interpolation):
            yield part.expr
            if part.format_spec is not None:
                yield part.format_spec
        elif isinstance(part, Hole):
            yield from part.decorators
            if part.type is not None:
                yield part.type
    if query.where is not None:
        yield query.where.expr
    if query.distribution is not None:
        yield query.distribution.options


class _Binder(ast.NodeVisitor):
    """Names that one scope binds, in order; nested scopes are not entered."""

    def __init__(self) -> None:
        self.names: dict[str, None] = {}
        self.has_star_import = False

    def bind(self, name: str | None) -> None:
        """Add a name, where there is one."""
        if name is not None:
            self.names.setdefault(name)

    def visit_all(self, nodes: Iterable[ast.AST | None]) -> None:
        for node in nodes:
            if node is not None:
                self.visit(node)

    def visit_Prompt(self, node: Prompt) -> None:
        for hole in node.query.holes:
            self.bind(hole.name)
        self.visit_all(expressions(node.query))

    def visit_Name(self, node: ast.Name) -> None:
        if not isinstance(node.ctx, ast.Load):
            self.bind(node.id)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self.bind(node.name)
        self.visit_all([*node.decorator_list, *node.args.defaults, *node.args.kw_defaults])

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self.bind(node.name)
        self.visit_all([*node.decorator_list, *node.bases, *(keyword.value for keyword in node.keywords)])

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self.visit_all([*node.args.defaults, *node.args.kw_defaults])

    def visit_comprehension(self, node: ast.comprehension) -> None:
        self.visit_all([node.iter, *node.ifs])  # its target is local to the comprehension, a walrus in it is not

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None or not isinstance(node.target, ast.Name):
            self.visit_all([node.target, node.value])

    def visit_TypeAlias(self, node: ast.AST) -> None:
        self.visit(node.name)  # type: ignore[attr-defined]

    def visit_Import(self, node: ast.Import | ast.ImportFrom) -> None:
        for alias in node.names:
            if alias.name == "*":
                self.has_star_import = True
            else:
                self.bind(alias.asname or alias.name.partition(".")[0])

    visit_ImportFrom = visit_Import

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        self.bind(node.name)
        self.generic_visit(node)

    def visit_MatchAs(self, node: ast.MatchAs | ast.MatchStar) -> None:
        self.bind(node.name)
        self.generic_visit(node)

    visit_MatchStar = visit_MatchAs

    def visit_MatchMapping(self, node: ast.MatchMapping) -> None:
        self.bind(node.rest)
        self.generic_visit(node)


def bound_names(statements: Sequence[ast.stmt]) -> tuple[str, ...]:
    """Names that statements bind in their own scope, in order of first binding; star imports aside."""
    binder = _Binder()
    binder.visit_all(statements)
    return tuple(binder.names)


def has_star_import(statements: Sequence[ast.stmt]) -> bool:
    """The statements' own scope holds a `from m import *`."""
    binder = _Binder()
    binder.visit_all(statements)
    return binder.has_star_import


def _codes(code: CodeType) -> Iterator[CodeType]:
    """The code objects that may run; annotations that Python 3.14 evaluates only on demand are left out."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType) and constant.co_name != "__annotate__":
            yield from _codes(constant)


def _used_and_bound(code: CodeType) -> tuple[set[str], set[str]]:
    """Names that one code object looks up outside itself, and globals that it binds.

    In a class body a name counts as looked up only where no binding stands before it."""
    used: set[str] = set()
    bound: set[str] = set()
    own: set[str] = set()
    bare = code.replace(co_consts=(None,) * len(code.co_consts))  # `dis` would write every constant, however long
    for instruction in dis.get_instructions(bare):
        name = instruction.argval
        if instruction.opname == "STORE_NAME":
            own.add(name)
        elif instruction.opname == "STORE_GLOBAL":
            bound.add(name)
        elif instruction.opname in _LOADS and name not in own:
            used.add(name)
    return used, bound


def free_names(code: CodeType) -> frozenset[str]:
    """Names that the code of a lowered body finds neither in the program nor among the builtins."""
    used: set[str] = set()
    bound: set[str] = set()
    for part in _codes(code):
        more_used, more_bound = _used_and_bound(part)
        used |= more_used
        bound |= more_bound
    return frozenset(used - bound - BUILTINS - PREDEFINED)
