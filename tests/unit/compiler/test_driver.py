"""The driver: stages in order, errors with all findings, and nothing but diagnostics for bad input."""

from __future__ import annotations

import subprocess
import sys
import warnings

import pytest

from lmqlc.compiler.code import entry_for
from lmqlc.compiler.driver import check_source, compile_query, compile_source
from lmqlc.compiler.ir import Program
from lmqlc.compiler.ir_check import ir_check
from lmqlc.compiler.resolve import Resolved
from lmqlc.grammar.errors import LmqlCompileError, LmqlSyntaxError
from lmqlc.grammar.nodes import Query
from lmqlc.grammar.parse import parse
from lmqlc.grammar.source import Source


def test_stages_are_told() -> None:
    told: list[tuple[str, object]] = []
    program = compile_source(Source("q", '"[X]" where len(X) < n'), hook=lambda stage, result: told.append((stage, result)))
    assert [(stage, type(result)) for stage, result in told] == [
        ("parse", Query),
        ("resolve", Resolved),
        ("lower", Program),
        ("close", Program),
    ]
    for _, result in told[2:]:
        assert isinstance(result, Program)
        ir_check(result)
    assert told[-1][1] is program


def test_a_parsed_program_is_not_changed_by_compiling_it() -> None:
    query = parse('def f():\n    pass\n    "[X]"\n"{f()}[Y]"\n')
    before = [repr(prompt.query) for prompt in query.prompts()]
    first, second = compile_query(query), compile_query(query)
    assert [repr(prompt.query) for prompt in query.prompts()] == before
    assert first.holes == second.holes


def test_syntax_errors_and_compile_errors() -> None:
    with pytest.raises(LmqlSyntaxError):
        compile_source(Source("q", '"[]"'))
    with pytest.raises(LmqlCompileError) as raised:
        compile_source(Source("q", '"[X]" where STOP_AT(X, "a")\nbreak\n'))
    assert not isinstance(raised.value, LmqlSyntaxError)
    assert sorted(finding.code for finding in raised.value.diagnostics) == ["L0450", "L0701"]
    with pytest.raises(LmqlCompileError):
        compile_query(parse("break"))


def test_warnings_do_not_stop_a_program() -> None:
    source = Source("q", '"[X]" where len(X) >= 0 and X != "a"')
    assert [finding.severity for finding in check_source(source)] == ["warning"]
    assert compile_source(source).holes


def test_good_programs_have_no_findings() -> None:
    assert check_source(Source("q", '"[X]" where len(X) < 3')) == []


@pytest.mark.parametrize(
    "text",
    [
        "x = " + "+".join(["y"] * 2000),
        "x = " + "(" * 90 + "1" + ")" * 90,
        "x = " + "[" * 60 + "]" * 60,
        '"[X]" where ' + " and ".join(['X != "a"'] * 500),
        "f" + "()" * 500,
        "x = " + "a." * 2000 + "b",
        "\n".join(" " * i + "if x:" for i in range(80)) + "\n" + " " * 80 + "pass",
    ],
)
def test_deep_programs_compile(text: str) -> None:
    limit = sys.getrecursionlimit()
    ir_check(compile_source(Source("q", text)))
    assert sys.getrecursionlimit() == limit


@pytest.mark.parametrize("depth", [20_000, 100_000])
def test_too_deep_programs_are_diagnostics(depth: int) -> None:
    found = check_source(Source("q", "x = " + "+".join(["y"] * depth)))
    assert [finding.severity for finding in found] == ["error"]


def test_doubts_of_python_are_reported_once() -> None:
    source = Source("q", "x = 1\nif x is 'ä': pass\n")
    assert [(finding.code, finding.severity) for finding in check_source(source)] == [("L0703", "warning")]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        entry_for(compile_source(source), {})


def test_places_of_python_errors_count_characters() -> None:
    source = Source("q", "x = 'äöü你'; break")
    (found,) = check_source(source)
    assert found.span is not None
    assert source.text[found.span.start : found.span.end] == "break"


def test_the_compiler_imports_no_engine() -> None:
    code = (
        "import sys; from lmqlc.compiler.driver import compile_source; from lmqlc.grammar.source import Source; "
        "compile_source(Source('q', '\"[X]\"')); print([n for n in ('torch', 'transformers', 'numpy') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
