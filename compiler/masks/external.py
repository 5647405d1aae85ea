"""Grammars and JSON schemas that are no regular languages, by llguidance (the extra `schema`), as atoms of a combined constraint.

The engine judges prefixes: a text is alive where the grammar can go on, whatever tokens and budgets allow, so its masks are not exact.
It runs in worker processes (`lmqlc.compiler.workers`, `guidance`): a grammar that makes it hang, crash or take memory without bound is
given up with an error, and nothing else is hurt. What was asked of it is remembered here, within a bound in bytes.
"""

from __future__ import annotations

import hashlib
import json
import re
from importlib.util import find_spec
from typing import Any, NamedTuple, NoReturn

import numpy as np

from lmqlc.backends.base import Vocabulary
from lmqlc.compiler.automata.problems import UNSUPPORTED, error, unsatisfiable
from lmqlc.compiler.masks.atoms import whole_characters
from lmqlc.compiler.masks.interface import Bits
from lmqlc.compiler.masks.kept import Kept
from lmqlc.compiler.masks.schemas import close_objects
from lmqlc.compiler.workers.pool import Pool, Request, WorkerError, WorkerFailed
from lmqlc.grammar.errors import ConstraintViolated, LmqlError
from lmqlc.grammar.source import Span

BAD_GRAMMAR = "L0410"
MAX_SOURCE = 1 << 17
"""Characters of a grammar or schema. The engine's time to read one grows faster than its length; this much takes it about a second."""
MAX_FORCED = 1 << 15
"""Bytes that a grammar may leave no choice about in a row; past that it is taken to have no end. Terminals are read greedily, so that
`A: /a+/` followed by `B: /a+b/` has none: no `a` is left for `B`."""
MAX_ITEMS = 1000
MAX_ITEMS_OF_SCHEMAS = 4000
"""Ways to read one place of a text that the engine follows, for grammars and for schemas. An ambiguous grammar has more the longer the text
is, and every token takes time with their square: 0.3 s each at this bound. Schemas need four for every key that may be left out."""
READING = 3.0
"""Seconds of computing time in which a grammar or schema must be read."""
STEP = 2.0
"""Seconds of computing time for one look at a text."""
VOCABULARY = 60.0
"""Seconds of computing time in which a worker must learn a vocabulary; 262,144 tokens take it one."""
MEMORY = 1 << 29
"""Bytes that a worker may take for its work."""
WORKERS = 8
"""Processes at most, started as they are needed. A program that decodes one text after the other needs one; at a server, those that take
long must leave some to the others."""
REMEMBERED = 64 << 20
"""Bytes of what the engine said about texts."""
FAILURES = 3
"""Texts of one grammar that may be given up before all of them are."""

EMPTY = "no text is in the language"
_FAILED = 1 << 20
_ENTRY = 200  # bytes of an entry beside its text and mask, about


class Judgement(NamedTuple):
    """What the engine says about a text: it is alive, in the language, and the longest text of those that begin with it."""

    alive: bool
    accepting: bool
    closed: bool


class Masked(NamedTuple):
    """The mask of a text, and whether one byte alone can follow."""

    bits: Bits
    single: bool


