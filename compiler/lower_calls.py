"""Expressions of code that the interpreter drives: calls of queries and coroutines are awaited without being told to.

Every call becomes `(await __lmql__.call(CALL))` except those that Python must see as written: calls of builtins, calls that are awaited
already, whatever stands inside a lambda, and the arguments of asyncio's functions, which take coroutines as such.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from lmqlc.compiler.ir import INTERPRETER
from lmqlc.compiler.names import BUILTINS
from lmqlc.compiler.rebuild import Rebuilder, at

_FRAME_CALLS = frozenset({"locals", "vars", "dir", "eval", "exec"})
"""Builtins that look at the namespace of the code that calls them."""

_TASK_METHODS = frozenset({"create_task", "ensure_future", "run_coroutine_threadsafe", "run_until_complete"})
"""Methods of event loops and task groups that take a coroutine as such."""


@dataclass(frozen=True, slots=True)
class CallNames:
    """Names that decide how calls are lowered.

    shadowed: builtins that the program binds somewhere. asyncio_modules, asyncio_functions: names that its imports bind to asyncio or to a
    function of asyncio.
    """

    shadowed: frozenset[str]
    asyncio_modules: frozenset[str] = frozenset()
    asyncio_functions: frozenset[str] = frozenset()

    def is_builtin(self, function: ast.expr) -> bool:
        """The call is known to give no coroutine: of a builtin, or of a method of a literal."""
        if isinstance(function, ast.Attribute):
            return isinstance(function.value, ast.Constant | ast.JoinedStr) or _root(function) == INTERPRETER
        return isinstance(function, ast.Name) and function.id in BUILTINS and function.id not in self.shadowed

    def takes_coroutines(self, function: ast.expr) -> bool:
        """A function of asyncio: its arguments stay as written."""
        if isinstance(function, ast.Name):
            return function.id in self.asyncio_functions
        return isinstance(function, ast.Attribute) and (function.attr in _TASK_METHODS or _root(function) in self.asyncio_modules)


def call_names(imports: Iterator[ast.AST], bound: frozenset[str]) -> CallNames:
    """The names that decide, from a program's nodes and everything it binds."""
    modules, functions = set[str](), set[str]()
    for node in imports:
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.partition(".")[0] == "asyncio":
                    modules.add(alias.asname or "asyncio")
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "asyncio" and not node.level:
            functions |= {alias.asname or alias.name for alias in node.names}
    return CallNames(bound & BUILTINS, frozenset(modules), frozenset(functions))


def _root(node: ast.expr) -> str | None:
    """The name at the start of an attribute chain."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


def host(method: str, *arguments: ast.expr) -> ast.Call:
    """A call on the interpreter."""
    return ast.Call(ast.Attribute(ast.Name(INTERPRETER, ast.Load()), method, ast.Load()), list(arguments), [])


class CallLowerer(Rebuilder):
    """Lowers the expressions of one scope. `is_module`: the scope is the program's own, whose variables are globals."""

    def __init__(self, names: CallNames, *, is_module: bool) -> None:
        self.names = names
        self.is_module = is_module

    def as_written(self, node: ast.expr) -> ast.expr:
        """An expression whose outermost call the surrounding construct awaits, or wants as such."""
        return self._call(node) if isinstance(node, ast.Call) else self.visit(node)

    def visit_Call(self, node: ast.Call) -> ast.expr:
        new = self._call(node)
        if self.names.is_builtin(node.func):
            return self._with_namespace(new) if self.is_module else new
        return at(ast.Await(host("call", new)), node)

    def _call(self, node: ast.Call) -> ast.Call:
        if self.names.takes_coroutines(node.func):
            return ast.copy_location(ast.Call(self.visit(node.func), node.args, node.keywords), node)
        if self._is_next_of_generator(node):
            return self.rebuild(node, args=[self._iterator(node.args[0]), *self.items(node.args[1:])])
        return self.rebuild(node)

    def visit_Await(self, node: ast.Await) -> ast.Await:
        return self.rebuild(node, value=self.as_written(node.value))

    def visit_Lambda(self, node: ast.Lambda) -> ast.Lambda:
        return node

    # -- namespaces -------------------------------------------------------------------------------------------------------------

    def _with_namespace(self, node: ast.Call) -> ast.Call:
        """`locals()` and its like see the program's variables, which are globals of the coroutine."""
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name not in _FRAME_CALLS or node.keywords or "globals" in self.names.shadowed:
            return node
        namespace = at(ast.Call(ast.Name("globals", ast.Load()), [], []), node)
        if name in ("locals", "vars") and not node.args:
            return namespace
        if name == "dir" and not node.args and "sorted" not in self.names.shadowed:
            return at(ast.Call(ast.Name("sorted", ast.Load()), [namespace], []), node)
        if name in ("eval", "exec") and len(node.args) == 1 and not isinstance(node.args[0], ast.Starred):
            return ast.copy_location(ast.Call(node.func, [*node.args, namespace], []), node)
        return node

    # -- comprehensions ----------------------------------------------------------------------------------------------------------

    def visit_GeneratorExp(self, node: ast.GeneratorExp) -> ast.expr:
        """A generator that would have to await becomes a list; one that is asynchronous already stays one."""
        new = self.rebuild(node)
        if _awaits_inside(node) or not _awaits_inside(new):
            return new
        return ast.copy_location(ast.ListComp(new.elt, new.generators), node)

    def _is_next_of_generator(self, node: ast.Call) -> bool:
        is_next = isinstance(node.func, ast.Name) and node.func.id == "next" and self.names.is_builtin(node.func)
        return is_next and bool(node.args) and isinstance(node.args[0], ast.GeneratorExp)

    def _iterator(self, node: ast.expr) -> ast.expr:
        """`next` wants an iterator, also where the generator has become a list."""
        new: ast.expr = self.visit(node)
        if not isinstance(new, ast.ListComp):
            return new
        return at(ast.Call(ast.Attribute(new, "__iter__", ast.Load()), [], []), node)


def _awaits_inside(node: ast.GeneratorExp) -> bool:
    """The generator's own code awaits: anywhere but in its first iterable, which is evaluated outside it."""
    first = node.generators[0]
    if any(generator.is_async for generator in node.generators):
        return True
    parts: list[ast.expr] = [node.elt, *first.ifs]
    for generator in node.generators[1:]:
        parts += [generator.iter, *generator.ifs]
    return any(_has_await(part) for part in parts)


def _has_await(node: ast.AST) -> bool:
    """An `await` of the node's own scope; a nested generator's is its own, but that of its first iterable is ours."""
    if isinstance(node, ast.Await):
        return True
    if isinstance(node, ast.Lambda):
        return False
    if isinstance(node, ast.GeneratorExp):
        return _has_await(node.generators[0].iter)
    if isinstance(node, ast.ListComp | ast.SetComp | ast.DictComp) and any(generator.is_async for generator in node.generators):
        return True
    return any(_has_await(child) for child in ast.iter_child_nodes(node))
