"""A stable text of a syntax tree, for people and golden files; and equality of trees, places aside."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from typing import Any

from lmqlc.grammar.nodes import Clause, Distribution, Header, Hole, Interpolation, Literal, Part, Prompt, Query, QueryString, RoleTag

_STATEMENT_LISTS = ("body", "handlers", "cases", "orelse", "finalbody")
_SKIPPED = frozenset({"ctx", "type_ignores"})


def dump(query: Query) -> str:
    """The tree of a program: a line for each statement and each part of a prompt, with line and column; ends with a line end."""
    lines = ["query"]
    if query.header is not None:
        lines.append(f"  header {query.header.decoder}")
        lines += [f"    {keyword.arg} = {show(keyword.value)}" for keyword in query.header.keywords]
    for name, statements in (("prelude", query.prelude), ("body", query.body)):
        if statements:
            lines.append(f"  {name}")
            lines += _lines(statements, 4)
    for word, clause in (("from", query.model), ("where", query.where)):
        if clause is not None:
            lines.append(f"  {word} {show(clause.expr)}")
    if query.distribution is not None:
        lines.append(f"  {_distribution(query.distribution)}")
    return "\n".join(lines) + "\n"


def _distribution(clause: Distribution) -> str:
    return f"distribution {clause.name} in {show(clause.options)}"


def _lines(statements: Sequence[ast.AST], indent: int) -> Iterator[str]:
    """The lines of statements and of what stands in them; deep nesting does not recurse."""
    work: list[tuple[str | ast.AST, int]] = [(statement, indent) for statement in reversed(statements)]
    while work:
        node, depth = work.pop()
        if isinstance(node, str):
            yield " " * depth + node
        elif isinstance(node, Prompt):
            yield from (" " * depth + line for line in _prompt(node))
        else:
            yield f"{' ' * depth}{show(node, skip=_STATEMENT_LISTS)}{_place(node)}"
            for name in reversed(_STATEMENT_LISTS):
                inner = getattr(node, name, None)
                if isinstance(inner, list) and inner:
                    work += [(child, depth + 4) for child in reversed(inner)]
                    work.append((name, depth + 2))


def _place(node: ast.AST) -> str:
    line, column = getattr(node, "lineno", None), getattr(node, "col_offset", None)
    return f" @{line}:{column + 1}" if line is not None and column is not None else ""


def _prompt(prompt: Prompt) -> Iterator[str]:
    yield f"prompt{_place(prompt)}"
    for part in prompt.query.parts:
        yield f"  {_part(part)}"
    if prompt.query.where is not None:
        yield f"  where {show(prompt.query.where.expr)}"
    if prompt.query.distribution is not None:
        yield f"  {_distribution(prompt.query.distribution)}"


def _part(part: Part) -> str:
    if isinstance(part, Literal):
        return f"text {part.text!r}"
    if isinstance(part, RoleTag):
        return f"role {part.role}"
    if isinstance(part, Hole):
        decorators = "".join(f" @{show(decorator)}" for decorator in part.decorators)
        return f"hole {part.name}{decorators}" + (f": {show(part.type)}" if part.type is not None else "")
    conversion = f" !{part.conversion}" if part.conversion else ""
    return f"value {show(part.expr)}{conversion}" + (f" format {show(part.format_spec)}" if part.format_spec is not None else "")


def show(node: ast.AST, skip: Sequence[str] = ()) -> str:
    """A Python node on one line, as `ast.dump` has it, less what is empty; the same on every version of Python."""
    try:
        return _show(node, skip)
    except RecursionError:
        return f"{type(node).__name__}(...nested too deeply to be shown...)"


def _show(value: Any, skip: Sequence[str] = ()) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_show(item) for item in value)}]"
    if not isinstance(value, ast.AST):
        return repr(value)
    pieces = []
    for name in value._fields:
        inner = getattr(value, name, None)
        if name in _SKIPPED or (name in skip and isinstance(inner, list)) or (inner is None and name != "value") or inner == []:
            continue
        pieces.append(f"{name}={_show(inner)}")
    return f"{type(value).__name__}({', '.join(pieces)})"


def same(first: Query, second: Query) -> bool:
    """Whether two programs are the same tree, whatever their places and their spelling of strings."""
    return _same(_contents(first), _contents(second))


def same_parts(first: Sequence[Part], second: Sequence[Part]) -> bool:
    """Whether two query strings have the same parts."""
    return _same(list(first), list(second))


def _contents(value: Any) -> Any:
    """What counts in a node of this package, as a list; other values stay."""
    if isinstance(value, Query):
        return [value.header, list(value.prelude), list(value.body), value.model, value.where, value.distribution]
    if isinstance(value, Prompt):
        return _contents(value.query)
    if isinstance(value, QueryString):
        return ["string", list(value.parts), value.where, value.distribution]
    if isinstance(value, Header):
        return ["header", value.decoder, list(value.keywords)]
    if isinstance(value, Clause):
        return ["clause", value.expr]
    if isinstance(value, Distribution):
        return ["distribution", value.name, value.options]
    return _part_contents(value)


def _part_contents(value: Any) -> Any:
    if isinstance(value, Literal):
        return ["text", value.text]
    if isinstance(value, RoleTag):
        return ["role", value.role]
    if isinstance(value, Interpolation):
        return ["value", value.expr, value.conversion, value.format_spec]
    if isinstance(value, Hole):
        return ["hole", value.name, value.type, list(value.decorators)]
    return value


def _same(first: Any, second: Any) -> bool:
    work = [(first, second)]
    while work:
        a, b = (_contents(value) for value in work.pop())
        if isinstance(a, list) and isinstance(b, list):
            if len(a) != len(b):
                return False
            work.extend(zip(a, b, strict=True))
        elif isinstance(a, ast.AST) and type(a) is type(b):
            names = [name for name in a._fields if name not in _SKIPPED]
            work.extend((getattr(a, name, None) or _leaf(a, name), getattr(b, name, None) or _leaf(b, name)) for name in names)
        elif type(a) is not type(b) or repr(a) != repr(b):
            return False
    return True


def _leaf(node: ast.AST, name: str) -> Any:
    """A field that is empty, missing or false: empty lists and missing fields are the same."""
    value = getattr(node, name, None)
    return None if isinstance(value, list) else value
