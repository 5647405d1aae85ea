"""Questions to a finished automaton: does it accept a text, which texts does it accept."""

from __future__ import annotations

import random
from heapq import heappop, heappush

import numpy as np
import numpy.typing as npt

from lmqlc.compiler.automata.automaton import TextAutomaton
from lmqlc.compiler.automata.remembered import remembers

_LIKED = b"abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ .,-_:/\"'!?()[]{}@#$%&*+=<>;|^~`\\\n\t"
"""Bytes to show for a class, best first; then all others."""
_MAX_STEPS = 20_000
_LONG = 24
_TRIES = 20


def region_of(automaton: TextAutomaton, tokens: int) -> int:
    """The region of a count of tokens."""
    return int(np.searchsorted(automaton.token_bounds, tokens, side="right")) - 1


def matches(automaton: TextAutomaton, text: str, tokens: int = 0) -> bool:
    """Whether a text may be the whole text, or ends with a stop and did not stop before; every character is judged in the region of
    `tokens`. Texts with lone surrogates are none."""
    region = region_of(automaton, tokens)
    delta = _delta(automaton, region)
    try:
        encoded = text.encode()
    except UnicodeEncodeError:
        return False
    state = automaton.start
    for byte in encoded:
        state = int(delta[state, automaton.byte_class[byte]])
        if state == 0:
            return False
    if automaton.char_limit is not None and len(text) > automaton.char_limit:
        return False
    ends = bool(automaton.accepts[region, state] or automaton.stops[region, state])
    return ends and remembers(automaton.memory, text)


def examples(automaton: TextAutomaton, count: int) -> list[str]:
    """Up to `count` shortest texts (by bytes), of printable ASCII where there are such; they lack the phrases that stops remove."""
    region, ends = _ends(automaton)
    table = _delta(automaton, region)[:, automaton.byte_class]
    order = [byte for byte in range(256) if byte not in _LIKED]
    for allowed in ([*_LIKED], [*_LIKED, *order]):
        shown = table[:, allowed]
        distance = _distances(shown, ends)
        if distance[automaton.start] >= 0:
            return _cheapest(automaton, shown.tolist(), allowed, distance.tolist(), count)
    return []


def _cheapest(automaton: TextAutomaton, table: list[list[int]], allowed: list[int], distance: list[int], count: int) -> list[str]:
    """The search behind `examples`: shortest first, guided by the distance to an end; up to `count` bytes for each next state."""
    found: list[str] = []
    pending = [(distance[automaton.start], 0, 0, automaton.start, b"")]
    number = 0
    while pending and len(found) < count and number < _MAX_STEPS:
        cost, _, _, state, text = heappop(pending)
        if cost == len(text):
            short = automaton.char_limit is None or len(text.decode()) <= automaton.char_limit
            if short and remembers(automaton.memory, text.decode()):
                found.append(text.decode())
            if len(found) == count:
                break
        seen: dict[int, int] = {}
        for byte, to in zip(allowed, table[state], strict=True):
            seen[to] = seen.get(to, 0) + 1
            if distance[to] >= 0 and seen[to] <= count:
                number += 1
                heappush(pending, (len(text) + 1 + distance[to], -len(text), number, to, text + bytes([byte])))
    return found


def sample(automaton: TextAutomaton, rng: random.Random) -> str:
    """A random text; it lacks the phrase that a stop removes. Long ones go the shortest way to an end."""
    for _ in range(_TRIES):
        text = _sample(automaton, rng)
        if remembers(automaton.memory, text):
            return text
    return examples(automaton, 1)[0]


def _sample(automaton: TextAutomaton, rng: random.Random) -> str:
    """A random text, whatever the memory says."""
    region, ends = _ends(automaton)
    delta, limit = _delta(automaton, region), automaton.char_limit
    distance = _distances(delta, ends)
    state, text, chars = automaton.start, bytearray(), 0
    while True:
        at_end = bool(ends[state])
        if at_end and (rng.random() < 0.15 or len(text) >= _LONG or (limit is not None and chars >= limit)):
            return text.decode()
        row = delta[state][automaton.byte_class]
        options = np.flatnonzero(distance[row] >= 0)
        if not options.size:
            return text.decode()
        close = len(text) >= _LONG or (limit is not None and chars + distance[state] + 1 >= limit)
        if close and not at_end:
            options = options[distance[row[options]] == distance[row[options]].min()]
        byte = _pick(options, rng)
        chars += byte & 0xC0 != 0x80
        text.append(byte)
        state = int(row[byte])


def _pick(options: npt.NDArray[np.intp], rng: random.Random) -> int:
    """A byte, ASCII letters and the like more often."""
    common = [byte for byte in options.tolist() if 0x20 <= byte < 0x7F]
    return rng.choice(common) if common and rng.random() < 0.9 else int(rng.choice(options.tolist()))


def _delta(automaton: TextAutomaton, region: int) -> npt.NDArray[np.int32]:
    found: npt.NDArray[np.int32] = automaton.delta[region if len(automaton.delta) > 1 else 0]
    return found


def _ends(automaton: TextAutomaton) -> tuple[int, npt.NDArray[np.bool_]]:
    """The first region in which some text ends, and where texts end in it."""
    keeps = all(phrase.keep for phrase in automaton.phrases)
    for region in range(len(automaton.token_bounds)):
        ends = automaton.accepts[region] | (automaton.stops[region] & keeps)
        if _distances(_delta(automaton, region), ends)[automaton.start] >= 0:
            return region, ends
    return 0, automaton.accepts[0]


def _distances(delta: npt.NDArray[np.int32], ends: npt.NDArray[np.bool_]) -> npt.NDArray[np.int32]:
    """int32[S]: bytes from every state to an end; -1 where none is reached."""
    states, columns = delta.shape
    pairs = np.unique(delta.ravel().astype(np.int64) * states + np.repeat(np.arange(states), columns))
    targets, sources = pairs // states, pairs % states
    first = np.searchsorted(targets, np.arange(states + 1))
    distance = np.where(ends, 0, -1).astype(np.int32)
    distance[0] = -1
    level, length = np.flatnonzero(distance == 0), 0
    while level.size:
        length += 1
        before = np.concatenate([sources[first[state] : first[state + 1]] for state in level.tolist()])
        level = np.unique(before[(distance[before] < 0) & (before != 0)])
        distance[level] = length
    return distance
