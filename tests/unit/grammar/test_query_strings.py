"""The forms of a query string, one row each: the literal as written and the parts that it means."""

from __future__ import annotations

import ast
from collections.abc import Callable

import pytest

from lmqlc.grammar.nodes import Hole, Interpolation, Literal, Part, QueryString, RoleTag
from lmqlc.grammar.parse import parse
from lmqlc.grammar.unparse import value_of


def query_string(text: str) -> QueryString:
    (prompt,) = parse(text).prompts()
    return prompt.query


def shown(part: Part) -> str:
    """A part in a short form: `'text'`, `<role>`, `{code!r:spec}`, `[@deco NAME: TYPE]`."""
    if isinstance(part, Literal):
        return repr(part.text)
    if isinstance(part, RoleTag):
        return f"<{part.role}>"
    if isinstance(part, Interpolation):
        spec = "" if part.format_spec is None else ":" + ast.unparse(part.format_spec)
        return "{" + ast.unparse(part.expr) + ("!" + part.conversion if part.conversion else "") + spec + "}"
    decorators = "".join(f"@{ast.unparse(decorator)} " for decorator in part.decorators)
    return f"[{decorators}{part.name}" + ("" if part.type is None else f": {ast.unparse(part.type)}") + "]"


FORMS = [
    ('""', ""),
    ('"plain"', "'plain'"),
    ('"[X]"', "[X]"),
    ('"[ X ]"', "[X]"),
    ('"[X: int]"', "[X: int]"),
    ('"[X:int]"', "[X: int]"),
    ('"[X : int]"', "[X: int]"),
    ("'[X: r\"[a-z]+\"]'", "[X: '[a-z]+']"),
    ("'''[X: r\"[a-z]+\"]'''", "[X: '[a-z]+']"),
    ('"[X: r\\"[a-z]+\\"]"', "[X: '[a-z]+']"),
    ("\"[X: r'\\d+']\"", "[X: '\\\\d+']"),
    ("\"[X: r'\\\\d+\\n']\"", "[X: '\\\\d+\\\\n']"),
    ('"[X: Literal[1, 2]]"', "[X: Literal[1, 2]]"),
    ('"[X: dict[str, list[int]]]"', "[X: dict[str, list[int]]]"),
    ('"[X: other(args, k=[1])]"', "[X: other(args, k=[1])]"),
    ('"[X: (lambda: {1: 2})]"', "[X: lambda: {1: 2}]"),
    ('"[X: lambda: 1]"', "[X: lambda: 1]"),
    ('"[X: a if b else c]"', "[X: a if b else c]"),
    ('"[X: (y := int)]"', "[X: (y := int)]"),
    ('"[@a X]"', "[@a X]"),
    ("'[@a @b(1, \"]\") X: T]'", "[@a @b(1, ']') X: T]"),
    ('"[@a.b.c X]"', "[@a.b.c X]"),
    ('"[@a(1)(2)[3].d X]"', "[@a(1)(2)[3].d X]"),
    ('"[@(a or b) X]"', "[@a or b X]"),
    ('"[@a@b X]"', "[@a @b X]"),
    ('"[X][Y]"', "[X] [Y]"),
    ('"[[X]]"', "'[X]'"),
    ('"[[[X]]]"', "'[' [X] ']'"),
    ('"[[[[X]]]]"', "'[[X]]'"),
    ('"[X]]]"', "[X] ']'"),
    ('"{v}"', "{v}"),
    ('"{ v }"', "{v}"),
    ('"{{v}}"', "'{v}'"),
    ('"{{{v}}}"', "'{' {v} '}'"),
    ('"{xs[0]}"', "{xs[0]}"),
    ("\"{d['k']}\"", "{d['k']}"),
    ('"{d[\\"k\\"]}"', "{d['k']}"),
    ('"{v:.2f}"', "{v:f'.2f'}"),
    ('"{v:>8}"', "{v:f'>8'}"),
    ('"{v:>{w}.{p!r}}"', "{v:f'>{w}.{p!r}'}"),
    ('"{v!r}"', "{v!r}"),
    ('"{v!r:>8}"', "{v!r:f'>8'}"),
    ('"{v:}"', "{v:f''}"),
    ('"{f([1])}"', "{f([1])}"),
    ('"{a != b}"', "{a != b}"),
    ('"{a == b}"', "{a == b}"),
    ('"{a <= b}"', "{a <= b}"),
    ('"{xs[1:2]}"', "{xs[1:2]}"),
    ('"{ {1: 2}[1] }"', "{{1: 2}[1]}"),
    ('"{(lambda x: x)(1)}"', "{(lambda x: x)(1)}"),
    ('"{(y := 1)}"', "{(y := 1)}"),
    ('"{v=}"', "'v=' {v!r}"),
    ('"{v = !s}"', "'v = ' {v!s}"),
    ('"{v=:>3}"', "'v=' {v:f'>3'}"),
    ("\"{'}'}\"", "{'}'}"),
    ("\"{'{'}\"", "{'{'}"),
    ("\"{'!' + ':'}\"", "{'!' + ':'}"),
    ("\"{'''a'b'''}\"", '{"a\'b"}'),
    ("\"{'\\n'.join(xs)}\"", "{'\\n'.join(xs)}"),
    ("\"{f'{a!r:>3}'}\"", "{f'{a!r:>3}'}"),
    ('"{a, b}"', "{(a, b)}"),
    ('"{await f(x)}"', "{await f(x)}"),
    ('"""{f(\n  1,\n)}"""', "{f(1)}"),
    ('"{:system}"', "<system>"),
    ('"{:user}a{:assistant}[X]"', "<user> 'a' <assistant> [X]"),
    ('"{: user }"', "<user>"),
    ('"a\\tb\\x41\\u00e9\\N{BULLET}\\101"', "'a\\tbAé•A'"),
    ('r"a\\tb"', "'a\\\\tb'"),
    ('u"a"', "'a'"),
    ('"a" \'b\' """c"""', "'abc'"),
    ('("a"\n "[X]")', "'a' [X]"),
    ('"a" \\\n "[X]"', "'a' [X]"),
    ('"one\\\ntwo"', "'onetwo'"),
    ('"""a\r\nb\rc"""', "'a\\nb\\nc'"),
    ('"[" "X]"', "[X]"),
    ('"\\x5bX]"', "[X]"),
    ('"[ﬁn]"', "[fin]"),
]


