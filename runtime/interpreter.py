"""The interpreter of one branch: what a program's coroutine calls, as `compiler.ir.HOST_CALLS` lists it."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import replace
from types import FrameType, NoneType
from typing import TYPE_CHECKING, Any

from lmqlc.compiler.constraints import OPEN, TRUE
from lmqlc.compiler.ir import HoleIR, Program
from lmqlc.compiler.masks.hole import Bound, Budget
from lmqlc.grammar.errors import ConstraintViolated, RunEnded
from lmqlc.runtime import decorators as deco
from lmqlc.runtime.budget import EndOfRun, Limits, Prompted, Spent, gives_value, hole_budget, why_cut, why_ended
from lmqlc.runtime.decode import decode_hole
from lmqlc.runtime.effects import Effects
from lmqlc.runtime.hole_values import typed_value
from lmqlc.runtime.link import whole_constraint
from lmqlc.runtime.nested import QueryCall, as_call
from lmqlc.runtime.options import decode_options
from lmqlc.runtime.problems import at_hole
from lmqlc.runtime.prompt import Mark, Prompt
from lmqlc.runtime.recorded import RecordedCalls
from lmqlc.runtime.results import HoleResult, Result
from lmqlc.runtime.run import Run
from lmqlc.runtime.stream import BranchEvent, HoleEnd, HoleStart, TextEvent, ValueEvent
from lmqlc.runtime.verbose import tell

if TYPE_CHECKING:
    from lmqlc.runtime.path import Path

CURRENT: ContextVar[Interpreter | None] = ContextVar("lmql_interpreter", default=None)
"""The interpreter whose program runs in this context."""


class Interpreter(RecordedCalls):
    """Runs one program on one prompt.

    A nested query has an interpreter of its own, on the prompt and the log of the outer one. log: what the whole branch produced; its
    variables are those of the outermost program. branch: its number among the branches of the run; only the first one is shown.
    effects: the record of a branch that may be copied. path: how it waits at holes for a decoder that searches; its `events` are shown
    once it is a result.
    """

    OPEN = OPEN

    def __init__(
        self,
        run: Run,
        program: Program,
        *,
        branch: int = 0,
        outer: Interpreter | None = None,
        effects: Effects | None = None,
        path: Path | None = None,
    ) -> None:
        self.run = run
        self.program = program
        self.branch = branch
        self.outer = outer
        self.effects = outer.effects if outer else effects
        self.path: Path | None = outer.path if outer else path
        self.events: list[BranchEvent] = outer.events if outer else []
        self.prompt: Prompt = outer.prompt if outer else Prompt()
        self.log: Result = outer.log if outer else Result()
        self.variables: dict[str, Any] = {} if outer else self.log.variables
        self.environment: dict[str, Any] = {}
        self.returned: tuple[Any] | None = None
        if run.first is None:
            run.first = self
        self.spent: Spent = outer.spent if outer else Spent()
        self.end: EndOfRun | None = None
        self._began: tuple[tuple[int, ...], float] = ((), 0.0)
        self._began_text = ""

    async def execute(self, environment: dict[str, Any]) -> None:
        """Run the program with these globals. What it raises comes out unchanged."""
        from lmqlc.compiler.code import entry_for

        self.environment = environment
        if self.effects is not None:
            self.effects.boundary.own(environment)
        code = None if self.effects is None else self.run.recording_code(self.program)
        token = CURRENT.set(self)
        try:
            await entry_for(self.program, environment, code)(self)
        finally:
            CURRENT.reset(token)

    async def run_to_end(self, environment: dict[str, Any]) -> None:
        """`execute` for the outermost program: where bounds of the run end it, that is its finish reason, and why is in `end`."""
        try:
            await self.execute(environment)
        except EndOfRun as end:
            self.end = end
        except RunEnded as error:
            if not isinstance(error.end, EndOfRun) or (error.end.log is not self.log and self.left() != 0):
                raise  # another run's, which this one called
            self.end = error.end
        if self.end is None:
            return
        self.log.finish_reason = "length"
        self.log.warnings.append(self.end.message)

    def configure(self, decoder: str, arguments: dict[str, object]) -> None:
        """The header. A nested query's has no effect: one decoder decodes the whole run."""
        if self.outer is None:
            self.run.configure(decoder, arguments, self.environment.get(decoder))

    def model(self, value: object) -> None:
        """The `from` clause; a nested query's has no effect."""
        if self.outer is None:
            self.run.set_model(value)

    async def text(self, literal: str) -> None:
        """Prompt text as written."""
        place = self._place(sys._getframe(1))
        await self._ready()
        self.append(literal, f"text at {place}")
        await self.run.drain()

    async def value(self, rendered: str) -> None:
        """Prompt text that came from an expression: characters, and nothing else."""
        place = self._place(sys._getframe(1))
        await self._ready()
        self.append(rendered, f"a value at {place}")
        await self.run.drain()

    async def role(self, name: str) -> None:
        """The start of a chat turn."""
        await self._ready()
        before = len(self.prompt.text)
        self.prompt.start_turn(name)
        self.emit(TextEvent(self.prompt.text[before:]))
        await self.run.drain()

    async def hole(self, index: int, slots: Sequence[Any], type: object = None, decorators: Sequence[object] = ()) -> Any:
        """Decode a hole; its value."""
        hole, ready = self.program.holes[index], deco.prepared(decorators)
        if hole.has_type and type is None:
            type = NoneType
        nested = as_call(type)
        with at_hole(hole.span, self.program.source):
            given = await deco.before(ready, deco.Variable(hole.name), self)
        if given is not None:
            value = await self._replace(hole, given, None if nested else type, ready)
        elif nested:
            value = await self._nest(hole, nested, tuple(slots), ready)
        else:
            value = await decode_hole(self, hole, tuple(slots), type, ready)
        return self.bind(hole.name, value)

    async def distribution(
        self, index: int, options: Any, slots: Sequence[Any] = (), type: object = None, decorators: Sequence[object] = ()
    ) -> Any:
        """The last hole, with the probability of each of its options; its value is the likeliest. Where a `pre` decorator gives the text,
        nothing is scored, and there are no probabilities; the value is then the option of that text, if there is one."""
        hole, ready = self.program.holes[index], deco.prepared(decorators)
        if hole.has_type and type is None:
            type = NoneType
        choices = list(options)
        with at_hole(hole.span, self.program.source):
            given = await deco.before(ready, deco.Variable(hole.name), self)
        if given is None:
            return self.bind(hole.name, await decode_options(self, hole, choices, tuple(slots), type, ready))
        meant = [choice for choice in choices if str(choice) == given]
        return self.bind(hole.name, await self._replace(hole, given, type, ready, meant))

    async def budget(self, hole: HoleIR, ids: Sequence[int], longest: int | None) -> Budget:
        """How many tokens a hole may have after these ids. longest: the most that its text may take, None where it has no bound.

        Raises ContextOverflow and EndOfRun where it is none.
        """
        backend = await self.run.backend()
        several = self.path is not None or self.run.decoder.n > 1
        prompted = Prompted(len(ids), self._has_decoded(), several, lambda: self.prompt.largest_parts(backend.tokenizer))
        return hole_budget(hole.name, self.limits(), prompted, longest)

    def limits(self) -> Limits:
        """What bounds the tokens of the next hole."""
        decoder = self.run.decoder
        return Limits(decoder.max_len, decoder.max_tokens, self.left(), getattr(self.run.opened, "context_length", None))

    def ended(self, name: str, bound: Bound) -> EndOfRun:
        """The end of the run in a hole, to be raised."""
        return EndOfRun(why_ended(name, bound, self.limits()))

    def _has_decoded(self) -> bool:
        return bool(self.log.usage.tokens or self.log.usage.forced or self.spent.tokens)

    def left(self) -> int | None:
        """How many tokens the branch may still decode, in its holes and in the queries that it calls; None: any number. Each of the n
        branches of a run may have the nth part."""
        decoder, given = self.run.decoder, self.run.settings.left
        bounds = [bound for bound in (decoder.max_total_tokens, given) if bound is not None]
        usage = self.log.usage
        return max(min(bounds) // decoder.n - usage.tokens - usage.forced - self.spent.tokens, 0) if bounds else None

    def bind(self, name: str, value: Any) -> Any:
        """Give a hole's variable its value, and show it."""
        self.variables[name] = value
        self.emit(ValueEvent(name, value))
        return value

    def bound(self, *names: str) -> bool:
        """All these holes are decoded in this run."""
        return all(name in self.variables for name in names)

    def holds(self, name: str, condition: int, slots: Sequence[Any]) -> bool:
        """The text of a decoded hole meets one of the program's conditions."""
        from lmqlc.compiler.masks.compose import text_holds

        hole = next(hole for hole in reversed(self.log.holes) if hole.name == name)
        bound = whole_constraint(self.program.conditions[condition], tuple(slots), None)
        return text_holds(bound, hole.text, hole.count, source=self.program.source)

    def import_star(self, module: str | None, level: int) -> None:
        """`from module import *` into the program's globals."""
        from lmqlc.compiler.code import import_star

        import_star(self.environment, module, level)

    def result(self, value: Any) -> None:
        """What a top-level `return` hands back."""
        self.returned = (value,)

    def _place(self, frame: FrameType) -> str:
        """Where the program stands."""
        return f"{self.program.source.name}:{frame.f_lineno}"

    def append(self, text: str, whose: str) -> None:
        """Add text to the prompt, and show it."""
        if text:
            self.prompt.append_text(text, whose)
            self.emit(TextEvent(text))

    def emit(self, event: BranchEvent) -> None:
        """Tell everybody who listens."""
        if self.path is not None:
            self.events.append(event)
        elif self.run.settings.writers:
            self.run.emit(replace(event, branch=self.branch) if self.branch else event, self.branch)

    def begin(self, name: str, ids: Sequence[int] = ()) -> None:
        """A hole begins after these ids; show it."""
        self._began = (tuple(ids), time.perf_counter())
        self._began_text = "" if ids else self.prompt.text
        self.emit(HoleStart(name))

    def took_back(self, count: int, characters: int = 0) -> None:
        """The hole that began last has taken so many ids back from the prompt; so many characters, where its model takes text."""
        ids, started = self._began
        self._began = (ids[: len(ids) - count], started)
        self._began_text = self._began_text[: len(self._began_text) - characters]

    def finished(self, result: HoleResult, rest: str = "") -> None:
        """Keep a complete hole, with what it began after, and show it."""
        ids, started = self._began
        complete = replace(result, prompt_ids=ids, prompt_text=self._began_text, seconds=time.perf_counter() - started)
        self.log.holes.append(complete)
        self.emit(HoleEnd(complete, rest))
        if complete.bound == "default" and complete.finish_reason == "length":
            self._warn(why_cut(complete.name, complete.count))
        if self.path is None:  # others are told of once their branch is a result
            tell(self.run, complete, self.branch)

    def _warn(self, message: str) -> None:
        self.log.warnings.append(message)
        if self.path is None:
            self.run.warn(message)

    async def _ready(self) -> None:
        """Load the model of a program with holes before anything is shown."""
        if self.program.holes:
            await self.run.any_backend()

    async def _replace(self, hole: HoleIR, text: str, type: object, decorators: Sequence[object], meant: Sequence[Any] = ()) -> Any:
        """A `pre` decorator gave the text: no model is asked. Post decorators see it as they would see the model's. meant: values that
        the text stands for; none where its type says so."""
        self.begin(hole.name)
        with at_hole(hole.span, self.program.source):
            value = meant[0] if meant else typed_value(hole, type, text)
        text, value = await deco.after(decorators, self, text, value)
        self.prompt.append_text(text, f"hole `{hole.name}`")
        self.finished(HoleResult(hole.name, text, value, (), "replaced"), text)
        return value

    async def _nest(self, hole: HoleIR, call: QueryCall, slots: tuple[Any, ...], decorators: Sequence[object]) -> Any:
        """Run a query in the place of a hole. Where it returns a value, only that stays in the prompt; else everything it wrote.

        Raises ConstraintViolated where that does not meet the hole's own condition, RunEnded where the run ends before it returns a value.
        """
        mark, written, holes = self.prompt.mark(), len(self.prompt.text), len(self.log.holes)
        inner = Interpreter(self.run, call.query.program, branch=self.branch, outer=self)
        try:
            await inner.execute(call.environment())
        except EndOfRun as end:
            raise self._not_returned(inner, end, mark, holes) from None
        except RunEnded as error:
            if not isinstance(error.end, EndOfRun) or error.end.log is not self.log:
                raise
            raise self._not_returned(inner, error.end, mark, holes) from None
        wrote = self.prompt.text[written:]
        value, text = (wrote, wrote) if inner.returned is None else (inner.returned[0], str(inner.returned[0]))
        with at_hole(hole.span, self.program.source):
            self._check_nested(hole, slots, text, self.log.holes[holes:])
        text, value = await deco.after(decorators, self, text, value)
        if inner.returned is None and text == wrote:
            self.log.holes.append(HoleResult(hole.name, text, value, (), "query"))
            return value
        self.prompt.restore(mark)
        self.begin(hole.name)
        self.prompt.append_text(text, f"hole `{hole.name}`")
        self.finished(HoleResult(hole.name, text, value, (), "query"), text)
        return value

    def _not_returned(self, inner: Interpreter, end: EndOfRun, mark: Mark, holes: int) -> BaseException:
        """What to raise where the run ended in a query that stands for a hole. One that would have returned a value has no part in the
        prompt any more, and this program may go on without it; else the run ends here."""
        end.log = self.log
        if end.text is None:
            end.text = self.prompt.text
        if not gives_value(inner.program):
            return end
        self.prompt.restore(mark)
        return end.error(
            replace(Result(), prompt=end.text, variables=inner.variables, holes=self.log.holes[holes:], finish_reason="length")
        )

    def _check_nested(self, hole: HoleIR, slots: tuple[Any, ...], text: str, inner: Sequence[HoleResult]) -> None:
        """What a query gave meets the condition of the hole that it stands for. Its own holes are decoded without it."""
        if hole.constraint == TRUE:
            return
        from lmqlc.compiler.masks.compose import text_holds

        tokenizer = None if self.run.opened is None else self.run.opened.tokenizer
        count = sum(part.count for part in inner) if tokenizer is None else len(tokenizer.encode(text, first=False))
        if not text_holds(whole_constraint(hole.constraint, slots, None), text, count, source=self.program.source):
            raise ConstraintViolated(
                f"the query in the place of hole `{hole.name}` gave {text!r}, which does not meet the hole's condition; "
                "put the condition into the query, where it holds while the text is decoded"
            )
