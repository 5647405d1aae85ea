"""What a branch got from outside the program, so that a copy of the branch can be told the same.

A branch is a coroutine, and Python copies none. A copy runs the program again from its start; until it stands where the first one stood,
holes have the values they had, and calls that reach outside the program give what they gave, or raise what they raised, without being made.

Recorded are awaited values, and calls of functions that the program did not define. Not recorded, but made again, are

- functions, methods and classes of the program: the calls inside them are recorded;
- methods of objects that the program made, and of copies of values that calls gave;
- builtins, except those that reach outside (`print`, `input`, `open` …), and modules that do not (`PURE`).

A value that cannot be copied (an open file, a task, a logger) is shared by all branches: calls of its methods, calls that take it as an
argument, loops over it and `with` are recorded. So are functions that a recorded function calls: it is not called again.
"""

from __future__ import annotations

import copy
import inspect
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from types import BuiltinFunctionType
from typing import Any, Literal

from lmqlc.grammar.errors import LmqlError
from lmqlc.runtime.copies import ATOMS, CONTAINERS, Before, Kept, Uncopyable, named
from lmqlc.runtime.nested import QueryCall
from lmqlc.runtime.outside import Boundary

_INSIDE: ContextVar[frozenset[object]] = ContextVar("lmql_inside_effect", default=frozenset())
"""Families of branches of which a recorded call is being made: what it calls in turn is part of it."""


