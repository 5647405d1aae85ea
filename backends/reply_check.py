"""Whether what a server answered for a hole meets the hole's constraint: judged by the text, without the vocabulary's masks."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

from lmqlc.compiler.automata.automaton import TextAutomaton
from lmqlc.compiler.masks.cuts import fixed_cut, removed_bytes
from lmqlc.compiler.masks.request import Ended, Formula, Language


def fits(language: Language | None, pieces: Sequence[bytes], ended: Ended) -> bool:
    """What the tokens wrote, and the way they ended, are possible under the language."""
    if language is None:
        return ended.cut == 0
    if isinstance(language, TextAutomaton):
        return _Walk(language).ends(pieces, ended)
    written = b"".join(pieces)
    return 0 <= ended.cut <= len(written) and _formula_holds(language, written[: len(written) - ended.cut], len(pieces))


def _formula_holds(formula: Formula, data: bytes, tokens: int) -> bool:
    from lmqlc.compiler.masks.compose import text_holds

    if find_spec("llguidance") is None:
        return True  # the server has the engine; here nothing could be judged without it
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return False
    spaced = formula.leading_space and text.startswith(" ")
    return text_holds(formula.constraint, text, tokens) or (spaced and text_holds(formula.constraint, text[1:], tokens))


class _Walk:
    """A text automaton over the bytes of tokens."""

    def __init__(self, automaton: TextAutomaton) -> None:
        self._automaton = automaton
        self._bounds: list[int] = automaton.token_bounds.tolist()
        self._state = automaton.start
        self._count = self._chars = 0

    def ends(self, pieces: Sequence[bytes], ended: Ended) -> bool:
        if not pieces or ended.reason not in ("stop", "follow"):
            return all(map(self._goes_on, pieces)) and ended.cut == 0 and self._is_final()
        if not all(map(self._goes_on, pieces[:-1])):
            return False
        if ended.cut == len(pieces[-1]) and self._is_final():
            return True  # the text that follows, or a special token, which writes nothing
        past = self._past_stop(pieces[-1])
        return past is not None and ended.cut == past + self._removed(pieces, past)

    def _removed(self, pieces: Sequence[bytes], past: int) -> int:
        fixed = fixed_cut(self._automaton.phrases)
        return removed_bytes(self._automaton, list(pieces), past) if fixed is None else fixed

    def _region(self, count: int) -> int:
        return sum(bound <= count for bound in self._bounds) - 1

    def _step(self, region: int, byte: int) -> None:
        automaton = self._automaton
        self._state = int(automaton.delta[region % len(automaton.delta), self._state, automaton.byte_class[byte]])
        self._chars += byte & 0xC0 != 0x80

    def _goes_on(self, piece: bytes) -> bool:
        return self._past_stop(piece) is None and self._state != 0

    def _past_stop(self, piece: bytes) -> int | None:
        """Reads a token; how many of its bytes lie past a stop that it reaches, None where it reaches none."""
        before = self._region(self._count)
        self._count += 1
        region = self._region(self._count)
        for at, byte in enumerate(piece):
            self._step(region if at else before, byte)
            if self._automaton.stops[region, self._state]:
                return len(piece) - at - 1
        return None

    def _is_final(self) -> bool:
        limit = self._automaton.char_limit
        return bool(self._automaton.accepts[self._region(self._count), self._state]) and (limit is None or self._chars <= limit)
