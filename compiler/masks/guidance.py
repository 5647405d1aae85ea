"""What a worker does with grammars and schemas: llguidance (the extra `schema`), asked about texts.

Its native calls neither stop nor yield, and may crash; they are made in worker processes only (`lmqlc.compiler.workers`). `external` asks.

The engine judges prefixes. By default it lets only the canonical token through where bytes are forced. Here that is turned off
(`no_forcing`), so that all tokens that agree with the grammar are allowed, as everywhere else. The engine's tokenizer is made of the
vocabulary alone. Behind its V tokens stand one token for every byte and the engine's own end-of-text: texts are fed to it byte by byte,
so that its state depends on the text alone and never on how that was split into tokens.

Requests, all of which name what they need; Missing names what was forgotten, or never known:

    ("vocabulary", fingerprint, tokens)         None
    ("grammar", key, fingerprint, grammar, n)   None; n: ways to read one place of a text that are followed at most
    ("judge", key, text)                        (alive, accepting, closed)
    ("mask", key, text)                         uint32[ceil(V / 32)] as bytes, and whether one byte alone can follow
    ("forced", key, text, most)                 the bytes that must follow, up to `most`
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from lmqlc.compiler.workers.limits import resident
from lmqlc.compiler.workers.process import Missing

T = TypeVar("T")

HEADER = '\n%llguidance {"no_forcing": true}\n'
HELD = 384 << 20
"""Bytes that a worker may hold before it forgets all grammars but the one in use."""
MOST_CURSORS = 32
"""Places in texts that are kept for one grammar, so that a text is read on from where it is known."""
CURSOR_BYTES = 32 << 20
"""Bytes that the kept places of one grammar may take, by `_BYTES_PER_BYTE`."""
_BYTES_PER_BYTE = 192  # memory of a place for each byte of its text, as measured on JSON; others take less
_NEAR = 256
_WORDS = 4000  # characters of the engine's messages that are passed on
_LOOK = 16  # requests between two looks at the memory that is held


@dataclass(eq=False)
class Cursor:
    """The engine's state after a text."""

    matcher: Any
    text: bytes


