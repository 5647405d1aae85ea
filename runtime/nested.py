"""Calls of query functions: as values that a program awaits, or that a hole of this type runs in its place."""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from types import MethodType
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from lmqlc.compiler.ir import Program


class QueryLike(Protocol):
    """A query function: its program, and the environment of one call."""

    @property
    def program(self) -> Program: ...

    def environment(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Globals for a run: captured names and arguments. Raises ArgumentError for arguments that do not fit."""
        ...

    def call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> QueryCall: ...

    async def start(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run on a prompt of its own."""
        ...


class QueryCall(Coroutine[Any, Any, Any]):
    """A call that has not begun. Awaited, it runs on a prompt of its own; as the type of a hole, on the prompt of the hole."""

    def __init__(self, query: QueryLike, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.query = query
        self.args = args
        self.kwargs = kwargs
        self._running: Coroutine[Any, Any, Any] | None = None

    def environment(self) -> dict[str, Any]:
        """Globals for this call."""
        return self.query.environment(self.args, self.kwargs)

    def _begun(self) -> Coroutine[Any, Any, Any]:
        if self._running is None:
            self._running = self.query.start(self.args, self.kwargs)
        return self._running

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._begun().__await__()

    def send(self, value: Any) -> Any:
        return self._begun().send(value)

    def throw(self, *error: Any) -> Any:
        return self._begun().throw(*error)

    def close(self) -> None:
        if self._running is not None:
            self._running.close()


def as_call(hole_type: object) -> QueryCall | None:
    """The nested query that a hole's type names: a call of a query function, or the function itself; None for other types."""
    if isinstance(hole_type, QueryCall):
        return hole_type
    if getattr(hole_type, "__lmql_query__", False):
        method = isinstance(hole_type, MethodType)
        query: QueryLike = hole_type.__func__ if method else hole_type  # type: ignore[attr-defined,assignment]
        return query.call((hole_type.__self__,) if method else (), {})  # type: ignore[attr-defined]
    return None
