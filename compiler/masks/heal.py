"""Token healing: the first token of a hole covers text that was taken back from the prompt.

A prompt that ends inside what the model would write as one token (`http:` before `://`, a space before ` Paris`) makes it go on in a way
it never learned. So the last tokens of the prompt's text are taken back, and the hole's first token must begin with their text. It may be
that text exactly, which puts back what was there; or a longer token, whose rest is the beginning of the hole's text. Text is taken back
only where there is such a longer token, and only as much as is a token by itself, so that the hole's text may always begin afresh.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from functools import cached_property, lru_cache

import numpy as np

from lmqlc.backends.base import Logits, Vocabulary
from lmqlc.compiler.masks.interface import Ids, State, TokenConstraint
from lmqlc.compiler.masks.trie import vocabulary_index

MAX_BYTES = 24
"""Most text that is taken back; longer tokens are not worth looking for."""


@lru_cache(maxsize=4096)
def covering(vocabulary: Vocabulary, text: bytes) -> tuple[Ids, Ids]:
    """Ids of the tokens that are a text exactly, and of those that begin with it and go on. Special tokens are neither."""
    order, tokens = vocabulary_index(vocabulary).by_bytes, vocabulary.tokens

    def start(token: int) -> bytes:
        return tokens[token][: len(text)]

    low = bisect_left(order, text, key=start)
    high = bisect_right(order, text, low, key=start)
    longer = bisect_right(order, text, low, high, key=tokens.__getitem__)
    return np.array(order[low:longer], np.intp), np.array(order[longer:high], np.intp)


def taken_back(vocabulary: Vocabulary, ids: Sequence[int]) -> tuple[int, bytes]:
    """How many ids at the end of a prompt's text are taken back before a hole, and their text; (0, b"") where none are.

    They are the most whose text is one token, and begins a longer one. ids: those of the text alone.
    """
    best, text = (0, b""), b""
    for count, token_id in enumerate(reversed(ids), 1):
        text = vocabulary.tokens[token_id] + text
        if not vocabulary.tokens[token_id] or len(text) > MAX_BYTES:
            break
        exact, longer = covering(vocabulary, text)
        if len(exact) and len(longer):
            best = (count, text)
    return best


class Healing:
    """The first step of a hole whose first token must begin with `text`.

    exact: ids of tokens that are just that: they leave the hole's text empty; none where the text could not begin afresh within its budget.
    covering: ids of those that begin with it and go on, read as the text's first token by what stands behind it. constraint: None for a
    hole that nothing masks.
    """

    def __init__(self, text: bytes, exact: Ids, longer: Ids, constraint: TokenConstraint | None, state: State) -> None:
        self.text = text
        self.exact = exact if constraint is None or constraint.satisfiable() else exact[:0]
        self._covering = longer
        self._constraint = constraint
        self._state = state

    @cached_property
    def longer(self) -> Ids:
        """Ids of the longer tokens that the constraint allows."""
        return self._covering if self._constraint is None else self._constraint.entering(self._state, self._covering, len(self.text))

    def allows(self, token_id: int) -> bool:
        """The token may come first."""
        if (self.exact == token_id).any():
            return True
        if not (self._covering == token_id).any():
            return False
        return self._constraint is None or self._constraint.enter(self._state, token_id, len(self.text)) is not None

    def others(self, free: Healing | None) -> Ids:
        """The tokens that another first step allows, and this one does not."""
        if free is None:
            return self.exact[:0]
        return np.setdiff1d(np.concatenate([free.exact, free.longer]), np.concatenate([self.exact, self.longer]))

    def masked(self, logits: Logits) -> Logits:
        """Logits `float32[V]` with -inf for all tokens that may not come first."""
        scores = np.full_like(logits, -np.inf)
        for ids in (self.exact, self.longer):
            scores[ids] = logits[ids]
        return scores


def healing(vocabulary: Vocabulary, constraint: TokenConstraint | None, state: State, text: bytes) -> Healing | None:
    """The first step of a hole after text that was taken back; None where no other token than that text itself could come, so that
    nothing need be taken back. constraint: None for a hole that nothing masks."""
    exact, longer = covering(vocabulary, text)
    if not len(exact) or (constraint is not None and not begins_longer(vocabulary, constraint, state, text)):
        return None
    return Healing(text, exact, longer, constraint, state) if len(longer) else None


def begins_longer(vocabulary: Vocabulary, constraint: TokenConstraint, state: State, text: bytes) -> bool:
    """The hole's text may begin inside a token that begins with a text that was taken back."""
    if not text:
        return False
    exact, longer = covering(vocabulary, text)
    return len(exact) > 0 and len(longer) > 0 and constraint.enters(state, longer, len(text))
