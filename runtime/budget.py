"""How many tokens a hole may have, and what ends a run: the query's `max_len` and `max_total_tokens`, and the model's context window."""

from __future__ import annotations

import ast
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lmqlc.compiler.ir import INTERPRETER, Program
from lmqlc.compiler.masks.hole import Bound, Budget
from lmqlc.grammar.diagnostics import Diagnostic
from lmqlc.grammar.errors import ContextOverflow, LmqlError, RunEnded
from lmqlc.grammar.source import Source, Span

UNBOUNDED = 2048
"""Tokens of a hole that nothing bounds."""
VARIABLE = "LMQLC_MAX_TOKENS"
ENDED = "L0803"
_ENDLESS = 1 << 20
"""Tokens of a hole whose own texts bound it, where nothing else does: servers take no larger number."""


class EndOfRun(BaseException):
    """`max_len`, `max_total_tokens` or the context window is reached: the program ends here, and keeps what it has.

    No Exception, so that a program's own `except Exception` does not go on after the end. Who called the program is told by `RunEnded`.
    message: why; span, source: the hole. log: the run's, and text: its prompt, where a query ended in the place of a hole.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message
        self.span: Span | None = None
        self.source: Source | None = None
        self.log: object = None
        self.text: str | None = None

    def error(self, result: Any) -> RunEnded:
        """The error for who called the program; result: what the program had produced."""
        what, _, hint = self.message.partition("; ")
        error = RunEnded(diagnostics=[Diagnostic(ENDED, "error", what, self.span, (), hint)], source=self.source)
        error.result, error.results, error.end = result, (result,), self
        return error


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds in tokens. max_len: of the whole sequence. max_tokens: of each hole. left: of all that is still to be decoded. context: of the
    model's window. None: none."""

    max_len: int | None = None
    max_tokens: int | None = None
    left: int | None = None
    context: int | None = None


@dataclass(frozen=True, slots=True)
class Prompted:
    """What stands before a hole, in tokens. decoded: some of it was decoded by this run. several: so the run has several branches, which do
    not end with this one. parts: what fills it, for errors."""

    tokens: int
    decoded: bool = False
    several: bool = False
    parts: Callable[[], str] = str


@dataclass(slots=True)
class Spent:
    """Tokens that a branch has spent in queries that it called, which run by themselves."""

    tokens: int = 0


def unbounded_tokens() -> int:
    """Tokens of a hole that nothing bounds: `UNBOUNDED`, or what the environment says. Raises LmqlError for what is no count."""
    given = os.environ.get(VARIABLE)
    if not given:
        return UNBOUNDED
    if not (given.isascii() and given.isdigit() and 0 < int(given[:20]) <= _ENDLESS):
        raise LmqlError(f"{VARIABLE} is a whole number of tokens above 0, not {given!r}")
    return int(given)


def hole_budget(name: str, limits: Limits, prompted: Prompted, longest: int | None) -> Budget:
    """The budget of a hole. longest: the most tokens that its text may take, None where texts have no bound.

    Raises ContextOverflow where the prompt leaves no room in the context window, or none within `max_len` before anything is decoded;
    EndOfRun where the run's own bounds are reached, and for the window where other branches may have more room.
    """
    goes_on = prompted.decoded and prompted.several
    if limits.context is not None and prompted.tokens >= limits.context and not goes_on:
        hint = "shorten the prompt, or choose a model with a longer context"
        raise _overflow(name, prompted, f"the model's context window holds {limits.context}; {hint}")
    if limits.max_len is not None and prompted.tokens >= limits.max_len and not prompted.decoded:
        raise _overflow(name, prompted, f"`max_len` is {limits.max_len}; shorten the prompt, or set a larger `max_len`")
    left, bound = _room(limits, prompted.tokens)
    if left <= 0:
        raise EndOfRun(why_ended(name, bound, limits))
    own, whose = _own(limits.max_tokens, longest)
    tokens, bound = (own, whose) if own <= left else (left, bound)
    return Budget(tokens, "budget" if bound == "max_tokens" else "length", bound)


def _room(limits: Limits, prompt: int) -> tuple[int, Bound]:
    """Tokens that the run has left after a prompt, and what bounds them."""
    ends: list[tuple[int, Bound]] = [(_ENDLESS, "text")]
    if limits.left is not None:
        ends.append((limits.left, "max_total_tokens"))
    if limits.max_len is not None:
        ends.append((limits.max_len - prompt, "max_len"))
    if limits.context is not None:
        ends.append((limits.context - prompt, "window"))
    return min(ends, key=lambda end: end[0])


def _own(max_tokens: int | None, longest: int | None) -> tuple[int, Bound]:
    """Tokens that a hole has by itself, and what bounds them."""
    if max_tokens is not None:
        return max_tokens, "max_tokens"
    return (unbounded_tokens(), "default") if longest is None else (min(longest + 1, _ENDLESS), "text")


def _overflow(name: str, prompted: Prompted, bound: str) -> ContextOverflow:
    filled = prompted.parts()
    return ContextOverflow(
        f"the prompt before hole `{name}` is {prompted.tokens} tokens long{f', mostly {filled}' if filled else ''}, and {bound}"
    )


def why_ended(name: str, bound: Bound, limits: Limits) -> str:
    """What ended a run in a hole."""
    if bound == "max_total_tokens":
        why, hint = "the tokens of `max_total_tokens` are used up", "set a larger number"
    elif bound == "max_len":
        why, hint = f"prompt and output fill the {limits.max_len} tokens of `max_len`", "set a larger `max_len`"
    else:
        size = "" if limits.context is None else f" of {limits.context} tokens"
        why, hint = f"prompt and output fill the model's context window{size}", "choose a model with a longer context"
    return f"the run ended in hole `{name}`: {why}; {hint}, or bound the holes before it"


def why_cut(name: str, tokens: int) -> str:
    """What ended a hole that nothing bounded, and not its run."""
    return (
        f"hole `{name}` was ended after {tokens} tokens: nothing bounds its text, and so many is what such a hole has; "
        f"bound it by a constraint, or set `max_tokens` or {VARIABLE}"
    )


def gives_value(program: Program) -> bool:
    """A program gives a value by `return`, somewhere in its body."""
    return any(
        isinstance(node, ast.Attribute) and node.attr == "result" and isinstance(node.value, ast.Name) and node.value.id == INTERPRETER
        for node in ast.walk(program.body)
    )
