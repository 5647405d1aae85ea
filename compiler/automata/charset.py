"""Sets of code points, and the tables of them that Python's `re` and `str` define.

A set is an inversion list: a sorted tuple of an even number of cuts `(a0, b0, a1, b1, …)` that stands for `[a0, b0) ∪ [a1, b1) ∪ …`.
Surrogates (U+D800 … U+DFFF) may be members, as in Python strings; UTF-8 has no bytes for them, and `partition.py` leaves them out.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from functools import cache

LIMIT = 0x110000
"""One past the last code point."""

_SCANNED = (*range(4), 14)
"""The planes that hold assigned characters. The others hold none, or private ones only, and behave alike throughout."""
_PLANE = 0x10000


class CharSet:
    """A set of code points; immutable, compared by value."""

    __slots__ = ("_hash", "cuts")

    def __init__(self, cuts: tuple[int, ...]) -> None:
        self.cuts = cuts
        self._hash = hash(cuts)

    @classmethod
    def of(cls, ranges: Iterable[tuple[int, int]]) -> CharSet:
        """The union of inclusive ranges, given in any order."""
        cuts: list[int] = []
        for low, high in sorted(ranges):
            if cuts and low <= cuts[-1]:
                cuts[-1] = max(cuts[-1], high + 1)
            else:
                cuts += (low, high + 1)
        return cls(tuple(cuts))

    @classmethod
    def single(cls, code: int) -> CharSet:
        return cls((code, code + 1))

    @classmethod
    def text(cls, characters: str) -> CharSet:
        """The characters of a string."""
        return cls.of((ord(c), ord(c)) for c in characters)

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, CharSet) and self._hash == other._hash and self.cuts == other.cuts)

    def __hash__(self) -> int:
        return self._hash

    def __bool__(self) -> bool:
        return bool(self.cuts)

    def __contains__(self, code: int) -> bool:
        return bisect_right(self.cuts, code) % 2 == 1

    def __repr__(self) -> str:
        return "CharSet(" + " ".join(f"{low:X}" if low == high else f"{low:X}-{high:X}" for low, high in self.ranges()) + ")"

    def ranges(self) -> Iterator[tuple[int, int]]:
        """The inclusive ranges, in order."""
        return zip(self.cuts[::2], (end - 1 for end in self.cuts[1::2]), strict=True)

    def __invert__(self) -> CharSet:
        cuts = self.cuts
        cuts = cuts[1:] if cuts and cuts[0] == 0 else (0, *cuts)
        return CharSet(cuts[:-1] if cuts and cuts[-1] == LIMIT else (*cuts, LIMIT))

    def __or__(self, other: CharSet) -> CharSet:
        return CharSet.of((*self.ranges(), *other.ranges()))

    def __and__(self, other: CharSet) -> CharSet:
        return ~(~self | ~other)

    def __sub__(self, other: CharSet) -> CharSet:
        return ~(~self | other)

    def size(self) -> int:
        """The number of members."""
        return sum(self.cuts[1::2]) - sum(self.cuts[::2])


NONE = CharSet(())
ANY = CharSet((0, LIMIT))
NEWLINE = CharSet.single(10)
ASCII = CharSet((0, 128))
DIGITS = CharSet((48, 58))
SURROGATES = CharSet((0xD800, 0xE000))


@cache
def _plane(number: int) -> str:
    """The characters of a plane as one string, surrogates included."""
    return "".join(map(chr, range(number * _PLANE, (number + 1) * _PLANE)))


def _scan(pattern: re.Pattern[str], planes: Iterable[int]) -> Iterator[tuple[int, int]]:
    """The runs of characters that a pattern of the form `(?:x)+` finds in some planes."""
    for plane in planes:
        for found in pattern.finditer(_plane(plane)):
            yield plane * _PLANE + found.start(), plane * _PLANE + found.end() - 1


def scan(pattern: str, flags: int, everywhere: bool = False) -> CharSet:
    """The characters that a one-character pattern matches, found by asking `re` itself.

    Planes without assigned characters are taken to behave as their first character does; `everywhere` asks for every one of them.
    """
    runs = re.compile(f"(?:{pattern})+", flags)
    ranges = list(_scan(runs, range(17) if everywhere else _SCANNED))
    if not everywhere:
        empty = [n for n in range(17) if n not in _SCANNED]
        ranges += [(n * _PLANE, (n + 1) * _PLANE - 1) for n in empty if runs.match(chr(n * _PLANE))]
    return CharSet.of(ranges)


@cache
def category(name: str, ascii_only: bool) -> CharSet:
    """The set of `\\d`, `\\w` or `\\s` (`name` is the letter), as `re` defines it for strings."""
    if ascii_only:
        return {"d": DIGITS, "w": CharSet((48, 58, 65, 91, 95, 96, 97, 123)), "s": CharSet((9, 14, 32, 33))}[name]
    return scan("\\" + name, 0)


@cache
def rust_category(name: str) -> CharSet:
    """The set of `\\d`, `\\w` or `\\s` as Rust's `regex` defines it: words by the Unicode properties Alphabetic, Mark, Decimal_Number,
    Connector_Punctuation and Join_Control, spaces by White_Space."""
    if name == "d":
        return category("d", False)
    if name == "s":
        return category("s", False) - CharSet((0x1C, 0x20))
    kinds = ("Lu", "Ll", "Lt", "Lm", "Lo", "Nl", "Mn", "Mc", "Me", "Nd", "Pc")
    codes = (code for plane in _SCANNED for code in range(plane * _PLANE, (plane + 1) * _PLANE))
    found = CharSet.of((code, code) for code in codes if unicodedata.category(chr(code)) in kinds)
    circled = CharSet.of([(0x24B6, 0x24E9), (0x1F130, 0x1F149), (0x1F150, 0x1F169), (0x1F170, 0x1F189)])
    return found | circled | CharSet.of([(0x200C, 0x200D)])


@cache
def by_method(test: str) -> CharSet:
    """The characters c for which `c.isdigit()`, `c.isalpha()`, … holds; `test` is the method's name."""
    return CharSet.of(_runs(test, _candidates(test)))


def _candidates(test: str) -> Iterator[tuple[int, str]]:
    """Texts with their first code points that hold every character of a test: words, or blocks where case means something."""
    if test in ("isdigit", "isalpha", "isalnum"):
        for low, high in category("w", False).ranges():
            yield low, _plane(low // _PLANE)[low % _PLANE : high % _PLANE + 1]
        return
    yield from cased_blocks()


def cased_blocks() -> Iterator[tuple[int, str]]:
    """Blocks of 64 characters, with their first code points, that hold every character with case."""
    for plane in _SCANNED:
        text = _plane(plane)
        for at in range(0, _PLANE, 64):
            block = text[at : at + 64]
            if block.lower() != block or block.upper() != block or block.islower() or any(map(str.isupper, block)):
                yield plane * _PLANE + at, block


def _runs(test: str, candidates: Iterable[tuple[int, str]]) -> Iterator[tuple[int, int]]:
    check = getattr(str, test)
    for base, text in candidates:
        if test.endswith(("alpha", "alnum", "digit")) and check(text):
            yield base, base + len(text) - 1
        else:
            yield from ((base + at, base + at) for at, character in enumerate(text) if check(character))
