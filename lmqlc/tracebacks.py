"""Exceptions that a program raises, as a person should see them: the lines of the program, not those of the toolchain."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import CodeType, TracebackType

from lmqlc.grammar.errors import LmqlError
from lmqlc.grammar.source import Source
from lmqlc.runtime.decorators import call

PACKAGES = ("lmqlc", "lmqlc.grammar", "lmqlc.compiler", "lmqlc.runtime", "lmqlc.backends")
_HOMES = tuple(Path(import_module(name).__path__[0]).resolve() for name in PACKAGES)


class ProgramFailed(LmqlError):
    """A program raised an exception of its own; the message is its traceback, with the program's lines."""

    def __init__(self, error: BaseException, source: Source) -> None:
        super().__init__(format_program_error(error, source))
        self.result = getattr(error, "lmql_result", None)


def at_fault(error: BaseException, source: Source) -> bool:
    """The program is at fault: its own lines, or a call of its decorators, are in the traceback, and below them none of the toolchain's."""
    codes = list(_frames(error.__traceback__))
    own = [number for number, code in enumerate(codes) if _is_program(code.co_filename, source) or code is call.__code__]
    return bool(own) and not any(_ours(code.co_filename) for code in codes[own[-1] + 1 :])


def format_program_error(error: BaseException, source: Source) -> str:
    """A traceback from the program's first frame on: its frames, and those of libraries that it called; without the toolchain's."""
    shown = traceback.TracebackException.from_exception(error)
    part: traceback.TracebackException | None = shown
    while part is not None:
        part.stack = traceback.StackSummary.from_list(_visible(part.stack, source))
        part = part.__cause__ or part.__context__
    return "".join(shown.format()).rstrip("\n")


def _visible(stack: traceback.StackSummary, source: Source) -> list[traceback.FrameSummary]:
    first = next((number for number, frame in enumerate(stack) if _is_program(frame.filename, source)), 0)
    return [frame for frame in stack[first:] if _is_program(frame.filename, source) or not _hidden(frame.filename)]


def _frames(trace: TracebackType | None) -> Iterator[CodeType]:
    while trace is not None:
        yield trace.tb_frame.f_code
        trace = trace.tb_next


def _is_program(file: str, source: Source) -> bool:
    """The program's own file, or a query function or a text that it runs."""
    return file == source.name or file.startswith(("<query ", "<string>"))


def _ours(file: str) -> bool:
    """A file of the toolchain."""
    return not file.startswith("<") and any(Path(file).is_relative_to(home) for home in _HOMES)


def _hidden(file: str) -> bool:
    """A file that says nothing to the author of a program: the toolchain's, or the event loop's."""
    return _ours(file) or Path(file).parent.name == "asyncio"
