"""Where a program ends and the outside begins: which calls a copied branch must not make again."""

from __future__ import annotations

import builtins
import functools
import inspect
import io
import logging
import pathlib
import sys
from collections.abc import Iterable, Mapping, Sequence
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

from lmqlc.runtime.copies import ATOMS

PURE = frozenset(
    (
        *("abc", "base64", "bisect", "builtins", "cmath", "collections", "contextlib", "copy", "dataclasses", "decimal", "difflib", "enum"),
        *("fractions", "functools", "hashlib", "heapq", "html", "itertools", "json", "math", "numbers", "operator", "re", "statistics"),
        *("string", "struct", "textwrap", "types", "typing", "typing_extensions", "unicodedata"),
    )
)
"""Modules whose functions depend on their arguments alone, and touch nothing else: called again, they give the same."""

IMPURE_BUILTINS = frozenset({"print", "input", "open", "breakpoint", "help", "exit", "quit"})
_OUTSIDE = (io.IOBase, logging.Logger, logging.Handler, pathlib.Path)
"""Types whose objects stand for something outside, whoever made them."""

_CLASS_MAKERS = frozenset({"typing", "typing_extensions", "enum", "dataclasses", "types"})
_CACHED = type(functools.cache(len))
_SEES_CALLER = (sys._getframe, inspect.currentframe, inspect.stack, type)
_TAKES_ITEMS = frozenset({"extend", "update", "join", "union", "intersection", "difference", "symmetric_difference", "fromkeys"})
"""Methods of plain values that read an iterable; others only keep what they are given."""
_PLAIN = (list, dict, set, str, tuple, bytes, int, float, bool, frozenset, bytearray)
_FRAMEWORK = "lmqlc"
OUTSIDE = "__lmql_outside__"
"""The attribute of the framework's own functions that reach outside for the program that calls them."""

_HEAP_TYPE = 1 << 9
"""The flag of classes that are made at run time (`Py_TPFLAGS_HEAPTYPE`)."""


