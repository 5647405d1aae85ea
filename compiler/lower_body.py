"""Statements of a program to the body of its coroutine.

Names that the program binds are declared `global`: a run has a namespace of its own, and module semantics hold in every nested scope.
What module code may do and a function may not (annotations that are kept, `from m import *`, `return` with a meaning of its own) becomes
what does the same here. Everything else stays as it is.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence

from lmqlc.compiler.findings import Findings
from lmqlc.compiler.ir import ENTRY, INTERPRETER
from lmqlc.compiler.lower_calls import CallLowerer, CallNames, host
from lmqlc.compiler.lower_prompt import LoweredHole, lower_prompt, place
from lmqlc.compiler.prompts import Function, is_prompt_function, own_statements
from lmqlc.compiler.python_text import python_text
from lmqlc.compiler.rebuild import Rebuilder, at
from lmqlc.grammar.nodes import Header, Prompt, Query
from lmqlc.grammar.source import Span

HolesOf = Callable[[Prompt], Sequence[LoweredHole]]
_ANNOTATIONS = "__annotations__"


class StatementLowerer(CallLowerer):
    """Lowers the statements of a scope whose code the interpreter drives: the program itself, or a function with holes."""

    def __init__(self, names: CallNames, holes_of: HolesOf, findings: Findings, *, is_module: bool, text_annotations: bool) -> None:
        super().__init__(names, is_module=is_module)
        self.holes_of = holes_of
        self.findings = findings
        self.text_annotations = text_annotations

    def visit_Prompt(self, node: Prompt) -> list[ast.stmt]:
        return lower_prompt(node, self.holes_of(node), self, self.findings.source)

    # -- scopes -----------------------------------------------------------------------------------------------------------------

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.stmt:
        return self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.stmt:
        return self._function(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.stmt:
        head = {"decorator_list": self.items(node.decorator_list)}
        if not getattr(node, "type_params", []):  # with them, bases stand in a scope that cannot await
            head |= {"bases": self.items(node.bases), "keywords": self.items(node.keywords)}
        return PlainLowerer(self).copy(node, **head)

    def _function(self, node: Function) -> ast.stmt:
        head = {"decorator_list": self.items(node.decorator_list), "args": self._arguments(node.args)}
        return PlainLowerer(self).function(node, **head)

    def _arguments(self, node: ast.arguments) -> ast.arguments:
        """Parameters: their defaults are evaluated here, their annotations stay as written."""
        fields = {name: value for name, value in ast.iter_fields(node) if name not in ("defaults", "kw_defaults")}
        return ast.arguments(defaults=self.items(node.defaults), kw_defaults=self.items(node.kw_defaults), **fields)

    def visit_TypeAlias(self, node: ast.AST) -> ast.AST:
        return node

    # -- module semantics -----------------------------------------------------------------------------------------------------------

    def visit_Return(self, node: ast.Return) -> ast.stmt | list[ast.stmt]:
        if not self.is_module or node.value is None:
            return self.rebuild(node)
        kept = ast.Expr(host("result", self.visit(node.value)))
        return [at(kept, node), ast.copy_location(ast.Return(None), node)]

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.stmt:
        if not self.is_module or node.names[0].name != "*":
            return node
        module = ast.Constant(node.module)
        return at(ast.Expr(host("import_star", module, ast.Constant(node.level))), node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.stmt | list[ast.stmt]:
        if not self.is_module:
            return self.rebuild(node, annotation=node.annotation)
        made: list[ast.stmt] = []
        if node.value is not None:
            made.append(at(ast.Assign([self.visit(node.target)], self.visit(node.value)), node))
        if node.simple and isinstance(node.target, ast.Name):
            annotation = ast.Constant(python_text(node.annotation)) if self.text_annotations else node.annotation
            target = ast.Subscript(ast.Name(_ANNOTATIONS, ast.Load()), ast.Constant(node.target.id), ast.Store())
            made.append(at(ast.Assign([target], annotation), node))
        elif not self.text_annotations:
            made.append(at(ast.Expr(node.annotation), node))
        return made or [ast.copy_location(ast.Pass(), node)]

    def _yield(self, node: ast.Yield | ast.YieldFrom) -> ast.expr:
        if self.is_module:
            self.findings.error("L0510", "`yield` outside a function", self.findings.span(node), "put it into a function without holes")
        return self.rebuild(node)

    visit_Yield = _yield
    visit_YieldFrom = _yield


class PlainLowerer(Rebuilder):
    """Copies plain functions and classes as they are, and lowers the functions with holes inside them."""

    def __init__(self, outer: StatementLowerer) -> None:
        self.outer = outer
        self.class_name: str | None = None

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.stmt:
        return self.function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.stmt:
        return self.function(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.stmt:
        return self.copy(node)

    def copy(self, node: ast.ClassDef, **head: object) -> ast.stmt:
        """A class; its body is nobody's to await in."""
        before, self.class_name = self.class_name, node.name
        new = self.rebuild(node, **{"bases": node.bases, "keywords": node.keywords, "decorator_list": node.decorator_list, **head})
        self.class_name = before
        return new

    def function(self, node: Function, **head: object) -> ast.stmt:
        """A function; one with holes becomes a coroutine function that the interpreter drives."""
        head = {"args": node.args, "decorator_list": node.decorator_list, **head}
        before, self.class_name = self.class_name, None
        if is_prompt_function(node):
            self._check(node, before)
            outer = self.outer
            inner = StatementLowerer(outer.names, outer.holes_of, outer.findings, is_module=False, text_annotations=outer.text_annotations)
            fields = {**dict(ast.iter_fields(node)), **head, "body": inner.items(node.body)}
            new: ast.stmt = ast.copy_location(ast.AsyncFunctionDef(**fields), node)
        else:
            new = self.rebuild(node, returns=node.returns, **head)
        self.class_name = before
        return new

    def _check(self, node: Function, class_name: str | None) -> None:
        """A function with holes is awaited; Python calls some functions without."""
        findings = self.outer.findings
        first = next(s.query.holes[0] for s in own_statements(node.body) if isinstance(s, Prompt) and s.query.holes)
        awaited = ("__call__", "__aenter__", "__aexit__", "__anext__")
        if class_name is not None and node.name.startswith("__") and node.name.endswith("__") and node.name not in awaited:
            message = f"a hole in `{node.name}`: Python calls this method without waiting for it"
            findings.error("L0509", message, first.span, "decode it in a method of your own and call that")
        if isinstance(node, ast.FunctionDef) and _yields(node):
            message = f"the generator `{node.name}` has a hole"
            findings.error("L0511", message, first.span, "make it an `async def` and iterate over it with `async for`")


