"""Named behaviours of linked automata: stops, overrun, ends, budgets, forced text; and the matcher over them."""

from __future__ import annotations

import random
import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from lmqlc.backends.base import Vocabulary
from lmqlc.compiler import constraints as c
from lmqlc.compiler.automata.build import build
from lmqlc.compiler.masks.core import forget_cores
from lmqlc.compiler.masks.forms import allows, unpack
from lmqlc.compiler.masks.matcher import Matcher
from lmqlc.compiler.masks.token_automaton import TokenAutomaton, link
from lmqlc.grammar.errors import UnsatisfiableConstraint


def vocabulary(*texts: str | bytes, bytes_too: bool = True) -> Vocabulary:
    """Token 0 ends a text, token 1 pads; then every byte, if asked, then the texts."""
    tokens = [b"", b"", *(bytes([byte]) for byte in range(256 if bytes_too else 0))]
    tokens += [text.encode() if isinstance(text, str) else text for text in texts]
    return Vocabulary.build(tokens, [0], [0, 1])


def const(value: object) -> c.Const:
    return c.Const(value)


def regex(pattern: str) -> c.Constraint:
    return c.Matches(const(pattern))


def stop(phrase: object, *, keep: bool = True) -> c.Constraint:
    return c.Stop(const(phrase), keep)


def linked(constraint: c.Constraint, *texts: str | bytes, bytes_too: bool = True, **options: object) -> TokenAutomaton:
    return link(build(constraint), vocabulary(*texts, bytes_too=bytes_too), **options)  # type: ignore[arg-type]


def matcher(constraint: TokenAutomaton) -> Matcher:
    return Matcher(constraint, constraint.vocabulary.tokens)


def write(run: Matcher, *texts: str | bytes) -> bool:
    """Add the first token of each text; False where one is not allowed."""
    return all(run.advance(token(run, text)) for text in texts)


def token(run: Matcher, text: str | bytes) -> int:
    data = text.encode() if isinstance(text, str) else text
    tokens = run.constraint.vocabulary.tokens  # type: ignore[attr-defined]
    return int(tokens.index(data, 2))


def allowed(run: Matcher) -> set[bytes]:
    """The bytes of the allowed tokens; b"" for end-of-text."""
    tokens = run.constraint.vocabulary.tokens  # type: ignore[attr-defined]
    flags = unpack(run.mask(), len(tokens))
    assert not flags[1]
    return {tokens[i] for i in range(len(tokens)) if flags[i]}


@pytest.mark.parametrize("bound", [200, (1 << 26) - 1, 1 << 26, 1 << 29, (1 << 29) + 5, 10**9, 10**12])
def test_a_bound_that_no_text_reaches_forbids_as_much_as_none(bound: int) -> None:
    one, other = linked(c.Count("chars", "<=", const(bound)), "abc", "\n"), linked(c.Truth(const(True)), "abc", "\n")
    assert one.mask(one.start()).tolist() == other.mask(other.start()).tolist()
    assert b"\xff" not in allowed(matcher(one))


@pytest.mark.parametrize("always", [c.Count("chars", "!=", const(-1)), c.Count("words", ">=", const(0))])
def test_what_always_holds_beside_a_count_of_tokens_forbids_nothing(always: c.Constraint) -> None:
    one = linked(c.Or((always, c.Count("tokens", "<", const(2)))), "abc")
    other = linked(c.Truth(const(True)), "abc")
    assert one.mask(one.start()).tolist() == other.mask(other.start()).tolist()
    assert not one.is_closed(one.start())


def test_a_token_may_run_past_a_stop() -> None:
    run = matcher(linked(stop("."), ".\n\n", "end"))
    assert write(run, "end", ".\n\n")
    assert run.stopped and run.text() == "end."
    assert not run.mask().any() and not run.advance(0)


def test_a_removed_stop_is_judged_without_the_phrase() -> None:
    run = matcher(linked(c.And((stop("\n", keep=False), regex("[a-z]{3}"))), "abc\nd", "ab\n"))
    assert b"ab\n" not in allowed(run)
    assert write(run, "abc\nd")
    assert run.text() == "abc"


def test_a_stop_longer_than_one_token() -> None:
    run = matcher(linked(stop("STOP", keep=False)))
    assert write(run, "x", "S", "T", "O")
    assert not run.stopped
    assert write(run, "P") and run.text() == "x"


def test_the_earliest_end_wins_then_the_longest_phrase() -> None:
    both = linked(c.And((stop(["ab", "b"], keep=False),)), "xab", "xb")
    run = matcher(both)
    assert write(run, "xab") and run.text() == "x"
    run = matcher(both)
    assert write(run, "xb") and run.text() == "x"
    run = matcher(linked(stop(["abc", "b"], keep=False), "abc"))
    assert write(run, "abc") and run.text() == "a"


def test_the_longest_phrase_for_which_the_rest_holds_wins() -> None:
    rule = c.And((stop(["ab", "b"], keep=False), c.Count("chars", "==", const(1))))
    for text, left in (("ab", "a"), ("xab", "x")):
        run = matcher(linked(rule, "ab", "xab"))
        assert write(run, text) and run.text() == left


