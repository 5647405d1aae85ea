"""A `Query` back to text, and to plain Python. Both also take trees that a program made, without places."""

from __future__ import annotations

import ast
import copy
import re
from collections.abc import Callable, Sequence

from lmqlc.grammar.errors import LmqlError
from lmqlc.grammar.keywords import DECODERS
from lmqlc.grammar.nodes import Distribution, Header, Hole, Literal, Part, Prompt, Query, QueryString, RoleTag
from lmqlc.grammar.places import Places
from lmqlc.grammar.prompts import bodies, parts_of

_MARK = "__lmql_statement_"
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_BRACKETS = re.compile(r"[\[\]{}]")
_DECORATOR = re.compile(r"[^\W\d][\w.]*(?:\(.*\))?", re.DOTALL)


def to_python(query: Query) -> ast.Module:
    """The program as plain Python: query strings as string statements, header and clauses dropped.

    The query is not changed; the module shares its simple statements and expressions.
    """
    places = Places(query.source.text)

    def plain(statement: ast.stmt) -> ast.stmt:
        if not isinstance(statement, Prompt):
            return statement
        constant = ast.Constant(statement.query.value)
        if not hasattr(statement, "lineno"):
            return ast.Expr(constant)
        constant.lineno, constant.col_offset = places.place(statement.query.span.start)
        constant.end_lineno, constant.end_col_offset = places.place(statement.query.span.end)
        return ast.copy_location(ast.Expr(constant), statement)

    return ast.Module(body=replaced(query.statements, plain), type_ignores=[])


def replaced(statements: Sequence[ast.stmt], change: Callable[[ast.stmt], ast.stmt]) -> list[ast.stmt]:
    """The statements with `change` applied at every depth; compound statements are copied, never changed."""
    module = ast.Module(body=list(statements), type_ignores=[])
    work: list[ast.AST] = [module]
    while work:
        node = work.pop()
        for name in ("body", "orelse", "finalbody"):
            body = getattr(node, name, None)
            if isinstance(body, list):
                fresh = [_copied(change(statement)) for statement in body]
                setattr(node, name, fresh)
                work.extend(fresh)
        for name in ("handlers", "cases"):
            if hasattr(node, name):
                parts = [copy.copy(part) for part in getattr(node, name)]
                setattr(node, name, parts)
                work.extend(parts)
    return module.body


def _copied(statement: ast.stmt) -> ast.stmt:
    return copy.copy(statement) if bodies(statement) or parts_of(statement) else statement


def unparse(query: Query) -> str:
    """The text of a program; `parse` makes the same tree of it. Raises `LmqlError` for a tree that this Python cannot print."""
    try:
        if query.header is None:
            return _statements(query.statements) + _clauses(query)
        return "".join([_statements(query.prelude), _header(query.header), "\n", _suite(query.body), _clauses(query)])
    except RecursionError:
        raise LmqlError("the program is nested too deeply to be printed") from None
    except ValueError as error:
        raise LmqlError(f"the program cannot be printed: {error}") from None


def _header(header: Header) -> str:
    if not header.keywords:
        return header.decoder
    return ast.unparse(ast.Call(ast.Name(header.decoder, ast.Load()), [], list(header.keywords)))


def _clauses(query: Query) -> str:
    lines = []
    if query.model is not None:
        lines.append(f"from {ast.unparse(query.model.expr)}\n")
    if query.where is not None:
        text = ast.unparse(query.where.expr)
        lines.append(f"where {text}\n" if text[0].isalnum() or text[0] in "_'\"" else f"where\n    {text}\n")
    if query.distribution is not None:
        lines.append(f"{_distribution(query.distribution)}\n")
    return "".join(lines)


def _distribution(clause: Distribution) -> str:
    return f"distribution {clause.name} in {ast.unparse(clause.options)}"


def _suite(statements: Sequence[ast.stmt]) -> str:
    """The text of a body below its header: that of an `if`, without its first line."""
    head = ast.If(ast.Constant(1), list(statements) or [ast.Pass()], [])
    return _statements([head]).partition("\n")[2]