class Grammar:
    """A grammar over one vocabulary of V tokens, read by texts. Raises ValueError with the engine's words."""

    def __init__(self, source: str, tokenizer: Any, width: int, most_items: int) -> None:
        from llguidance import LLMatcher, LLParserLimits

        self._width = width
        matcher = LLMatcher(tokenizer, source + HEADER, log_level=0, limits=LLParserLimits(max_items_in_row=most_items))
        _check(matcher)
        self._start = matcher
        self._cursors: list[Cursor] = []  # the one used last comes last

    def judge(self, text: bytes) -> tuple[bool, bool, bool]:
        """A text is alive; is in the language; is, and nothing longer is."""
        return self._twice(self._judge, text)

    def mask(self, text: bytes) -> tuple[bytes, bool]:
        """The mask of a text, as bytes, and whether only one byte can follow."""
        return self._twice(self._mask, text)

    def forced(self, text: bytes, most: int) -> bytes:
        """The bytes that must follow a text, read one by one: a grammar may force text without end."""
        return self._twice(self._forced, text, most)

    def _twice(self, ask: Callable[..., T], *args: Any) -> T:
        """An answer; where the engine fails, what it was asked before may have filled its tables: then it is asked anew."""
        aged = bool(self._cursors)
        try:
            return ask(*args)
        except ValueError:
            self._cursors.clear()
            if not aged:
                raise
        return ask(*args)

    def _judge(self, text: bytes) -> tuple[bool, bool, bool]:
        cursor = self._at(text)
        if cursor is None:
            return False, False, False
        accepting = bool(cursor.matcher.is_accepting())
        return True, accepting, accepting and str(cursor.matcher.stop_reason()) == "NoExtension"

    def _mask(self, text: bytes) -> tuple[bytes, bool]:
        cursor = self._at(text)
        if cursor is None:
            return bytes(self._mask_bytes), False
        raw = _mask_of(cursor.matcher)
        single = self._single(raw) is not None and not cursor.matcher.is_accepting()
        return raw[: self._mask_bytes], single

    def _forced(self, text: bytes, most: int) -> bytes:
        cursor = self._at(text)
        found = bytearray()
        while cursor is not None and len(found) < most and not cursor.matcher.is_accepting():
            byte = self._single(_mask_of(cursor.matcher))
            if byte is None or not self._feed(cursor, bytes([byte])):
                break
            found.append(byte)
        return bytes(found)

    @property
    def _mask_bytes(self) -> int:
        return 4 * -(-self._width // 32)

    def _single(self, raw: bytes) -> int | None:
        """The byte that alone can follow."""
        first, last = self._width // 8, (self._width + 256) // 8 + 1
        allowed = (int.from_bytes(raw[first:last], "little") >> self._width % 8) & ((1 << 256) - 1)
        return allowed.bit_length() - 1 if allowed and not allowed & (allowed - 1) else None

    def _tokens(self, text: bytes) -> list[int]:
        """The tokens that feed a text byte by byte."""
        width = self._width
        return [width + byte for byte in text]

    def _at(self, text: bytes) -> Cursor | None:
        """A cursor after a text, None where the text is not alive."""
        if 0xFF in text:
            return None  # no UTF-8 text has that byte, and the engine reads it as a marker
        cursor = self._nearest(text)
        known = _common(cursor.text, text)
        if known < len(cursor.text):
            self._back(cursor, len(cursor.text) - known)
        return cursor if self._feed(cursor, text[known:]) else None

    def _nearest(self, text: bytes) -> Cursor:
        """The cursor from which a text is read fastest. One that stands far from it stays, and is copied."""
        if self._cursors and text.startswith(self._cursors[-1].text) and self._has_room(len(text)):
            return self._cursors[-1]
        best = max(self._cursors, key=lambda cursor: _common(cursor.text, text), default=None)
        if best is None:
            best = Cursor(self._start.deep_copy(), b"")
        else:
            self._cursors.remove(best)
            if len(best.text) - _common(best.text, text) > _NEAR and self._has_room(len(text)):
                self._cursors.append(best)
                best = Cursor(best.matcher.deep_copy(), best.text)
        self._cursors.append(best)
        while len(self._cursors) > 1 and not self._has_room(len(text)):
            del self._cursors[0]
        return best

    def _has_room(self, more: int) -> bool:
        held = sum(len(cursor.text) for cursor in self._cursors) + more
        return len(self._cursors) <= MOST_CURSORS and held * _BYTES_PER_BYTE <= CURSOR_BYTES

    def _back(self, cursor: Cursor, count: int) -> None:
        cursor.matcher.rollback(count)
        _check(cursor.matcher)
        cursor.text = cursor.text[:-count]

    def _feed(self, cursor: Cursor, more: bytes) -> bool:
        """Read on, if all of it can follow."""
        if not more:
            return True
        taken = cursor.matcher.try_consume_tokens(self._tokens(more))
        _check(cursor.matcher)
        cursor.text += more[:taken]
        return bool(taken == len(more))


def _common(one: bytes, other: bytes) -> int:
    """The length of the common beginning of two texts."""
    if other.startswith(one):
        return len(one)
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if one[low:middle] == other[low:middle] else (low, middle - 1)
    return low


def _mask_of(matcher: Any) -> bytes:
    """The mask over the engine's own tokens."""
    raw: bytes = matcher.compute_bitmask()
    _check(matcher)
    return raw


def _check(matcher: Any) -> None:
    if matcher.is_error():
        raise ValueError(matcher.get_error().partition("\n<state>")[0][:_WORDS])


class Guidance:
    """The service of a worker."""

    def __init__(self) -> None:
        import llguidance  # noqa: F401 - now, so that its memory is the program's and not a request's

        self._vocabularies: OrderedDict[str, tuple[Any, int]] = OrderedDict()
        self._grammars: OrderedDict[str, Grammar] = OrderedDict()
        self._asked = 0

    def answer(self, request: tuple[Any, ...]) -> Any:
        kind, name, *rest = request
        self._asked = 0 if kind == "grammar" else self._asked + 1
        if kind == "vocabulary":
            return self._learn(name, *rest)
        if kind == "grammar":
            return self._build(name, *rest)
        grammar = self._grammars.get(name)
        if grammar is None:
            raise Missing("grammar")
        self._grammars.move_to_end(name)
        if kind == "judge":
            return grammar.judge(*rest)
        return grammar.mask(*rest) if kind == "mask" else grammar.forced(*rest)

    def worn(self) -> bool:
        """Grammars had to be forgotten, and their memory did not come back."""
        if self._asked % _LOOK or (resident() or 0) <= HELD:
            return False
        return self._forget() and (resident() or 0) > HELD

    def _learn(self, fingerprint: str, tokens: list[bytes]) -> None:
        from llguidance import LLTokenizer

        self._vocabularies[fingerprint] = LLTokenizer(Tokens(tokens)), len(tokens)

    def _build(self, key: str, fingerprint: str, source: str, most_items: int) -> None:
        found = self._vocabularies.get(fingerprint)
        if found is None:
            raise Missing("vocabulary")
        self._vocabularies.move_to_end(fingerprint)
        self._grammars[key] = Grammar(source, *found, most_items)

    def _forget(self) -> bool:
        """Forget all but the grammar and the vocabulary used last; whether there was anything."""
        forgotten = False
        for kept in (self._grammars, self._vocabularies):
            while len(kept) > 1:
                kept.popitem(last=False)
                forgotten = True
        return forgotten


class Tokens:
    """A vocabulary as the engine reads one: V tokens, 256 single bytes, and an end-of-text of its own."""

    is_tokenizer_wrapper = True
    bos_token_id = None

    def __init__(self, tokens: list[bytes]) -> None:
        self._width = len(tokens)
        singles = [bytes([byte]) if byte != 0xFF else b"" for byte in range(256)]
        # The engine takes a first byte of 0xFF to mark special tokens. No UTF-8 text has that byte, so nothing is lost.
        self.tokens = [b"" if 0xFF in token else token for token in tokens] + singles + [b"<end>"]
        self.eos_token_id = len(self.tokens) - 1
        self.special_token_ids = [self.eos_token_id]

    def __call__(self, text: str | bytes) -> list[int]:
        data = text.encode() if isinstance(text, str) else text
        return [self._width + byte for byte in data]
