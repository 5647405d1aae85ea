"""Stops that name a special token: the token ends the hole where the formula holds, and is no part of its text."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

import lmqlc
from lmqlc.backends.base import Vocabulary
from lmqlc.backends.tokenizer import load_tokenizer
from lmqlc.backends.tokenizer_bundle import BundleFile, tokenizer_of
from lmqlc.compiler import constraints as c
from lmqlc.compiler.masks.compose import compose
from lmqlc.compiler.masks.files import unpack_arrays
from lmqlc.compiler.masks.forms import unpack
from lmqlc.compiler.masks.hole import Budget, HoleRun
from lmqlc.compiler.masks.interface import TokenConstraint
from lmqlc.compiler.masks.phrases import phrases_of
from lmqlc.runtime.constraint import constraint as custom

EOS, END, ROLE = 0, 1, 2
TOKENS = [b"", b"", b"", b"a", b"b", b"ab", b"<", b"|end|>", b"."]
VOCABULARY = Vocabulary.build(TOKENS, [EOS], [END, ROLE], {"<|end|>": END, "<|role|>": ROLE, "<|eos|>": EOS})
NAMELESS = Vocabulary.build(TOKENS, [EOS], [END, ROLE])
A, B, AB, LESS, REST, DOT = range(3, 9)


@custom
def no_double(text: str, final: bool) -> bool | None:
    return False if "aa" in text else True if final else None


def stop(*phrases: object, keep: bool = True) -> c.Constraint:
    return c.Stop(c.Const(phrases[0] if len(phrases) == 1 else list(phrases)), keep)


def linked(*parts: c.Constraint, max_tokens: int | None = None, follow: str | None = None) -> TokenConstraint:
    return compose(c.And(parts), VOCABULARY, max_tokens=max_tokens, follow=follow)


def allowed(tokens: TokenConstraint, state: object) -> set[int]:
    return set(np.flatnonzero(unpack(tokens.mask(state), len(TOKENS))).tolist())  # type: ignore[arg-type]


def after(tokens: TokenConstraint, *ids: int) -> object:
    state = tokens.start()
    for token in ids:
        then = tokens.advance(state, token)
        assert then is not None
        state = then
    return state


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("extra", [(), (c.Custom(c.Const(no_double), ()),)], ids=["regular", "with a function"])
class TestWhereTheFormulaHolds:
    def test_it_ends_the_hole(self, keep: bool, extra: tuple[c.Constraint, ...]) -> None:
        tokens = linked(stop("<|end|>", keep=keep), c.Count("chars", ">=", c.Const(2)), *extra)
        assert END not in allowed(tokens, tokens.start())
        assert tokens.advance(tokens.start(), END) is None
        state = after(tokens, AB)
        assert {EOS, END} <= allowed(tokens, state)
        assert ROLE not in allowed(tokens, state)
        ended = after(tokens, AB, END)
        assert tokens.stopped(ended) == 0
        assert tokens.is_final(ended)
        assert not allowed(tokens, ended)

    def test_its_text_written_in_plain_characters_stops_too(self, keep: bool, extra: tuple[c.Constraint, ...]) -> None:
        tokens = linked(stop("<|end|>", keep=keep), *extra)
        assert tokens.stopped(after(tokens, A, LESS, REST)) == (0 if keep else 7)

    def test_masks_are_those_without_it_and_the_token_where_the_text_may_end(self, keep: bool, extra: tuple[c.Constraint, ...]) -> None:
        parts = (c.Matches(c.Const("[ab]*b")), *extra)
        said = c.And((stop("<|end|>", keep=keep), *parts))
        one, other = compose(said, VOCABULARY), compose(said, NAMELESS)
        for path in ([], [A], [B], [AB], [AB, B], [B, A], [AB, A, B]):
            found, plain = after(one, *path), after(other, *path)
            assert allowed(one, found) == allowed(other, plain) | ({END} if other.is_final(plain) else set())


def test_several_and_patterns() -> None:
    several, pattern = linked(stop("<|end|>", ".", "<|role|>")), linked(stop(re.compile(r"<\|end\|>")))
    assert {END, ROLE} <= allowed(several, several.start())
    assert END not in allowed(pattern, pattern.start())  # a pattern is of text


def test_end_of_text_by_its_name() -> None:
    tokens = linked(stop("<|eos|>"))
    assert tokens.stopped(after(tokens, A, EOS)) == 0


def test_the_budget_leaves_room_for_it() -> None:
    """As end-of-text it counts nothing."""
    tokens = linked(stop("<|end|>"), c.Equals(c.Const("ab")), max_tokens=1)
    assert allowed(tokens, tokens.start()) == {AB}
    assert {EOS, END} == allowed(tokens, after(tokens, AB))


def test_a_hole_ends_by_a_stop_without_the_token() -> None:
    constraint = c.And((stop("<|end|>"), c.Matches(c.Const("[ab]+"))))
    phrases = tuple(phrase.shown for phrase in phrases_of([stop("<|end|>")]))  # type: ignore[list-item]
    hole = HoleRun("X", VOCABULARY, compose(constraint, VOCABULARY), Budget(9, "budget"), phrases)
    for token in (AB, A, END):
        assert hole.legal(token)
        hole.push(token, -0.5)
    assert (hole.reason, hole.data(), hole.ids) == ("stop", b"aba", [AB, A])
    assert [token.id for token in hole.tokens] == [AB, A, END]
    assert hole.written().text == "aba"


def test_a_hole_that_ended_so_elsewhere() -> None:
    phrases = tuple(phrase.shown for phrase in phrases_of([stop("<|end|>")]))  # type: ignore[list-item]
    here = HoleRun("X", VOCABULARY, compose(stop("<|end|>"), VOCABULARY), Budget(9, "budget"), phrases)
    there = HoleRun("X", VOCABULARY, None, Budget(9, "budget"), phrases)
    for token in (A, END):
        there.record(here.push(token, -0.5))
    there.conclude("stop", 0)
    assert (there.reason, there.ids, there.data()) == ("stop", [A], b"a")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = Tokenizer(models.BPE({"a": 0, "b": 1, "<": 2, "|": 3, ">": 4}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken("<|im_end|>", special=True), AddedToken("</s>", special=True)])
    made.save(str(tmp_path / "tokenizer.json"))
    return tmp_path


def test_names_come_from_the_tokenizer(folder: Path) -> None:
    tokens = lmqlc.token_automaton('STOPS_BEFORE(X, "<|im_end|>") and len(X) > 1', tokenizer=folder, eos="</s>")
    state = tokens.start()
    for token in (0, 1):
        assert tokens.advance(state, 5) is None
        state = tokens.advance(state, token)
    assert tokens.stopped(tokens.advance(state, 5)) == 0


def test_names_reach_the_clients_of_a_server(folder: Path) -> None:
    tokenizer = load_tokenizer(str(folder))
    arrays, meta = unpack_arrays(BundleFile.of(tokenizer).data, "bundle")
    received = tokenizer_of(arrays, meta, lambda _: [])
    assert dict(received.vocabulary.named) == dict(tokenizer.vocabulary.named) == {"<|im_end|>": 5, "</s>": 6}
