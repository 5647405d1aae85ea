"""Compiling in the public face: parse, compile, load, token automata."""

from __future__ import annotations

import builtins
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from lmqlc.compiler.ir import Program
from lmqlc.grammar.diagnostics import Diagnostic
from lmqlc.grammar.errors import LmqlError
from lmqlc.grammar.nodes import Query
from lmqlc.grammar.source import Source
from lmqlc.sources import source_of

if TYPE_CHECKING:
    from lmqlc.compiler.masks.token_automaton import TokenAutomaton

TokenizerValue = Any
"""A model directory, a tokenizer.json, a `tokenizers.Tokenizer`, a transformers tokenizer, or one of this project."""


@dataclass(frozen=True)
class CompiledQuery:
    """A compiled program; `lmqlc.run` takes it as it takes a text.

    arrays: its token masks, for the tokenizer that it was compiled for.
    """

    program: Program
    arrays: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @cached_property
    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """The program's warnings; errors are raised when it is compiled."""
        from lmqlc.compiler.driver import check_source

        return tuple(check_source(self.program.source))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the artifact (`.lmqlc`), whole or not at all. Raises ArtifactError where the file cannot be written."""
        from lmqlc.compiler.artifact import save

        save(self.program, path, self.arrays)

    def emit(self, stage: str) -> str:
        """A stage of compilation as text; raises LmqlError for a stage that there is not."""
        from lmqlc.emitting import emit

        return emit(self.program, stage)


def parse(text: str, name: str = "<string>", *, prompts: bool = True) -> Query:
    """The syntax tree of a program. Raises LmqlSyntaxError with everything that is wrong.

    prompts=False: string statements stay plain Python, so that every Python module parses to its own tree.
    """
    from lmqlc.grammar.parse import parse

    return parse(text, name, prompts=prompts)


def compile(text_or_path: str | os.PathLike[str], *, tokenizer: TokenizerValue = None) -> CompiledQuery:
    """Compile a program: a text, or a path (a path object, or a string of one line that ends with `.lmql`).

    tokenizer: also work out the token masks of its constraints. Raises LmqlSyntaxError or LmqlCompileError.
    """
    return compile_source_to_query(source_of(text_or_path), tokenizer=tokenizer)


def compile_source_to_query(source: Source, *, tokenizer: TokenizerValue = None) -> CompiledQuery:
    """`compile` for a source."""
    from lmqlc.compiler.driver import compile_source

    program = compile_source(source)
    if tokenizer is None:
        return CompiledQuery(program)
    from lmqlc.backends.tokenizer import load_tokenizer
    from lmqlc.runtime.stored import link_ahead

    return CompiledQuery(program, link_ahead(program, load_tokenizer(tokenizer)))


def load(path: str | os.PathLike[str]) -> CompiledQuery:
    """A compiled program from its artifact. Raises ArtifactError for a file that is none, LmqlError for one that cannot be read."""
    from lmqlc.compiler.artifact import load
    from lmqlc.sources import readable

    return CompiledQuery(*load(readable(path)))


def token_automaton(
    where: str,
    *,
    tokenizer: TokenizerValue,
    hole: str = "X",
    env: Mapping[str, Any] | None = None,
    max_tokens: int | None = None,
    eos: int | str | Iterable[int | str] | None = None,
    follow: str | None = None,
) -> TokenAutomaton:
    """The token masks of a constraint.

    where: the text of a constraint on the variable `hole`, as it stands after `where`. env: values of the names in it. max_tokens: the most
    tokens a text may take. eos: end-of-text tokens, where the tokenizer names none. follow: the literal after the hole.
    Raises LmqlSyntaxError and LmqlCompileError for a text that is no constraint, UnsatisfiableConstraint where nothing meets it.
    """
    from lmqlc.backends.tokenizer import load_tokenizer
    from lmqlc.compiler.automata.build import build
    from lmqlc.compiler.masks.token_automaton import link

    source, constraint = _constraint(where, hole, dict(env or {}))
    loaded = load_tokenizer(tokenizer, eos=eos)
    automaton = build(constraint, source=source)
    return link(automaton, loaded.vocabulary, max_tokens=max_tokens, follow=follow, encode=lambda text: loaded.encode(text, first=False))


def _constraint(where: str, hole: str, env: dict[str, Any]) -> tuple[Source, Any]:
    """The constraint in a text, its operands evaluated: a program of one hole runs up to that hole."""
    from lmqlc.compiler.code import entry_for
    from lmqlc.compiler.driver import compile_source
    from lmqlc.runtime.link import whole_constraint

    if not hole.isidentifier():
        raise LmqlError(f"a hole's name is an identifier, not {hole!r}")
    source = Source("<where>", f'"[{hole}]" where ({where}\n)\n')
    program = compile_source(source, surrounding=frozenset(env))
    missing = [name for name in program.parameters if name not in env]
    if missing:
        raise LmqlError(f"the constraint uses the name `{missing[0]}`, which is not in `env`")
    recorder = _Recorder()
    coroutine = entry_for(program, {"__builtins__": builtins, **env})(recorder)
    try:
        coroutine.send(None)
    except StopIteration:
        pass
    finally:
        coroutine.close()
    return source, whole_constraint(program.holes[0].constraint, recorder.slots, None)


class _Recorder:
    """An interpreter that keeps the operands of the hole it meets, and decodes nothing."""

    def __init__(self) -> None:
        from lmqlc.compiler.constraints import OPEN

        self.OPEN = OPEN
        self.slots: tuple[Any, ...] = ()

    async def text(self, literal: str) -> None:
        """Nothing is written."""

    async def call(self, value: Any) -> Any:
        return value

    def bound(self, *names: str) -> bool:
        return False

    async def hole(self, index: int, slots: tuple[Any, ...], type: object = None, decorators: tuple[Any, ...] = ()) -> None:
        self.slots = slots
