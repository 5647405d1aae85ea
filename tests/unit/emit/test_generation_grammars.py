"""The grammars that servers get: final texts, stops with what runs past them, and the literal after the hole."""

from __future__ import annotations

import random
import re

import pytest

from lmqlc.compiler import constraints as c
from lmqlc.compiler.automata.automaton import TextAutomaton
from lmqlc.compiler.automata.build import build
from lmqlc.compiler.emit.char_graph import few_texts
from lmqlc.compiler.emit.generation import GenerationGrammar
from lmqlc.grammar.errors import UnsupportedConstraint
from lmqlc.runtime.link import LinkedHole, Place, link_hole
from lmqlc.runtime.text_hole import BYTES, TextRun

K = c.Const
CASES: list[tuple[c.Constraint, str]] = [
    (c.Number("int"), "\nNext"),
    (c.InSet(K(["car", "cart", "carton"])), "ted"),
    (c.And((c.Stop(K("\n"), False), c.Matches(K("[a-c1]*")))), "b!"),
    (c.And((c.Stop(K("."), True), c.Count("chars", "<=", K(6)))), ""),
    (c.And((c.Stop(K("--"), False), c.Count("chars", "<=", K(3)))), "a"),
    (c.And((c.Stop(K("b"), True), c.Stop(K("ab"), False), c.Contains(K("c")))), "x"),
    (c.Not(c.Contains(K("ab"))), "ab"),
    (c.Equals(K("")), "é!"),
    (c.Matches(K("(é|日){1,3}")), "日"),
    (c.And((c.Count("words", "==", K(2)), c.Matches(K(r"[ab]+( [ab]+)* ?\n?")))), ""),
    (c.And((c.Count("sentences", "==", K(1)), c.Matches(K(r"[ab.\n]+")), c.Stop(K("b"), True))), "a"),
]
PIECES = ["a", "b", "c", "1", "2", "-", ".", "\n", "N", "e", "ca", "car", "t", "on", "ted", "é", "日", "!", "x", "--", " ", "b "]


def fits(linked: LinkedHole, follow: str, text: str) -> bool:
    """Whether a whole text may be written: it is complete, or the hole ends in it, and what follows agrees with the literal."""
    run = TextRun("X", linked, follow)
    taken = run.take(text)
    while run.reason == "closed" and taken < len(text):  # a grammar may go on with the stop that is removed
        run.reason, before = None, taken
        taken += run.take(text[taken:])
        if taken == before:
            break
    if run.reason == "follow":
        rest = text[taken:]
        return rest.startswith(follow) or follow.startswith(rest)
    if run.reason == "stop":
        return True
    if taken < len(text):
        rest = text[taken:]
        return run.complete() and (rest.startswith(follow) or follow.startswith(rest)) and bool(follow)
    return run.complete()


@pytest.mark.parametrize(("constraint", "follow"), CASES, ids=range(len(CASES)))
def test_what_may_be_written(constraint: c.Constraint, follow: str) -> None:
    linked, grammar = link_hole(constraint, BYTES, Place()), GenerationGrammar(build(constraint), follow)
    pattern = re.compile(grammar.regex(1_000_000) or "(?!)")
    rng = random.Random(3)
    seen = {True: 0, False: 0}
    for _ in range(4_000):
        text = "".join(rng.choice(PIECES) for _ in range(rng.randint(0, 6)))
        expected = fits(linked, follow, text)
        seen[expected] += 1
        assert bool(pattern.fullmatch(text)) == expected, text
    assert min(seen.values()) > 5


@pytest.mark.parametrize(("constraint", "follow"), CASES, ids=range(len(CASES)))
def test_after_a_beginning(constraint: c.Constraint, follow: str) -> None:
    """What may be written after a text is what may be written that begins with it."""
    automaton: TextAutomaton = build(constraint)
    whole = re.compile(GenerationGrammar(automaton, follow).regex(1_000_000) or "(?!)")
    linked, rng = link_hole(constraint, BYTES, Place()), random.Random(4)
    for _ in range(300):
        text = "".join(rng.choice(PIECES) for _ in range(rng.randint(1, 4)))
        run = TextRun("X", linked, follow)
        beginning = text[: rng.randint(0, len(text))]
        if run.take(beginning) < len(beginning) or run.reason is not None:
            continue
        rest = GenerationGrammar(automaton, follow).after(beginning)
        assert rest is not None
        assert bool(re.fullmatch(rest.regex(1_000_000) or "(?!)", text[len(beginning) :])) == bool(whole.fullmatch(text)), (beginning, text)


def test_long_limits_are_left_to_the_judge() -> None:
    grammar = GenerationGrammar(build(c.Count("chars", "<", K(100_000))))
    assert len(grammar.ebnf()) < 200


def test_counts_of_tokens_have_no_grammar() -> None:
    with pytest.raises(UnsupportedConstraint, match="count of tokens"):
        GenerationGrammar(build(c.Count("tokens", "<", K(5)))).ebnf()


def test_deep_patterns_are_no_patterns() -> None:
    grammar = GenerationGrammar(build(c.Matches(K("a{0,60}"))))
    assert grammar.regex() is None
    assert grammar.gbnf().startswith("root ::= ")


def test_few_texts() -> None:
    assert few_texts(build(c.InSet(K(["b", "a", "日本", ""]))), 10) == ["", "a", "b", "日本"]
    assert few_texts(build(c.Matches(K("[ab]{2}"))), 4) == ["aa", "ab", "ba", "bb"]
    assert few_texts(build(c.Matches(K("[ab]{2}"))), 3) is None
    assert few_texts(build(c.Matches(K("a*"))), 50) is None
    assert few_texts(build(c.Matches(K("[^a]"))), 50) is None
    assert few_texts(build(c.And((c.InSet(K(["x", "y."])), c.Stop(K("."), False)))), 9) == ["x", "y."]