def test_kept_and_removed_phrases_that_end_together() -> None:
    rule = c.And((stop("ab", keep=True), stop("b", keep=False), c.Count("chars", "<", const(3))))
    for text, left in (("ab", "ab"), ("xab", "xa"), ("xb", "x")):
        run = matcher(linked(rule, "ab", "xab", "xb"))
        assert write(run, text) and run.text() == left


def test_a_regex_stop_cuts_what_it_matched() -> None:
    run = matcher(linked(stop(re.compile(r"\n+#\d"), keep=False)))
    assert write(run, *"ab\n\n#7") and run.text() == "ab"


def test_a_stop_inside_a_character_sequence() -> None:
    run = matcher(linked(stop("é"), "xé漢"))
    assert write(run, "xé漢") and run.text() == "xé"
    run = matcher(linked(stop("é")))
    assert write(run, b"\xc3") and not run.stopped
    assert write(run, b"\xa9") and run.text() == "é"


def test_no_text_ends_inside_a_character() -> None:
    run = matcher(linked(regex(".*"), b"\xe6\xbc"))
    assert write(run, b"\xe6\xbc")
    assert not run.final and not run.advance(0)
    assert allowed(run) == {bytes([byte]) for byte in range(0x80, 0xC0)}
    assert write(run, b"\xa2") and run.final and run.text() == "漢"


def test_the_text_that_follows_ends_a_hole() -> None:
    run = matcher(linked(regex("[0-9]+"), ", and", ",", "12", follow=", and"))
    assert b"," not in allowed(run)
    assert write(run, "12")
    assert {b",", b", and", b"", b"3"} <= allowed(run) and b"a" not in allowed(run)
    assert write(run, ",") and run.stopped and run.text() == "12" and run.tokens[-1] == token(run, ",")


def test_a_token_that_agrees_with_what_follows_but_goes_on_legally_does_not_end() -> None:
    run = matcher(linked(regex("a+"), "aa", follow="aaab"))
    assert write(run, "aa") and not run.stopped


def test_tokens_beginning_with_all_that_follows_agree() -> None:
    run = matcher(linked(c.InSet(const(["yes", "no"])), "yes", "\nQ: why", "\nA", follow="\nQ"))
    assert write(run, "yes") and run.closed
    assert allowed(run) == {b"", b"\n", b"\nQ: why"}


def test_closure_ends_without_another_token() -> None:
    run = matcher(linked(c.InSet(const(["in", "inside"])), "in", "side"))
    assert write(run, "in") and run.final and not run.closed
    assert write(run, "side") and run.closed and allowed(run) == {b""}


def test_end_of_text_writes_nothing() -> None:
    run = matcher(linked(regex("a*")))
    assert write(run, "a") and run.advance(0)
    assert run.stopped and run.text() == "a" and run.final and not run.mask().any()


def test_every_end_of_text_id_counts() -> None:
    words = Vocabulary.build([b"a", b"", b"</s>", b"<pad>"], [1, 2], [1, 2, 3])
    run = Matcher(link(build(regex("a*")), words), words.tokens)
    assert [i for i in range(4) if allows(run.mask(), i)] == [0, 1, 2]


def test_tokens_are_refused_when_too_few_would_be_left() -> None:
    run = matcher(linked(regex(r"\d{4}-\d\d"), "2026", "20", "-07", bytes_too=False, max_tokens=2))
    assert allowed(run) == {b"2026"}
    with pytest.raises(UnsatisfiableConstraint, match="at most 1 token"):
        linked(regex(r"\d{4}-\d\d"), "2026", "20", "-07", bytes_too=False, max_tokens=1)


def test_a_removed_phrase_spends_the_budget_but_no_counted_token() -> None:
    rule = c.And((stop("END", keep=False), c.Count("tokens", "==", const(1)), c.Not(c.Contains(const("E")))))
    run = matcher(linked(rule, "abc", "EN", "D", "cEND", bytes_too=False, max_tokens=3))
    assert b"EN" not in allowed(run)
    assert write(run, "abc")
    assert b"EN" in allowed(run) and b"abc" not in allowed(run)
    assert write(run, "EN", "D") and run.text() == "abc"
    run = matcher(linked(rule, "abc", "EN", "D", bytes_too=False, max_tokens=2))
    assert write(run, "abc") and allowed(run) == {b""}


def test_what_no_token_can_write_is_unsatisfiable() -> None:
    with pytest.raises(UnsatisfiableConstraint):
        linked(c.Equals(const("xy")), "x", "a", bytes_too=False)


def test_a_dead_end_of_this_vocabulary_is_never_entered() -> None:
    run = matcher(linked(c.InSet(const(["ab", "cd"])), "a", "c", "d", bytes_too=False))
    assert allowed(run) == {b"c"}


def test_advance_is_total() -> None:
    automaton = linked(regex("a"))
    for state in (automaton.start(), automaton.advance(automaton.start(), 99)):
        assert all(automaton.advance(state, i) is None or i < 258 for i in range(-300, 600))


