"""The interpreter of one branch: what a program's coroutine calls, as `compiler.ir.HOST_CALLS` lists it."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from contextvars import ContextVar
from types import NoneType
from typing import Any

from lmqlc.compiler.constraints import OPEN
from lmqlc.compiler.ir import HoleIR, Program
from lmqlc.runtime import decorators as deco
from lmqlc.runtime.decode import decode_hole, decode_options
from lmqlc.runtime.link import whole_constraint
from lmqlc.runtime.nested import QueryCall, as_call
from lmqlc.runtime.prompt import Prompt
from lmqlc.runtime.results import HoleResult, Result
from lmqlc.runtime.run import Run
from lmqlc.runtime.stream import Event, HoleEnd, HoleStart, TextEvent

CURRENT: ContextVar[Interpreter | None] = ContextVar("lmql_interpreter", default=None)
"""The interpreter whose program runs in this context."""


class Interpreter:
    """Runs one program on one prompt.

    A nested query has an interpreter of its own, on the prompt and the log of the outer one. log: what the whole branch produced; its
    variables are those of the outermost program. branch: its number among the branches of the run; only the first one is shown.
    """

    OPEN = OPEN

    def __init__(self, run: Run, program: Program, *, branch: int = 0, outer: Interpreter | None = None) -> None:
        self.run = run
        self.program = program
        self.branch = branch
        self.outer = outer
        self.prompt: Prompt = outer.prompt if outer else Prompt()
        self.log: Result = outer.log if outer else Result()
        self.variables: dict[str, Any] = {} if outer else self.log.variables
        self.environment: dict[str, Any] = {}
        self.returned: tuple[Any] | None = None

    async def execute(self, environment: dict[str, Any]) -> None:
        """Run the program with these globals. What it raises comes out unchanged."""
        from lmqlc.compiler.code import entry_for

        self.environment = environment
        token = CURRENT.set(self)
        try:
            await entry_for(self.program, environment)(self)
        finally:
            CURRENT.reset(token)

    def configure(self, decoder: str, arguments: dict[str, object]) -> None:
        """The header. A nested query's has no effect: one decoder decodes the whole run."""
        if self.outer is None:
            self.run.configure(decoder, arguments)

    def model(self, value: object) -> None:
        """The `from` clause; a nested query's has no effect."""
        if self.outer is None:
            self.run.set_model(value)

    async def text(self, literal: str) -> None:
        """Prompt text as written."""
        await self._ready()
        self.append(literal)

    async def value(self, rendered: str) -> None:
        """Prompt text that came from an expression: characters, and nothing else."""
        await self._ready()
        self.append(rendered)

    async def role(self, name: str) -> None:
        """The start of a chat turn."""
        await self._ready()
        before = len(self.prompt.text)
        self.prompt.start_turn(name)
        self.emit(TextEvent(self.prompt.text[before:]))

    async def hole(self, index: int, slots: Sequence[Any], type: object = None, decorators: Sequence[object] = ()) -> Any:
        """Decode a hole; its value."""
        hole, ready = self.program.holes[index], deco.prepared(decorators)
        if hole.has_type and type is None:
            type = NoneType
        for function in deco.steps(ready, "pre"):
            given = await deco.call(function, hole.name, self)
            if isinstance(given, str):
                return self._replace(hole, given)
        nested = as_call(type)
        value = await self._nest(hole, nested) if nested else await decode_hole(self, hole, tuple(slots), type, ready)
        self.variables[hole.name] = value
        return value

    async def distribution(
        self, index: int, options: Any, slots: Sequence[Any] = (), type: object = None, decorators: Sequence[object] = ()
    ) -> Any:
        """The last hole, with the probability of each of its options; its value is the likeliest."""
        hole = self.program.holes[index]
        value = await decode_options(self, hole, list(options))
        self.variables[hole.name] = value
        return value

    async def call(self, value: Any) -> Any:
        """A value, or what awaiting it gives where it is a coroutine or the call of a query."""
        return await value if inspect.iscoroutine(value) or isinstance(value, QueryCall) else value

    def bound(self, *names: str) -> bool:
        """All these holes are decoded in this run."""
        return all(name in self.variables for name in names)

    def holds(self, name: str, condition: int, slots: Sequence[Any]) -> bool:
        """The text of a decoded hole meets one of the program's conditions."""
        from lmqlc.compiler.masks.compose import text_holds

        hole = next(hole for hole in reversed(self.log.holes) if hole.name == name)
        count = sum(bool(token.text) for token in hole.tokens)
        bound = whole_constraint(self.program.conditions[condition], tuple(slots), None)
        return text_holds(bound, hole.text, count, source=self.program.source)

    def import_star(self, module: str | None, level: int) -> None:
        """`from module import *` into the program's globals."""
        from lmqlc.compiler.code import import_star

        import_star(self.environment, module, level)

    def result(self, value: Any) -> None:
        """What a top-level `return` hands back."""
        self.returned = (value,)

    def append(self, text: str) -> None:
        """Add text to the prompt, and show it."""
        if text:
            self.prompt.append_text(text)
            self.emit(TextEvent(text))

    def emit(self, event: Event) -> None:
        """Tell everybody who listens."""
        if self.branch == 0:
            self.run.emit(event)

    def finished(self, result: HoleResult, rest: str = "") -> None:
        """Keep a complete hole, and show it."""
        self.log.holes.append(result)
        self.emit(HoleEnd(result, rest))

    async def _ready(self) -> None:
        """Load the model of a program with holes before anything is shown."""
        if self.program.holes:
            await self.run.backend()

    def _replace(self, hole: HoleIR, text: str) -> str:
        """A `pre` decorator gave the text: no model is asked."""
        self.emit(HoleStart(hole.name))
        self.prompt.append_text(text)
        self.finished(HoleResult(hole.name, text, text, (), "replaced"), text)
        self.variables[hole.name] = text
        return text

    async def _nest(self, hole: HoleIR, call: QueryCall) -> Any:
        """Run a query in the place of a hole. Where it returns a value, only that stays in the prompt; else everything it wrote."""
        mark, written = self.prompt.mark(), len(self.prompt.text)
        inner = Interpreter(self.run, call.query.program, branch=self.branch, outer=self)
        await inner.execute(call.environment())
        if inner.returned is None:
            text = self.prompt.text[written:]
            self.log.holes.append(HoleResult(hole.name, text, text, (), "query"))
            return text
        value = inner.returned[0]
        self.prompt.restore(mark)
        self.emit(HoleStart(hole.name))
        self.prompt.append_text(str(value))
        self.finished(HoleResult(hole.name, str(value), value, (), "query"), str(value))
        return value
