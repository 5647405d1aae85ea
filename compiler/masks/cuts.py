"""How much of a text a stop removes, and the token history that this needs.

With no removed phrase nothing but the overrun is cut; with a single fixed one, its length. Otherwise the phrases that end
where the text stops are compared: the longest wins among those for which the rest of the formula holds, which for a removed phrase
means that the automaton accepts the text before it.
"""

from __future__ import annotations

from collections.abc import Mapping

from lmqlc.backends.base import Vocabulary
from lmqlc.compiler.automata.automaton import StopPhrase, TextAutomaton


class Written:
    """The tokens of a text, newest first, shared between states: ids, or the bytes of one that is read in part. Equality is by content; the
    hash is kept."""

    __slots__ = ("before", "count", "hash", "token")

    def __init__(self, before: Written | None, token: int | bytes) -> None:
        self.before = before
        self.token = token
        self.count: int = 1 if before is None else before.count + 1
        self.hash: int = hash((None if before is None else before.hash, token))

    def __hash__(self) -> int:
        return self.hash

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Written) or self.hash != other.hash or self.count != other.count:
            return False
        mine: Written | None = self
        theirs: Written | None = other
        while mine is not None and theirs is not None and mine is not theirs:
            if mine.token != theirs.token:
                return False
            mine, theirs = mine.before, theirs.before
        return True

    def texts(self, vocabulary: Vocabulary) -> list[bytes]:
        """What the tokens write, oldest first."""
        found = []
        at: Written | None = self
        while at is not None:
            found.append(at.token if isinstance(at.token, bytes) else vocabulary.tokens[at.token])
            at = at.before
        return found[::-1]


def special_ends(phrases: tuple[StopPhrase, ...], named: Mapping[str, int]) -> frozenset[int]:
    """The special tokens that stop phrases name. They write no text, so that a phrase never meets them: where the formula holds they end
    the text as end-of-text does."""
    return frozenset(named[phrase.text] for phrase in phrases if phrase.text is not None and phrase.text in named)


def fixed_cut(phrases: tuple[StopPhrase, ...]) -> int | None:
    """Bytes that every stop removes, None where that depends on the text."""
    lengths = {0 if phrase.keep else None if phrase.text is None else len(phrase.text.encode()) for phrase in phrases} or {0}
    return lengths.pop() if len(lengths) == 1 else None


def removed_bytes(automaton: TextAutomaton, tokens: list[bytes], overrun: int) -> int:
    """Bytes of the stop phrase to remove where `tokens` (what each writes) stop `overrun` bytes before their end; 0 where the phrase stays.

    Where a kept and a removed phrase of one length end together, the removed one counts.
    """
    text = b"".join(tokens)
    text = text[: len(text) - overrun]
    holds = held(automaton, tokens, len(text))
    fitting = [(longest, 0 if phrase.keep else longest) for phrase in automaton.phrases if (longest := _longest(phrase, text, holds))]
    return max(fitting, default=(0, 0))[1]


def _longest(phrase: StopPhrase, text: bytes, holds: list[bool]) -> int:
    """Bytes of the longest phrase that ends where a text ends, and counts there: the formula holds for the whole text, or before a phrase
    that is removed; 0 where there is none."""
    from lmqlc.compiler.masks.phrases import phrase_as_shown

    if phrase.keep and not holds[-1]:
        return 0
    if phrase.text is not None:
        size = len(phrase.text.encode("utf-8", "surrogatepass"))
        return size if text.endswith(phrase.text.encode("utf-8", "surrogatepass")) and (phrase.keep or holds[len(text) - size]) else 0
    found = phrase_as_shown(phrase)
    if found is None:
        return 0
    begins: dict[int, int] = {}
    for at, byte in enumerate(text):
        if phrase.keep or holds[at]:
            begins.setdefault(found.start, at)
        stepped: dict[int, int] = {}
        for state, begin in begins.items():
            after = found.steps[state][byte]
            if after:
                stepped[after] = min(begin, stepped.get(after, begin))
        begins = stepped
    return len(text) - min((begin for state, begin in begins.items() if found.ends[state]), default=len(text))


def held(automaton: TextAutomaton, tokens: list[bytes], length: int) -> list[bool]:
    """bool[length + 1]: the formula holds for the text up to a byte, with the tokens that reach into it."""
    bounds = automaton.token_bounds.tolist()
    good = automaton.accepts if automaton.holds is None else automaton.holds
    regions = len(automaton.delta)
    state, room = automaton.start, automaton.char_limit
    holds = [bool(good[0, state])]
    for count, token in enumerate(tokens, 1):
        before = sum(bound < count for bound in bounds) - 1
        region = sum(bound <= count for bound in bounds) - 1
        for at, byte in enumerate(token):
            if len(holds) > length:
                return holds
            state = int(automaton.delta[(region if at else before) % regions, state, automaton.byte_class[byte]])
            if room is not None:
                room -= not 0x80 <= byte < 0xC0
            holds.append(bool(good[region, state]) and (room is None or room >= 0))
    return holds
