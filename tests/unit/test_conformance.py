"""What users of earlier engines for such constraints found broken, each as a test of whole programs.

Runs use a model that says a given text where it may, and models that say anything at all: what these produce must meet the constraint
within every budget that it fits in.
"""

from __future__ import annotations

import codecs
import random
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import lmqlc
from lmqlc.backends.byte_tokenizer import ByteTokenizer
from lmqlc.backends.scripted import scripted
from lmqlc.errors import LmqlError, UnsatisfiableConstraint

TOKENIZER = ByteTokenizer()
SEEDS = range(6)


def says(where: str, text: str, *, after: str = "", **values: Any) -> tuple[str, str]:
    """The text of a hole and why it ended, from a model that would say `text`; `after` is the literal that follows."""
    result = lmqlc.run_sync(f'"Say: [X]{after}" where {where}\n', model=scripted(text), **values)
    hole = result.holes[0]
    assert result.prompt == f"Say: {hole.text}{after}"
    return hole.text, hole.finish_reason


def holds_for_any_model(where: str, holds: Callable[[str], bool], *budgets: int, **values: Any) -> None:
    """Whatever a model says, the hole's text meets the constraint, also where the budget is nearly too small."""
    for budget in budgets:
        for seed in SEEDS:
            result = lmqlc.run_sync(f'"Say: [X]" where {where}\n', model=f"random:{seed}", max_tokens=budget, **values)
            hole = result.holes[0]
            assert holds(hole.text), (budget, seed, hole.text)
            assert len(hole.tokens) <= budget