def _yields(node: Function) -> bool:
    """The function's own body yields."""

    def search(part: ast.AST) -> bool:
        if isinstance(part, ast.Yield | ast.YieldFrom):
            return True
        if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            return False
        return any(search(child) for child in ast.iter_child_nodes(part))

    return any(search(statement) for statement in node.body)


# -- the whole body ----------------------------------------------------------------------------------------------------


def future_imports(query: Query) -> list[ast.ImportFrom]:
    """The `from __future__` imports at the top of a program (a first string may stand before them)."""
    found: list[ast.ImportFrom] = []
    for number, statement in enumerate(query.statements):
        if isinstance(statement, ast.ImportFrom) and statement.module == "__future__" and not statement.level:
            found.append(statement)
        elif number or not (isinstance(statement, Prompt) or _is_string(statement)):
            break
    return found


def _is_string(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant) and isinstance(statement.value.value, str)


def lower_body(query: Query, names: Sequence[str], calls: CallNames, holes_of: HolesOf, findings: Findings) -> ast.Module:
    """The module that defines a program's coroutine function. `names` are those that the program's own scope binds."""
    futures = future_imports(query)
    deferred = any(alias.name == "annotations" for statement in futures for alias in statement.names)
    lowerer = StatementLowerer(calls, holes_of, findings, is_module=True, text_annotations=deferred)
    keep = [[s for s in part if s not in futures] for part in (query.prelude, query.body)]
    statements = [*_declarations(query, names), *lowerer.items(keep[0]), *_setup(query, lowerer), *lowerer.items(keep[1])]
    start = place(Span(0, 0), findings.source)
    arguments = ast.arguments([], [ast.arg(INTERPRETER)], None, [], [], None, [])
    main = ast.AsyncFunctionDef(ENTRY, arguments, statements or [ast.Pass()], [], None)
    if "type_params" in main._fields:
        setattr(main, "type_params", [])  # noqa: B010 - Python 3.12 asks for it, 3.11 does not know it
    return ast.Module([*futures, at(main, start)], [])


def _declarations(query: Query, names: Sequence[str]) -> list[ast.stmt]:
    """The names of the program's scope, and the dict for its annotations where it has some."""
    annotated = any(isinstance(s, ast.AnnAssign) and s.simple for s in own_statements(query.statements))
    declared = [*names, *([_ANNOTATIONS] if annotated and _ANNOTATIONS not in names else [])]
    made: list[ast.stmt] = [ast.Global(declared)] if declared else []
    if annotated:
        made.append(ast.Assign([ast.Name(_ANNOTATIONS, ast.Store())], ast.Dict([], [])))
    return made


def _setup(query: Query, lowerer: StatementLowerer) -> list[ast.stmt]:
    """The header's arguments and the model, evaluated where the header stands."""
    made: list[ast.stmt] = []
    if query.header is not None:
        arguments = _arguments(query.header, lowerer)
        made.append(_placed(host("configure", ast.Constant(query.header.decoder), arguments), query.header.span, lowerer))
    if query.model is not None:
        made.append(_placed(host("model", lowerer.visit(query.model.expr)), query.model.span, lowerer))
    return made


def _arguments(header: Header, lowerer: StatementLowerer) -> ast.Dict:
    keys: list[ast.expr | None] = [ast.Constant(keyword.arg) for keyword in header.keywords]
    return ast.Dict(keys, [lowerer.visit(keyword.value) for keyword in header.keywords])


def _placed(call: ast.Call, span: Span, lowerer: StatementLowerer) -> ast.stmt:
    return at(ast.Expr(call), place(span, lowerer.findings.source))
