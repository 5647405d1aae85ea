"""`lmqlc.token_automaton`: masks against brute force over small tokenizers, and errors in the caller's own text."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

import lmqlc
from lmqlc.loaded_tokenizers import loaded_tokenizer

BUDGET = 3
Holds = Callable[[str, int], bool]


def byte_level(*words: str) -> Tokenizer:
    """Byte-level BPE: the bytes of a few characters, and words joined from two parts ("a+b")."""
    letters = [piece for piece, _ in pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str("ab1é. ")]
    alphabet = dict.fromkeys("".join(letters))
    merges = [(left, right) for left, right in (word.replace(" ", "Ġ").split("+") for word in words)]
    vocabulary = {token: number for number, token in enumerate(dict.fromkeys(["<end>", *alphabet, *(a + b for a, b in merges)]))}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<end>"])
    return tokenizer


def byte_fallback() -> Tokenizer:
    """A unigram model as SentencePiece writes it: word starts marked, bytes as `<0xNN>`."""
    pieces = ["<unk>", "<end>", *(f"<0x{byte:02X}>" for byte in (0x61, 0xC3, 0xA9, 0x2E)), "▁", "a", "b", "1", "▁a", "ab"]
    tokenizer = Tokenizer(models.Unigram([(piece, 0.0) for piece in pieces], unk_id=0, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens(["<unk>", "<end>"])
    return tokenizer


TOKENIZERS = {"byte-level": byte_level("a+b", "a+1", " +a", ".+ "), "byte fallback": byte_fallback()}

CASES: list[tuple[str, dict[str, Any], Holds]] = [
    ("X in words", {"words": ["a", "ab", "ab1", "é"]}, lambda x, n: x in ("a", "ab", "ab1", "é")),
    ("X not in ['a', ''] and len(X) < 3", {}, lambda x, n: x not in ("a", "") and len(x) < 3),
    ("'ab' in X", {}, lambda x, n: "ab" in x),
    ("not 'a' in X and X != ''", {}, lambda x, n: "a" not in x and x != ""),
    ("REGEX(X, r'(ab)+1?|é.*')", {}, lambda x, n: bool(re.fullmatch(r"(ab)+1?|é.*", x))),
    ("not REGEX(X, r'[ab]*')", {}, lambda x, n: not re.fullmatch(r"[ab]*", x)),
    ("X.startswith('a') or X.endswith('é')", {}, lambda x, n: x.startswith("a") or x.endswith("é")),
    ("X.isalpha() and len(X) == 3", {}, lambda x, n: x.isalpha() and len(x) == 3),
    ("INT(X) and int(X) > 10", {}, lambda x, n: bool(re.fullmatch("1+", x)) and int(x) > 10),
    ("len(TOKENS(X)) == 2 and 'a' in X", {}, lambda x, n: n == 2 and "a" in x),
    ("2 <= len(WORDS(X)) < 4", {}, lambda x, n: 2 <= len(x.split()) < 4),
    ("len(TOKENS(X)) < k and len(X) > k", {"k": 3}, lambda x, n: n < 3 < len(x)),
]


def brute_force(tokenizer: Any, holds: Holds, follow: str | None) -> dict[tuple[int, ...], set[int]]:
    """By prefix, the tokens after which some text within the budget is valid, with those that end the text."""
    vocabulary = loaded_tokenizer(tokenizer, eos="<end>").vocabulary
    spoken = [i for i in range(len(vocabulary)) if i not in vocabulary.special]
    allowed: dict[tuple[int, ...], set[int]] = {(): set()}
    for length in range(BUDGET + 1):
        for ids in product(spoken, repeat=length):
            try:
                text = b"".join(vocabulary.tokens[i] for i in ids).decode()
            except UnicodeDecodeError:
                continue
            if holds(text, length):
                for end in range(length):
                    allowed.setdefault(ids[:end], set()).add(ids[end])
                allowed.setdefault(ids, set()).update(vocabulary.eos_ids)
                if follow:
                    agree = {i for i in spoken if follow.encode().startswith(vocabulary.tokens[i])}
                    allowed[ids] |= agree | {i for i in spoken if vocabulary.tokens[i].startswith(follow.encode())}
    return allowed


def bits(mask: Any) -> set[int]:
    return {32 * word + bit for word, value in enumerate(mask.tolist()) for bit in range(32) if value >> bit & 1}


@pytest.mark.parametrize("follow", [None, ". "])
@pytest.mark.parametrize(("where", "env", "holds"), CASES, ids=[case[0] for case in CASES])
@pytest.mark.parametrize("name", TOKENIZERS)
def test_masks_equal_brute_force(name: str, where: str, env: dict[str, Any], holds: Holds, follow: str | None) -> None:
    tokenizer = TOKENIZERS[name]
    automaton = lmqlc.token_automaton(where, tokenizer=tokenizer, env=env, max_tokens=BUDGET, eos="<end>", follow=follow)
    expected = brute_force(tokenizer, holds, follow)
    assert len(expected) > 1
    for ids, allowed in expected.items():
        state = automaton.start()
        for token in ids:
            state = automaton.advance(state, token)
            assert state is not None
        assert bits(automaton.mask(state)) == allowed, ids
        if automaton.stopped(state) is None:
            assert {i for i in range(64) if automaton.advance(state, i) is not None} == allowed


class TestErrors:
    @pytest.mark.parametrize(
        ("where", "more", "kind", "message"),
        [
            ("", {}, "LmqlSyntaxError", "the constraint is empty"),
            (" # nothing\n\t", {}, "LmqlSyntaxError", "the constraint is empty"),
            ("len(X <", {}, "LmqlSyntaxError", "<where>:1:4: error[L0104]: '(' was never closed"),
            ("len(X) < 3) or (len(X) > 5", {}, "LmqlSyntaxError", "<where>:1:11: error[L0104]: unmatched ')'"),
            ("X = 3", {}, "LmqlSyntaxError", "compare with `==`"),
            ("len(Y) < 3", {}, "LmqlCompileError", "the constraint uses the name `Y`, which is not in `env`"),
            ("X == 'é' or\n  len(X) < Q", {}, "LmqlCompileError", "<where>:2:12: error[L0409]: the constraint uses the name `Q`"),
            ("X in wrods", {"env": {"words": []}}, "LmqlCompileError", "did you mean `words`?"),
            ("'é' in X and REGX(X, 'a')", {}, "LmqlCompileError", "<where>:1:14: error[L0450]: unknown constraint `REGX`"),
            ("X == 'a' and len(X) > 3", {}, "UnsatisfiableConstraint", "<where>:1:1: error[L0402]"),
            ("X in []", {}, "UnsatisfiableConstraint", "no text can meet this condition: X in []"),
            ("X in words", {"env": {"words": []}}, "UnsatisfiableConstraint", "<where>:1:1: error[L0402]"),
            ("n < 3", {"env": {"n": 5}}, "UnsatisfiableConstraint", "no text can meet this condition: n < 3"),
            ("X in words", {"env": {"words": [3]}}, "LmqlCompileError", "<where>"),
            ("X == 'ab'", {"max_tokens": 0}, "UnsatisfiableConstraint", "at most 0 tokens"),
            ("X == 'ab'", {"max_tokens": -1}, "LmqlError", "`max_tokens` is a number of tokens"),
            ("X == 'ab'", {"max_tokens": 2.5}, "LmqlError", "`max_tokens` is a number of tokens"),
            ("X == 'ab'", {"eos": "</s>"}, "LmqlError", "no token '</s>'"),
            ("X == 'ab'", {"eos": 1000}, "LmqlError", "`eos` names the token 1000"),
            ("X == 'ab'", {"hole": "a b"}, "LmqlError", "a hole's name is an identifier"),
            ("X == 'ab'", {"env": {"X": 1}}, "LmqlError", "`X` is the hole"),
            ("X == 'ab'", {"tokenizer": 7}, "LmqlError", "not int"),
            ("X == 'ab'", {"tokenizer": "no/such/place"}, "ModelNotFound", "no tokenizer at 'no/such/place'"),
        ],
    )
    def test_errors_are_clear(self, where: str, more: dict[str, Any], kind: str, message: str) -> None:
        with pytest.raises(lmqlc.errors.LmqlError) as caught:
            lmqlc.token_automaton(where, **{"tokenizer": TOKENIZERS["byte-level"], **more})
        assert type(caught.value).__name__ == kind
        assert message in str(caught.value)
        assert '"[X]"' not in str(caught.value)

    def test_compile_says_that_nothing_can_be_right(self) -> None:
        with pytest.raises(lmqlc.errors.UnsatisfiableConstraint):
            lmqlc.compile('"[X]" where X == "a" and len(X) > 3\n')
        with pytest.raises(lmqlc.errors.LmqlCompileError) as caught:
            lmqlc.compile('"[X]" where X == "a" and len(X) > 3\n"[Y]" where REGX(Y, "a")\n')
        assert type(caught.value) is lmqlc.errors.LmqlCompileError

    def test_empty_texts_need_no_tokens(self) -> None:
        automaton = lmqlc.token_automaton("X == ''", tokenizer=TOKENIZERS["byte-level"], max_tokens=0, eos="<end>")
        assert automaton.is_final(automaton.start())


class TestBeyondRegular:
    def test_json_and_functions(self) -> None:
        def even(text: str, final: bool) -> bool | None:
            return len(text) % 2 == 0 if final else None

        tokenizer = TOKENIZERS["byte-level"]
        check = lmqlc.constraint(even)
        automaton = lmqlc.token_automaton("even(X) and REGEX(X, '[ab]+')", tokenizer=tokenizer, env={"even": check}, eos="<end>")
        assert not automaton.exact
        one = automaton.advance(automaton.start(), tokenizer.token_to_id("a"))
        assert (automaton.is_final(one), automaton.is_final(automaton.advance(one, tokenizer.token_to_id("b")))) == (False, True)
        number = lmqlc.token_automaton("JSON(X)", tokenizer=tokenizer, eos="<end>")
        assert tokenizer.token_to_id("a") not in bits(number.mask(number.start()))
        assert tokenizer.token_to_id("1") in bits(number.mask(number.start()))


class TestLoadedTokenizers:
    def test_a_path_is_read_again_when_its_files_change(self, tmp_path: Path) -> None:
        TOKENIZERS["byte-level"].save(str(tmp_path / "tokenizer.json"))
        first = loaded_tokenizer(tmp_path)
        assert loaded_tokenizer(str(tmp_path)) is first
        (tmp_path / "tokenizer_config.json").write_text('{"eos_token": "<end>"}')
        assert loaded_tokenizer(tmp_path).vocabulary.eos_ids == (0,)
        assert first.vocabulary.eos_ids == ()
        byte_level("a+b").save(str(tmp_path / "tokenizer.json"))
        assert len(loaded_tokenizer(tmp_path).vocabulary) < len(first.vocabulary)

    def test_an_object_is_read_again_when_it_changes(self) -> None:
        tokenizer = byte_level("a+b")
        first = loaded_tokenizer(tokenizer, eos="<end>")
        assert loaded_tokenizer(tokenizer, eos=["<end>"]) is first
        assert loaded_tokenizer(tokenizer) is not first
        tokenizer.add_tokens(["bab"])
        assert b"bab" in loaded_tokenizer(tokenizer).vocabulary.tokens