def allowed(where: str, text: str = "", **more: Any) -> set[bytes]:
    """The tokens that may follow a text; end-of-text is b""."""
    automaton = lmqlc.token_automaton(where, tokenizer=TOKENIZER, **more)
    state = automaton.start()
    for token in TOKENIZER.encode(text, first=False):
        state = automaton.advance(state, token)
        assert state is not None
    words = automaton.mask(state).tolist()
    return {token for i, token in enumerate(TOKENIZER.vocabulary.tokens) if words[i // 32] >> (i % 32) & 1}


def could_begin(token: bytes) -> bool:
    """Some text begins with a token."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(token)
    except UnicodeDecodeError:
        return False
    return bool(token)


class TestStops:
    def test_several_stops_on_one_variable(self) -> None:
        where = 'STOPS_AT(X, ".") and STOPS_AT(X, "!") and STOPS_BEFORE(X, "\\n")'
        assert says(where, "one! two. three") == ("one!", "stop")
        assert says(where, "one. two! three") == ("one.", "stop")
        assert says(where, "one\ntwo. three!") == ("one", "stop")
        assert says('STOPS_AT(X, [".", "!"])', "one! two.") == ("one!", "stop")
        assert says('STOPS_AT(X, ".") or STOPS_AT(X, "!")', "one! two.") == ("one!", "stop")

    def test_the_longest_of_two_stops_that_end_together(self) -> None:
        assert says('STOPS_BEFORE(X, ["b", "ab", "xab"])', "12xab34") == ("12", "stop")

    def test_a_stop_longer_than_one_token(self) -> None:
        assert len(TOKENIZER.encode("STOP HERE, please", first=False)) > 5
        assert says('STOPS_AT(X, "STOP HERE, please")', "go STOP HER no STOP HERE, please go") == (
            "go STOP HER no STOP HERE, please",
            "stop",
        )
        assert says('STOPS_BEFORE(X, "STOP HERE, please")', "go STOP HERE, please go") == ("go ", "stop")

    def test_a_stop_that_begins_again_inside_itself(self) -> None:
        assert says('STOPS_AT(X, "aab")', "xaaab aab") == ("xaaab", "stop")

    def test_a_stop_inside_a_token(self) -> None:
        assert b".\n\n" in TOKENIZER.vocabulary.tokens
        result = lmqlc.run_sync('"[X] next" where STOPS_AT(X, ".")\n', model=scripted("The end.\n\nMore"))
        assert result.prompt == "The end. next"
        assert result.holes[0].tokens[-1].text == ".\n\n"
        assert says('STOPS_BEFORE(X, ".")', "The end.\n\nMore") == ("The end", "stop")
        assert b".\n\n" in allowed('STOPS_AT(X, ".")', "The end")

    def test_a_stop_at_the_start_of_a_token(self) -> None:
        assert says('STOPS_BEFORE(X, "\\n")', "one\n\ntwo") == ("one", "stop")

    def test_a_stop_plus_minimum_length(self) -> None:
        assert says('STOPS_AT(X, ".") and len(X) > 10', "One. Two. Three. Four.") == ("One. Two. Three.", "stop")
        assert says('STOPS_BEFORE(X, "\\n") and len(X) > 10', "one\ntwo three\nfour") == ("one\ntwo three", "stop")
        assert says('STOPS_AT(X, ".") and len(WORDS(X)) >= 3', "One. Two. Three. Four.") == ("One. Two. Three.", "stop")

    def test_a_removed_stop_does_not_count(self) -> None:
        assert says('STOPS_BEFORE(X, "END") and len(X) <= 3', "abcEND") == ("abc", "closed")
        assert says('STOPS_BEFORE(X, "END") and not "E" in X', "abcEND") == ("abc", "stop")

    def test_an_unmet_condition_does_not_end_at_the_stop(self) -> None:
        assert says('STOPS_AT(X, ".") and "cat" in X', "a dog. a cat. a cow.") == ("a dog. a cat.", "stop")

    def test_a_stop_of_a_pattern(self) -> None:
        assert says("STOPS_BEFORE(X, pattern)", "room 217 is free", pattern=re.compile(r"\d+")) == ("room ", "stop")


class TestPatterns:
    def test_an_escaped_dot_is_a_dot(self) -> None:
        assert says(r'REGEX(X, r"[0-9]+\.[0-9]{2}")', "3.14159") == ("3.14", "closed")
        following = allowed(r'REGEX(X, r"[0-9]\.[0-9]")', "3")
        assert following == {b"."}

    def test_digits_that_must_end(self) -> None:
        where = 'REGEX(X, "[0-9]+")'
        assert says(where, "12345 apples") == ("12345", "eos")
        assert says(where, "12345 apples", after=" apples") == ("12345", "follow")
        holds_for_any_model(where, lambda x: bool(re.fullmatch("[0-9]+", x)), 1, 2, 5, 20)

    def test_what_may_follow_an_accepted_text_stays_allowed(self) -> None:
        where = r'REGEX(X, r"[0-9]+(\.[0-9]+)?")'
        assert {b".", b"3", b""} <= allowed(where, "12")
        assert says(where, "12.5") == ("12.5", "eos")

    def test_a_dot_does_not_cross_newlines(self) -> None:
        following = allowed('REGEX(X, ".*")', "one")
        assert not {token for token in following if b"\n" in token}
        assert b" the" in following
        holds_for_any_model('REGEX(X, ".+")', lambda x: bool(re.fullmatch(".+", x)), 1, 20)

    @pytest.mark.parametrize("pattern", [r"[^\n]+", r"[\w ]+", r"[a-z .,]+", r"\S+"])
    def test_classes_do_not_cross_newlines(self, pattern: str) -> None:
        assert not {token for token in allowed(f'REGEX(X, r"{pattern}")', "one") if b"\n" in token}
        assert "\n" not in says(f'REGEX(X, r"{pattern}")', "one\ntwo")[0]

    def test_not_a_pattern(self) -> None:
        assert says('not REGEX(X, "[0-9]*")', "12 a") == ("12 a", "eos")
        assert b"" not in allowed('not REGEX(X, "[0-9]*")', "12")
        holds_for_any_model('not REGEX(X, "[a-zA-Z ]*")', lambda x: not re.fullmatch("[a-zA-Z ]*", x), 1, 2, 12)


class TestLengths:
    @pytest.mark.parametrize("budget", [17, 50, 60])
    def test_exactly_fifty_characters(self, budget: int) -> None:
        assert says("len(X) == 50", "ab " * 40) == (("ab " * 40)[:50], "closed")
        assert says("len(X) == 50", "ab", max_tokens=budget)[0][:2] == "ab"
        holds_for_any_model("len(X) == 50", lambda x: len(x) == 50, budget)

    def test_characters_are_not_bytes(self) -> None:
        assert says("len(X) == 3", "é漢😀é漢😀") == ("é漢😀", "closed")
        holds_for_any_model("len(X) == 2", lambda x: len(x) == 2, 1, 2, 8)

    def test_words_that_must_end(self) -> None:
        assert says("len(WORDS(X)) == 3", "one two three four") == ("one two three", "stop")
        assert says("len(WORDS(X)) <= 2", "one two three four")[0].split() == ["one", "two"]
        holds_for_any_model("len(WORDS(X)) == 4", lambda x: len(x.split()) == 4, 7, 9, 20)
        holds_for_any_model("2 <= len(WORDS(X)) < 4", lambda x: 2 <= len(x.split()) < 4, 3, 9, 20)

    @pytest.mark.parametrize(
        ("where", "text", "expected"),
        [
            ("len(SENTENCES(X)) == 1", "It is warm. We swim.", ("It is warm.", "stop")),
            ("len(WORDS(X)) < 3", "one two\n\nthree", ("one two", "stop")),
            ('len(WORDS(X)) < 3 and STOPS_AT(X, "\\n")', "one two\nthree", ("one two\n", "stop")),
            ('len(WORDS(X)) == 2 and STOPS_BEFORE(X, "\\n\\n")', "one two three", ("one two", "stop")),
            ('len(WORDS(X)) == 2 and X.endswith(" ")', "one two three", ("one two ", "eos")),
            ("len(WORDS(X)) >= 2", "one two three", ("one two three", "eos")),
            ('(JSON(X) or GRAMMAR(X, "start: /[a-z ]+/")) and len(WORDS(X)) == 2', "one two three", ("one two", "stop")),
        ],
    )
    def test_white_space_ends_what_no_word_can_follow(self, where: str, text: str, expected: tuple[str, str]) -> None:
        assert says(where, text) == expected

    def test_the_budget_leaves_room_for_what_must_come(self) -> None:
        holds_for_any_model('X.endswith("the end")', lambda x: x.endswith("the end"), 5, 6, 12)
        with pytest.raises(UnsatisfiableConstraint):
            lmqlc.run_sync('"[X]" where X.endswith("the end")\n', model="random:1", max_tokens=4)


class TestSets:
    def test_members_that_are_prefixes_of_others(self) -> None:
        where = 'X in ["car", "cart", "carton"]'
        assert says(where, "car", after=" is") == ("car", "eos")
        assert says(where, "cart is", after=" is") == ("cart", "follow")
        assert says(where, "carton") == ("carton", "closed")
        assert {b"t", b""} == allowed(where, "car")
        assert {b"o", b"on", b""} & allowed(where, "cart") >= {b"o", b""}

    def test_emoji_and_cjk(self) -> None:
        members = ["😀", "👩‍👩‍👧", "漢", "漢字", "こんにちは"]
        for member in members:
            assert says("X in members", member, members=members)[0] == member
        holds_for_any_model("X in members", lambda x: x in members, 4, 6, 30, members=members)

    def test_a_token_may_split_a_character_only_where_the_rest_can_follow(self) -> None:
        assert allowed('X in ["é", "è"]', "") == {b"\xc3", "é".encode()}
        automaton = lmqlc.token_automaton('X in ["é", "è"]', tokenizer=TOKENIZER)
        half = automaton.advance(automaton.start(), TOKENIZER.vocabulary.tokens.index(b"\xc3"))
        assert half is not None
        assert not automaton.is_final(half)
        assert [i for i in range(300) if automaton.advance(half, i) is not None] == [1 + 0xA8, 1 + 0xA9]

    def test_either_of_two_sets(self) -> None:
        where = 'X in ["yes", "no"] or X in ["maybe", "nobody"]'
        for member in ("yes", "maybe", "nobody"):
            assert says(where, member) == (member, "closed")
        assert says(where, "no way") == ("no", "eos")
        holds_for_any_model(where, lambda x: x in ("yes", "no", "maybe", "nobody"), 2, 5, 9)

    def test_not_in_a_set(self) -> None:
        assert b"" not in allowed('X not in ["yes", "no"]', "yes")
        holds_for_any_model('X not in ["", "a"] and REGEX(X, "a*")', lambda x: bool(re.fullmatch("a{2,}", x)), 2, 5)

    @pytest.mark.parametrize("values", [{"members": []}, {"members": set()}, {"members": ()}])
    def test_an_empty_set(self, values: dict[str, Any]) -> None:
        model = scripted("anything")
        with pytest.raises(UnsatisfiableConstraint):
            lmqlc.run_sync('"[X]" where X in members\n', model=model, **values)
        assert model.calls == []
        with pytest.raises(UnsatisfiableConstraint):
            lmqlc.compile('"[X]" where X in []\n')


def ways(automaton: Any, path: tuple[int, ...], state: Any) -> Iterator[tuple[int, ...]]:
    """Every way of tokens from a state to the end of a text."""
    if automaton.stopped(state) is not None:
        yield path
        return
    for token in tokens_of(automaton.mask(state)):
        yield from ways(automaton, (*path, token), automaton.advance(state, token))


def tokens_of(mask: Any) -> list[int]:
    return [32 * at + bit for at, word in enumerate(mask.tolist()) for bit in range(32) if word >> bit & 1]


def score(path: tuple[int, ...]) -> float:
    """A made-up log-probability of a way; of the same length, ways begin differently at first."""
    return -sum(random.Random(str(path[: at + 1])).random() for at in range(len(path)))


class TestBeams:
    MEMBERS = ("car", "cart", "carton", "cat", "日本", "日本語", "😀")
    WORDS = ("ca", "car", "art", "on", "日", "本語")

    def beams(self, width: int) -> list[tuple[int, ...]]:
        """The ends that a beam search of some width comes to, best first; all branches hold states of one automaton."""
        automaton = lmqlc.token_automaton("X in members", tokenizer=ByteTokenizer(self.WORDS), env={"members": self.MEMBERS})
        live: list[tuple[tuple[int, ...], Any]] = [((), automaton.start())]
        ended: list[tuple[int, ...]] = []
        while live:
            longer = [
                ((*path, token), automaton.advance(state, token)) for path, state in live for token in tokens_of(automaton.mask(state))
            ]
            assert all(state is not None for _, state in longer)
            ended += [path for path, state in longer if automaton.stopped(state) is not None]
            going = [branch for branch in longer if automaton.stopped(branch[1]) is None]
            live = sorted(going, key=lambda branch: score(branch[0]), reverse=True)[:width]
        return sorted(ended, key=score, reverse=True)

    def text(self, path: tuple[int, ...]) -> str:
        return ByteTokenizer(self.WORDS).decode(path)

    @pytest.mark.parametrize("width", [1, 2, 3, 8])
    def test_beam_with_in_ends_every_branch_in_the_set(self, width: int) -> None:
        found = self.beams(width)
        assert found
        assert {self.text(path) for path in found} <= set(self.MEMBERS)

    def test_beam_with_in_finds_the_best_member(self) -> None:
        """A beam that is wide enough sees every way to write every member, prefixes of others and split characters included."""
        automaton = lmqlc.token_automaton("X in members", tokenizer=ByteTokenizer(self.WORDS), env={"members": self.MEMBERS})
        every = sorted(ways(automaton, (), automaton.start()), key=score, reverse=True)
        assert self.beams(10_000) == every
        assert {self.text(path) for path in every} == set(self.MEMBERS)

    def test_branches_do_not_disturb_each_other(self) -> None:
        """What one branch asks of the automaton changes nothing for another, in whatever order they ask."""
        automaton = lmqlc.token_automaton("X in members", tokenizer=ByteTokenizer(self.WORDS), env={"members": self.MEMBERS})
        seen: dict[Any, bytes] = {}
        for seed in SEEDS:
            dice, branches = random.Random(seed), [automaton.start()] * 5
            for _ in range(40):
                at = dice.randrange(5)
                mask = automaton.mask(branches[at])
                assert seen.setdefault(branches[at], mask.tobytes()) == mask.tobytes()
                tokens = tokens_of(mask)
                branches[at] = automaton.advance(branches[at], dice.choice(tokens)) if tokens else automaton.start()


class TestContainment:
    def test_a_text_that_must_be_there(self) -> None:
        assert says('"cat" in X and len(X) < 12', "the dog is here") == ("the dog cat", "closed")
        assert says('"cat" in X', "a cat sat") == ("a cat sat", "eos")
        holds_for_any_model('"cat" in X', lambda x: "cat" in x, 3, 4, 12)

    def test_one_that_must_be_and_one_that_must_not(self) -> None:
        where = '"foo" in X and not "bar" in X'
        assert says(where, "a foo of ba") == ("a foo of ba", "eos")
        assert b"r" not in allowed(where, "a foo of ba")
        assert b"" not in allowed(where, "a fo")
        holds_for_any_model(where, lambda x: "foo" in x and "bar" not in x, 3, 6, 20)


class TestMasks:
    def test_nothing_is_excluded_where_nothing_is_forbidden(self) -> None:
        whole = set(filter(could_begin, TOKENIZER.vocabulary.tokens))
        assert allowed('STOPS_AT(X, ".")') == whole | {b""}
        assert allowed("len(X) < 500") == whole | {b""}
        assert allowed("X != 'abc'") == whole | {b""}

    def test_holes_without_constraints_are_not_masked(self) -> None:
        result = lmqlc.run_sync('"[X]"', model=scripted("Anything\n\x00 goes. 😀"))
        assert (result.holes[0].text, result.holes[0].finish_reason) == ("Anything\n\x00 goes. 😀", "eos")

    def test_what_the_model_would_say_is_not_changed_where_it_is_legal(self) -> None:
        text = "A plain answer, 42 words long."
        for where in ('not "\\n" in X', "len(X) < 100", 'STOPS_AT(X, "long.")', "len(TOKENS(X)) < 90", 'X != "no"'):
            assert says(where, text)[0] == text


class TestContradictions:
    @pytest.mark.parametrize(
        ("where", "blamed"),
        [
            ('X == "hello" and len(X) < 3', ['X == "hello"', "len(X) < 3"]),
            ('X in ["a", "b"] and not X in ["a", "b", "c"]', ['X in ["a", "b"]']),
            ('REGEX(X, "[0-9]+") and X.isalpha() and len(X) < 9', ['REGEX(X, "[0-9]+")', "X.isalpha()"]),
            ('X.startswith("a") and X.endswith("b") and len(X) == 1', ['X.startswith("a")', 'X.endswith("b")', "len(X) == 1"]),
            ("int(X) > 5 and int(X) < 3", ["int(X) > 5", "int(X) < 3"]),
            ("len(WORDS(X)) > 3 and len(X) < 5", ["len(WORDS(X)) > 3", "len(X) < 5"]),
        ],
    )
    def test_conjuncts_that_exclude_each_other(self, where: str, blamed: list[str]) -> None:
        with pytest.raises(UnsatisfiableConstraint) as caught:
            lmqlc.compile(f'"[X]" where {where}\n')
        for part in blamed:
            assert part in str(caught.value)
        (found,) = caught.value.diagnostics
        assert "len(X) < 9" not in found.message

    def test_one_that_shows_when_the_hole_is_reached(self) -> None:
        model = scripted("a")
        with pytest.raises(UnsatisfiableConstraint) as caught:
            lmqlc.run_sync('"[X]" where len(X) < n and X == word\n', model=model, n=3, word="hello")
        assert model.calls == []
        assert isinstance(caught.value, LmqlError)
