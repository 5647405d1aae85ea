"""Text that has become certain."""

from __future__ import annotations

from lmqlc.compiler.automata.automaton import StopPhrase
from lmqlc.compiler.masks.certain import CertainText


def shown(text: CertainText, *data: bytes) -> list[str]:
    return [text.feed(piece) for piece in data]


def test_a_character_split_over_tokens_appears_when_it_is_whole() -> None:
    text = CertainText()
    assert shown(text, b"a", "é".encode()[:1], "é".encode()[1:], b"b") == ["a", "", "é", "b"]
    assert text.rest("aéb") == ""


def test_what_may_become_a_removed_phrase_is_held_back() -> None:
    text = CertainText([StopPhrase(False, "END")])
    assert shown(text, b"aE", b"N", b"x", b"EN") == ["a", "", "ENx", ""]
    assert text.rest("aENx") == ""
    assert text.rest("aENxEN") == "EN"


def test_kept_phrases_hold_nothing_back_and_removed_patterns_everything() -> None:
    assert shown(CertainText([StopPhrase(True, "END")]), b"aEN") == ["aEN"]
    text = CertainText([StopPhrase(False, None, r"\d+")])
    assert shown(text, b"abc", b"1") == ["", ""]
    assert text.rest("abc") == "abc"
