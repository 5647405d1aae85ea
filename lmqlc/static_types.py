"""Types of holes that are known before a program runs: of literals, of the standard library's types, of classes that the program defines.

Only definitions are looked at: imports of modules that hold types, classes whose bodies hold fields and methods, names for types. A name
that the program binds twice, or anywhere but at its top, is known only when it runs; so is whatever else a type may depend on.
"""

from __future__ import annotations

import ast
import builtins
import copy
from collections import Counter
from collections.abc import Iterator
from typing import Any

from lmqlc.compiler.ir import INTERPRETER, Program

_MODULES = frozenset({
    "typing", "typing_extensions", "types", "enum", "dataclasses", "datetime", "decimal", "uuid", "re", "collections.abc", "pydantic",
    "annotated_types",
})  # fmt: skip
"""Modules that are imported to look at types; importing them does nothing else."""
_BUILTINS = {
    name: getattr(builtins, name)
    for name in ["int", "str", "float", "bool", "list", "dict", "tuple", "set", "frozenset", "object", "type", "property"]
}
_HOLES = frozenset({"hole", "distribution"})


def static_types(program: Program) -> dict[int, Any]:
    """The types, by the number of their hole, that are known before the program runs."""
    main = next((node for node in program.body.body if isinstance(node, ast.AsyncFunctionDef)), None)
    if main is None or not any(hole.has_type for hole in program.holes):
        return {}
    known = _Definitions(_bound_once(main))
    for statement in main.body:
        known.take(statement)
    found = {}
    for index, node in _given(main):
        try:
            found[index] = known.value(node)
        except _UnknownError:
            continue
    return found


class _UnknownError(Exception):
    """A value that only the running program has."""


def _bound_once(main: ast.AST) -> frozenset[str]:
    """Names that one statement of the program binds."""
    counts: Counter[str] = Counter()
    for node in ast.walk(main):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            counts[node.id] += 1
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            counts[node.name] += 1
        elif isinstance(node, ast.alias):
            counts[node.asname or node.name.partition(".")[0]] += 1
        elif isinstance(node, ast.arg):
            counts[node.arg] += 2
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
            counts[node.name] += 2
    return frozenset(name for name, count in counts.items() if count == 1)


def _given(main: ast.AST) -> Iterator[tuple[int, ast.expr]]:
    """Every hole's number and type, as the compiled program passes them."""
    for node in ast.walk(main):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute) or node.func.attr not in _HOLES:
            continue
        at = 2 if node.func.attr == "hole" else 3
        if isinstance(node.func.value, ast.Name) and node.func.value.id == INTERPRETER and len(node.args) > at:
            index = node.args[0]
            if isinstance(index, ast.Constant) and isinstance(index.value, int):
                yield index.value, node.args[at]


class _Unawaited(ast.NodeTransformer):
    """Calls as the program wrote them: compiled, they are the interpreter's."""

    def visit_Await(self, node: ast.Await) -> ast.AST:
        call = self.visit(node.value)
        written = isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "call" and call.args
        return call.args[0] if written else node