@pytest.mark.parametrize(("text", "parts"), FORMS, ids=[text for text, _ in FORMS])
def test_form(text: str, parts: str) -> None:
    made = query_string(text)
    assert " ".join(shown(part) for part in made.parts) == parts.replace("{v:f''}", "{v:f''}")
    again = parse(f"({value_of(made.parts)!r})")
    assert [shown(part) for prompt in again.prompts() for part in prompt.query.parts] == [shown(part) for part in made.parts]


def test_value_is_the_string_as_python_sees_it() -> None:
    assert query_string('"[[a\\n" r"\\b"').value == "[[a\n\\b"


def _slice(text: str, part: Part) -> str:
    return text[part.span.start : part.span.end]


@pytest.mark.parametrize(
    "text",
    [
        '"é{a}b[NAME: int]c"',
        '("x"\n  "{a}" # no\n  \'[NAME: int]\')',
        '"\\n\\x41{a}\\u00e9[NAME: int]"',
        '\ufeff"""日\n\n {a}\t[NAME: int]"""',
    ],
)
def test_spans_are_those_of_the_text(text: str) -> None:
    made = query_string(text)
    value = next(part for part in made.parts if isinstance(part, Interpolation))
    hole = next(part for part in made.parts if isinstance(part, Hole))
    assert (_slice(text, value), _slice(text, hole)) == ("{a}", "[NAME: int]")
    assert text[hole.name_span.start : hole.name_span.end] == "NAME"
    assert text[made.span.start] in "\"'"


NODES: list[tuple[str, Callable[[QueryString], ast.AST | None], str]] = [
    ('x\n"é [X: foo(1)]"', lambda query: query.holes[0].type, "foo(1)"),
    ('"\\n\\x41 [@deco(2) X]"', lambda query: query.holes[0].decorators[0], "deco(2)"),
    ('("a"\n   "{value}")', lambda query: query.parts[1].expr if isinstance(query.parts[1], Interpolation) else None, "value"),
    ('"[X]" where (\n  len(X) < 3)', lambda query: query.where.expr if query.where else None, "len(X) < 3"),
    ('"é[X]" distribution X in opts', lambda query: query.distribution.options if query.distribution else None, "opts"),
    ('"[X]"\n   where X in é', lambda query: query.where.expr if query.where else None, "X in é"),
]


@pytest.mark.parametrize(("text", "pick", "code"), NODES, ids=[text for text, _, _ in NODES])
def test_nodes_stand_where_the_text_has_them(text: str, pick: Callable[[QueryString], ast.AST | None], code: str) -> None:
    node = pick(query_string(text))
    assert node is not None
    assert ast.get_source_segment(text, node) == code


def test_clause_spans_go_from_the_keyword_to_the_end() -> None:
    text = '"[X]" where len(X) < 3 distribution X in [1]'
    query = query_string(text)
    assert query.where is not None and query.distribution is not None
    assert text[query.where.span.start : query.where.span.end] == "where len(X) < 3"
    assert text[query.distribution.span.start : query.distribution.span.end] == "distribution X in [1]"
    assert text[query.distribution.name_span.start : query.distribution.name_span.end] == "X"
