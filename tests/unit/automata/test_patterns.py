"""Patterns: what each construct of `re` means, and what errors say."""

from __future__ import annotations

import re

import pytest

from lmqlc.compiler.automata.build import build
from lmqlc.compiler.automata.query import examples, matches
from lmqlc.compiler.constraints import Const, Matches, Not
from lmqlc.grammar.errors import LmqlCompileError, UnsatisfiableConstraint
from lmqlc.grammar.source import Source, Span

TEXTS = [
    "", "a", "b", "ab", "abc", "a b", "aab", "abab", "a\n", "\n", "ab\nab", "a\nb\n", "foo bar", "foo-bar", " foo", "foo ", "aaaa", "a1",
    "é", "éa",
    "A", "K", "k\u212a", "😀", "\U0001d7d8", "aaab", "a.b", "axb", "12", "12.", "12.5", "\r\n", "\u2028", "ac", "abcabc", "日本", "AB",
]  # fmt: skip
PATTERNS = [
    "a", "", "(ab)*", "a|b|ab", r"\bfoo\b.*", r".*\bbar", "(?=a)ab", "a(?!b).*", "(?<=a)b|ab", "a(?<=a)b", "(a(?=b)b)*", "(?:a(?=.*b)|b)*",
    "^a$", "(^a$\n?)+", "a$\n", r"a\Z", r"(?:a\Z|b)+", "a*+a", "a*+b", "(?>a|ab)c", "(?>ab|a)c?", "(?>a*?)b", "(?:ab)++c?", r"\w+\s\w+",
    "(?i)k+", "(?i)ab", r"(?m)(?:^\w+$\n?)+", r"\B", r"\B.*", r".*\B", r"(?:\b|a){3}b", "(?<!a)b", ".*(?<!a)b", r"(?<=\bfoo).*",
    r"foo(?<=\bfoo) bar", "(?:(?<=a)b|a)*", "a{2,3}", "[^a]+", "(?s).*", ".*$", ".", r"a\.b", "[0-9]+", r"[0-9]+(\.[0-9]+)?", r"[^\n]+",
    "(?P<x>a)b", "(?:(?i:a)b)*", "(?s:.)b", r"(?x) a b # note", "a??b", "a{,2}", "(?a)\\w+", r"\d+", "[[:alpha:]]", "[a-c&&b]+", "(?!)",
    "a|",
    "(?=a|b).*", "[^\\W\\d_]+", "(?:a|(?=b))*b", "(?<=^)a", "(?<!^)a", "(?:^a|b)+", r"\A(?:a|\Ab)+",
]  # fmt: skip


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_means_what_fullmatch_says(pattern: str) -> None:
    try:
        automaton = build(Matches(Const(pattern)))
    except UnsatisfiableConstraint:
        assert not any(re.fullmatch(pattern, text) for text in TEXTS)
        return
    for text in TEXTS:
        assert matches(automaton, text) == bool(re.fullmatch(pattern, text)), text


def test_escaped_dot_is_a_dot() -> None:
    automaton = build(Matches(Const(r"[0-9]\.[0-9]")))
    assert matches(automaton, "1.2")
    assert not matches(automaton, "1x2")


def test_dot_does_not_cross_lines() -> None:
    assert not matches(build(Matches(Const("a.b"))), "a\nb")
    assert matches(build(Matches(Const(re.compile("a.b", re.DOTALL)))), "a\nb")


def test_negated_pattern() -> None:
    automaton = build(Not(Matches(Const("[a-z]+"))))
    assert matches(automaton, "a1")
    assert matches(automaton, "")
    assert not matches(automaton, "abc")


def test_big_repetitions_of_a_class_are_counted_beside_the_states() -> None:
    automaton = build(Matches(Const(r"[^\n]{1,200}")))
    assert automaton.char_limit == 200
    assert automaton.delta.shape[1] < 20
    assert matches(automaton, "é" * 200)
    assert not matches(automaton, "é" * 201)
    assert not matches(automaton, "")
    quoted = build(Matches(Const('"[^"]{0,300}"')))
    assert quoted.char_limit == 302
    assert matches(quoted, '"' + "x" * 300 + '"')
    assert not matches(quoted, '"' + "x" * 301 + '"')
    assert build(Matches(Const("(?:[^,]{0,300},)?"))).char_limit is None
    held = build(Matches(Const(r"[^\n]{1,200}")), counters=False)
    assert held.char_limit is None
    assert matches(held, "é" * 200)
    assert not matches(held, "é" * 201)


def _error(pattern: str, written: str | None = None) -> LmqlCompileError:
    literal = repr(pattern) if written is None else written
    text = f'"[X]" where REGEX(X, {literal})'
    start = text.index(literal)
    span = Span(start, start + len(literal))
    with pytest.raises(LmqlCompileError) as caught:
        build(Matches(Const(pattern), None, span), source=Source("q.lmql", text))
    return caught.value


def _pointed(error: LmqlCompileError) -> str:
    span = error.diagnostics[0].span
    assert span is not None
    assert error.source is not None
    return error.source.text[span.start : span.end]


@pytest.mark.parametrize(
    ("pattern", "written", "pointed"),
    [
        (r"(a)b\1", r'r"(a)b\1"', r"\1"),
        (r"[\1](?P<n>a)x(?P=n)", r'r"[\1](?P<n>a)x(?P=n)"', "(?P=n)"),
        ("(a)?(?(1)b|c)", '"(a)?(?(1)b|c)"', "(?("),
        ("\t(a", r'"\t(a"', "("),
        ("é\n[z-a]", r"'\u00e9\n[z-a]'", "z"),
        (r"a(?<=b+)", r'"""a(?<=b+)"""', "(?<="),
        ("(?:(?=b)|a)*+c", "'(?:(?=b)|a)*+c'", "*+"),
        ("(?>(?:a??b?)*(?:c|cc))d", "'(?>(?:a??b?)*(?:c|cc))d'", "(?>"),
    ],
)
def test_errors_point_into_the_pattern(pattern: str, written: str, pointed: str) -> None:
    assert _pointed(_error(pattern, written)) == pointed


def test_errors_show_patterns_that_were_computed() -> None:
    with pytest.raises(LmqlCompileError) as caught:
        build(Matches(Const(re.compile(r"(a)\1"))))
    message = caught.value.diagnostics[0].message
    assert message == "a back-reference is not regular\n  (a)\\1\n     ^^"
    assert caught.value.diagnostics[0].code == "L0401"


@pytest.mark.parametrize("pattern", ["(", "a{3,1}", "*a", "[z-a]", "(?P<a>x)(?P<a>y)", "(?z)", "\\", "(?<=a|bc)d", "a{99999999999}"])
def test_bad_patterns_are_findings(pattern: str) -> None:
    with pytest.raises(LmqlCompileError) as caught:
        build(Matches(Const(pattern)))
    assert caught.value.diagnostics[0].code == "L0401"


def test_patterns_of_bytes_are_refused() -> None:
    with pytest.raises(LmqlCompileError, match="not for bytes"):
        build(Matches(Const(re.compile(b"a"))))


def test_literal_alternatives_share_their_ends() -> None:
    automaton = build(Matches(Const("walking|talking|walked|talked")))
    assert automaton.delta.shape[1] < 16
    assert sorted(examples(automaton, 4)) == ["talked", "talking", "walked", "walking"]