@contextmanager
def outside(family: object, inside: bool = True) -> Iterator[None]:
    """Calls that are made now belong to no branch of a family, also those of its program's functions; or, not `inside`, they do again."""
    before = _INSIDE.get()
    token = _INSIDE.set(before | {family} if inside else before - {family})
    try:
        yield
    finally:
        _INSIDE.reset(token)


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that a branch got: a value, an error, a call that is to be made again, or a decoded hole."""

    name: str
    kind: Literal["value", "error", "again", "hole"]
    content: Any = None


class Effects:
    """The record of one branch, and how far a copy has been told of it.

    boundary: which calls reach outside. family: what all copies of a branch share. live: False once nothing more is to be recorded.
    """

    def __init__(self, boundary: Boundary, entries: Sequence[Entry] = (), family: object = None) -> None:
        self.boundary = boundary
        self.family = family or object()
        self.entries = list(entries)
        self.live = True
        self.dead: BaseException | None = None
        self._at = 0
        self._thread = threading.get_ident()

    def copy(self) -> Effects:
        """The record for a new copy of the branch, to be told from the start."""
        return Effects(self.boundary.copy(), self.entries, self.family)

    @property
    def telling(self) -> bool:
        """The copy does not stand yet where the branch stood."""
        return self._at < len(self.entries)

    @property
    def _direct(self) -> bool:
        """Calls are just made: nothing is recorded now."""
        if self.dead is not None:
            raise self.dead
        return (not self.live and not self.telling) or self.family in _INSIDE.get() or threading.get_ident() != self._thread

    # -- calls --------------------------------------------------------------------------------------------------------------------

    def calls_itself(self, function: Any) -> bool:
        """A call of the function is made by the program's own code: nothing is recorded of it, whatever its arguments."""
        return self._direct or self.boundary.is_inside(function)

    def call(self, function: Callable[..., Any], always: bool, /, *args: Any, **kwargs: Any) -> Any:
        """Make a call, or tell what it gave. always: it reaches outside, whatever it is."""
        if self._direct or not (always or self.boundary.reaches_outside(function, args, kwargs)):
            return function(*args, **kwargs)
        if type(function) is BuiltinFunctionType and type(function.__self__) in CONTAINERS:
            receiver: Any = function.__self__  # an argument too, which the call may change
            function, args = getattr(type(receiver), function.__name__), (receiver, *args)
        name = _name(function)
        if self.telling:
            entry = self._next(name)
            return self._again(function, args, kwargs) if entry.kind == "again" else self._give(entry, args, kwargs)
        before = Before.of(args, kwargs)
        try:
            value = self._make(function, args, kwargs)
        except Exception as error:
            self._add(Entry(name, "error", error))
            raise
        if _is_call(value) or self.boundary.decorates(value, args):
            self._add(Entry(name, "again"))
        else:
            self._keep(name, value, before)
        return value

    async def call_awaited(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Make a call and await what it gives, where that is a coroutine or the call of a query; or tell what came of it."""
        if type(function) is BuiltinFunctionType or self._direct or not self.boundary.reaches_outside(function, args, kwargs):
            value = self.call(function, False, *args, **kwargs)  # it gives no coroutine, or makes it here
            return await self.awaited(value, _name(function)) if _is_call(value) else value
        name = _name(function)
        if self.telling:
            entry = self._next(name)
            return self._again(function, args, kwargs) if entry.kind == "again" else self._give(entry, args, kwargs)
        before = Before.of(args, kwargs)
        try:
            value = self._make(function, args, kwargs)
            if _is_call(value):
                value = await self._wait(value)
        except Exception as error:
            self._add(Entry(name, "error", error))
            raise
        if self.boundary.decorates(value, args):
            self._add(Entry(name, "again"))
        else:
            self._keep(name, value, before)
        return value

    async def awaited(self, value: Any, name: str = "await") -> Any:
        """Await a value, or tell what came of it. Coroutines of the program itself run again."""
        if self._direct or self.boundary.owns_coroutine(value) or getattr(value, "cr_code", None) is _CALL_AWAITED:
            return await value
        if self.telling:
            return self._give(self._next(name), [value], {})
        before = Before.of([value], {})
        try:
            given = await self._wait(value)
        except Exception as error:
            self._add(Entry(name, "error", error))
            raise
        self._keep(name, given, before)
        return given

    # -- loops and contexts -----------------------------------------------------------------------------------------------------------

    def iterate(self, value: Any) -> Any:
        """The iterable of a loop; one that branches share is read through the record."""
        return self._items(value) if self._is_shared(value) else value

    def iterate_async(self, value: Any) -> Any:
        """The iterable of an asynchronous loop."""
        outside = inspect.isasyncgen(value) and not self.boundary.owns_generator(value)
        return self._items_async(value) if self._is_shared(value) or outside else value

    def manage(self, value: Any) -> Any:
        """The context manager of a `with`."""
        return _Managed(self, value) if self._manages_outside(value) else value

    def manage_async(self, value: Any) -> Any:
        """The context manager of an `async with`."""
        return _ManagedAsync(self, value) if self._manages_outside(value) else value

    def _manages_outside(self, value: Any) -> bool:
        return not self._direct and (self.boundary.shares(value) or self.boundary.is_foreign(value))

    def _is_shared(self, value: Any) -> bool:
        return type(value) not in ATOMS and not self._direct and self.boundary.shares(value)

    def _items(self, value: Any) -> Iterator[Any]:
        iterator: list[Any] = []  # made at the first question that is not told

        def next_item() -> Any:
            if not iterator:
                iterator.append(iter(value))
            return next(iterator[0])

        while True:
            try:
                yield self.call(next_item, True)
            except StopIteration:
                return

    async def _items_async(self, value: Any) -> AsyncIterator[Any]:
        iterator: list[Any] = []

        async def next_item() -> Any:
            if not iterator:
                iterator.append(aiter(value))
            return await anext(iterator[0])

        while True:
            try:
                yield await self.awaited(next_item(), "next_item")
            except StopAsyncIteration:
                return

    # -- holes -----------------------------------------------------------------------------------------------------------------------

    def past_hole(self, name: str) -> Any:
        """The decoded hole that the branch had here; None where the copy stands where the branch stood."""
        if self.family in _INSIDE.get() and (self.live or self.telling):
            raise LmqlError(f"the hole `{name}` is decoded inside another task; a decoder that searches cannot copy such a program")
        return self._next(name, "hole").content if self.telling else None

    def add_hole(self, name: str, content: Any) -> None:
        """Record a decoded hole."""
        if self.live:
            self._add(Entry(name, "hole", content))

    # -- the record --------------------------------------------------------------------------------------------------------------------

    def _make(self, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        with outside(self.family):
            return function(*args, **kwargs)

    async def _wait(self, value: Any) -> Any:
        with outside(self.family):
            return await value

    def _next(self, name: str, kind: str | None = None) -> Entry:
        entry = self.entries[self._at]
        if entry.name != name or (kind is not None) != (entry.kind == "hole"):
            raise LmqlError(
                f"a copy of a branch took another way through the program: it came to `{name}`, the branch had come to `{entry.name}`. What"
                " a program does must depend only on its arguments, its holes and the calls it makes"
            )
        self._at += 1
        return entry

    def _again(self, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        value = self._make(function, args, kwargs)
        self.boundary.decorates(value, args)
        return value

    def _give(self, entry: Entry, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        for value in (*args, *kwargs.values()):
            _close(value)
        if entry.kind == "error":
            raise _fresh(entry.content)
        content = entry.content
        return content.give(named(args, kwargs)) if isinstance(content, Kept) else content

    def _keep(self, name: str, value: Any, before: Before) -> None:
        try:
            content: Any = before.keep(value, self.boundary.shared)
        except Uncopyable:
            content = value
            self.boundary.share(value)
        self._add(Entry(name, "value", content))

    def _add(self, entry: Entry) -> None:
        self.entries.append(entry)
        self._at = len(self.entries)


_CALL_AWAITED = Effects.call_awaited.__code__


class _Managed:
    """A context manager that branches share."""

    def __init__(self, effects: Effects, value: Any) -> None:
        self._effects = effects
        self._value = value

    def __enter__(self) -> Any:
        return self._effects.call(type(self._value).__enter__, True, self._value)

    def __exit__(self, *error: Any) -> Any:
        return self._effects.call(type(self._value).__exit__, True, self._value, *error)


class _ManagedAsync:
    """An asynchronous context manager that branches share."""

    def __init__(self, effects: Effects, value: Any) -> None:
        self._effects = effects
        self._value = value

    async def __aenter__(self) -> Any:
        return await self._effects.awaited(_later(type(self._value).__aenter__, self._value), "__aenter__")

    async def __aexit__(self, *error: Any) -> Any:
        return await self._effects.awaited(_later(type(self._value).__aexit__, self._value, *error), "__aexit__")


async def _later(function: Callable[..., Any], *args: Any) -> Any:
    """The call of an asynchronous function, made when it is awaited."""
    return await function(*args)


def environment_copies(environment: Mapping[str, Any], names: Set[str], boundary: Boundary) -> Callable[[], dict[str, Any]]:
    """How to make the globals of a branch: lists, dicts and sets that the program uses are copied for each, other objects are shared."""
    kept: dict[str, Any] = {}
    for name in names & environment.keys() - {"__builtins__"}:
        value = environment[name]
        if type(value) in CONTAINERS:
            kept[name] = _copied(value)
        elif not getattr(value, "__lmql_query__", False):
            boundary.share(value)
    return lambda: {**environment, **{name: _copied(value) for name, value in kept.items()}}


def _copied(value: Any) -> Any:
    try:
        return copy.deepcopy(value)
    except Exception:  # noqa: BLE001 - whatever it holds says no in its own way
        return copy.copy(value)


def _is_call(value: Any) -> bool:
    return inspect.iscoroutine(value) or isinstance(value, QueryCall)


def _close(value: Any) -> None:
    """End a coroutine that a copy will not await."""
    if inspect.iscoroutine(value):
        value.close()
    elif type(value) in (list, tuple, set):
        for item in value:
            if inspect.iscoroutine(item):
                item.close()


def _fresh(error: Exception) -> Exception:
    """An exception to be raised again, without the traceback of the first time."""
    try:
        again = copy.copy(error)
    except Exception:  # noqa: BLE001 - an exception's own constructor may ask for more
        again = error
    if type(again) is not type(error):
        again = error
    again.__cause__, again.__suppress_context__ = error.__cause__, error.__suppress_context__
    return again.with_traceback(None)


def _name(function: Any) -> str:
    return str(getattr(function, "__qualname__", None) or type(function).__qualname__)
