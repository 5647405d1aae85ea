"""Grammars and JSON schemas that are no regular languages, by llguidance (the extra `schema`), as atoms of a combined constraint.

The engine judges prefixes: a text is alive where the grammar can go on, whatever tokens and budgets allow, so its masks are not exact.
By default it lets only the canonical token through where bytes are forced. Here that is turned off (`no_forcing`), so that all tokens
that agree with the grammar are allowed, as everywhere else.

The engine's tokenizer is made of the vocabulary alone. Behind its V tokens stand one token for every byte and the engine's own
end-of-text: texts are fed to it byte by byte, so that its state depends on the text alone and never on how that was split into tokens.
"""

from __future__ import annotations

import json
import re
import threading
from collections import OrderedDict
from typing import Any

import numpy as np

from lmqlc.backends.base import Vocabulary
from lmqlc.compiler.automata.problems import UNSUPPORTED, error, unsatisfiable
from lmqlc.compiler.masks.atoms import whole_characters
from lmqlc.compiler.masks.interface import Bits
from lmqlc.compiler.masks.schemas import close_objects
from lmqlc.grammar.errors import LmqlCompileError, UnsatisfiableConstraint
from lmqlc.grammar.source import Span

BAD_GRAMMAR = "L0410"
MAX_SOURCE = 1 << 17
"""Characters of a grammar or schema. The engine's time to read one grows faster than its length; this much takes it about a second."""
MAX_FORCED = 1 << 13
"""Bytes that a grammar may leave no choice about in a row; past that it is taken to have no end."""
MAX_ITEMS = 1000
MAX_ITEMS_OF_SCHEMAS = 4000
"""Ways to read one place of a text that the engine follows, for grammars and for schemas. An ambiguous grammar has more the longer the text
is, and every token takes time with their square: 0.3 s each at this bound. Schemas need four for every key that may be left out."""
KEPT = 512
"""Engine states remembered per atom. A text that was forgotten is read again from the nearest one that was not."""
_NEAR = 64

_HEADER = '\n%llguidance {"no_forcing": true}\n'
_tokenizers: OrderedDict[str, Any] = OrderedDict()
_TOKENIZERS_KEPT = 8
_lock = threading.Lock()


