"""Parsing as a whole: places of Python nodes, limits, what is not imported, tables that fit their grammars."""

from __future__ import annotations

import ast
import gc
import subprocess
import sys
import time
from importlib import resources

import pytest

from lmqlc.grammar import build_tables, keywords, lalr
from lmqlc.grammar.dump import dump, same
from lmqlc.grammar.errors import LmqlError, LmqlSyntaxError
from lmqlc.grammar.nodes import Hole, Literal, Prompt, Query, QueryString
from lmqlc.grammar.parse import MOST_FINDINGS, parse, parse_with_diagnostics
from lmqlc.grammar.source import Source, Span
from lmqlc.grammar.unparse import to_python, unparse


@pytest.mark.parametrize("name", sorted(build_tables.STARTS))
def test_tables_fit_their_grammar(name: str) -> None:
    shipped = resources.files("lmqlc.grammar").joinpath(f"{name}.tables.json").read_text("utf-8")
    assert build_tables.render(name) == shipped


def test_parsing_imports_neither_lark_nor_numpy() -> None:
    code = "import sys; from lmqlc.grammar.parse import parse; parse('\"[X]\" where X in [1]'); print({'lark', 'numpy'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


PYTHON = 'x = [1,\n  2]\ndef f(a, *, é="ü"):\n    return lambda: (yield)\nclass A: y: int = f"{x!r:>{é}}"\n'


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("start", ["", "\ufeff"])
def test_python_keeps_its_places(start: str, end: str) -> None:
    text = PYTHON.replace("\n", end)
    wanted = ast.dump(ast.parse(text), include_attributes=True)
    assert ast.dump(parse(start + text).to_python(), include_attributes=True) == wanted


PLACES = [
    'sample(\n  n=1)\n    "a"\n    later = 1\n',
    '"[X]" where (\n\n  X in "é")  ; later = 1\n',
    'if x: "[X]" distribution X in [\n1]; y = 2\nlater = 1\n',
    '"é [X]" where X in ["é",\n "ü"]; later = 1\n',
    '("é [X]" where X in ["日"]); later = 1\n',
]


@pytest.mark.parametrize("text", PLACES)
def test_python_behind_a_clause_or_header_keeps_its_place(text: str) -> None:
    assignment = next(node for node in parse(text).statements if isinstance(node, ast.Assign))
    assert ast.get_source_segment(text, assignment) == "later = 1"


def test_prompts_have_the_place_of_their_statement() -> None:
    text = "if x:\n    ('a [X]')\n"
    (prompt,) = parse(text).prompts()
    assert (prompt.lineno, prompt.col_offset) == (2, 4)
    assert text[prompt.query.span.start : prompt.query.span.end] == "'a [X]'"


def test_header_splits_prelude_and_body() -> None:
    query = parse('import x\ndef f(): pass\nsample(n=2)\n    "[X]"\n    y = 1\nfrom "m"\n')
    assert [type(node).__name__ for node in query.prelude] == ["Import", "FunctionDef"]
    assert [type(node).__name__ for node in query.body] == ["Prompt", "Assign"]
    assert query.header is not None and query.header.decoder == "sample" and query.header.keywords[0].arg == "n"


def test_without_prompts_string_statements_are_python() -> None:
    text = '"[X"\nargmax\n"text [Y]"\ndef f():\n    "[X] [Y"\n    "[Z]"\n'
    query = parse(text, prompts=False)
    assert list(query.prompts()) == []
    assert ast.dump(query.to_python(), include_attributes=True) == ast.dump(ast.parse(text), include_attributes=True)


def test_to_python_leaves_the_query_alone() -> None:
    query = parse('argmax\n    if x:\n        "a [X]" where X in [1]\nfrom "m"\n')
    before = dump(query)
    module = to_python(query)
    assert ast.unparse(module) == "if x:\n    'a [X]'"
    assert dump(query) == before


def test_registered_decoders_may_stand_in_the_header() -> None:
    text = 'mine(n=2)\n    "[X]"\n'
    assert parse(text, decoders=["mine"]).header is not None
    with pytest.raises(LmqlSyntaxError, match="unknown decoder `mine`"):
        parse(text)
    assert parse("def mine(): ...\n" + text).header is not None


@pytest.mark.parametrize("name", keywords.DECODERS)
def test_decoder_names_stay_usable(name: str) -> None:
    text = f"{name} = 1\n{name}\nx = {name}(2)\n{name}(x)\n{name}.y\n{name}[0]\n{name} + 1\nfor {name} in x: pass\n"
    query = parse(text)
    assert query.header is None and len(query.body) == 8


