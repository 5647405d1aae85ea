"""How a tokenizer writes a text that is known, where what follows it is not.

Some text s begins every legal text that can still come. It may be written without asking the model only in tokens with which the tokenizer
would begin each of those texts: a model has learned " Rome" as one token, and hardly ever saw the space before it on its own. What is
certain is found in two steps.

1. *Tokens across the end of s.* A place of s is open where some token begins there, goes on past s, and a legal text has it. The tokens
   of s that end behind the first open place are dropped.
2. *Tokens before an open place.* Tokenizers read from left to right: where a text has a token boundary, the tokens before it are those of
   the text up to there. This is so for merges by rank, for the likeliest path, and for the longest match; only patterns that split a text
   into words first look ahead, by a character or two. So the tokens of s up to every open place, and those of s with every kind
   of character that may follow, must begin alike; what differs is dropped.

Where s is the whole rest of the text, its tokens are those of the text.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Protocol

from lmqlc.backends.base import Tokenizer, Vocabulary
from lmqlc.compiler.masks.heal import covering
from lmqlc.compiler.masks.interface import Before, Ids
from lmqlc.compiler.masks.trie import vocabulary_index

Encode = Callable[[str], list[int]]

WINDOW = 32
"""Tokens at the end of a long text that are looked at: what follows changes no more of them, unless it changes all."""


@dataclass(frozen=True, slots=True)
class InText:
    """A tokenizer's way to write text in the middle of a prompt. Two of one tokenizer are equal."""

    tokenizer: Tokenizer

    def __call__(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, first=False)


class After(Protocol):
    """What may come after a known text. It may say yes where the answer is no, never the other way round."""

    @property
    def follow(self) -> str:
        """The literal after the hole where the text may end here, else empty."""
        ...

    def goes_on(self, data: bytes) -> bool:
        """A legal text goes on with these bytes."""
        ...

    def takes(self, ids: Ids, skip: int) -> bool:
        """A legal text goes on with what some of these tokens, which are alike in their first `skip` bytes, write behind those."""
        ...


def encoded_behind(encode: Encode, vocabulary: Vocabulary, before: bytes, text: bytes) -> list[int]:
    """The ids of a text as the tokenizer writes it behind the end of a prompt, which is tokenised with it; none where the first token does
    not cover that end."""
    try:
        ids = encode((before + text).decode())
    except UnicodeDecodeError:
        return []
    return ids if ids and vocabulary.tokens[ids[0]].startswith(before) else []


class Writing:
    """How a tokenizer writes texts at one place of a prompt."""

    def __init__(self, encode: Encode, vocabulary: Vocabulary, before: Before) -> None:
        self.vocabulary = vocabulary
        self.before = before
        self._encode = encode

    @property
    def shared(self) -> int:
        """Bytes before the text that its first token writes too."""
        return len(self.before.text) if self.before.healed else 0

    def plain(self, data: bytes) -> list[int] | None:
        """The ids of a text for itself; None where they do not write it, byte for byte."""
        try:
            ids = self._encode(data.decode())
        except UnicodeDecodeError:
            return None
        return ids if self._written(ids) == data else None

    def ids(self, data: bytes) -> list[int] | None:
        """The ids of a text at the place; None where there are none that write it.

        A first token that must write the prompt's end too (healing) is the tokenizer's own where that covers it, else the prompt's end put
        back. Behind tokens that stay, the text is read with theirs where the tokenizer parts the two there, else for itself.
        """
        before, tokens = self.before.text, self.vocabulary.tokens
        whole = self.plain(before + data) if before else None
        if self.before.healed:
            if whole and tokens[whole[0]].startswith(before):
                return whole
            alone, exact = self.plain(data), covering(self.vocabulary, before)[0]
            return None if alone is None or not len(exact) else [int(exact[0]), *alone]
        if whole:
            ends = list(accumulate(len(tokens[i]) for i in whole))
            if len(before) in ends:
                return whole[ends.index(len(before)) + 1 :]
        return self.plain(data)

    def _written(self, ids: Sequence[int]) -> bytes:
        return b"".join([self.vocabulary.tokens[i] for i in ids])


def certain(writing: Writing, text: bytes, ids: Sequence[int], after: After) -> int:
    """How many of the ids of a text begin those of every legal text that begins with it.

    text: whole characters. ids: as `writing` gives them.
    """
    tokens, shared = writing.vocabulary.tokens, writing.shared
    ends = [end - shared for end in accumulate(len(tokens[i]) for i in ids)]
    places = open_places(writing, text, after)
    kept = bisect_right(ends, min(places, default=len(text)))
    start = _start(writing, text, ids[:kept], ends)
    found = _common(_Tail(writing, text, ids, start, ends), places, kept, after)
    if found == start > 0:
        found = _common(_Tail(writing, text, ids, 0, ends), places, kept, after)
    return found


def open_places(writing: Writing, text: bytes, after: After) -> list[int]:
    """Where in a text a token may begin that goes on past it in a legal text; the text's own first place is `-writing.shared`."""
    vocabulary, sorted_tokens = writing.vocabulary, _sorted(writing.vocabulary)
    longest = vocabulary_index(vocabulary).max_bytes
    shared = writing.shared
    first = max(len(text) + 1 - longest, 0)
    candidates = [*range(first, len(text))] if not shared else [-shared, *range(max(first, 0), len(text))]
    found = []
    for place in candidates:
        rest = writing.before.text + text if place < 0 else text[place:]
        at = bisect_right(sorted_tokens, rest)
        if at < len(sorted_tokens) and sorted_tokens[at].startswith(rest):
            longer = covering(vocabulary, rest)[1]
            if len(longer) and after.takes(longer, len(rest)):
                found.append(place)
    return found


