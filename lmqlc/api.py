"""Compiling in the public face: parse, compile, load, token automata."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from lmqlc.compiler.ir import Program
from lmqlc.grammar.diagnostics import Diagnostic
from lmqlc.grammar.nodes import Query
from lmqlc.grammar.source import Source
from lmqlc.sources import source_of

if TYPE_CHECKING:
    from lmqlc.compiler.masks.interface import TokenConstraint

TokenizerValue = Any
"""A model directory, a tokenizer.json, a `tokenizers.Tokenizer`, a transformers tokenizer, or one of this project."""


@dataclass(frozen=True)
class CompiledQuery:
    """A compiled program; `lmqlc.run` takes it as it takes a text.

    arrays: its token masks, for the tokenizers that it was compiled for.
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

    def emit(self, stage: str, *, hole: str | None = None) -> str:
        """A stage of compilation as text: "ast", "ir", "python"; or the language of the holes: "regex", "ebnf" (xgrammar), "gbnf"
        (llama.cpp), "lark" (llguidance), "dot". hole: of that hole alone. Raises LmqlError for what there is not, or has no such form.
        """
        from lmqlc.emitting import emit

        return emit(self.program, stage, hole)


def parse(text: str, name: str = "<string>", *, prompts: bool = True) -> Query:
    """The syntax tree of a program. Raises LmqlSyntaxError with everything that is wrong.

    prompts=False: string statements stay plain Python, so that every Python module parses to its own tree.
    """
    from lmqlc.grammar.parse import parse

    return parse(text, name, prompts=prompts)


def compile(text_or_path: str | os.PathLike[str], *, tokenizer: TokenizerValue = None) -> CompiledQuery:
    """Compile a program: a text, or a path (a path object, or a string of one line that ends with `.lmql`).

    tokenizer: also work out the token masks of its constraints, for one tokenizer or a list of them. Raises LmqlSyntaxError, or
    LmqlCompileError, which is UnsatisfiableConstraint where no text can meet a constraint.
    """
    return compile_source_to_query(source_of(text_or_path), tokenizer=tokenizer)


def compile_source_to_query(source: Source, *, tokenizer: TokenizerValue = None) -> CompiledQuery:
    """`compile` for a source."""
    from lmqlc.compiler.driver import compile_source

    program = compile_source(source)
    if tokenizer is None:
        return CompiledQuery(program)
    from lmqlc.loaded_tokenizers import loaded_tokenizer
    from lmqlc.runtime.stored import link_ahead

    arrays: dict[str, Any] = {}
    for one in tokenizer if isinstance(tokenizer, list | tuple) else (tokenizer,):
        arrays |= link_ahead(program, loaded_tokenizer(one))
    return CompiledQuery(program, arrays)


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
) -> TokenConstraint:
    """The token masks of a constraint, exact where it is regular (`.exact`).

    where: the text of a constraint on the variable `hole`, as it stands after `where`. env: values of the names in it. max_tokens: the most
    tokens a text may take. eos: end-of-text tokens, where the tokenizer names none. follow: the literal after the hole.
    A tokenizer is read once: a path until its files change. Raises LmqlSyntaxError and LmqlCompileError for a text that is no constraint,
    UnsatisfiableConstraint where no text meets it, or none within `max_tokens`; ModelNotFound where there is no tokenizer.
    """
    from lmqlc.loaded_tokenizers import loaded_tokenizer
    from lmqlc.where import constrain

    return constrain(where, hole, env or {}, loaded_tokenizer(tokenizer, eos=eos), max_tokens=max_tokens, follow=follow)
