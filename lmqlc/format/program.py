"""A program as it should be written. Formatting never changes what a program means: the result is parsed again and compared."""

from __future__ import annotations

from collections.abc import Iterator

from lmqlc.format.layout import Layout, applied
from lmqlc.format.whitespace import tidied
from lmqlc.grammar.dump import same
from lmqlc.grammar.errors import LmqlSyntaxError
from lmqlc.grammar.lexer import Lexer
from lmqlc.grammar.nodes import Query
from lmqlc.grammar.parse import parse
from lmqlc.grammar.source import Source
from lmqlc.grammar.structure import read
from lmqlc.grammar.tokens import scan

WIDTH = 120
"""Characters of a line, where nobody says otherwise."""


def format_source(source: Source, *, width: int = WIDTH, prompts: bool = True) -> str:
    """The text of a program, formatted. Raises LmqlSyntaxError with everything that is wrong with a text that is no program.

    prompts=False: string statements are plain Python, as in `lmqlc.parse`.
    """
    query, decoders = _parsed(source, prompts)
    for text in candidates(query, width, decoders, prompts=prompts):
        if text == source.text or _same(query, text, decoders, prompts):
            return text
    return source.text


def candidates(query: Query, width: int, decoders: tuple[str, ...] = (), *, prompts: bool = True) -> Iterator[str]:
    """What a program's text could become: everything laid out; only what means nothing taken away."""
    text = query.source.text
    lexer = Lexer(text, scan(text, 1 if text.startswith("\ufeff") else 0), prompts=prompts, decoders=frozenset(decoders))
    structure = read(text, lexer.run())
    yield tidied(applied(text, Layout(query, structure, width).edits()))
    yield tidied(text)


def _parsed(source: Source, prompts: bool) -> tuple[Query, tuple[str, ...]]:
    """The syntax tree, and the decoders of other packages where it needs them."""
    try:
        return parse(source.text, source.name, prompts=prompts), ()
    except LmqlSyntaxError:
        from importlib.metadata import entry_points

        from lmqlc.compiler.driver import DECODER_GROUP

        others = tuple(entry.name for entry in entry_points(group=DECODER_GROUP))
        if not others:
            raise
        return parse(source.text, source.name, prompts=prompts, decoders=others), others


def _same(query: Query, text: str, decoders: tuple[str, ...], prompts: bool) -> bool:
    try:
        return same(query, parse(text, query.source.name, prompts=prompts, decoders=decoders))
    except LmqlSyntaxError:
        return False