def characters(text: str) -> list[int]:
    return [2 + byte for byte in text.encode()]


@pytest.mark.parametrize(
    ("rule", "written", "forced"),
    [
        (c.InSet(const(["apple", "apricot"])), "", "ap"),
        (c.InSet(const(["apple", "apricot"])), "apr", "icot"),
        (c.InSet(const(["in", "inside"])), "in", ""),
        (c.Equals(const("naïve 漢字")), "", "naïve 漢字"),
        (c.InSet(const(["aé", "aè"])), "", "a"),
        (regex("ab{3}c?"), "", "abbb"),
        (regex(".*"), "", ""),
        (c.And((stop("!"), c.StartsWith(const("hey")))), "", "hey"),
    ],
)
def test_forced_text(rule: c.Constraint, written: str, forced: str) -> None:
    run = matcher(linked(rule, encode=characters))
    assert write(run, *written)
    assert run.forced() == characters(forced)
    for token_id in run.forced():
        assert run.advance(token_id)


def test_forced_text_is_off_where_its_tokens_matter() -> None:
    text = c.Equals(const("abc"))
    assert matcher(linked(text, encode=characters)).forced() == characters("abc")
    assert matcher(linked(text, "ab", encode=characters, max_tokens=20)).forced() == characters("abc")
    assert matcher(linked(text, "ab", encode=characters, max_tokens=3)).forced() == characters("abc")
    assert matcher(linked(text, "ab", encode=characters, max_tokens=2)).forced() == []
    assert matcher(linked(c.And((text, c.Count("tokens", "<", const(9)))), encode=characters)).forced() == []
    assert matcher(linked(text)).forced() == []
    assert matcher(linked(text, "abcd", encode=lambda _: [258])).forced() == []


def test_forced_text_begins_at_whole_characters() -> None:
    run = matcher(linked(c.Equals(const("é!")), encode=characters))
    assert write(run, b"\xc3") and run.forced() == []


def test_rollback_goes_back_and_checks_its_argument() -> None:
    run = matcher(linked(regex("abc|abd")))
    start = run.state
    assert write(run, *"abc") and run.closed
    run.rollback(1)
    assert allowed(run) == {b"c", b"d"} and run.text_bytes() == b"ab" and len(run.tokens) == 2
    run.rollback(0)
    run.rollback(2)
    assert run.state == start and run.tokens == ()
    for count in (1, -1):
        with pytest.raises(ValueError, match="take back"):
            run.rollback(count)


def test_a_refused_token_changes_nothing() -> None:
    run = matcher(linked(regex("ab")))
    assert write(run, "a") and not run.advance(2 + ord("x"))
    assert run.tokens == (2 + ord("a"),) and run.text() == "a"


def test_states_are_values() -> None:
    automaton = linked(stop(["a1", "b22"], keep=False), "xy")
    one = automaton.advance(automaton.start(), 258)
    other = automaton.advance(automaton.start(), 258)
    assert one == other and hash(one) == hash(other)
    assert automaton.advance(one, 258) != one
    assert len({one, other, automaton.start()}) == 2


def test_masks_are_shared_between_states_that_allow_the_same() -> None:
    automaton = linked(regex("[ab]{3}"))
    first = automaton.start()
    second = automaton.advance(first, 2 + ord("a"))
    assert automaton.mask(first) is automaton.mask(second)
    assert not automaton.mask(first).flags.writeable


def test_the_empty_text_alone() -> None:
    run = matcher(linked(c.Equals(const("")), max_tokens=0))
    assert run.final and run.closed and allowed(run) == {b""}


def test_threads_may_share_an_automaton() -> None:
    rule = c.And((stop(["9.", "\n"], keep=False), c.Count("tokens", "<", const(30)), c.Not(c.Contains(const("77")))))
    automaton = link(build(rule), vocabulary("12", "77", "9", ".\n"), max_tokens=25)

    def walk(seed: int) -> list[bytes]:
        rng, state, found = random.Random(seed), automaton.start(), []
        while automaton.stopped(state) is None and len(found) < 20:
            bits = automaton.mask(state)
            found.append(bits.tobytes())
            chosen = rng.choice([i for i in range(1, len(automaton.vocabulary)) if allows(bits, i)])
            state = automaton.advance(state, chosen)  # type: ignore[assignment]
        return found

    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(walk, range(24)))
    forget_cores()
    assert together == [walk(seed) for seed in range(24)]


def test_very_long_tokens() -> None:
    long = "ab" * 100_000
    automaton = linked(c.And((regex("[ab]{0,150000}"), c.Not(c.Contains(const("bb"))))), "ab" * 30, long, long + "b")
    bits = automaton.mask(automaton.start())
    assert [allows(bits, i) for i in (258, 259, 260)] == [True, False, False]
    shorter = "ab" * 300
    run = matcher(linked(c.And((stop("ba"), c.Count("chars", "<", const(30)))), shorter))
    assert write(run, shorter) and run.text() == "aba"
