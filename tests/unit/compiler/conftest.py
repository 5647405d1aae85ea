"""A small interpreter that records what a program's coroutine calls, with scripted values for its holes."""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import pytest

from lmqlc.compiler.code import entry_for, import_star
from lmqlc.compiler.constraints import OPEN
from lmqlc.compiler.driver import compile_source
from lmqlc.compiler.ir import Program
from lmqlc.compiler.ir_check import ir_check
from lmqlc.grammar.source import Source


@dataclass
class FakeInterpreter:
    """Implements the host calls. `events` are what was called, in order; holes take the next of `values`."""

    program: Program
    values: list[Any]
    namespace: dict[str, Any]
    events: list[tuple[Any, ...]] = field(default_factory=list)
    decoded: dict[str, Any] = field(default_factory=dict)
    returned: list[Any] = field(default_factory=list)
    OPEN = OPEN

    @property
    def prompt(self) -> str:
        """The whole prompt."""
        return "".join(str(event[-1]) for event in self.events if event[0] in ("text", "value", "hole"))

    @property
    def slots(self) -> list[tuple[Any, ...]]:
        """The operand values of every decoded hole."""
        return [event[2] for event in self.events if event[0] == "hole"]

    def configure(self, decoder: str, arguments: dict[str, object]) -> None:
        self.events.append(("configure", decoder, arguments))

    def model(self, value: object) -> None:
        self.events.append(("model", value))

    async def text(self, literal: str) -> None:
        self.events.append(("text", literal))

    async def value(self, rendered: str) -> None:
        assert type(rendered) is str
        self.events.append(("value", rendered))

    async def role(self, name: str) -> None:
        self.events.append(("role", name))

    async def hole(self, index: int, slots: Sequence[Any], type: object = None, decorators: Sequence[Any] = ()) -> Any:
        hole = self.program.holes[index]
        assert len(slots) == len(hole.slots)
        value = await type if inspect.iscoroutine(type) else self.values.pop(0)
        for decorator in reversed(decorators):
            value = decorator(value)
        self.events.append(("hole", hole.name, tuple(slots), type, value))
        self.decoded[hole.name] = value
        return value

    async def distribution(self, index: int, options: Any, slots: Sequence[Any], type: object, decorators: Sequence[Any]) -> Any:
        hole = self.program.holes[index]
        self.events.append(("distribution", hole.name, list(options)))
        return next(iter(options))

    async def call(self, value: Any) -> Any:
        return await value if inspect.iscoroutine(value) else value

    def bound(self, *names: str) -> bool:
        return all(name in self.decoded for name in names)

    def holds(self, name: str, condition: int, slots: Sequence[Any]) -> bool:
        self.events.append(("holds", name, condition, tuple(slots)))
        return bool(self.decoded[name])

    def import_star(self, module: str | None, level: int) -> None:
        import_star(self.namespace, module, level)

    def result(self, value: Any) -> None:
        self.returned[:] = [value]


Run = Callable[..., FakeInterpreter]


def compiled(text: str, **options: Any) -> Program:
    """A program whose IR is checked."""
    program = compile_source(Source("test.lmql", text), **options)
    ir_check(program)
    return program


@pytest.fixture
def run() -> Run:
    """Compile a program and run it: `run(text, values of its holes, **its arguments)`."""

    def runner(text: str, values: Iterable[Any] = (), **arguments: Any) -> FakeInterpreter:
        program = compiled(text)
        module = ModuleType("lmql_test_program")
        module.__dict__.update({"__builtins__": __builtins__, **arguments})
        fake = FakeInterpreter(program, list(values), module.__dict__)
        entry = entry_for(program, fake.namespace)
        sys.modules[module.__name__] = module
        try:
            asyncio.run(entry(fake))
        finally:
            del sys.modules[module.__name__]
        return fake

    return runner
