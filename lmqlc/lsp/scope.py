"""Which names a program binds, and where: in whole programs from the syntax tree, in half-written ones from what looks like a binding."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from lmqlc.compiler.findings import span_of
from lmqlc.grammar.errors import LmqlError
from lmqlc.grammar.nodes import Prompt, Query
from lmqlc.grammar.parse import parse
from lmqlc.grammar.source import Source, Span

Kind = Literal["hole", "variable", "function", "class", "module", "parameter"]
_HOLE = re.compile(r"(?<!\[)\[(?:@[^\[\]]*\s)?\s*(?P<name>[A-Za-z_]\w*)\s*(?=[\]:])")
_LOOKS_BOUND = re.compile(
    r"^[ \t]*(?:(?P<variable>[A-Za-z_]\w*)[ \t]*(?::[^=\n]*)?=(?!=)|(?:async[ \t]+)?def[ \t]+(?P<function>\w+)|class[ \t]+(?P<klass>\w+)"
    r"|for[ \t]+(?P<loop>\w+)[ \t]+in\b|(?:from[ \t]+\S+[ \t]+)?import[ \t]+(?:[\w.]+[ \t]+as[ \t]+)?(?P<module>\w+))",
    re.MULTILINE,
)
_KINDS: dict[str, Kind] = {"variable": "variable", "function": "function", "klass": "class", "loop": "variable", "module": "module"}


@dataclass(frozen=True, slots=True)
class Binding:
    """A name and where it is bound. scope: the function that it belongs to, None for the program's own."""

    name: str
    kind: Kind
    span: Span
    scope: Span | None = None

    def visible_at(self, offset: int) -> bool:
        """The name may be meant at an offset."""
        return self.scope is None or self.scope.start <= offset <= self.scope.end


def bindings_of(source: Source, cursor: int | None = None) -> list[Binding]:
    """Every binding in the order of the text. cursor: where somebody writes; a broken line there is read past."""
    for text in _readable(source, cursor):
        try:
            query = parse(text, source.name)
        except (LmqlError, RecursionError):
            continue
        found = [*_in_tree(query), *(_on_line(source, cursor) if text is not source.text and cursor is not None else ())]
        return sorted(found, key=lambda binding: binding.span.start)
    return sorted(_by_looks(source.text), key=lambda binding: binding.span.start)


def definition_of(bindings: Sequence[Binding], name: str, offset: int) -> Binding | None:
    """The binding that a name at an offset means: the innermost scope's, in it the last one before the offset, else the first."""
    named = [one for one in bindings if one.name == name and one.visible_at(offset)]
    if not named:
        return None
    inner = max(named, key=lambda one: one.scope.start if one.scope else -1).scope
    own = [one for one in named if one.scope == inner]
    before = [one for one in own if one.span.start <= offset]
    return before[-1] if before else own[0]


def _readable(source: Source, cursor: int | None) -> Iterator[str]:
    """The text; the text without the line that is being written, whose place a statement takes."""
    yield source.text
    if cursor is None:
        return
    line, _ = source.position(cursor)
    written = source.line(line)
    start = source.offset(line, 1)
    indent = len(written) - len(written.lstrip())
    room = len(written) - indent
    stand_in = ("pass" if room >= 4 else "0" if room else "").ljust(room)
    yield source.text[: start + indent] + stand_in + source.text[start + len(written) :]


def _on_line(source: Source, cursor: int) -> Iterator[Binding]:
    """The holes of the line that is being written."""
    line, _ = source.position(cursor)
    yield from _holes(source.line(line), source.offset(line, 1), None)


def _by_looks(text: str) -> Iterator[Binding]:
    for match in _LOOKS_BOUND.finditer(text):
        for group, kind in _KINDS.items():
            if match[group]:
                yield Binding(match[group], kind, Span(*match.span(group)))
    yield from _holes(text, 0, None)


def _holes(text: str, start: int, scope: Span | None) -> Iterator[Binding]:
    for match in _HOLE.finditer(text):
        yield Binding(match["name"], "hole", Span(start + match.start("name"), start + match.end("name")), scope)


def _in_tree(query: Query) -> Iterator[Binding]:
    work: list[tuple[ast.AST, Span | None]] = [(statement, None) for statement in query.statements]
    while work:
        node, scope = work.pop()
        yield from _bound_by(node, query.source, scope)
        inner = scope
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            inner = _reach(node, query.source)
            yield from _parameters(node, query.source, inner)
            yield from _program_in(node, query.source, inner)
        work.extend((child, inner) for child in ast.iter_child_nodes(node))


def _reach(node: ast.expr | ast.stmt, source: Source) -> Span:
    """The span of a function; that of a `def` goes on over the lines below it that are empty, or indented deeper, where it may go on."""
    span = span_of(node, source)
    if isinstance(node, ast.Lambda):
        return span
    line = source.position(span.end)[0] + 1
    while line <= source.line_count and _column(source.line(line)) > node.col_offset:
        line += 1
    return Span(span.start, max(span.end, source.offset(line - 1, len(source.line(line - 1)) + 1)))


def _column(line: str) -> int:
    """The indentation of a line; an empty one has any."""
    return len(line) - len(line.lstrip()) if line.strip() else 1 << 20


def _bound_by(node: ast.AST, source: Source, scope: Span | None) -> Iterator[Binding]:
    if isinstance(node, Prompt):
        yield from (Binding(hole.name, "hole", hole.name_span, scope) for hole in node.query.holes)
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield Binding(node.id, "variable", span_of(node, source), scope)
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        kind: Kind = "class" if isinstance(node, ast.ClassDef) else "function"
        yield Binding(node.name, kind, _named(node.name, span_of(node, source), source), scope)
    elif isinstance(node, ast.Import | ast.ImportFrom):
        whole = span_of(node, source)
        for alias in node.names:
            name = alias.asname or alias.name.partition(".")[0]
            if name != "*":
                yield Binding(name, "module", _named(name, whole, source), scope)
    elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
        yield Binding(node.name, "variable", _named(node.name, span_of(node, source), source), scope)


def _named(name: str, whole: Span, source: Source) -> Span:
    """Where a name stands in a statement that binds it: the last place on its first line for an import, the first one for others."""
    found = re.compile(rf"\b{re.escape(name)}\b").search(source.text, whole.start, max(whole.end, whole.start))
    return Span(found.start(), found.end()) if found else whole


def _parameters(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda, source: Source, scope: Span) -> Iterator[Binding]:
    given = node.args
    for one in [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]:
        if one is not None:
            span = span_of(one, source)
            yield Binding(one.arg, "parameter", Span(span.start, span.start + len(one.arg)), scope)


def _program_in(node: ast.AST, source: Source, scope: Span) -> Iterator[Binding]:
    """The holes of a query function, whose program is its docstring."""
    if isinstance(node, ast.Lambda) or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or not node.body:
        return
    text = ast.get_docstring(node, clean=False) if not isinstance(node.body[0], Prompt) else None
    if text is not None and text.lstrip().startswith("lmql"):
        span = span_of(node.body[0], source)
        yield from _holes(source.text[span.start : span.end], span.start, scope)
