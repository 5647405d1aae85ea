"""Any text at all gives a program or diagnostics, never another exception; a program can be printed and read again."""

from __future__ import annotations

import ast
import os
import warnings
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from lmqlc.grammar.diagnostics import render_all
from lmqlc.grammar.dump import dump, same
from lmqlc.grammar.parse import parse, parse_with_diagnostics
from lmqlc.grammar.source import Source
from lmqlc.grammar.unparse import to_python, unparse

EXAMPLES = 20_000 if os.environ.get("LMQLC_LONG") else 300
CASES = Path(__file__).parents[1] / "cases"
PROGRAMS = sorted(path.read_bytes().decode("utf-8") for stage in ("parse", "run", "ir") for path in (CASES / stage).glob("*.lmql"))
CHARACTERS = "\"'\\;:#@=.[]{}()\n\r\t\f\0 Xé日²\ud800\ufeff"
WORDS = 'where from distribution argmax sample( in 1 lambda: class def async match case import not [X] {x} "[X]" f" rb" !r != := ... \\x'
PIECES = [*CHARACTERS, *WORDS.split(), "\r\n", "    ", "\\\n", '"""', "\\N{DASH}"]
pieces = st.sampled_from(PIECES)
edits = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 8), pieces | st.text(max_size=3)), min_size=1, max_size=4)


def _edited(text: str, changes: list[tuple[float, int, str]]) -> str:
    for place, length, piece in changes:
        at = int(place * len(text))
        text = text[:at] + piece + text[at + length :]
    return text


texts = st.one_of(
    st.builds(_edited, st.sampled_from(PROGRAMS), edits),
    st.lists(pieces, max_size=30).map("".join),
    st.lists(pieces, max_size=30).map(" ".join),
    st.text(st.characters(), max_size=40),
)


@settings(max_examples=EXAMPLES, deadline=None)
@given(texts, st.booleans())
def test_any_text_is_a_program_or_has_findings(text: str, prompts: bool) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        query, findings = parse_with_diagnostics(text, prompts=prompts)
    assert all(f.span is None or 0 <= f.span.start <= f.span.end <= len(text) for f in findings)
    render_all(findings, Source("any", text))
    if query is None:
        assert any(finding.severity == "error" for finding in findings)
        return
    dump(query)
    to_python(query)
    assert same(parse(unparse(query), prompts=prompts), query)


@settings(max_examples=EXAMPLES // 2, deadline=None)
@given(texts)
def test_python_stays_python(text: str) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            wanted = ast.parse(text)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return
    got = parse(text, prompts=False).to_python()
    assert ast.dump(got, include_attributes=True) == ast.dump(wanted, include_attributes=True)