@lru_cache(maxsize=8)
def _sorted(vocabulary: Vocabulary) -> list[bytes]:
    return [vocabulary.tokens[i] for i in vocabulary_index(vocabulary).by_bytes]


@lru_cache(maxsize=8)
def numbers_of(vocabulary: Vocabulary) -> dict[bytes, int]:
    """The ids of all tokens that write text, by their bytes."""
    return {vocabulary.tokens[i]: i for i in vocabulary_index(vocabulary).by_bytes}


class _Tail:
    """The end of a text, from the token `start` on, to be written with what may follow it."""

    def __init__(self, writing: Writing, text: bytes, ids: Sequence[int], start: int, ends: Sequence[int]) -> None:
        self.writing = writing
        self.text = text
        self.ids = ids
        self.start = start
        self._from = ends[start - 1] if start else 0

    def agreed(self, data: bytes, kept: int) -> int:
        """How many of the first `kept` ids of the text are also the first ones of other data, which has all of the text before the tail."""
        others = self.writing.plain(data[self._from :]) if self.start else self.writing.ids(data)
        if others is None:
            return self.start
        at = self.start
        for other in others:
            if at == kept or other != self.ids[at]:
                break
            at += 1
        return at


def _start(writing: Writing, text: bytes, ids: Sequence[int], ends: Sequence[int]) -> int:
    """The token from which on the end of a text is looked at for itself: one that begins a word, where all tokenizers part texts."""
    for start in range(len(ids) - WINDOW, max(len(ids) - 4 * WINDOW, 1), -1):
        at = ends[start - 1]
        if text[at - 1 : at].isalpha() and text[at : at + 1] == b" " and text[at + 1 : at + 2].isalpha():
            return start
    return 0


def _common(tail: _Tail, places: Sequence[int], kept: int, after: After) -> int:
    """How many of the first `kept` ids all that may follow leaves as they are."""
    for data in _samples(tail, places, after):
        kept = tail.agreed(data, kept)
        if kept <= tail.start:
            break
    return kept


def _samples(tail: _Tail, places: Sequence[int], after: After) -> Iterator[bytes]:
    """Texts, and beginnings of the text, in whose tokens everything shows that what follows may change."""
    text, vocabulary = tail.text, tail.writing.vocabulary
    for place in places:
        if place < 0 or text[place] & 0xC0 != 0x80:
            yield text[: max(place, 0)]
        else:  # a token that begins inside a character: only with it is there a text to be written
            longer = covering(vocabulary, text[place:])[1]
            for token_id in longer.tolist():
                more = vocabulary.tokens[token_id][len(text) - place :]
                if after.goes_on(more):
                    yield from (text + more + rest for rest in _completions(after, more))
    if after.follow:
        yield text + after.follow.encode()[:_FOLLOWING]
    near_apostrophe = b"'" in text[-3:] or "’".encode() in text[-5:]
    for character in following_characters(after, all_letters=near_apostrophe):
        yield text + character


_FOLLOWING = 16
"""Bytes of the following literal that are tokenised with a text."""

_KINDS = "éßÉÑжωЖΩ漢字かカ한عدी\u0301٣²Ⅷ\u00a0\u2003\u3000\u0085\u2028\u200d—“’…€©😀🇫\ue000ǅʰ"
"""Characters beyond ASCII of all kinds that tokenizers tell apart."""


def following_characters(after: After, *, all_letters: bool) -> list[bytes]:
    """Characters that may follow: some of every kind, and all white space; all ASCII letters on demand; some of each first byte where few
    kinds beyond ASCII may follow."""
    plain = [bytes([byte]) for byte in range(128) if after.goes_on(bytes([byte]))]
    letters = [c for c in plain if c.isalpha()]
    found = letters if all_letters else [*_some([c for c in letters if c.islower()]), *_some([c for c in letters if c.isupper()])]
    found = [*found, *_some([c for c in plain if c.isdigit()]), *(c for c in plain if c.isspace() or c == b"'")]
    found += _some([c for c in plain if not (c.isalnum() or c.isspace() or c == b"'")], 6)
    leads = [bytes([byte]) for byte in range(0xC2, 0xF5) if after.goes_on(bytes([byte]))]
    if leads:
        kinds = [character.encode() for character in _KINDS]
        known = [c for c in kinds if after.goes_on(c)]
        found += known
        if len(known) < len(kinds) // 2:
            found += [lead + rest for lead in leads for rest in _completions(after, lead)]
    return found


def _some(items: list[bytes], most: int = 2) -> list[bytes]:
    """A few of some items, the first and the last among them."""
    if len(items) <= most:
        return items
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]


_COMPLETIONS = 12


def _completions(after: After, data: bytes, most: int = _COMPLETIONS) -> list[bytes]:
    """What may follow some bytes up to the end of the character that they leave open."""
    missing = _missing(data)
    found = [b""]
    for _ in range(missing):
        longer: list[bytes] = []
        for rest in found:
            longer += [rest + bytes([b]) for b in range(0x80, 0xC0) if after.goes_on(data + rest + bytes([b]))][: max(most // 2, 1)]
        found = longer[:most]
    return found


def _missing(data: bytes) -> int:
    """Bytes that the last character of some text lacks."""
    for back in range(1, min(len(data), 4) + 1):
        byte = data[-back]
        if byte & 0xC0 != 0x80:
            size = 1 if byte < 0x80 else 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return max(size - back, 0)
    return 0