_pool = Pool("lmqlc.compiler.masks.guidance:Guidance", most=WORKERS, memory=MEMORY)
_judged: Kept[Judgement] = Kept(REMEMBERED // 8)
_runs: Kept[bytes] = Kept(REMEMBERED // 8)
_masked: Kept[Masked] = Kept(REMEMBERED * 3 // 4)
_given_up: Kept[tuple[str, int]] = Kept(_FAILED)
"""The words about the last text of a grammar that was given up, and how many were: `FAILURES` where the grammar cannot be read."""


def workers() -> Pool:
    """The processes in which engines run."""
    return _pool


class GrammarEngine:
    """An atom `Grammar(source)` or `Json(schema)` over one vocabulary.

    grammar: in the engine's Lark dialect. construct: how the program calls it, for messages. first: texts that are looked at now.
    Raises UnsupportedConstraint where the engine is not installed, LmqlCompileError with the engine's own words where it refuses the
    grammar and where it was given up, UnsatisfiableConstraint where no text can be in the language; after `begin` ConstraintViolated, where
    the engine fails or is given up at a text.
    """

    def __init__(
        self,
        grammar: str,
        vocabulary: Vocabulary,
        *,
        construct: str,
        span: Span | None = None,
        max_items: int = MAX_ITEMS,
        first: tuple[bytes, ...] = (),
    ) -> None:
        self._construct = construct
        self._span = span
        self._vocabulary = vocabulary
        self._words = -(-len(vocabulary) // 32)
        self._grammar = grammar
        self._max_items = max_items
        self._key = hashlib.sha256(f"{vocabulary.fingerprint}\0{max_items}\0{grammar}".encode("utf-8", "surrogatepass")).hexdigest()
        self._patience = 0.1
        self._forced = (b"", b"")  # a text, and that text with what must follow it
        self._linked = False
        self._read = False
        self._look(first)
        self._read = True

    def _look(self, first: tuple[bytes, ...]) -> None:
        if len(self._grammar) > MAX_SOURCE:
            message = f"{len(self._grammar)} characters are too many; {MAX_SOURCE} are read at most"
            raise self._refused(message)
        if find_spec("llguidance") is None:
            message = f"{self._construct} needs the grammar engine llguidance, which is not installed"
            raise error(UNSUPPORTED, message, self._span, "pip install 'lmqlc[schema]'")
        self._judge(b"")
        self.forced(b"")
        for text in first:
            if self.alive(text):
                self.mask(text)

    def begin(self) -> None:
        self._linked = True

    def alive(self, text: bytes) -> bool:
        return self._judge(text).alive

    def holds(self, text: bytes) -> bool:
        return self._judge(text).accepting and whole_characters(text) is not None

    def closed(self, text: bytes) -> bool:
        return self._judge(text).closed

    def mask(self, text: bytes) -> Bits:
        return self._mask(text).bits

    def forced(self, text: bytes) -> bytes:
        if not self._mask(text).single:  # a mask is needed of every text that is reached
            return b""
        found = _runs.get((self._key, text))
        if found is None:
            found = self._ask("forced", text, MAX_FORCED + 1)
            _runs.put((self._key, text), found, len(text) + len(found) + _ENTRY)
        if len(found) > MAX_FORCED:
            self._fail(f"{EMPTY}, or none of a usable length: more than {MAX_FORCED} bytes in a row leave no choice", text)
        self._forced = (text, text + found)
        return found

    def _judge(self, text: bytes) -> Judgement:
        before, whole = self._forced
        if len(before) < len(text) < len(whole) and whole.startswith(text):
            return Judgement(True, False, False)
        found = _judged.get((self._key, text))
        if found is None:
            found = Judgement(*self._ask("judge", text))
            _judged.put((self._key, text), found, len(text) + _ENTRY)
        return found

    def _mask(self, text: bytes) -> Masked:
        found = _masked.get((self._key, text))
        if found is None:
            raw, single = self._ask("mask", text)
            bits = np.frombuffer(raw, "<u4", count=self._words).astype(np.uint32)
            if len(self._vocabulary) % 32:
                bits[-1] &= np.uint32((1 << len(self._vocabulary) % 32) - 1)
            found = Masked(bits, single)
            _masked.put((self._key, text), found, bits.nbytes + len(text) + _ENTRY)
        return found

    def _ask(self, kind: str, text: bytes, *more: object) -> Any:
        """What a worker says of a text."""
        words, failures = _given_up.get(self._key) or ("", 0)
        if failures >= FAILURES:
            self._fail(words, text)
        try:
            request = (kind, self._key, text, *more)
            untried = not self._linked
            answer = _pool.ask(request, home=self._key, seconds=STEP, provide=self._provide, patience=self._patience, untried=untried)
        except WorkerError as problem:
            words = _first_words(str(problem))
        except WorkerFailed as problem:
            if problem.kind == "start":
                raise error(UNSUPPORTED, f"{self._construct}: {problem}", self._span) from problem
            words = f"the engine {problem}"
            _given_up.put(self._key, (words, failures + 1 if self._read else FAILURES), len(words) + _ENTRY)
        else:
            self._patience = max(self._patience, min(answer.seconds, 1.0))  # how long another worker would take to learn it
            return answer.value
        return self._fail(words, text)

    def _provide(self, name: str) -> tuple[Request, float]:
        """What a worker must be told before it can answer."""
        fingerprint = self._vocabulary.fingerprint
        if name == "vocabulary":
            return ("vocabulary", fingerprint, list(self._vocabulary.tokens)), VOCABULARY
        return ("grammar", self._key, fingerprint, self._grammar, self._max_items), READING

    def _fail(self, words: str, text: bytes) -> NoReturn:
        """Raise what an engine's failure means: a grammar that cannot be used, or a text that cannot go on."""
        if words == "NoExtensionBias" or "Unsatisfiable" in words:
            words = EMPTY
        if text:
            words = f"{words} (after {len(text)} bytes of text)"
        if self._linked:
            raise ConstraintViolated(f"{self._construct}: {words}")
        raise self._empty(words) if words.startswith(EMPTY) else self._refused(words)

    def _refused(self, words: str) -> LmqlError:
        return error(BAD_GRAMMAR, f"{self._construct}: {words}", self._span)

    def _empty(self, words: str) -> LmqlError:
        return unsatisfiable(f"{self._construct}: {words}", self._span, (), None, None)


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
    first = (b"{",)  # where an object with too many keys shows now, not when the model has begun it
    grammar = f"start: %json {source}"
    return GrammarEngine(grammar, vocabulary, construct=construct, span=span, max_items=MAX_ITEMS_OF_SCHEMAS, first=first)


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


_OWN_WORDS = (
    ("recursion limit exceeded", "the schema is nested too deeply: about 120 levels of JSON are read"),
    ("fuel exhausted", "it takes the engine more steps than it may take"),
    ("Unable to determine if regex is empty", "too many patterns and lengths hold together to tell whether any text meets them all"),
)
"""What parts of the engine's messages mean where they say little to a reader."""


def _first_words(message: str) -> str:
    """The engine's message without the excerpt of a source that the program did not write."""
    for part, words in _OWN_WORDS:
        if part in message:
            return words
    text = message.removeprefix("at 1(8): failed to compile JSON schema: ")
    lines = [line for line in text.splitlines() if line.strip() and not re.match(r"\s*(\d+)? *\||\s*\^", line)]
    return " ".join(lines)[:500] or "the engine refuses it"


def forget() -> None:
    """Drop all that is remembered of texts and of failures."""
    for kept in (_judged, _runs, _masked, _given_up):
        kept.clear()
