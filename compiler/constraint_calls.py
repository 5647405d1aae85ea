"""The calls that a `where` clause knows by name, and what names in clauses refer to."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from lmqlc.compiler.constraints import Unit
from lmqlc.compiler.names import BUILTINS


@dataclass(frozen=True, slots=True)
class CallForm:
    """A constraint call `NAME(X, …)`: names of the parameters after the hole, and how many of them may be left out."""

    parameters: tuple[str, ...] = ()
    optional: int = 0

    def usage(self, name: str) -> str:
        """How the call is written, for hints."""
        needed = len(self.parameters) - self.optional
        text = ", ".join(["X", *self.parameters[:needed]])
        return f"{name}({text}{''.join(f'[, {p}]' for p in self.parameters[needed:])})"


CALLS: Mapping[str, CallForm] = {
    "FLOAT": CallForm(),
    "GRAMMAR": CallForm(("grammar",)),
    "INT": CallForm(),
    "JSON": CallForm(("schema",), optional=1),
    "REGEX": CallForm(("pattern",)),
    "STOPS_AT": CallForm(("phrase",)),
    "STOPS_BEFORE": CallForm(("phrase",)),
}
COUNTERS: Mapping[str, Unit] = {"SENTENCES": "sentences", "TOKENS": "tokens", "WORDS": "words"}
STOPS = frozenset({"STOPS_AT", "STOPS_BEFORE"})
CONSTRAINT_NAMES = frozenset(CALLS) | frozenset(COUNTERS)
PACKAGES = frozenset({"lmql", "lmqlc"})


@dataclass(frozen=True, slots=True)
class Scope:
    """What names mean inside the clauses of one program.

    bound: every name that the program binds anywhere, or that surrounds it. own: those that it binds itself, which alone hide a constraint.
    aliases: names imported from the package, with the constraint that each stands for. packages: names that stand for the package itself.
    functions: names bound only by plain `def`s without decorators.
    """

    bound: frozenset[str]
    own: frozenset[str]
    aliases: Mapping[str, str]
    packages: frozenset[str]
    functions: frozenset[str] = frozenset()

    def is_builtin(self, name: str) -> bool:
        """The name is a builtin that nothing hides."""
        return name in BUILTINS and name not in self.bound

    def is_known(self, name: str) -> bool:
        """Something binds the name."""
        return name in self.bound or name in BUILTINS or name in self.packages

    def constraint_name(self, function: ast.expr) -> str | None:
        """The constraint that a called expression names; None where it is another function."""
        if isinstance(function, ast.Name):
            if function.id in self.aliases:
                return self.aliases[function.id]
            return function.id if function.id in CONSTRAINT_NAMES and function.id not in self.own else None
        if self.in_package(function) and isinstance(function, ast.Attribute) and function.attr in CONSTRAINT_NAMES:
            return function.attr
        return None

    def in_package(self, function: ast.expr) -> bool:
        """The expression is an attribute of the package, as in `lmql.REGEX`."""
        return isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name) and function.value.id in self.packages

    def is_stop(self, node: ast.expr) -> bool:
        """The expression is a call of `STOPS_AT` or `STOPS_BEFORE`."""
        return isinstance(node, ast.Call) and self.constraint_name(node.func) in STOPS


def mentions(node: ast.AST, names: frozenset[str]) -> frozenset[str]:
    """Which of some names an expression uses; variables of its own lambdas and comprehensions hide them."""
    if not names:
        return names
    if isinstance(node, ast.Name):
        return names & {node.id}
    if isinstance(node, ast.Lambda):
        arguments = node.args
        given = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
        inner = names - {argument.arg for argument in given if argument is not None}
        return _any(arguments.defaults, names) | _any((d for d in arguments.kw_defaults if d), names) | mentions(node.body, inner)
    if isinstance(node, ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp):
        targets = {n.id for g in node.generators for n in ast.walk(g.target) if isinstance(n, ast.Name)}
        return mentions(node.generators[0].iter, names) | _any(ast.iter_child_nodes(node), names - targets)
    return _any(ast.iter_child_nodes(node), names)


def _any(nodes: Iterable[ast.AST], names: frozenset[str]) -> frozenset[str]:
    return frozenset().union(*(mentions(node, names) for node in nodes))


def arguments(node: ast.Call, name: str) -> dict[str, ast.expr] | None:
    """The arguments of a constraint call after the hole, by parameter; None where they do not fit."""
    form = CALLS[name]
    given = node.args[1:]
    if not node.args or len(given) > len(form.parameters) or any(isinstance(a, ast.Starred) for a in node.args):
        return None
    found = dict(zip(form.parameters, given, strict=False))
    for keyword in node.keywords:
        if keyword.arg not in form.parameters or keyword.arg in found:
            return None
        found[keyword.arg] = keyword.value
    return found if len(found) >= len(form.parameters) - form.optional else None


def calls_in(node: ast.AST) -> Iterator[ast.Call]:
    """Every call at or below a node, in the order of the text."""
    if isinstance(node, ast.Call):
        yield node
    for child in ast.iter_child_nodes(node):
        yield from calls_in(child)