def test_prompts_made_by_a_program_are_printed_from_their_parts() -> None:
    nowhere = Span(0, 0)
    parts = (Literal("a [b] {c}", nowhere), Hole("X", ast.Name("int", ast.Load()), (), nowhere, nowhere))
    query = Query(Source("<made>", ""), (), None, (Prompt(QueryString(parts, "", nowhere)),))
    assert unparse(query) == '"a [[b]] {{c}}[X: int]"\n'
    assert same(parse(unparse(query)), query)


DEEP = [
    "(" * 5000,
    "-" * 5000 + "1",
    "x" + ".b" * 100_000,
    "1" + "+1" * 100_000,
    '"[X: ' + "[" * 5000 + "]" * 5000 + ']"',
    '"{' + "-" * 5000 + '1}"',
    '"[X]" where ' + "not " * 5000 + "X",
    '"{x' + ":{y" * 300 + "}" * 301 + '"',
    "if x:\n  1\n" + 'elif x:\n  "[X]"\n' * 3000,
    "".join(" " * depth + "if x:\n" for depth in range(150)) + " " * 150 + '"[X]"',
    'f"{' * 300,
    "1" * 5000,
]


@pytest.mark.parametrize("text", DEEP, ids=[text[:12] for text in DEEP])
def test_deep_programs_end_in_findings_or_a_tree(text: str) -> None:
    query, findings = parse_with_diagnostics(text)
    assert findings or query is not None
    if query is not None:
        dump(query)
        to_python(query)
        try:
            assert same(parse(unparse(query)), query)
        except LmqlError as error:
            assert "too deeply" in error.message


REPEATED = [
    '"Hello [X] and {y}" where len(X) < 3\n',
    '("[X]")\n',
    "(\n",
    "'\n",
    "x = foo(\n",
    'f"{\n',
    "sample()\n",
    "where(x)\n",
    "[X] where x ",
    '"[X]";',
    "{'",
    "[x ",
    "] ",
    "\\\n",
]


@pytest.mark.parametrize("piece", REPEATED, ids=[repr(piece) for piece in REPEATED])
@pytest.mark.parametrize("frame", ["{}", 'argmax\n"[X]"\n{}', '"{}"'], ids=["bare", "headed", "quoted"])
def test_time_grows_with_the_text(piece: str, frame: str) -> None:
    """Four times the text takes nowhere near sixteen times the time."""

    def seconds(length: int) -> float:
        text = frame.replace("{}", piece * (length // len(piece)))
        gc.collect()
        gc.disable()  # a collection takes as long as everything that other tests left is large
        try:
            start = time.process_time()
            parse_with_diagnostics(text)
            return time.process_time() - start
        finally:
            gc.enable()

    assert any(seconds(32_000) < 9 * seconds(8_000) + 0.1 for _ in range(4))


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (MemoryError(), "L0107", "nested too deeply for Python's parser"),
        (RecursionError("maximum depth"), "L0107", "nested too deeply for Python's parser"),
        (SystemError("lost its way"), "L0101", "Python's parser fails on it: lost its way"),
        (OverflowError("line 2**31"), "L0101", "Python's parser fails on it: line 2**31"),
    ],
)
def test_what_pythons_parser_fails_of_is_told(error: Exception, code: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("lmqlc.grammar.python.compile", fails, raising=False)
    _, findings = parse_with_diagnostics("x = 1\n")
    assert {(finding.code, finding.message) for finding in findings} == {(code, message)}


def test_very_many_findings_are_cut_short() -> None:
    _, findings = parse_with_diagnostics('"' + "[] " * 1000 + '"')
    assert len(findings) == MOST_FINDINGS + 1
    assert findings[0].code == "L0108" and findings[0].message == "900 more findings are not shown"


def test_tables_refuse_and_go_on() -> None:
    class Made:
        def string(self, values: list[object]) -> int:
            return len(values)

        def __getattr__(self, name: str) -> object:
            return lambda values: name

    class Word:
        def __init__(self, kind: str) -> None:
            self.type = kind

    parser = lalr.Parser(lalr.load("qstring"), Made())
    parser.feed(Word("TEXT"))
    with pytest.raises(lalr.Unexpected) as caught:
        parser.feed(Word("NAME"))
    assert "LSQB" in caught.value.expected
    parser.feed(Word("TEXT"))
    assert parser.finish(Word(lalr.END)) == 2
