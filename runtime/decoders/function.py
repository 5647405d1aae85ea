"""Decoders that are functions: `async def f(search, live, **arguments)`, which gives the finished branches, best first."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from lmqlc.grammar.errors import LmqlCompileError
from lmqlc.runtime.decoders.base import BaseDecoder
from lmqlc.runtime.search import Branch, Search

Function = Callable[..., Awaitable[Sequence[Branch]]]


class PendingDecoder(BaseDecoder):
    """Stands for a decoder that the program binds itself, until its header is reached."""

    name = "pending"
    searches = True


def of_function(name: str, function: Function) -> type[BaseDecoder]:
    """The decoder that a function is. Its parameters after the first two are the decoder's arguments, defaults included."""
    parameters = list(inspect.signature(function).parameters.values())[2:]
    own = tuple(p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY))
    needed = {p.name for p in parameters if p.name in own and p.default is p.empty}

    class FunctionDecoder(BaseDecoder):
        takes = own
        searches = True

        async def search(self, search: Search, live: list[Branch]) -> list[Branch]:
            given: dict[str, Any] = {key: value for key, value in self.arguments.items() if key in own}
            missing = sorted(needed - given.keys())
            if missing:
                raise LmqlCompileError(f"the decoder `{name}` needs a value for `{missing[0]}`")
            return finished(name, await function(search, live, **given))

    FunctionDecoder.name = name
    return FunctionDecoder


def finished(name: str, branches: object) -> list[Branch]:
    """What a decoder gave, where it is finished branches. Raises LmqlCompileError where it is anything else."""
    found: list[Any] = list(branches) if isinstance(branches, list | tuple) else [branches]
    if not found or not all(isinstance(branch, Branch) and branch.finished for branch in found):
        raise LmqlCompileError(f"the decoder `{name}` must give a list of finished branches, and at least one")
    return found
