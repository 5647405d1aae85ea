"""Arguments of a program: its free names, given by position or by name, checked before anything runs."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from difflib import get_close_matches
from types import ModuleType
from typing import Any

from lmqlc.compiler.ir import Program
from lmqlc.grammar.errors import LmqlError
from lmqlc.runtime.asking import ask
from lmqlc.runtime.program_module import NAME, make_known


class ArgumentError(LmqlError, TypeError):
    """Arguments that a program or a query function does not take."""


def environment_for(namespace: ModuleType | None, extra: Mapping[str, Any] = {}) -> dict[str, Any]:
    """Globals of a run: builtins, `lmql` bound to the public package (`import lmql` gives it too), and what else the program may see."""
    make_known()
    environment: dict[str, Any] = {"__name__": NAME, **extra}
    if namespace is not None:
        environment.setdefault("lmql", namespace)
        environment["__builtins__"] = {**vars(builtins), "__import__": _importing(namespace.__name__), "input": ask}
    return environment


def _importing(package: str) -> Callable[..., Any]:
    """`__import__`, for which `lmql` is the name of the public package."""

    def import_module(name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0) -> Any:
        if level == 0 and (name == "lmql" or name.startswith("lmql.")):
            name = package + name.removeprefix("lmql")
        return builtins.__import__(name, globals, locals, fromlist, level)

    return import_module


def bind_arguments(
    program: Program, args: Sequence[Any], kwargs: Mapping[str, Any], *, known: Container[str] = (), options: Iterable[str] = ()
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The program's arguments by name, and the keywords that are none of them but name one of `options`.

    Positional arguments are taken in the order in which the program first uses its free names. `known` names have a value already.
    Raises ArgumentError for too many, unknown, doubled and missing arguments.
    """
    parameters = [name for name in program.parameters if name not in known]
    takes, options = [*parameters, *program.optional], list(options)
    if len(args) > len(parameters):
        raise ArgumentError(f"the program takes {len(parameters)} positional arguments, not {len(args)}{_listed(parameters)}")
    values: dict[str, Any] = dict(zip(parameters, args, strict=False))
    rest: dict[str, Any] = {}
    unknown: list[str] = []
    for name, value in kwargs.items():
        if name in values:
            raise ArgumentError(f"the argument `{name}` is given twice")
        if name in takes or name in program.parameters:
            values[name] = value
        elif name in options:
            rest[name] = value
        else:
            unknown.append(name)
    missing = [name for name in parameters if name not in values]
    if missing or unknown:
        raise ArgumentError(_complaint(missing, unknown, [*takes, *options], takes))
    return values, rest


def _complaint(missing: Sequence[str], unknown: Sequence[str], known: Sequence[str], takes: Sequence[str]) -> str:
    lines = []
    for name in missing:
        close = get_close_matches(name, unknown, 1)
        lines.append(f"the program needs a value for `{name}`" + (f"; did you mean it by `{close[0]}`?" if close else ""))
    explained = {close for name in missing for close in get_close_matches(name, unknown, 1)}
    for name in unknown:
        if name not in explained:
            close = get_close_matches(name, known, 1)
            lines.append(f"the program has no argument `{name}`" + (f"; did you mean `{close[0]}`?" if close else _listed(takes)))
    if missing:
        lines.append(f"  hint: give it as an argument: --arg {missing[0]}=… on the command line, {missing[0]}=… in Python")
    return "\n".join(lines)


def _listed(names: Sequence[str]) -> str:
    return f"; its arguments are: {', '.join(names)}" if names else "; it takes none"
