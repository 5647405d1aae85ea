"""Sets of code points and Python's tables of them."""

from __future__ import annotations

import re
import sys
from re import _parser
from typing import Any

import pytest

from lmqlc.compiler.automata import folding
from lmqlc.compiler.automata.charset import ANY, NONE, CharSet, by_method, category, scan
from lmqlc.compiler.automata.partition import Partition

ALL = [chr(code) for code in range(sys.maxunicode + 1)]


def test_operations_are_those_of_sets() -> None:
    one, other = CharSet.of([(10, 20), (15, 30), (40, 40)]), CharSet.of([(18, 41)])
    assert list(one.ranges()) == [(10, 30), (40, 40)]
    assert list((one & other).ranges()) == [(18, 30), (40, 40)]
    assert list((one - other).ranges()) == [(10, 17)]
    assert list((one | other).ranges()) == [(10, 41)]
    assert ~~one == one
    assert ~NONE == ANY
    assert not ~ANY
    assert one.size() == 22
    assert 30 in one
    assert 31 not in one


@pytest.mark.parametrize("letter", ["d", "w", "s"])
def test_categories_are_those_of_re(letter: str) -> None:
    for flags in (0, re.ASCII):
        expected = scan("\\" + letter, flags, everywhere=True)
        assert category(letter, bool(flags)) == expected


@pytest.mark.parametrize("test", ["isdigit", "isalpha", "isalnum", "isupper", "islower", "istitle"])
def test_tables_are_those_of_str(test: str) -> None:
    check = getattr(str, test)
    assert by_method(test) == CharSet.of((code, code) for code, character in enumerate(ALL) if check(character))


def _members(pattern: str, flags: int) -> CharSet:
    tree: Any = _parser.parse(pattern, flags)
    what, value = next(iter(tree))
    if str(what) == "IN":
        return folding.members(value, tree.state.flags)
    found = folding.literal(value, tree.state.flags)
    return ~found if str(what) == "NOT_LITERAL" else found


CLASSES = [
    "k", "s", "i", "İ", "ı", "ſ", "µ", "ß", "ẞ", "ǅ", "Σ", "ς", "\u1e9e", "\u0345", "[a-z]", "[^a-z]", r"[a-z\d]", r"[\W\u00e0-\u0400]",
    r"[^\S\u0130k]", r"[\w\u017f]", "[ǅ]", r"[^\u1c80-\u1fff]", r"[\w_]", "[\\Wſ]", "[Ⓐ\\w]", r"[\u0000-\uffff]", r"[^\u212a]", "[^é]",
]  # fmt: skip


@pytest.mark.parametrize("pattern", CLASSES)
def test_case_is_ignored_as_re_does(pattern: str) -> None:
    for flags in (re.IGNORECASE, re.IGNORECASE | re.ASCII):
        assert _members(pattern, flags) == scan(pattern, flags, everywhere=True)


def test_every_cased_character_folds_as_in_re() -> None:
    cased = [character for character in ALL if character.lower() != character or character.upper() != character]
    text = "".join(cased)
    for character in cased[::7]:
        expected = set(re.findall(re.escape(character), text, re.IGNORECASE))
        found = folding.literal(ord(character), re.IGNORECASE | re.UNICODE)
        assert {other for other in cased if ord(other) in found} == expected


def test_partition_is_the_coarsest_refinement() -> None:
    sets = [CharSet((48, 58)), CharSet((50, 70)), ~CharSet.single(10)]
    partition = Partition(sets)
    assert len(partition.ranges) == 5  # newline, 0-1, 2-9, the rest of the second set, all others
    for chars in sets:
        mask = partition.mask(chars)
        for code in (9, 10, 49, 55, 65, 97, 0xD7FF, 0xE000, 0x10FFFF):
            assert (mask >> partition.class_of(code) & 1) == (code in chars)
    assert partition.class_of(0xD800) == -1