class GrammarEngine:
    """An atom `Grammar(source)` or `Json(schema)` over one vocabulary.

    grammar: in the engine's Lark dialect. construct: how the program calls it, for messages. Raises UnsupportedConstraint where the engine
    is not installed, LmqlCompileError with the engine's own words where it refuses the grammar, UnsatisfiableConstraint where no text
    can be in the language.
    """

    def __init__(
        self, grammar: str, vocabulary: Vocabulary, *, construct: str, span: Span | None = None, max_items: int = MAX_ITEMS
    ) -> None:
        self._construct = construct
        self._span = span
        self._width = len(vocabulary)
        self._start = self._begin(grammar, vocabulary, max_items)
        self._kept: OrderedDict[bytes, Any] = OrderedDict()
        self._lock = threading.Lock()
        if len(self.forced(b"")) > MAX_FORCED:
            raise self._empty(": it forces more text without end")

    def alive(self, text: bytes) -> bool:
        with self._lock:
            known, matcher = self._nearest(text)
            if len(text) - known > _NEAR // 2:  # keep a state on the way, or long texts would be read from their start again and again
                return self._matcher(text) is not None
            rest = self._bytes(text[known:])
            return rest is not None and self._follows(matcher, rest)

    def holds(self, text: bytes) -> bool:
        with self._lock:
            matcher = self._matcher(text, keep=False)
            return matcher is not None and bool(matcher.is_accepting()) and whole_characters(text) is not None

    def mask(self, text: bytes) -> Bits:
        with self._lock:
            matcher = self._matcher(text)
            words = -(-self._width // 32)
            if matcher is None:
                return np.zeros(words, np.uint32)
            raw = matcher.compute_bitmask()
            self._check(matcher)
            bits = np.frombuffer(raw, "<u4", count=words).astype(np.uint32)
            if self._width % 32:
                bits[-1] &= np.uint32((1 << self._width % 32) - 1)
            return bits

    def closed(self, text: bytes) -> bool:
        with self._lock:
            matcher = self._matcher(text)
            return matcher is not None and matcher.is_accepting() and str(matcher.stop_reason()) == "NoExtension"

    def forced(self, text: bytes) -> bytes:
        with self._lock:
            matcher = self._matcher(text)
            if matcher is None:
                return b""
            found: bytes = matcher.deep_copy().compute_ff_bytes()  # on a copy, since running into a limit spoils a matcher
            return found

    def _begin(self, grammar: str, vocabulary: Vocabulary, max_items: int) -> Any:
        """The engine's state at the empty text."""
        if len(grammar) > MAX_SOURCE:
            message = f"{len(grammar)} characters are too many; {MAX_SOURCE} are read at most"
            raise self._refused(message)
        try:
            from llguidance import LLMatcher, LLParserLimits
        except ImportError as problem:
            message = f"{self._construct} needs the grammar engine llguidance, which is not installed"
            raise error(UNSUPPORTED, message, self._span, "pip install 'lmqlc[schema]'") from problem
        limits = LLParserLimits(max_items_in_row=max_items)
        matcher = LLMatcher(_tokenizer(vocabulary), grammar + _HEADER, log_level=0, limits=limits)
        self._check(matcher)
        return matcher

    def _matcher(self, text: bytes, *, keep: bool = True) -> Any:
        """The engine's state after a text, None where the text is not alive. keep: the text is one that is written, and may go on."""
        known, matcher = self._nearest(text)
        rest = self._bytes(text[known:])
        if rest is None:
            return None
        if rest:
            if not self._follows(matcher, rest):
                return None
            matcher = matcher.deep_copy()
            matcher.try_consume_tokens(rest)
            self._check(matcher)
        if not keep:
            return matcher
        self._kept[text] = matcher
        self._kept.move_to_end(text)
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return matcher

    def _follows(self, matcher: Any, rest: list[int]) -> bool:
        """The grammar goes on with these bytes."""
        count = matcher.validate_tokens(rest) if rest else 0
        self._check(matcher)
        return bool(count == len(rest))

    def _nearest(self, text: bytes) -> tuple[int, Any]:
        """The longest known prefix of a text among the nearest ones, and the state after it."""
        for end in range(len(text), max(0, len(text) - _NEAR), -1):
            matcher = self._kept.get(text[:end])
            if matcher is not None:
                return end, matcher
        return 0, self._start

    def _bytes(self, text: bytes) -> list[int] | None:
        """The tokens that feed a text byte by byte; None for the byte that no UTF-8 text has and the engine reads as a marker."""
        return None if 0xFF in text else [self._width + byte for byte in text]

    def _check(self, matcher: Any) -> None:
        if matcher.is_error():
            words = _first_words(matcher.get_error())
            if words == "NoExtensionBias" or "Unsatisfiable" in words:
                raise self._empty()
            raise self._refused(words)

    def _refused(self, words: str) -> LmqlCompileError:
        return error(BAD_GRAMMAR, f"{self._construct}: {words}", self._span)

    def _empty(self, detail: str = "") -> UnsatisfiableConstraint:
        return unsatisfiable(f"{self._construct}: no text is in the language{detail}", self._span, (), None, None)


_LITERAL = re.compile(r'"(?:\\.|[^"\\\n])*"|/(?:\\.|[^/\\\n])+/|//.*')
_OF_TOKENS = re.compile(r"\bmax_tokens\s*=|<\[")
"""What the engine would judge by its own tokens: limits on tokens, and ranges of token ids."""


def lark_engine(source: object, vocabulary: Vocabulary, span: Span | None = None) -> GrammarEngine:
    """The atom `GRAMMAR(X, source)`. Limits on tokens inside the grammar are refused: they would count the engine's tokens."""
    construct = "GRAMMAR"
    if not isinstance(source, str):
        message = f"{construct} takes the source of a Lark grammar, not {type(source).__name__}"
        raise error(BAD_GRAMMAR, message, span)
    if (found := _OF_TOKENS.search(_LITERAL.sub('""', source))) is not None:
        message = f"{construct}: `{found[0]}`: a grammar cannot speak of tokens"
        raise error(BAD_GRAMMAR, message, span, "bound `len(TOKENS(X))` beside it")
    return GrammarEngine(source, vocabulary, construct=construct, span=span)


def json_engine(schema: Any, vocabulary: Vocabulary, span: Span | None = None) -> GrammarEngine:
    """The atom `JSON(X, schema)`; a schema of True is any JSON. One space after `:` and `,`, no other white space."""
    construct = "JSON"
    try:
        source = json.dumps(_laid_out(schema), ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as problem:
        message = f"{construct}: the schema is no JSON: {problem}"
        raise error(BAD_GRAMMAR, message, span) from problem
    engine = GrammarEngine(f"start: %json {source}", vocabulary, construct=construct, span=span, max_items=MAX_ITEMS_OF_SCHEMAS)
    if engine.alive(b"{"):
        engine.mask(b"{")  # where an object with too many keys shows now, not when the model has begun it
    return engine


_LAYOUT = {
    "item_separator": ", ",
    "key_separator": ": ",
    "whitespace_flexible": False,
    "json_allow_general_unicode_escapes": True,
}


def _laid_out(schema: Any) -> Any:
    """The schema with the project's layout, over whatever layout it asks of the engine itself."""
    if schema is True:
        return {"x-guidance": _LAYOUT}
    return {**close_objects(schema), "x-guidance": _LAYOUT} if isinstance(schema, dict) else schema


def _first_words(message: str) -> str:
    """The engine's message without its inner state and without the excerpt of a source that the program did not write."""
    text = message.split("\n<state>")[0].removeprefix("at 1(8): failed to compile JSON schema: ")
    lines = [line for line in text.splitlines() if line.strip() and not re.match(r"\s*(\d+)? *\||\s*\^", line)]
    return " ".join(lines)[:500] or "the engine refuses it"


def _tokenizer(vocabulary: Vocabulary) -> Any:
    """The engine's tokenizer for a vocabulary, kept per fingerprint."""
    from llguidance import LLTokenizer

    with _lock:
        found = _tokenizers.get(vocabulary.fingerprint)
        if found is None:
            found = _tokenizers[vocabulary.fingerprint] = LLTokenizer(_Tokens(vocabulary))
            while len(_tokenizers) > _TOKENIZERS_KEPT:
                _tokenizers.popitem(last=False)
        _tokenizers.move_to_end(vocabulary.fingerprint)
        return found


class _Tokens:
    """A vocabulary as the engine reads one: V tokens, 256 single bytes, and an end-of-text of its own."""

    is_tokenizer_wrapper = True
    bos_token_id = None

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._width = len(vocabulary)
        singles = [bytes([byte]) if byte != 0xFF else b"" for byte in range(256)]
        # The engine takes a first byte of 0xFF to mark special tokens. No UTF-8 text has that byte, so nothing is lost.
        self.tokens = [b"" if 0xFF in token else token for token in vocabulary.tokens] + singles + [b"<end>"]
        self.eos_token_id = len(self.tokens) - 1
        self.special_token_ids = [self.eos_token_id]

    def __call__(self, text: str | bytes) -> list[int]:
        data = text.encode() if isinstance(text, str) else text
        return [self._width + byte for byte in data]
