"""Atoms about the hole being decoded: comparisons, method calls, constraint calls and custom constraints.

Each kind of expression has one rule; what no rule takes is an error that names the construct and, where there is one, the way to say it.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from lmqlc.compiler import constraints as c
from lmqlc.compiler.constraint_calls import CALLS, COUNTERS, arguments, mentions
from lmqlc.compiler.constraints import Const, Constraint, Operand
from lmqlc.compiler.findings import did_you_mean
from lmqlc.compiler.literal_places import inside_literal
from lmqlc.compiler.lower_compare import compare
from lmqlc.compiler.lower_problems import METHODS, TEXT_TESTS, is_hole, unsupported, wrong_kind

if TYPE_CHECKING:
    from lmqlc.compiler.lower_constraint import Lowering


def atom(low: Lowering, node: ast.expr) -> Constraint:
    """The atom for an expression that mentions the hole; TRUE, with an error reported, where there is none."""
    if isinstance(node, ast.Compare):
        return compare(low, node)
    if isinstance(node, ast.Call):
        return _call(low, node)
    if isinstance(node, ast.Name):
        return unsupported(low, node, f"a condition about the text is needed; for a non-empty one write `len({node.id}) > 0`")
    return unsupported(low, node, None)


def _call(low: Lowering, node: ast.Call) -> Constraint:
    name = low.scope.constraint_name(node.func)
    if name is not None and name in CALLS:
        return _constraint_call(low, node, name)
    if name in COUNTERS:
        return unsupported(low, node, f"compare its length with a number: `len({low.findings.text(node)}) < 10`")
    function = node.func
    if isinstance(function, ast.Attribute) and mentions(function.value, frozenset({low.view.hole})):
        return _method(low, node, function)
    return _custom(low, node)


# -- methods of the text -----------------------------------------------------------------------------------------------


def _method(low: Lowering, node: ast.Call, function: ast.Attribute) -> Constraint:
    if not is_hole(low, function.value) or function.attr not in METHODS:
        return unsupported(low, node, _method_hint(low, function))
    span = low.findings.span(node)
    if function.attr in TEXT_TESTS:
        if node.args or node.keywords:
            return unsupported(low, node, f"`{function.attr}` takes no arguments")
        return c.TextIs(cast(c.TextTest, function.attr), span)
    if len(node.args) != 1 or node.keywords or isinstance(node.args[0], ast.Starred):
        return unsupported(low, node, f"`{function.attr}` takes one string, or a tuple of strings")
    if mentions(node.args[0], frozenset({low.view.hole})):
        return unsupported(low, node, None)
    text = low.operand(node.args[0])
    if isinstance(text, Const) and not _is_text_or_tuple(text.value):
        return wrong_kind(low, node.args[0], "a string or a tuple of strings")
    return c.StartsWith(text, span) if function.attr == "startswith" else c.EndsWith(text, span)


def _is_text_or_tuple(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, tuple) and all(isinstance(item, str) for item in value))


def _method_hint(low: Lowering, function: ast.Attribute) -> str | None:
    if not is_hole(low, function.value):
        return None
    if function.attr in ("lower", "upper", "casefold"):
        return f"name the spellings, or match a pattern: `REGEX({low.view.hole}, r'(?i)yes|no')`"
    if function.attr in ("split", "strip", "lstrip", "rstrip", "splitlines"):
        return f"say it with a pattern: `REGEX({low.view.hole}, r'…')`; words are counted by `len(WORDS({low.view.hole}))`"
    return did_you_mean(function.attr, METHODS, f"methods that a constraint knows are {', '.join(METHODS)}")


# -- constraint calls --------------------------------------------------------------------------------------------------


def _constraint_call(low: Lowering, node: ast.Call, name: str) -> Constraint:
    found = arguments(node, name)
    if found is None or not is_hole(low, node.args[0]):
        return unsupported(low, node, f"the first argument of `{name}` is the hole being decoded")
    if any(mentions(value, frozenset({low.view.hole})) for value in found.values()):
        return unsupported(low, node, "the operands of a constraint cannot depend on the hole itself")
    return _RULES[name](low, node, found)


def _number(low: Lowering, node: ast.Call, found: dict[str, ast.expr]) -> Constraint:
    return c.Number("int" if low.scope.constraint_name(node.func) == "INT" else "float", low.findings.span(node))


def _regex(low: Lowering, node: ast.Call, found: dict[str, ast.expr]) -> Constraint:
    source = found["pattern"]
    pattern = low.operand(source)
    if isinstance(pattern, Const):
        if not isinstance(pattern.value, str):
            return wrong_kind(low, source, "a pattern: a string or `re.compile(…)`")
        check_pattern(low, source, pattern.value)
    return c.Matches(pattern, low.findings.span(node), low.findings.span(source) if isinstance(pattern, Const) else None)


def check_pattern(low: Lowering, node: ast.expr, pattern: str) -> None:
    """Report a constant that is no regular expression."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        span, said = low.findings.span(node), str(error)
        place = _place(error, pattern)
        inside = None if place is None else inside_literal(low.findings.source, span, pattern, *place)
        if inside is not None and isinstance(error, re.error):
            span, said = inside, error.msg
        hint = r"`re` has no `\p{…}`; letters are `[^\W\d_]`" if said.startswith(r"bad escape \p") else "it has the syntax of Python's `re`"
        low.findings.error("L0401", f"the pattern is no regular expression: {said}", span, hint)


