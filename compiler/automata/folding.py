"""One character of a regular expression as a set: classes, categories and case folding as `re` has them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from re import _constants as op
from typing import Any

from lmqlc.compiler.automata.charset import ASCII, NONE, CharSet, cased_blocks, category, rust_category

_CATEGORIES = {
    op.CATEGORY_DIGIT: ("d", False), op.CATEGORY_NOT_DIGIT: ("d", True), op.CATEGORY_SPACE: ("s", False),
    op.CATEGORY_NOT_SPACE: ("s", True), op.CATEGORY_WORD: ("w", False), op.CATEGORY_NOT_WORD: ("w", True),
}  # fmt: skip
_LETTERS = CharSet((65, 91, 97, 123))
_ASCII_FOLDS = {"k": (0x212A,), "s": (0x17F,), "i": (0x130, 0x131)}
_DOTTED_I = "İ"


def named(what: Any, flags: int, rust: bool = False) -> CharSet:
    """The set of a category such as `\\d`. rust: as Rust's `regex` has it."""
    name, negated = _CATEGORIES[what]
    found = rust_category(name) if rust and flags & re.UNICODE else category(name, not flags & re.UNICODE)
    return ~found if negated else found


def literal(code: int, flags: int) -> CharSet:
    """What a character matches."""
    return fold(CharSet.single(code), flags) if flags & re.IGNORECASE else CharSet.single(code)


def members(items: Iterable[tuple[Any, Any]], flags: int, rust: bool = False) -> CharSet:
    """What a class in brackets matches; `items` as `re._parser` gives them. rust: with the categories of Rust's `regex`."""
    written, categories, negated = [], NONE, False
    for what, value in items:
        if what is op.NEGATE:
            negated = True
        elif what is op.LITERAL:
            written.append((value, value))
        elif what is op.RANGE:
            written.append(value)
        else:
            categories |= named(value, flags, rust)
    found = CharSet.of(written)
    if flags & re.IGNORECASE and found:
        folded = fold(found, flags)
        if categories and flags & re.UNICODE and folded != found:
            categories = _lowered(categories)
        found = folded
    found |= categories
    return ~found if negated else found


def fold(chars: CharSet, flags: int) -> CharSet:
    """The characters that a set matches when case is ignored: c matches where its lower case is that of a member, or stands for it."""
    if not flags & re.UNICODE or not chars - ASCII:
        return chars | _fold_ascii(chars & _LETTERS, bool(flags & re.UNICODE))
    lower, upper = _cases()
    extra = _extra_cases()
    wanted: set[int] = set()
    for code in [c for c in lower if c in chars]:
        wanted.update((lower[code], *extra.get(lower[code], ())))
    return (chars - CharSet.of((c, c) for c in lower)) | CharSet.of((c, c) for code in wanted for c in upper.get(code, (code,)))


def _fold_ascii(letters: CharSet, unicode: bool) -> CharSet:
    found: list[int] = []
    for low, high in letters.ranges():
        for code in range(low, high + 1):
            letter = chr(code).lower()
            found += (code, code ^ 32, *(_ASCII_FOLDS.get(letter, ()) if unicode else ()))
    return CharSet.of((c, c) for c in found)


def _lowered(chars: CharSet) -> CharSet:
    """The characters whose lower case is in a set."""
    lower, _ = _cases()
    return (chars - CharSet.of((c, c) for c in lower)) | CharSet.of((c, c) for c, to in lower.items() if to in chars)


@cache
def _cases() -> tuple[dict[int, int], dict[int, tuple[int, ...]]]:
    """The lower case of every character that has case, and the characters of every lower case."""
    lower: dict[int, int] = {}
    upper: dict[int, tuple[int, ...]] = {}
    for base, block in cased_blocks():
        for at, character in enumerate(block):
            small = "i" if character == _DOTTED_I else character.lower()
            if small != character or character.upper() != character:
                lower[base + at] = ord(small)
                upper[ord(small)] = (*upper.get(ord(small), ()), base + at)
    return lower, upper


@cache
def _extra_cases() -> dict[int, tuple[int, ...]]:
    """Lower-case characters that match each other though their lower cases differ."""
    from re._casefix import _EXTRA_CASES  # type: ignore[import-not-found]

    return dict(_EXTRA_CASES)
