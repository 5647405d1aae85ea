"""Emitted patterns, grammars and drawings have the language of the automaton."""

from __future__ import annotations

import os
import random
import re

import pytest

from benchmarks import grammar_agreement, grammar_readers
from lmqlc.compiler import constraints as c
from lmqlc.compiler.automata.automaton import TextAutomaton
from lmqlc.compiler.automata.build import build
from lmqlc.compiler.automata.query import examples, matches, sample
from lmqlc.compiler.emit.dot import emit_dot
from lmqlc.compiler.emit.ebnf import emit_ebnf, emit_gbnf, emit_lark
from lmqlc.compiler.emit.regex import emit_regex
from lmqlc.grammar.errors import LmqlCompileError, UnsupportedConstraint

CONSTRAINTS = [
    c.Matches(c.Const("[a-z]{2,5}")),
    c.Matches(c.Const(r"\d{4}-\d\d")),
    c.InSet(c.Const(["car", "cart", "carton", 'a-b]"\\', "日本", "é/", "\n\t^", "[x]{2}(?)", "\x01\x7f", "😀"])),
    c.Number("float"),
    c.And((c.Contains(c.Const("foo")), c.Not(c.Contains(c.Const("bar"))))),
    c.NumberCompare("int", "<=", c.Const(120)),
    c.And((c.Stop(c.Const("."), True), c.Count("chars", "<=", c.Const(30)))),
    c.And((c.Stop(c.Const("\n"), False), c.Matches(c.Const("[a-c1]*")))),
    c.Matches(c.Const(".{0,40}")),
    c.TypeIs(c.Const(dict[str, int])),
    c.TextIs("isupper"),
    c.Equals(c.Const("")),
    c.Truth(c.Const(True)),
    c.Count("words", "==", c.Const(2)),
    c.Matches(c.Const('[^\\n"]+')),
]
PIECES = ["a", "foo", "bar", "1", ".", "-", "日", '"', "\n", " ", "A", "é", "]", "\\", "x", "^", "😀", "{"]


def texts_for(automaton: TextAutomaton, seed: int) -> list[str]:
    """Texts of the language, texts close to them, and random ones."""
    rng = random.Random(seed)
    good = [*examples(automaton, 5), *(sample(automaton, rng) for _ in range(40))]
    near = [text[:-1] for text in good] + [text + rng.choice(PIECES) for text in good]
    return good + near + ["".join(rng.choice(PIECES) for _ in range(rng.randint(0, 5))) for _ in range(60)]


def meant(automaton: TextAutomaton, text: str) -> bool:
    """Whether a text is a final text: removed phrases are no part of it."""
    return matches(automaton, text) and not (any(not phrase.keep for phrase in automaton.phrases) and text.endswith("\n"))


class Grammar:
    """A reader for the part of GBNF that is emitted."""

    TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|\[(?:[^\]\\]|\\.)*\]|\w+|\|')

    def __init__(self, text: str) -> None:
        self.rules: dict[str, list[list[str]]] = {}
        for line in text.splitlines():
            name, body = line.split(" ::= ", 1)
            alternatives: list[list[str]] = [[]]
            for token in self.TOKEN.findall(body):
                if token == "|":
                    alternatives.append([])
                else:
                    alternatives[-1].append(token)
            self.rules[name] = alternatives

    def accepts(self, text: str) -> bool:
        pending, seen = [("root", 0)], {("root", 0)}
        while pending:
            rule, at = pending.pop()
            for alternative in self.rules[rule]:
                end, then = self._read(alternative, text, at)
                if then is None and end == len(text):
                    return True
                if then is not None and end >= 0 and (then, end) not in seen:
                    seen.add((then, end))
                    pending.append((then, end))
        return False

    def _read(self, alternative: list[str], text: str, at: int) -> tuple[int, str | None]:
        """Where the terminals of an alternative end (-1: they do not match), and the rule that follows them."""
        for token in alternative:
            if token in self.rules:
                return at, token
            found = re.compile(token if token[0] == "[" else re.sub(r"([.?()])", r"\\\1", token[1:-1])).match(text, at)
            if found is None:
                return -1, None
            at = found.end()
        return at, None


@pytest.mark.parametrize("constraint", CONSTRAINTS, ids=range(len(CONSTRAINTS)))
def test_pattern_and_grammar_agree_with_the_automaton(constraint: c.Constraint) -> None:
    automaton = build(constraint)
    pattern, grammar = re.compile(emit_regex(automaton)), Grammar(emit_gbnf(automaton))
    assert emit_ebnf(automaton) == emit_gbnf(automaton)
    for text in texts_for(automaton, 1):
        expected = meant(automaton, text)
        assert bool(pattern.fullmatch(text)) == expected, text
        assert grammar.accepts(text) == expected, text


LONG = bool(os.environ.get("LMQLC_LONG"))
COMPARED = grammar_agreement.constraints()
SLOW = {"CSV, 50 text fields", ".{0,1000}", "CSV, 50 ints"}
"""Their grammars take engines seconds."""


@pytest.fixture(scope="module", params=grammar_readers.installed())
def reader(request: pytest.FixtureRequest) -> grammar_readers.Reader:
    """Every engine that is installed; llguidance comes with `lmqlc[schema]`."""
    made: grammar_readers.Reader = grammar_readers.READERS[request.param][0]()
    return made


@pytest.mark.parametrize("name", [name for name in COMPARED if LONG or name not in SLOW])
def test_engines_read_the_grammar_as_we_mean_it(name: str, reader: grammar_readers.Reader) -> None:
    found = grammar_agreement.compare(COMPARED[name], [reader], 1000 if LONG else 40)
    assert found.wrong[reader.name] == []
    assert found.good


def test_small_grammars_are_readable() -> None:
    automaton = build(c.InSet(c.Const(["car", "cart", "dog-house"])))
    assert emit_gbnf(automaton) == 'root ::= "car" s1 | "dog\\u002Dhouse"\ns1 ::= "t" | ""\n'
    assert emit_regex(automaton) == r"dog\-house|cart?"
    assert emit_lark(automaton) == "start: /dog\\-house|cart?/\n"
    assert emit_regex(build(c.Matches(c.Const("a*")))) == "a*"


def test_a_long_pattern_becomes_rules() -> None:
    lark = emit_lark(build(c.Count("chars", "<=", c.Const(150))))
    assert lark.startswith('start: s0\ns0: C0 s1 | ""\n')
    assert lark.count("\n") == 153


def test_drawings() -> None:
    drawn = emit_dot(build(c.Matches(c.Const('[ab]"+'))))
    assert drawn.startswith("digraph {\n")
    assert '0 -> 1 [label="[a-b]"];' in drawn
    assert '1 -> 2 [label="\\""];' in drawn
    assert drawn.count("doublecircle") == 1
    assert "doublecircle" in emit_dot(build(c.Count("tokens", "<", c.Const(5))))
    assert 'label="any"' in emit_dot(build(c.Truth(c.Const(True))))


def test_what_cannot_be_written_is_refused() -> None:
    with pytest.raises(UnsupportedConstraint, match="count of tokens"):
        emit_regex(build(c.Count("tokens", "<", c.Const(5))))
    with pytest.raises(LmqlCompileError, match="too large"):
        emit_gbnf(build(c.Count("chars", "<=", c.Const(10**6))))