def _place(error: Exception, pattern: str) -> tuple[int, int] | None:
    """Where in a pattern Python finds fault with it. Of a look-behind it does not say."""
    if not isinstance(error, re.error):
        return None
    if error.pos is not None:
        return error.pos, error.pos + 1
    found = re.search(r"\(\?<[=!]", pattern) if "look-behind" in error.msg else None
    return found and found.span()


def _json(low: Lowering, node: ast.Call, found: dict[str, ast.expr]) -> Constraint:
    schema = low.operand(found["schema"]) if "schema" in found else None
    if isinstance(schema, Const) and not isinstance(schema.value, dict | bool | str):
        return wrong_kind(low, found["schema"], "a JSON schema (a dict, or its JSON text)")
    return c.Json(schema, low.findings.span(node))


def _grammar(low: Lowering, node: ast.Call, found: dict[str, ast.expr]) -> Constraint:
    grammar = low.operand(found["grammar"])
    if isinstance(grammar, Const) and not isinstance(grammar.value, str):
        return wrong_kind(low, found["grammar"], "the text of a Lark grammar")
    return c.Grammar(grammar, low.findings.span(node))


def _stop(low: Lowering, node: ast.Call, found: dict[str, ast.expr]) -> Constraint:
    phrase = low.operand(found["phrase"])
    if isinstance(phrase, Const):
        texts = phrase.value if isinstance(phrase.value, list | tuple) else [phrase.value]
        if not texts or not all(isinstance(text, str) for text in texts):
            return wrong_kind(low, found["phrase"], "a string, a list of strings or `re.compile(…)`")
        if "" in texts:
            low.findings.error("L0400", "a stop phrase cannot be empty", low.findings.span(found["phrase"]))
    return c.Stop(phrase, low.scope.constraint_name(node.func) == "STOPS_AT", low.findings.span(node))


_RULES: dict[str, Callable[[Lowering, ast.Call, dict[str, ast.expr]], Constraint]] = {
    "FLOAT": _number,
    "GRAMMAR": _grammar,
    "INT": _number,
    "JSON": _json,
    "REGEX": _regex,
    "STOPS_AT": _stop,
    "STOPS_BEFORE": _stop,
}


# -- custom constraints ------------------------------------------------------------------------------------------------


def _custom(low: Lowering, node: ast.Call) -> Constraint:
    """`f(X, …)` of an `@lmql.constraint` function."""
    hole = frozenset({low.view.hole})
    if not isinstance(node.func, ast.Name | ast.Attribute) or mentions(node.func, hole):
        return unsupported(low, node, None)
    if isinstance(node.func, ast.Name) and low.scope.is_builtin(node.func.id):
        return unsupported(low, node, _builtin_hint(node.func.id, low.view.hole))
    if isinstance(node.func, ast.Name) and node.func.id in low.scope.functions:
        return unsupported(low, node, f"`{node.func.id}` is a plain function; mark it with `@lmql.constraint` to use it as a constraint")
    rest = node.args[1:]
    if not node.args or not is_hole(low, node.args[0]) or any(mentions(argument, hole) for argument in rest):
        return unsupported(
            low, node, f"a custom constraint takes the hole as its first argument: `{low.findings.text(node.func)}({low.view.hole}, …)`"
        )
    if node.keywords or any(isinstance(argument, ast.Starred) for argument in rest):
        return unsupported(low, node, "a custom constraint takes positional arguments only")
    function: Operand = low.slots.add(node.func)
    return c.Custom(function, tuple(low.operand(argument) for argument in rest), low.findings.span(node))


def _builtin_hint(name: str, hole: str) -> str | None:
    hints = {
        "all": "write the conditions one by one, joined by `and`",
        "any": "write the conditions one by one, joined by `or`",
        "isinstance": f"write `type({hole}) is T`",
        "len": f"compare it with a number: `len({hole}) > 0`",
        "int": f"compare it with a number: `int({hole}) > 0`, or ask for any integer: `INT({hole})`",
        "float": f"compare it with a number: `float({hole}) > 0`, or ask for any number: `FLOAT({hole})`",
        "bool": f"for a non-empty text write `len({hole}) > 0`",
        "type": f"write `type({hole}) is T`",
    }
    return hints.get(name)