def _statements(statements: Sequence[ast.stmt]) -> str:
    """The text of statements. Prompts, and what could be taken for a header, go in by hand."""
    texts: list[str] = []

    def mark(statement: ast.stmt) -> ast.stmt:
        if isinstance(statement, Prompt):
            texts.append(_prompt(statement.query))
        elif isinstance(statement, ast.Expr) and _like_header(statement.value):
            texts.append(f"({ast.unparse(statement.value)})")
        else:
            return statement
        return ast.Expr(ast.Name(f"{prefix}{len(texts) - 1}", ast.Load()))

    prefix = _unused(statements)
    module = ast.Module(body=replaced(statements, mark), type_ignores=[])
    text = ast.unparse(module)
    text = re.sub(rf"(?m)^([ ]*){prefix}([0-9]+)$", lambda match: match[1] + texts[int(match[2])], text)
    return text + "\n" if text else ""


def _unused(statements: Sequence[ast.stmt]) -> str:
    """A beginning of names that no name or string of the statements has."""
    prefix, found = _MARK, True
    while found:
        found = any(
            isinstance(value, str) and prefix in value
            for statement in statements
            for node in ast.walk(statement)
            for value in (getattr(node, "id", None), getattr(node, "value", None))
        )
        prefix += "_" if found else ""
    return prefix


def _like_header(value: ast.expr) -> bool:
    name = value.func if isinstance(value, ast.Call) else value
    return isinstance(name, ast.Name) and name.id in DECODERS


def _prompt(query: QueryString) -> str:
    pieces = [literal(prompt_value(query))]
    if query.where is not None:
        pieces.append(f"where {ast.unparse(query.where.expr)}")
    if query.distribution is not None:
        pieces.append(_distribution(query.distribution))
    return " ".join(pieces)


def literal(value: str) -> str:
    """A string literal in double quotes on one line."""
    return '"' + "".join(_ESCAPES.get(char) or (char if char.isprintable() else _numeric(ord(char))) for char in value) + '"'


def _numeric(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def prompt_value(query: QueryString) -> str:
    """The value of a query string: its own where it agrees with its parts, else made from the parts."""
    from lmqlc.grammar.dump import same_parts
    from lmqlc.grammar.qstring import parts_of_value

    return query.value if same_parts(parts_of_value(query.value), query.parts) else value_of(query.parts)


def value_of(parts: Sequence[Part]) -> str:
    """The value of a query string with these parts."""
    return "".join(_part(part) for part in parts)


def _part(part: Part) -> str:
    if isinstance(part, Literal):
        return _BRACKETS.sub(lambda match: match.group() * 2, part.text)
    if isinstance(part, RoleTag):
        return f"{{:{part.role}}}"
    if isinstance(part, Hole):
        return _hole(part)
    return _interpolation(part.expr, part.conversion, part.format_spec)


def _hole(hole: Hole) -> str:
    pieces = [_hole_decorator(decorator) for decorator in hole.decorators]
    kind = f": {ast.unparse(hole.type)}" if hole.type is not None else ""
    return f"[{''.join(pieces)}{hole.name}{kind}]"


def _hole_decorator(decorator: ast.expr) -> str:
    text = ast.unparse(decorator)
    simple = isinstance(decorator, (ast.Name, ast.Attribute, ast.Call)) and _DECORATOR.fullmatch(text)
    return f"@{text} " if simple else f"@({text}) "


def _interpolation(expr: ast.expr, conversion: str, spec: ast.expr | None) -> str:
    text = ast.unparse(expr)
    text = f"({text})" if "lambda" in text else f" {text}" if text.startswith("{") else text
    shown = f"!{conversion}" if conversion else ""
    return "{" + text + shown + (f":{_specification(spec)}" if spec is not None else "") + "}"


def _specification(spec: ast.expr) -> str:
    pieces = []
    for value in spec.values if isinstance(spec, ast.JoinedStr) else ():
        if isinstance(value, ast.Constant):
            pieces.append(str(value.value))
        elif isinstance(value, ast.FormattedValue):
            pieces.append(_interpolation(value.value, chr(value.conversion) if value.conversion > 0 else "", value.format_spec))
    return "".join(pieces)
