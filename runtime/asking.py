"""`input` of a program: `input(…)` and `await input(…)`, from the terminal or from whoever shows the run.

An output writer with a method `input(prompt)` answers in place of the terminal.
"""

from __future__ import annotations

import builtins
import inspect
from collections.abc import Generator
from typing import Any

from lmqlc.runtime.outside import OUTSIDE


class Answer(str):
    """What somebody has typed. Awaiting it gives it, too."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, None, str]:
        return str(self)
        yield  # a generator, as `await` wants one


def ask(prompt: object = "", /) -> Any:
    """`input` as programs call it. Where a writer's `input` is asynchronous, the program awaits it."""
    from lmqlc.runtime.interpreter import CURRENT

    interpreter = CURRENT.get()
    for writer in interpreter.run.settings.writers if interpreter is not None else ():
        answers = getattr(writer, "input", None)
        if callable(answers):
            given = answers(prompt)
            return given if inspect.isawaitable(given) else Answer(given)
    return Answer(builtins.input(prompt))


setattr(ask, OUTSIDE, True)
