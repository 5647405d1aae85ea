"""What a call gave, kept so that it can be given again to every copy of a branch.

A mutable value is copied when it is kept, and again each time it is given, so that branches never share one. Parts that were the program's
own (an argument, or an item of an argument: `random.choice(cards)`) are kept as places, and given as what stands there in the copy. What a
call did to the lists, dicts and sets among its arguments (`random.shuffle(cards)`) is kept and done again likewise.
"""

from __future__ import annotations

import copy
import numbers
import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from types import BuiltinFunctionType, FunctionType, ModuleType, NoneType
from typing import Any

ATOMS = (
    *(NoneType, bool, int, float, complex, str, bytes, type, range, type(Ellipsis), type(NotImplemented)),
    *(FunctionType, BuiltinFunctionType, ModuleType),
)  # fmt: skip
"""Types whose values need no copy."""

CONTAINERS = (list, dict, set, bytearray, deque)
_CONSTANT = (tuple, Enum, numbers.Number, re.Pattern)
Key = int | str
Arguments = Mapping[Key, Any]
"""Arguments by position or by name."""


class Uncopyable(Exception):
    """The value cannot be copied: branches have to share it."""


@dataclass(frozen=True, eq=False, slots=True)
class _Place:
    """An argument (`item` is None), or an item of one."""

    argument: Key
    item: tuple[Any] | None = None

    def value(self, arguments: Arguments) -> Any:
        found = arguments[self.argument]
        return found if self.item is None else found[self.item[0]]


@dataclass(slots=True)
class Kept:
    """A value to be given again; `changes` are the contents that a call left in its arguments."""

    value: Any
    places: tuple[_Place, ...] = ()
    changes: Sequence[tuple[Key, Any]] = ()

    def give(self, arguments: Arguments) -> Any:
        """The value for a copy whose call had these arguments, which are changed as the call did."""
        if not self.places and not self.changes and type(self.value) in ATOMS:
            return self.value
        memo: dict[int, Any] = {id(place): place.value(arguments) for place in self.places}
        value, changes = copy.deepcopy((self.value, self.changes), memo)
        for key, content in changes:
            _refill(arguments[key], content)
        return value


@dataclass(slots=True)
class Before:
    """Arguments as they were before a call."""

    arguments: Arguments
    memo: dict[int, Any] = field(default_factory=dict)
    places: list[_Place] = field(default_factory=list)
    contents: dict[Key, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Before:
        """The arguments of a call that is about to be made."""
        before = cls(named(args, kwargs))
        for key, value in before.arguments.items():
            before._mark(value, _Place(key))
            if type(value) in CONTAINERS:
                before.contents[key] = copy.copy(value)
            for place, item in _items(value):
                before._mark(item, _Place(key, (place,)))
        return before

    def _mark(self, value: Any, place: _Place) -> None:
        if type(value) not in ATOMS and id(value) not in self.memo:
            self.memo[id(value)] = place
            self.places.append(place)

    def keep(self, value: Any, shared: Mapping[int, Any]) -> Kept:
        """What the call gave. `shared` values, by their `id`, stay as they are. Raises Uncopyable."""
        changes = [(key, content) for key, was in self.contents.items() if (content := _changed(was, self.arguments[key])) is not None]
        if not changes and type(value) in ATOMS:
            return Kept(value)
        memo = {**shared, **self.memo}
        try:
            copied, contents = copy.deepcopy((value, changes), memo)
        except Exception as error:
            raise Uncopyable from error
        if copied is value and not isinstance(value, (*ATOMS, *_CONSTANT)):
            raise Uncopyable  # it is one of a kind, such as a logger
        return Kept(copied, tuple(self.places), contents)


def named(args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[Key, Any]:
    """Arguments by position and by name."""
    found: dict[Key, Any] = dict(enumerate(args))
    return found | dict(kwargs)


def _items(value: Any) -> Iterator[tuple[Any, Any]]:
    if type(value) in (list, tuple, deque):
        yield from enumerate(value)
    elif type(value) is dict:
        yield from value.items()


def _changed(was: Any, now: Any) -> Any:
    """A container's content where a call has changed it, else None."""
    if type(now) is dict:
        same = len(was) == len(now) and all(a is b and was[a] is now[b] for a, b in zip(was, now, strict=True))
        return None if same else dict(now)
    if type(now) in (set, bytearray):
        return None if was == now else copy.copy(now)
    return None if len(was) == len(now) and all(a is b for a, b in zip(was, now, strict=True)) else list(now)


def _refill(container: Any, content: Any) -> None:
    container.clear()
    (container.update if isinstance(container, dict | set) else container.extend)(content)
