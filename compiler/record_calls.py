"""The form of a program's body whose branches can be copied: what reaches outside the program goes through the interpreter.

A copied branch runs the program again from its start, and is told what calls gave the first time (`lmqlc.runtime.effects`). For that, every
call `f(x)` of the program's code, plain functions, lambdas and classes included, becomes `__lmql__.through(f)(x)`; awaited values, the
iterables of loops and the context managers of `with` pass through the interpreter too. What must see its caller's frame (`super()`,
`locals()` …) stays as written, and so do annotations, which some libraries read as text.

Only decoders that branch run this form; for all others a program's calls are Python's own.
"""

from __future__ import annotations

import ast
from typing import TypeVar

from lmqlc.compiler.ir import INTERPRETER
from lmqlc.compiler.lower_calls import host
from lmqlc.compiler.rebuild import Rebuilder, at

_SEES_FRAME = frozenset({"super", "locals", "vars", "dir", "eval", "exec", "globals", "__import__"})
_LISTS_NAMES = frozenset({"locals", "vars", "dir"})
F = TypeVar("F", ast.FunctionDef, ast.AsyncFunctionDef)


def record_calls(body: ast.Module) -> ast.Module:
    """A program's lowered body in the form that branches can be copied in."""
    return _Recorder().rebuild(body)


def header_arguments(body: ast.Module) -> frozenset[str]:
    """The names of the arguments in the header of a program's lowered body."""
    for node in ast.walk(body):
        if _host_method(node) == "configure":
            assert isinstance(node, ast.Call)
            return frozenset(str(key.value) for key in getattr(node.args[1], "keys", []) if isinstance(key, ast.Constant))
    return frozenset()


class _Recorder(Rebuilder):
    def visit_Call(self, node: ast.Call) -> ast.Call:
        new = self.rebuild(node)
        if _host_method(node) is not None:
            return new
        if isinstance(node.func, ast.Name) and node.func.id in _SEES_FRAME:
            lists = node.func.id in _LISTS_NAMES and not node.args and not node.keywords
            return at(host("visible", new), node) if lists else new
        return self._through_call("through", new)

    def visit_Await(self, node: ast.Await) -> ast.Await:
        method = _host_method(node.value)
        if method == "call":
            assert isinstance(node.value, ast.Call)
            return self.rebuild(node, value=self._awaited_call(node.value))
        if method is not None:
            return self.rebuild(node)
        return self.rebuild(node, value=self._through("awaited", node.value))

    def _awaited_call(self, node: ast.Call) -> ast.Call:
        """`__lmql__.call(f(x))` as `__lmql__.call(__lmql__.through_awaited(f)(x))`."""
        called = self.visit(node.args[0])
        if isinstance(called, ast.Call) and _host_method(called.func) == "through":
            assert isinstance(called.func, ast.Call)
            function = self._through_awaited(called.func)
            called = ast.copy_location(ast.Call(function, called.args, called.keywords), called)
        return self.rebuild(node, args=[called])

    @staticmethod
    def _through_awaited(node: ast.Call) -> ast.Call:
        return at(host("through_awaited", *node.args), node)

    def _through_call(self, method: str, node: ast.Call) -> ast.Call:
        function = at(host(method, node.func), node.func)
        return ast.copy_location(ast.Call(function, node.args, node.keywords), node)

    def visit_For(self, node: ast.For) -> ast.For:
        return self.rebuild(node, iter=self._through("iterate", node.iter))

    def visit_AsyncFor(self, node: ast.AsyncFor) -> ast.AsyncFor:
        return self.rebuild(node, iter=self._through("iterate_async", node.iter))

    def visit_comprehension(self, node: ast.comprehension) -> ast.comprehension:
        through = self._through("iterate_async" if node.is_async else "iterate", node.iter)
        return ast.comprehension(self.visit(node.target), through, self.items(node.ifs), node.is_async)

    def visit_With(self, node: ast.With) -> ast.With:
        return self.rebuild(node, items=[self._managed(item, "manage") for item in node.items])

    def visit_AsyncWith(self, node: ast.AsyncWith) -> ast.AsyncWith:
        return self.rebuild(node, items=[self._managed(item, "manage_async") for item in node.items])

    def _managed(self, item: ast.withitem, method: str) -> ast.withitem:
        names = None if item.optional_vars is None else self.visit(item.optional_vars)
        return ast.withitem(self._through(method, item.context_expr), names)

    def _through(self, method: str, node: ast.expr) -> ast.expr:
        """An expression whose value the interpreter may replace."""
        return at(host(method, self.visit(node)), node)

    # -- annotations stay as written ------------------------------------------------------------------------------------------------

    def visit_arg(self, node: ast.arg) -> ast.arg:
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AnnAssign:
        return self.rebuild(node, annotation=node.annotation)

    def _function(self, node: F) -> F:
        return self.rebuild(node, returns=node.returns)

    visit_FunctionDef = _function
    visit_AsyncFunctionDef = _function


def _host_method(node: ast.AST) -> str | None:
    """The method of the interpreter that a call is one of; None for other calls, and for what is no call."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return None
    value = node.func.value
    return node.func.attr if isinstance(value, ast.Name) and value.id == INTERPRETER else None
