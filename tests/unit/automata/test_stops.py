"""Stops: where decoding ends, named cases. A run reads tokens as the runtime does and tells after which character it ends."""

from __future__ import annotations

import re
from typing import Any

import pytest

from lmqlc.compiler import constraints as c
from lmqlc.compiler.automata.automaton import TextAutomaton
from lmqlc.compiler.automata.build import build
from lmqlc.compiler.automata.query import examples, region_of
from lmqlc.grammar.errors import LmqlCompileError


def at(phrase: Any) -> c.Stop:
    return c.Stop(c.Const(phrase), True)


def before(phrase: Any) -> c.Stop:
    return c.Stop(c.Const(phrase), False)


def run(automaton: TextAutomaton, *tokens: str) -> str | None:
    """The text at whose end decoding stops; None where it does not, or where a token is impossible."""
    state, text = automaton.start, ""
    for number, token in enumerate(tokens):
        for byte_at, byte in enumerate(token.encode()):
            region = region_of(automaton, number if byte_at == 0 else number + 1)
            state = int(automaton.delta[min(region, len(automaton.delta) - 1), state, automaton.byte_class[byte]])
            if automaton.stops[region_of(automaton, number + 1), state]:
                return text + token.encode()[: byte_at + 1].decode()
        text += token
    return None


def test_several_stops_on_one_hole_the_earliest_wins() -> None:
    automaton = build(c.And((at("\n"), at("END"), before("."))))
    assert run(automaton, "abEND\n.") == "abEND"
    assert run(automaton, "a.END") == "a."
    assert run(automaton, "ab\n") == "ab\n"


def test_a_stop_longer_than_one_token() -> None:
    assert run(build(at("a long stop")), "x", "a ", "lon", "g st", "op", "y") == "xa long stop"


def test_a_stop_inside_a_token() -> None:
    assert run(build(at(".")), "ab", "c.\n\n") == "abc."


def test_a_stop_waits_until_the_rest_holds() -> None:
    automaton = build(c.And((at("."), c.Count("chars", ">=", c.Const(5)))))
    assert run(automaton, "a.b", ".c.d.") == "a.b.c."


def test_a_removed_phrase_is_no_part_of_what_is_judged() -> None:
    automaton = build(c.And((before("\n"), c.Matches(c.Const("[a-z]+")))))
    assert run(automaton, "abc", "\n") == "abc\n"
    assert run(automaton, "\n") is None
    assert run(build(c.And((at("\n"), c.Matches(c.Const("[a-z]+"))))), "abc", "\n") is None


def test_overlapping_beginnings_of_a_removed_phrase() -> None:
    automaton = build(before("aab"))
    assert run(automaton, "aaab", "c") == "aaab"
    only_two = build(c.And((before("aab"), c.Count("chars", "==", c.Const(2)))))
    assert run(only_two, "aaaab") == "aaaab"
    assert run(only_two, "aaab") is None


def test_a_list_and_a_pattern_as_stops() -> None:
    assert run(build(at(["!", "?"])), "what?!") == "what?"
    automaton = build(before(re.compile(r"\s+END")))
    assert run(automaton, "a \n END") == "a \n END"
    assert automaton.phrases[0].pattern == r"\s+END"


def test_tokens_of_a_removed_phrase_do_not_count() -> None:
    automaton = build(c.And((before("\n\n"), c.Count("tokens", "<", c.Const(3)))))
    assert run(automaton, "a", "b", "\n", "\n") == "ab\n\n"
    assert run(automaton, "a", "b", "c", "\n", "\n") is None
    assert run(automaton, "a", "b\n", "\n") == "ab\n\n"
    assert run(automaton, "a", "b", "c\n", "\n") is None
    kept = build(c.And((at("\n\n"), c.Count("tokens", "<", c.Const(3)))))
    assert run(kept, "a", "b", "\n", "\n") is None
    assert run(kept, "a", "\n\n") == "a\n\n"


def test_stop_states_are_ends() -> None:
    automaton = build(c.And((at("."), before("\n"), c.Count("tokens", "<", c.Const(4)))))
    for region in range(len(automaton.token_bounds)):
        stopped = automaton.stops[region]
        assert not automaton.delta[min(region, len(automaton.delta) - 1)][stopped].any()
        assert not (automaton.accepts[region] & stopped).any()


def test_the_text_may_end_without_a_stop() -> None:
    automaton = build(c.And((before("\n"), c.InSet(c.Const(["yes", "no"])))))
    assert examples(automaton, 3) == ["no", "yes"]


@pytest.mark.parametrize(
    "constraint",
    [
        c.Not(at(".")),
        c.Or((at("."), c.Contains(c.Const("a")))),
        c.And((c.Contains(c.Const("a")), c.Or((c.And((at("."), c.Equals(c.Const("b")))), c.Equals(c.Const("c")))))),
        c.Not(c.And((at("."), c.Equals(c.Const("b"))))),
    ],
)
def test_misplaced_stops(constraint: c.Constraint) -> None:
    with pytest.raises(LmqlCompileError, match="a stop cannot stand") as caught:
        build(constraint)
    assert caught.value.diagnostics[0].code == "L0406"
    assert caught.value.diagnostics[0].hint


def test_stops_may_be_alternatives_of_each_other() -> None:
    automaton = build(c.And((c.Or((at("a"), c.Or((at("b"), before("c"))))), c.Count("chars", "<", c.Const(9)))))
    assert [run(automaton, text) for text in ("xa", "xb", "xc")] == ["xa", "xb", "xc"]
    assert run(build(c.Not(c.Not(at("a")))), "xa") == "xa"


@pytest.mark.parametrize("phrase", ["", [], [""], ["a", ""], 5, b"a", ["a", 1], re.compile("a*"), re.compile(b"a"), None])
def test_bad_phrases(phrase: Any) -> None:
    with pytest.raises(LmqlCompileError, match="stop"):
        build(at(phrase))


def test_a_length_bound_beside_stops() -> None:
    kept = build(c.And((at("."), c.Count("chars", "<=", c.Const(500)))))
    assert kept.char_limit == 500
    alike = build(c.And((before(["\n", "."]), c.Count("chars", "<=", c.Const(500)))))
    assert alike.char_limit == 500
    mixed = build(c.And((before(["\n\n", "."]), c.Count("chars", "<=", c.Const(50)))))
    assert mixed.char_limit is None
    assert run(mixed, "a" * 50, "\n\n") == "a" * 50 + "\n\n"
    assert run(mixed, "a" * 51, "\n\n") is None
