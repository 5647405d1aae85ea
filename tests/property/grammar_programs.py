"""Strategies for programs: syntax trees as a program would make them, without places."""

from __future__ import annotations

import ast
from typing import Any

from hypothesis import strategies as st

from lmqlc.grammar.nodes import Clause, Distribution, Header, Hole, Interpolation, Literal, Part, Prompt, Query, QueryString, RoleTag
from lmqlc.grammar.qstring import merged
from lmqlc.grammar.source import Source, Span
from lmqlc.grammar.unparse import value_of

NOWHERE = Span(0, 0)
WORDS = ("a", "b", "where", "distribution", "argmax", "sample", "beam", "match", "case", "X", "ANSWER", "naïve", "変数")
names = st.sampled_from(WORDS)
texts = st.text(st.sampled_from("ab [\\]{}'\"\n\t:!=@#%é日\0\r"), max_size=8)
plain_texts = st.text(st.sampled_from("ab \\'\"\né"), max_size=8)


def short(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """The strategy with a short description: Hypothesis writes down those of nested ones again and again."""
    return st.deferred(lambda: strategy)


def _name(word: str) -> ast.expr:
    return ast.Name(word, ast.Load())


def _arguments(words: list[str]) -> ast.arguments:
    return ast.arguments([], [ast.arg(word) for word in dict.fromkeys(words)], None, [], [], None, [])


constants = st.one_of(
    st.integers(0, 10**20), st.floats(0, allow_nan=False), texts, st.binary(max_size=4), st.sampled_from([None, True, False, ..., 2j])
).map(ast.Constant)
comparisons = st.sampled_from([ast.Lt, ast.LtE, ast.Eq, ast.NotEq, ast.In, ast.NotIn, ast.Is, ast.IsNot])
operators = st.sampled_from([ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Pow, ast.Mod, ast.BitOr, ast.LShift, ast.MatMult])


def _larger(inner: st.SearchStrategy[ast.expr]) -> st.SearchStrategy[ast.expr]:
    lists = st.lists(inner, max_size=2)
    several = st.lists(inner, min_size=2, max_size=3)
    generators = st.builds(lambda target, over, tests: [ast.comprehension(_name(target), over, tests, 0)], names, inner, lists)
    return st.one_of(
        st.builds(lambda left, op, right: ast.BinOp(left, op(), right), inner, operators, inner),
        st.builds(lambda op, value: ast.UnaryOp(op(), value), st.sampled_from([ast.Not, ast.USub, ast.Invert]), inner),
        st.builds(lambda op, values: ast.BoolOp(op(), values), st.sampled_from([ast.And, ast.Or]), several),
        st.builds(lambda left, op, right: ast.Compare(left, [op()], [right]), inner, comparisons, inner),
        st.builds(lambda f, args, word, value: ast.Call(f, args, [ast.keyword(word, value)]), inner, lists, names, inner),
        st.builds(lambda f, args: ast.Call(f, [ast.Starred(arg, ast.Load()) for arg in args], []), inner, lists),
        st.builds(lambda value, word: ast.Attribute(value, word, ast.Load()), inner, names),
        st.builds(lambda value, index: ast.Subscript(value, index, ast.Load()), inner, inner),
        st.builds(lambda value, low, high: ast.Subscript(value, ast.Slice(low, high), ast.Load()), inner, inner, inner),
        st.builds(lambda values: ast.List(values, ast.Load()), lists),
        st.builds(lambda values: ast.Tuple(values, ast.Load()), lists),
        st.builds(lambda keys: ast.Dict(keys, keys[::-1]), lists),
        st.builds(lambda values: ast.Set(values), several),
        st.builds(lambda words, value: ast.Lambda(_arguments(words), value), st.lists(names, max_size=2), inner),
        st.builds(ast.IfExp, inner, inner, inner),
        st.builds(lambda word, value: ast.NamedExpr(ast.Name(word, ast.Store()), value), names, inner),
        st.builds(ast.Await, inner),
        st.builds(ast.ListComp, inner, generators),
        st.builds(ast.GeneratorExp, inner, generators),
    )


expressions = short(st.recursive(short(st.one_of(names.map(_name), constants)), lambda inner: short(_larger(short(inner))), max_leaves=6))


def _formatted(word: str, conversion: int, text: str) -> ast.JoinedStr:
    value = ast.FormattedValue(_name(word), conversion, None)
    return ast.JoinedStr([ast.Constant(text), value] if text else [value])


formats = st.builds(_formatted, names, st.sampled_from([-1, ord("r")]), st.sampled_from(["", ">", "0.2"]))
decorators = st.one_of(names.map(_name), expressions)
holes = short(
    st.builds(
        lambda name, kind, given: Hole(name, kind, tuple(given), NOWHERE, NOWHERE),
        names,
        st.none() | expressions,
        st.lists(decorators, max_size=2),
    )
)
values = short(
    st.builds(
        lambda expr, conversion, spec: Interpolation(expr, conversion, spec, NOWHERE),
        expressions,
        st.sampled_from(["", "r", "s", "a"]),
        st.none() | formats,
    )
)
roles = st.sampled_from(["system", "user", "assistant"]).map(lambda role: RoleTag(role, NOWHERE))
literal_parts = texts.map(lambda text: Literal(text, NOWHERE))
clauses = expressions.map(lambda expr: Clause(expr, NOWHERE))
distributions = st.builds(lambda name, options: Distribution(name, options, NOWHERE, NOWHERE), names, expressions)


def prompt(parts: list[Part], where: Clause | None = None, distribution: Distribution | None = None) -> Prompt:
    made = merged(parts)
    return Prompt(QueryString(made, value_of(made), NOWHERE, where, distribution))


some_parts = short(st.lists(st.one_of(literal_parts, holes, values, roles), max_size=4))
with_hole = short(
    st.builds(
        lambda before, hole, after, where, distribution: prompt([*before, hole, *after], where, distribution),
        some_parts,
        holes,
        some_parts,
        st.none() | clauses,
        st.none() | distributions,
    )
)
prompts = st.one_of(some_parts.map(prompt), with_hole)


def _no_string(expr: ast.expr) -> bool:
    return not (isinstance(expr, ast.Constant) and isinstance(expr.value, str))


def _store(word: str) -> ast.expr:
    return ast.Name(word, ast.Store())


simple = short(
    st.one_of(
        expressions.filter(_no_string).map(ast.Expr),
        st.builds(lambda word, value: ast.Assign([_store(word)], value, lineno=1), names, expressions),
        st.builds(lambda word, kind, value: ast.AnnAssign(_store(word), kind, value, 1), names, expressions, st.none() | expressions),
        st.builds(lambda word, value: ast.AugAssign(_store(word), ast.Add(), value), names, expressions),
        expressions.map(ast.Return),
        names.map(lambda word: ast.Import([ast.alias(word)])),
        names.map(lambda word: ast.ImportFrom(word, [ast.alias("x", "where")], 0)),
        st.builds(ast.Assert, expressions, st.none() | expressions),
        st.builds(lambda value: ast.Expr(_formatted(value, -1, "text ")), names),
        st.builds(ast.Pass),
    )
)
strings = plain_texts.map(lambda text: ast.Expr(ast.Constant(text)))


def function(name: str, words: list[str], body: list[ast.stmt], *, coroutine: bool) -> ast.stmt:
    kind: Any = ast.AsyncFunctionDef if coroutine else ast.FunctionDef
    made: ast.stmt = kind(name, _arguments(words), body, [], None, lineno=1)
    return made


def _compound(blocks: st.SearchStrategy[list[ast.stmt]]) -> st.SearchStrategy[ast.stmt]:
    maybe = st.just([]) | blocks
    handlers = st.builds(lambda kind, body: [ast.ExceptHandler(kind, None, body)], expressions, blocks)
    cases = st.builds(lambda body: [ast.match_case(ast.MatchAs(None, "rest"), None, body)], blocks)
    return st.one_of(
        st.builds(ast.If, expressions, blocks, maybe),
        st.builds(ast.While, expressions, blocks, maybe),
        st.builds(lambda word, over, body, other: ast.For(_store(word), over, body, other, lineno=1), names, expressions, blocks, maybe),
        st.builds(lambda value, word, body: ast.With([ast.withitem(value, _store(word))], body, lineno=1), expressions, names, blocks),
        st.builds(ast.Try, blocks, handlers, maybe, maybe),
        st.builds(ast.Match, expressions, cases),
    )


def _definitions(inner: st.SearchStrategy[ast.stmt]) -> st.SearchStrategy[ast.stmt]:
    """Functions without holes, and classes: their string statements are plain Python."""
    blocks = st.lists(inner, min_size=1, max_size=3)
    return st.one_of(
        st.builds(function, names, st.lists(names, max_size=2), blocks, coroutine=st.booleans()),
        st.builds(lambda name, body: ast.ClassDef(name, [], [], body, []), names, blocks),
    )


def _plain(inner: st.SearchStrategy[ast.stmt]) -> st.SearchStrategy[ast.stmt]:
    return st.one_of(_compound(st.lists(inner, min_size=1, max_size=3)), _definitions(inner))


plain_statements = short(st.recursive(st.one_of(simple, strings), lambda inner: short(_plain(short(inner))), max_leaves=4))


def _prompting(inner: st.SearchStrategy[ast.stmt]) -> st.SearchStrategy[ast.stmt]:
    blocks = st.lists(inner, min_size=1, max_size=3)
    bodies = st.one_of(
        with_hole.map(lambda only: [only]),
        st.builds(lambda first, more, last: [first, *more, last], st.one_of(simple, strings), blocks, with_hole),
    )
    return st.one_of(
        _compound(blocks),
        _definitions(plain_statements),
        st.builds(function, names, st.lists(names, max_size=2), bodies, coroutine=st.booleans()),
    )


statements = short(st.recursive(st.one_of(simple, prompts), lambda inner: short(_prompting(short(inner))), max_leaves=5))
headers = st.builds(
    lambda decoder, arguments: Header(decoder, tuple(ast.keyword(word, value) for word, value in arguments.items()), NOWHERE),
    st.sampled_from(["argmax", "sample", "beam", "best_k"]),
    st.dictionaries(names, expressions, max_size=2),
)
suites = st.lists(statements, min_size=1, max_size=4).map(tuple)


@st.composite
def queries(draw: st.DrawFn) -> Query:
    """A program: with a header or without one, with clauses or without."""
    header = draw(st.none() | headers)
    prelude = draw(st.lists(statements, max_size=2)) if header is not None else []
    body = draw(suites)
    if header is None:
        body = (*body, draw(with_hole))
    model, where, distribution = draw(st.none() | clauses), draw(st.none() | clauses), draw(st.none() | distributions)
    return Query(Source("<made>", ""), tuple(prelude), header, body, model, where, distribution)