class Boundary:
    """What belongs to the program of one branch. namespaces: globals of its functions. shared: values that cannot be copied, by `id`."""

    def __init__(self, shared: Mapping[int, Any] = {}) -> None:
        self.shared = dict(shared)
        self._namespaces: dict[int, dict[str, Any]] = {}
        self._adopted: dict[int, Any] = {}

    def copy(self) -> Boundary:
        """The boundary of a copy of the branch, whose program has not run yet."""
        return Boundary(self.shared)

    def own(self, namespace: dict[str, Any]) -> None:
        """Functions with these globals are the program's."""
        self._namespaces[id(namespace)] = namespace

    def share(self, value: Any) -> None:
        """A value that cannot be copied."""
        if type(value) not in ATOMS:
            self.shared[id(value)] = value

    def shares(self, value: Any) -> bool:
        """The value is one that all branches share."""
        return id(value) in self.shared or issubclass(type(value), io.IOBase)

    def is_foreign(self, value: Any) -> bool:
        """An object of a class that is neither the program's own nor of a pure module."""
        return not self._owns_class(type(value)) and root(type(value)) not in PURE

    def owns_coroutine(self, value: Any) -> bool:
        """A coroutine of the program's own code."""
        return inspect.iscoroutine(value) and value.cr_frame is not None and id(value.cr_frame.f_globals) in self._namespaces

    def owns_generator(self, value: Any) -> bool:
        """An asynchronous generator of the program's own code."""
        return bool(value.ag_frame is not None and id(value.ag_frame.f_globals) in self._namespaces)

    def is_inside(self, function: Any) -> bool:
        """Every call of the function belongs to the program, whatever its arguments: its own, or one that only makes classes."""
        if self._owns(function) or any(function is other for other in _SEES_CALLER):
            return True
        if getattr(function, "__self__", None) is type:
            return True
        return type(function) is FunctionType and (root(function) in _CLASS_MAKERS or function.__name__ == "namedtuple")

    def decorates(self, value: Any, args: Sequence[Any]) -> bool:
        """A call made a function or a class out of the program's own, which is the program's own then."""
        made = issubclass(type(value), FunctionType | MethodType | type | functools.partial) and any(map(self._owns, args))
        if made:
            self._adopted[id(value)] = value
        return made

    def reaches_outside(self, function: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
        """A copied branch must be told what the call gave."""
        while type(function) is functools.partial:
            function = function.func
        if self._owns(function):
            return False
        if (self._any_shared(args) or self._any_shared(kwargs.values())) and not _only_keeps(function):
            return True
        if issubclass(type(function), type):
            return self._class_reaches_outside(function)
        receiver = getattr(function, "__self__", None)
        if type(function) in (MethodType, BuiltinFunctionType) and receiver is not None and type(receiver) is not ModuleType:
            return self._method_reaches_outside(function, receiver)
        return self._function_reaches_outside(function, receiver)

    def _any_shared(self, values: Iterable[Any]) -> bool:
        return any(type(value) not in ATOMS and self.shares(value) for value in values)

    def _owns(self, function: Any) -> bool:
        kind = type(function)
        if id(function) in self._adopted:
            return True
        if kind is MethodType:
            return self._owns(function.__func__)
        if issubclass(type(function), type):
            return self._owns_class(function)
        if kind is FunctionType and id(function.__globals__) in self._namespaces:
            return True
        if kind is FunctionType or kind is _CACHED:
            wrapped = function.__dict__.get("__wrapped__")
            return wrapped is not None and self._owns(wrapped)
        return kind not in ATOMS and self._owns_class(kind)

    def _owns_class(self, made: type) -> bool:
        """A class of the program's own: one that no module holds, but the program where it is one."""
        if not made.__flags__ & _HEAP_TYPE:
            return False
        found: Any = sys.modules.get(made.__module__)
        if found is None or id(vars(found)) in self._namespaces:
            return True
        if "<locals>" in made.__qualname__:
            return False
        for part in made.__qualname__.split("."):
            found = getattr(found, part, None)
        return found is not made

    def _class_reaches_outside(self, made: type) -> bool:
        return not (root(made) in PURE or issubclass(made, BaseException | pathlib.PurePath))

    def _method_reaches_outside(self, function: Any, receiver: Any) -> bool:
        if self.shares(receiver) or issubclass(type(receiver), _OUTSIDE):
            return True
        if type(receiver) in _PLAIN:
            return False
        if issubclass(type(receiver), type):
            return not self._owns_class(receiver) and self._class_reaches_outside(receiver)
        home: Any = sys.modules.get(type(receiver).__module__)
        return bool(
            getattr(home, getattr(function, "__name__", ""), None) == function
        )  # such as `random.random`, a method of a hidden object

    def _function_reaches_outside(self, function: Any, receiver: Any) -> bool:
        name = str(getattr(function, "__name__", ""))
        if getattr(builtins, name, None) is function:
            return name in IMPURE_BUILTINS
        if hasattr(function, "__objclass__") or (receiver is not None and not isinstance(receiver, ModuleType)):
            return False  # a method of a builtin type, as `str.upper`
        home = root(function)
        if home == _FRAMEWORK:
            return name.endswith("_sync") or name == "run_file" or getattr(function, OUTSIDE, False)
        return home not in PURE


def _only_keeps(function: Any) -> bool:
    """A method of a plain value, such as `list.append`, that does nothing with what it is given."""
    return type(getattr(function, "__self__", None)) in _PLAIN and function.__name__ not in _TAKES_ITEMS


def root(value: Any) -> str:
    """The top package where a function or a class was defined; where neither, that of its type."""
    module = getattr(value, "__module__", None)
    if not isinstance(module, str):
        module = type(value).__module__
    return module.partition(".")[0].lstrip("_")
