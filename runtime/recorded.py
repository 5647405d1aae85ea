"""What the recording form of a program (`lmqlc.compiler.record_calls`) calls on its interpreter."""

from __future__ import annotations

import inspect
import sys
from functools import partial
from types import CodeType, FrameType, MethodType
from typing import Any

from lmqlc.compiler.ir import INTERPRETER
from lmqlc.runtime.effects import Effects
from lmqlc.runtime.nested import QueryCall


class RecordedCalls:
    """The calls of a program whose branch may be copied. effects: its record; None where no branch is copied."""

    effects: Effects | None = None

    def through(self, function: Any) -> Any:
        """What is called for `function(…)`: itself, where nothing about it is recorded."""
        effects = self.effects
        if effects is None or effects.calls_itself(function):
            return function
        if getattr(function, "__lmql_query__", False):
            awaits = in_program(sys._getframe(1))
            return partial(query_call, function) if awaits else partial(effects.call, function, True)
        return partial(effects.call, function, False)

    def through_awaited(self, function: Any) -> Any:
        """What is called for a call that is awaited where it gives a coroutine or the call of a query."""
        effects = self.effects
        if effects is None or effects.calls_itself(function):
            return function
        if getattr(function, "__lmql_query__", False):
            return partial(query_call, function)
        return partial(effects.call_awaited, function)

    async def call(self, value: Any) -> Any:
        """A value, or what awaiting it gives where it is a coroutine or the call of a query."""
        if not (inspect.iscoroutine(value) or isinstance(value, QueryCall)):
            return value
        return await value if self.effects is None else await self.effects.awaited(value)

    async def awaited(self, value: Any) -> Any:
        """`await value`."""
        return await value if self.effects is None else await self.effects.awaited(value)

    def visible(self, names: Any) -> Any:
        """What `locals()`, `vars()` or `dir()` gave, without the interpreter."""
        if INTERPRETER not in names:
            return names
        return (
            {name: value for name, value in names.items() if name != INTERPRETER}
            if isinstance(names, dict)
            else [name for name in names if name != INTERPRETER]
        )

    def iterate(self, value: Any) -> Any:
        """The iterable of a loop."""
        return value if self.effects is None else self.effects.iterate(value)

    def iterate_async(self, value: Any) -> Any:
        """The iterable of an asynchronous loop."""
        return value if self.effects is None else self.effects.iterate_async(value)

    def manage(self, value: Any) -> Any:
        """The context manager of a `with`."""
        return value if self.effects is None else self.effects.manage(value)

    def manage_async(self, value: Any) -> Any:
        """The context manager of an `async with`."""
        return value if self.effects is None else self.effects.manage_async(value)


def query_call(function: Any, /, *args: Any, **kwargs: Any) -> QueryCall:
    """The call of a query function, not begun."""
    if isinstance(function, MethodType):
        function, args = function.__func__, (function.__self__, *args)
    call: QueryCall = function.call(args, kwargs)
    return call


_COMPREHENSIONS = frozenset({"<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>"})


def in_program(frame: FrameType) -> bool:
    """The frame is that of a program's own coroutine, which awaits what it calls, or of a comprehension in it."""
    while frame.f_code.co_name in _COMPREHENSIONS and frame.f_back is not None:
        frame = frame.f_back
    code: CodeType = frame.f_code
    return bool(code.co_flags & inspect.CO_COROUTINE) and (INTERPRETER in frame.f_locals or INTERPRETER in frame.f_globals)
