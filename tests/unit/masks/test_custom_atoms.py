"""Python functions and classes as constraints."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from lmqlc.backends.base import Vocabulary
from lmqlc.compiler import constraints as c
from lmqlc.compiler.masks.compose import compose, is_external, text_holds, text_judge
from lmqlc.compiler.masks.custom import CustomAtom
from lmqlc.compiler.masks.forms import unpack
from lmqlc.compiler.masks.residues import external_atoms
from lmqlc.grammar.errors import LmqlCompileError, UnsatisfiableConstraint, UnsupportedConstraint
from lmqlc.runtime.constraint import constraint
from lmqlc.runtime.link import LinkedHole
from lmqlc.runtime.text_hole import BYTES, TextRun

TOKENS = [b"<e>", b"a", b"b", b"foo", b" bar", b"!", b"\xc3", b"\xa9", b" "]
VOCABULARY = Vocabulary.build(TOKENS, [0])


def custom(function: Any, *args: Any) -> c.Custom:
    return c.Custom(c.Const(function), tuple(c.Const(arg) for arg in args))


def allowed(made: Any, *tokens: int) -> list[int]:
    state = made.start()
    for token in tokens:
        state = made.advance(state, token)
    return unpack(made.mask(state), len(VOCABULARY)).nonzero()[0].tolist()


@constraint
def at_most(text: str, final: bool, most: int) -> bool | None:
    return False if len(text) > most else (True if final else None)


def test_a_function_rules_tokens_out_and_says_when_a_text_is_whole() -> None:
    made = compose(custom(at_most, 3), VOCABULARY)
    assert allowed(made) == [0, 1, 2, 3, 5, 6, 8]
    assert allowed(made, 1) == [0, 1, 2, 5, 6, 8]
    assert allowed(made, 3) == [0]  # half a character leads nowhere
    assert allowed(made, 1, 6) == [7]
    assert CustomAtom(at_most, [1]).alive(b"a\xc3") and not CustomAtom(at_most, [1]).holds(b"a\xc3")
    assert not CustomAtom(at_most, [1]).alive(b"a\xc3a")


def test_true_for_an_unfinished_text_promises_nothing() -> None:
    made = compose(custom(constraint(lambda text, final: text.endswith("!") if final else True)), VOCABULARY)
    assert not made.is_final(made.start())
    assert made.is_final(made.advance(made.start(), 5))


def test_unfinished_false_at_once_is_unsatisfiable() -> None:
    with pytest.raises(UnsatisfiableConstraint, match="no text can meet"):
        compose(custom(constraint(lambda text, final: False)), VOCABULARY)


def test_errors_keep_their_type_and_say_where_they_come_from() -> None:
    @constraint
    def picky(text: str, final: bool) -> bool:
        raise ZeroDivisionError("by nothing")

    with pytest.raises(ZeroDivisionError) as caught:
        compose(custom(picky), VOCABULARY)
    assert caught.value.__notes__ == ["raised by the constraint `picky` for the final text ''"]


@pytest.mark.parametrize("answer", [1, "yes", [], 0.0])
def test_other_answers_are_refused(answer: Any) -> None:
    @constraint
    def vague(text: str, final: bool) -> Any:
        return answer

    with pytest.raises(LmqlCompileError, match=r"`vague` must say True, False or None, not .* for the .*text ''"):
        compose(custom(vague), VOCABULARY)


def test_numpys_truth_values_are_answers() -> None:
    import numpy as np

    atom = CustomAtom(constraint(lambda text, final: np.bool_(text == "a")))
    assert atom.holds(b"a") and not atom.holds(b"b") and not atom.alive(b"b")


def test_what_is_no_constraint_is_refused() -> None:
    async def later(text: str, final: bool) -> bool:
        return True

    for value, message in [(5, "is no function but int"), (len, "is a plain function"), (lambda text, final: True, "is a plain function")]:
        with pytest.raises(LmqlCompileError, match=message) as caught:
            compose(custom(value), VOCABULARY)
        assert "@lmql.constraint" in str(caught.value)
    with pytest.raises(LmqlCompileError, match="asynchronous"):
        constraint(later)
    with pytest.raises(LmqlCompileError):
        constraint(5)  # type: ignore[type-var]


def test_callables_that_take_no_mark_are_wrapped() -> None:
    marked = constraint(partial(at_most, most=2))
    assert CustomAtom(marked).alive(b"aa") and not CustomAtom(marked).alive(b"aaa")
    assert constraint("abc".startswith)("a") is True
    assert at_most("abc", True, 3) is True  # a marked function is called as before


class FooBar:
    """Every "foo" is followed by " bar" (the example of the existing language's documentation, in our words)."""

    def forward(self, x: str | None, **kwargs: Any) -> bool:
        rest = "" if x is None or "foo" not in x else x.rsplit("foo", 1)[1]
        return rest == "" or rest.startswith(" bar")

    def follow(self, x: str, **kwargs: Any) -> Any:
        raise AssertionError("follow is not asked")

    def final(self, x: str, result: Any = None, **kwargs: Any) -> str:
        return "fin" if not result or x == "fin" else "var"


class Node:
    """A base class that takes the operands, as operators of the existing language have."""

    def __init__(self, predecessors: list[Any]) -> None:
        self.predecessors = predecessors


class LongerThan(Node):
    """A count that grows: false values are temporary."""

    def forward(self, x: str, n: int, final: bool = False) -> bool:
        return len(x) > n

    def final(self, x: str, n: str, operands: Any = None, result: Any = None) -> str:
        assert (x, n) == ("inc", "fin") and len(operands) == 2
        return "fin" if result else "var"


def test_a_class_whose_violations_are_definitive() -> None:
    for target in (FooBar, FooBar(), constraint(FooBar)):
        made = compose(custom(target), VOCABULARY)
        assert allowed(made, 3) == [0, 3, 4]
        assert allowed(made, 3, 4) == [0, 1, 2, 3, 4, 5, 6, 8]


def test_a_class_whose_violations_are_temporary() -> None:
    made = compose(custom(LongerThan, 2), VOCABULARY)
    assert allowed(made, 1) == [1, 2, 3, 4, 5, 6, 8]
    assert allowed(made, 3) == [0, 1, 2, 3, 4, 5, 6, 8]


def test_a_class_without_final_rules_nothing_out_early() -> None:
    class Even:
        def forward(self, x: str) -> bool:
            return len(x) % 2 == 0

    made = compose(custom(Even), VOCABULARY)
    assert allowed(made, 1) == [1, 2, 3, 4, 5, 6, 8]
    assert 0 in allowed(made, 1, 2)


def test_classes_that_cannot_be_made_are_refused() -> None:
    class Hungry:
        def __init__(self, one: Any, two: Any) -> None: ...

        def forward(self, x: str) -> bool:
            return True

    with pytest.raises(LmqlCompileError, match="cannot be made"):
        compose(custom(Hungry), VOCABULARY)


def test_a_stop_counts_only_where_the_function_agrees() -> None:
    """Two sentences ended by `!`, though decoding could stop at the first."""

    @constraint
    def two(text: str, final: bool) -> bool | None:
        return text.count("!") == 2 if final else None

    for keep, cut in ((True, 0), (False, None)):
        made = compose(c.And((custom(two), c.Stop(c.Const("!"), keep))), VOCABULARY)
        state = made.advance(made.advance(made.start(), 1), 5)
        assert made.stopped(state) is None
        state = made.advance(state, 5)
        assert made.stopped(state) == cut
        if not keep:
            assert made.is_final(state) and made.stopped(made.advance(state, 5)) == 1


def test_the_following_literal_ends_a_whole_text() -> None:
    made = compose(c.And((custom(at_most, 1), c.Not(c.Contains(c.Const("!"))))), VOCABULARY, follow="!")
    state = made.advance(made.start(), 1)
    assert allowed(made, 1) == [0, 5]
    ended = made.advance(state, 5)
    assert made.stopped(ended) == 1 and made.is_final(ended) and made.advance(ended, 1) is None
    assert allowed(made, 1, 5) == []


@constraint
def without_b(text: str, final: bool) -> bool | None:
    return "b" not in text if final else None


@constraint
def willing(text: str, final: bool) -> bool:
    return True


@pytest.mark.parametrize(
    ("formula", "swallows"),
    [
        (custom(at_most, 9), False),
        (c.Not(c.Not(custom(without_b))), False),
        (c.Not(c.And((custom(without_b), c.StartsWith(c.Const("b"))))), True),  # nothing that begins with "a" can break it
        (c.And((custom(at_most, 9), c.Matches(c.Const("[ab! ]*")))), False),
        (custom(willing), True),  # it may go on, says the function
        (c.Or((custom(at_most, 9), c.Matches(c.Const("[ab!]*")))), True),  # whatever the function will say
        (c.Or((custom(at_most, 9), c.Matches(c.Const("[ab]*")))), False),
    ],
)
def test_a_function_that_has_yet_to_say_leaves_the_literal_to_the_prompt(formula: c.Constraint, swallows: bool) -> None:
    made = compose(formula, VOCABULARY, follow="! Then")
    state = made.advance(made.start(), 1)
    assert 5 in allowed(made, 1)
    assert made.followed(made.advance(state, 5)) != swallows
    assert not made.followed(made.advance(state, 1))
    text = TextRun("X", LinkedHole(compose(formula, BYTES.vocabulary)), "! Then")
    assert (text.take("a! Th"), text.reason, text.text) == ((5, None, "a! Th") if swallows else (1, "follow", "a"))
    text = TextRun("X", LinkedHole(compose(formula, BYTES.vocabulary)), "! Then")
    assert text.take("a!a") == 3  # not the text that follows


def test_one_token_is_looked_ahead_where_few_are_allowed() -> None:
    """After "b" nothing can follow that the function lets through; "a" is the only way."""

    @constraint
    def dead_end(text: str, final: bool) -> bool | None:
        return False if text.startswith("b") and len(text) > 1 else (text == "aa") if final else None

    made = compose(c.And((custom(dead_end), c.Matches(c.Const("[ab]{2}")))), VOCABULARY)
    assert allowed(made) == [1]


def test_atoms_joined_by_and_may_be_many_and_relations_few() -> None:
    atoms = tuple(custom(at_most, n) for n in range(2, 8))
    assert allowed(compose(c.And(atoms), VOCABULARY), 1) == [0, 1, 2, 5, 6, 8]
    several = c.Or(tuple(c.And((atom, c.Equals(c.Const("ab"[: n % 2] * n)))) for n, atom in enumerate(atoms)))
    with pytest.raises(UnsupportedConstraint, match="different relations"):
        compose(several, VOCABULARY)
    with pytest.raises(UnsupportedConstraint, match="9 grammars"):
        compose(c.And(tuple(custom(at_most, n) for n in range(9))), VOCABULARY)


def test_a_leading_space_is_not_shown() -> None:
    from lmqlc.compiler.masks.leading import with_leading_space

    seen: list[str] = []

    @constraint
    def spy(text: str, final: bool) -> bool | None:
        seen.append(text)
        return text == "ab" if final else None

    made = compose(c.And((custom(spy), c.Matches(c.Const("[ab]*")))), VOCABULARY, with_space=with_leading_space)
    state = made.start()
    for token in (8, 1, 2):
        state = made.advance(state, token)
    assert made.is_final(state) and not any(text.startswith(" ") for text in seen)


def test_a_condition_that_stands_twice_is_one_atom() -> None:
    twice = c.Or((custom(at_most, 1), c.And((custom(at_most, 1), c.Equals(c.Const("a"))))))
    assert external_atoms(twice, is_external) == (custom(at_most, 1),)
    assert len(external_atoms(c.And((twice, custom(at_most, True))), is_external)) == 2  # 1 is not True


def test_whole_texts_are_judged() -> None:
    assert text_holds(c.Not(custom(at_most, 1)), "ab", 1) and not text_holds(custom(at_most, 1), "ab", 1)


@constraint
def even(text: str, final: bool) -> bool | None:
    return False if "b" in text else (len(text) % 2 == 0 if final else None)


@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        (custom(even), [2, 4, 6, 7, 8]),
        (c.Or((custom(even), c.InSet(c.Const(["b"])))), [2, 4, 5, 6, 7, 8]),
        (c.And((custom(even), c.Stop(c.Const("."), True))), [2, 4, 6, 7, 8]),
        (c.And((custom(even), c.Matches(c.Const("a*")))), [2, 4]),
    ],
)
def test_first_tokens_behind_text_that_was_taken_back(formula: c.Constraint, expected: list[int]) -> None:
    """Leaving tokens out by their first byte gives what asking about each of them gives."""
    from lmqlc.compiler.masks.heal import covering

    vocabulary = Vocabulary.build(
        [b"", b":", b":a", b":ab", b":aa", b":b", b":\xc3\xa9", b":\xc3", b":a.", b"a", b"b", b".", b"\xa9"], eos_ids=[0]
    )
    made = compose(formula, vocabulary)
    longer = covering(vocabulary, b":")[1]
    one_by_one = [i for i in longer.tolist() if made.enter(made.start(), i, 1) is not None]
    assert sorted(made.entering(made.start(), longer, 1).tolist()) == sorted(one_by_one) == expected
    assert made.enters(made.start(), longer, 1)
    assert not made.enters(made.start(), longer[:0], 1)


def test_a_judge_of_several_texts_builds_each_automaton_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from lmqlc.compiler.masks import compose as module

    built, build = [], module.build
    monkeypatch.setattr(module, "build", lambda *arguments, **options: built.append(arguments) or build(*arguments, **options))
    constraint = c.And((c.Or((custom(at_most, 1), c.Equals(c.Const("abc")))), c.Not(c.Equals(c.Const("b")))))
    judge = text_judge(constraint)
    texts = ["a", "b", "ab", "abc", "c", "abcd", ""]
    assert [judge(text, 1) for text in texts] == [True, False, False, True, True, False, True]
    assert len(built) == 2  # with the function's answer true, and false
    assert [text_holds(constraint, text, 1) for text in texts] == [judge(text, 1) for text in texts]
