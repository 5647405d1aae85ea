"""Token masks of a constraint that stands by itself: `lmqlc.token_automaton`.

The constraint is compiled as that of a program of one hole, which runs up to the hole so that Python evaluates the operands. Findings are
shown in the caller's own text.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from lmqlc.backends.base import Tokenizer
from lmqlc.compiler.constraints import OPEN, Constraint
from lmqlc.compiler.findings import span_of
from lmqlc.compiler.masks.interface import TokenConstraint
from lmqlc.grammar import python
from lmqlc.grammar.diagnostics import Diagnostic
from lmqlc.grammar.errors import LmqlCompileError, LmqlError, LmqlSyntaxError
from lmqlc.grammar.source import Source, Span

NO_VALUE = "L0409"


def constrain(
    where: str, hole: str, env: Mapping[str, Any], tokenizer: Tokenizer, *, max_tokens: int | None, follow: str | None
) -> TokenConstraint:
    """The constraint on tokens; arguments and errors are those of `lmqlc.token_automaton`."""
    from lmqlc.runtime.link import Place, link_text

    _check_arguments(where, hole, env, max_tokens, follow)
    shown = Source("<where>", where)
    _check_text(shown)
    before = f'"[{hole}]" where ('
    source = Source(shown.name, f"{before}{where}\n)\n")
    with _shown_in(shown, len(before)):
        constraint = _bound(source, shown, hole, dict(env))
        return link_text(constraint, tokenizer, Place(budget=max_tokens, follow=follow, source=source))


def _check_arguments(where: object, hole: object, env: Mapping[str, Any], max_tokens: object, follow: object) -> None:
    if not isinstance(where, str):
        raise LmqlError(f"a constraint is a text such as 'len(X) < 9', not {type(where).__name__}")
    if not isinstance(hole, str) or not hole.isidentifier():
        raise LmqlError(f"a hole's name is an identifier, not {hole!r}")
    if not isinstance(env, Mapping):
        raise LmqlError(f"`env` is a mapping of names to values, not {type(env).__name__}")
    if hole in env:
        raise LmqlError(f"`{hole}` is the hole, and cannot have a value in `env`; rename one of them")
    if max_tokens is not None and (not isinstance(max_tokens, int) or isinstance(max_tokens, bool) or max_tokens < 0):
        raise LmqlError(f"`max_tokens` is a number of tokens, 0 or more, or None for any number, not {max_tokens!r}")
    if not isinstance(follow, str | None):
        raise LmqlError(f"`follow` is the text after the hole, not {type(follow).__name__}")


def _check_text(shown: Source) -> None:
    """The text is one expression, in brackets or not: it cannot end the brackets that are put around it."""
    text = shown.text
    if not any(line.partition("#")[0].strip() for line in text.splitlines()):
        hint = "write what holds for the hole, such as `len(X) < 9`"
        raise LmqlSyntaxError(diagnostics=[Diagnostic("L0101", "error", "the constraint is empty", None, hint=hint)], source=shown)
    try:
        for wrapped in (f"({text}\n)", f"[{text}\n]"):
            python.parse(wrapped, "eval")
    except python.Fault as fault:
        raise LmqlSyntaxError(diagnostics=[_fault(shown, fault)], source=shown) from None


def _fault(shown: Source, wrapped: python.Fault) -> Diagnostic:
    """What is wrong with a text in brackets; where it is the brackets, what is wrong with the text by itself."""
    fault, moved = wrapped, 1
    if python.code(wrapped.message) == "L0104":
        try:
            python.parse(shown.text, "eval")
        except python.Fault as bare:
            fault, moved = bare, 0
    start, end = (shown.offset(line, column - (moved if line == 1 else 0)) for line, column in (fault.start, fault.end))
    return python.diagnostic(fault.message, Span(start, max(end, start + 1)))


@contextmanager
def _shown_in(shown: Source, moved: int) -> Iterator[None]:
    """Findings are shown in the caller's text, which stands `moved` characters into the program."""
    try:
        yield
    except LmqlError as problem:
        if not problem.diagnostics or problem.source is shown:
            raise
        found = [_moved(diagnostic, moved, len(shown.text)) for diagnostic in problem.diagnostics]
        raise type(problem)(diagnostics=found, source=shown) from None


def _moved(found: Diagnostic, moved: int, length: int) -> Diagnostic:
    def place(span: Span | None) -> Span | None:
        if span is None:
            return None
        start = min(max(span.start - moved, 0), length)
        return Span(start, min(max(span.end - moved, start), length))

    notes = tuple((text, place(span)) for text, span in found.notes)
    return replace(found, span=place(found.span), notes=notes)


def _bound(source: Source, shown: Source, hole: str, env: dict[str, Any]) -> Constraint:
    """The constraint, its operands evaluated: the program runs up to its hole."""
    import sys

    from lmqlc.compiler.code import entry_for
    from lmqlc.compiler.driver import compile_source
    from lmqlc.runtime.arguments import environment_for
    from lmqlc.runtime.link import whole_constraint

    program = compile_source(source, surrounding=frozenset(env))
    missing = [name for name in program.parameters if name not in env]
    if missing:
        raise LmqlCompileError(diagnostics=[_missing(name, shown, hole, env) for name in missing], source=shown)
    recorder = _Recorder()
    coroutine = entry_for(program, environment_for(sys.modules["lmqlc"], env))(recorder)
    try:
        coroutine.send(None)
    except StopIteration:
        pass
    finally:
        coroutine.close()
    return whole_constraint(program.holes[0].constraint, recorder.slots, None)


def _missing(name: str, shown: Source, hole: str, env: Mapping[str, Any]) -> Diagnostic:
    from lmqlc.compiler.findings import nearest

    wrapped = Source(shown.name, f"({shown.text}\n)")
    named = [node for node in ast.walk(python.parse(wrapped.text, "eval")) if isinstance(node, ast.Name) and node.id == name]
    span = min((span_of(node, wrapped) for node in named), key=lambda span: span.start, default=None)
    near = nearest(name, [*env, hole])
    hint = f"did you mean `{near}`?" if near else f"give its value: env={{{name!r}: …}}; the hole is `{hole}`"
    message = f"the constraint uses the name `{name}`, which is not in `env`"
    return Diagnostic(NO_VALUE, "error", message, None if span is None else Span(span.start - 1, span.end - 1), hint=hint)


class _Recorder:
    """An interpreter that keeps the operands of the hole it meets, and decodes nothing."""

    OPEN = OPEN

    def __init__(self) -> None:
        self.slots: tuple[Any, ...] = ()

    async def text(self, literal: str) -> None:
        """Nothing is written."""

    async def call(self, value: Any) -> Any:
        return value

    def bound(self, *names: str) -> bool:
        return False

    async def hole(self, index: int, slots: tuple[Any, ...], type: object = None, decorators: tuple[Any, ...] = ()) -> None:
        self.slots = slots