class _Definitions:
    """What the definitions read so far bind."""

    def __init__(self, bound_once: frozenset[str]) -> None:
        self._bound_once = bound_once
        self._values: dict[str, Any] = {}
        self._imported: set[str] = set()

    def value(self, node: ast.expr) -> Any:
        """The value of an expression over known names. Raises _UnknownError."""
        node = _Unawaited().visit(copy.deepcopy(node))
        if not self._is_plain(node):
            raise _UnknownError
        return self._run(compile(ast.Expression(node), "<type>", "eval", dont_inherit=True), evaluate=True)

    def take(self, statement: ast.stmt) -> None:
        """Read a statement at the top of the program, where it is a definition."""
        if isinstance(statement, ast.Import | ast.ImportFrom):
            self._import(statement)
        elif isinstance(statement, ast.ClassDef):
            self._define(statement.name, statement, self._is_plain_class(statement))
        elif isinstance(statement, ast.Assign) and len(statement.targets) == 1 and isinstance(statement.targets[0], ast.Name):
            self._define(statement.targets[0].id, statement, self._is_plain(statement.value))

    def _import(self, statement: ast.Import | ast.ImportFrom) -> None:
        for alias in statement.names:
            name = alias.asname or alias.name.partition(".")[0]
            module = alias.name if isinstance(statement, ast.Import) else statement.module or ""
            if module in _MODULES and alias.name != "*" and not getattr(statement, "level", 0):
                one = ast.Import([alias]) if isinstance(statement, ast.Import) else ast.ImportFrom(module, [alias], 0)
                self._define(name, one, plain=True)
                self._imported.add(name)

    def _define(self, name: str, statement: ast.stmt, plain: bool) -> None:
        if plain and name in self._bound_once:
            try:
                module = ast.fix_missing_locations(ast.Module([statement], []))
                self._run(compile(module, "<type>", "exec", dont_inherit=True))
            except _UnknownError:
                self._values.pop(name, None)

    def _run(self, code: Any, evaluate: bool = False) -> Any:
        scope = {"__builtins__": {**_BUILTINS, **_MACHINERY}, "__name__": "__main__"}
        try:
            if evaluate:
                return eval(code, scope, self._values)  # noqa: S307 - definitions only, see above
            exec(code, scope | self._values, self._values)  # noqa: S102
        except Exception as problem:
            raise _UnknownError from problem
        return None

    def _is_plain(self, node: ast.AST) -> bool:
        """An expression of types and literals alone."""
        if isinstance(node, ast.Name):
            return node.id in self._values or (node.id in _BUILTINS and node.id not in self._bound_once)
        if isinstance(node, ast.Constant):
            return True
        if isinstance(node, ast.Call):
            root = node.func
            while isinstance(root, ast.Attribute):
                root = root.value
            return isinstance(root, ast.Name) and root.id in self._imported and all(map(self._is_plain, [*node.args, *node.keywords]))
        if isinstance(node, ast.Attribute | ast.keyword | ast.Starred):
            return self._is_plain(node.value)
        if isinstance(node, ast.Subscript):
            return self._is_plain(node.value) and self._is_plain(node.slice)
        if isinstance(node, ast.Tuple | ast.List):
            return all(map(self._is_plain, node.elts))
        if isinstance(node, ast.BinOp):
            return isinstance(node.op, ast.BitOr) and self._is_plain(node.left) and self._is_plain(node.right)
        return isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and self._is_plain(node.operand)

    def _is_plain_class(self, node: ast.ClassDef) -> bool:
        """A class of fields and methods; methods are not called."""
        parts = [*node.bases, *node.decorator_list, *node.keywords]
        return all(map(self._is_plain, parts)) and all(self._is_field(part, node.name) for part in node.body)

    def _is_field(self, part: ast.stmt, owner: str) -> bool:
        if isinstance(part, ast.AnnAssign):
            return self._is_annotation(part.annotation, owner) and (part.value is None or self._is_plain(part.value))
        if isinstance(part, ast.Assign):
            return self._is_plain(part.value)
        if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef):
            arguments = [*part.args.posonlyargs, *part.args.args, *part.args.kwonlyargs]
            said = [*part.args.defaults, *part.args.kw_defaults, part.returns, *(argument.annotation for argument in arguments)]
            return not part.decorator_list and all(node is None or self._is_annotation(node, owner) for node in said)
        return isinstance(part, ast.Pass) or (isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant))

    def _is_annotation(self, node: ast.expr, owner: str) -> bool:
        """An annotation of known names; the class itself only within quotes."""
        return self._is_plain(node) or (isinstance(node, ast.Constant) and node.value == owner)


_MACHINERY = {"__build_class__": builtins.__build_class__, "__import__": builtins.__import__, "None": None, "True": True, "False": False}
