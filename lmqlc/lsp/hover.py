"""Hover: what a word means, what may fill a hole, where a name comes from."""

from __future__ import annotations

import re

from lmqlc.compiler.ir import HoleIR
from lmqlc.grammar.errors import LmqlError
from lmqlc.grammar.source import Span
from lmqlc.lsp import words
from lmqlc.lsp.context import context_at
from lmqlc.lsp.document import Document
from lmqlc.lsp.scope import Binding, bindings_of, definition_of

_WORD = re.compile(r"[^\W\d]\w*")
_TEXTS = {"module": "imported", "parameter": "parameter of its function"}


def word_at(text: str, offset: int) -> tuple[str, Span] | None:
    """The word at or right before an offset."""
    start = offset
    while start and (text[start - 1].isalnum() or text[start - 1] == "_"):
        start -= 1
    match = _WORD.match(text, start)
    return (match.group(), Span(start, match.end())) if match and match.end() >= offset else None


def hover(document: Document, offset: int) -> tuple[str, Span] | None:
    """Markdown about the word at an offset, and the word's place; None where there is nothing to say."""
    found = word_at(document.source.text, offset)
    if found is None:
        return None
    word, span = found
    binding = definition_of(bindings_of(document.source, offset), word, offset)
    text = _about(document, word, span, binding)
    return None if text is None else (text, span)


def _about(document: Document, word: str, span: Span, binding: Binding | None) -> str | None:
    context = context_at(document.source.text, span.end)
    if context.where in ("comment", "prompt"):
        return None
    if context.where == "arguments" and word in words.arguments_of(context.owner):
        return f"`{word}`: {words.arguments_of(context.owner)[word]}"
    if context.where == "role" and word in words.ROLES:
        return words.ROLES[word]
    if binding is None:
        return words.describe(word) or words.METHODS.get(word) or _argument(document, word)
    line, _ = document.source.position(binding.span.start)
    if binding.kind != "hole":
        return f"`{word}`: {_TEXTS.get(binding.kind, binding.kind)}, line {line}"
    return "\n".join([f"hole `{word}`, line {line}", *hole_lines(document, binding)])


def _argument(document: Document, word: str) -> str | None:
    program = document.program
    if program is None or word not in program.parameters:
        return None
    return f"`{word}`: an argument of the program; `lmqlc run {document.source.name} --arg {word}=…`"


def hole_lines(document: Document, binding: Binding) -> list[str]:
    """What may fill a hole: its constraint, language, guarantee and size, as `lmqlc explain` has them."""
    from lmqlc.explain_command import hole_explanation

    hole = _hole(document, binding)
    if hole is None or document.program is None:
        return []
    try:
        return ["```text", *hole_explanation(hole, document.program), "```"]
    except LmqlError as error:
        return [error.diagnostics[0].message if error.diagnostics else error.message]


def _hole(document: Document, binding: Binding) -> HoleIR | None:
    """The compiled hole that a binding is."""
    if document.program is None:
        return None
    return next((hole for hole in document.program.holes if hole.span.start <= binding.span.start < hole.span.end), None)
