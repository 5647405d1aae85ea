"""White space in a vocabulary: the bytes of its characters as an automaton, and the tokens that begin with one."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from functools import cache, lru_cache

import numpy as np
import numpy.typing as npt

from lmqlc.backends.base import Vocabulary
from lmqlc.compiler.masks.interface import Ids
from lmqlc.compiler.masks.trie import vocabulary_index

_LAST = 0x3000  # the last character that `str.isspace` knows


@cache
def space_steps() -> list[dict[int, int]]:
    """By state, the state after a byte of white space. 0: between characters; the others: inside one."""
    steps: list[dict[int, int]] = [{}]
    for character in map(chr, range(_LAST + 1)):
        if not character.isspace():
            continue
        state, data = 0, character.encode()
        for byte in data[:-1]:
            if byte not in steps[state]:
                steps[state][byte] = len(steps)
                steps.append({})
            state = steps[state][byte]
        steps[state][data[-1]] = 0
    return steps


@cache
def _pattern() -> re.Pattern[bytes]:
    return re.compile(b"|".join(re.escape(character.encode()) for character in map(chr, range(_LAST + 1)) if character.isspace()))


def begins_with_space(data: bytes) -> bool:
    """The first character of a text is white space."""
    return _pattern().match(data) is not None


@lru_cache(maxsize=8)
def space_tokens(vocabulary: Vocabulary) -> tuple[Ids, npt.NDArray[np.bool_]]:
    """Ids of the tokens whose first character is white space; and bool[V], those of them that are more than white space."""
    order, tokens, steps = vocabulary_index(vocabulary).by_bytes, vocabulary.tokens, space_steps()
    found: list[int] = []
    for data in (character.encode() for character in map(chr, range(_LAST + 1)) if character.isspace()):

        def start(token: int, size: int = len(data)) -> bytes:
            return tokens[token][:size]

        low = bisect_left(order, data, key=start)
        found += order[low : bisect_right(order, data, low, key=start)]
    more = np.zeros(len(vocabulary), np.bool_)
    for token_id in found:
        state = 0
        for byte in tokens[token_id]:
            after = steps[state].get(byte)
            if after is None:
                more[token_id] = True
                break
            state = after
    return np.array(found, np.intp), more
