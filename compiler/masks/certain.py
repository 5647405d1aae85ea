"""Text of a hole as it becomes certain, while its tokens come."""

from __future__ import annotations

import codecs
from collections.abc import Sequence

from lmqlc.compiler.automata.automaton import StopPhrase


class CertainText:
    """Turns the bytes of a hole's tokens into text that no later token can take back.

    A stop phrase that is removed may still be growing at the end of the text: as much of the end as could be one is held back; where a
    removed stop is a pattern, everything is.
    """

    def __init__(self, phrases: Sequence[StopPhrase] = ()) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._removed = [phrase.text for phrase in phrases if not phrase.keep and phrase.text is not None]
        self._closed = any(not phrase.keep and phrase.text is None for phrase in phrases)
        self._text = ""
        self._shown = 0

    def feed(self, data: bytes) -> str:
        """The text that becomes certain with these bytes."""
        self._text += self._decoder.decode(data)
        end = self._shown if self._closed else len(self._text) - self._growing()
        fresh, self._shown = self._text[self._shown : end], max(self._shown, end)
        return fresh

    @property
    def so_far(self) -> str:
        """All the text that is certain."""
        return self._text[: self._shown]

    def rest(self, final: str) -> str:
        """What is left to show once the whole text is known."""
        return final[self._shown :]

    def _growing(self) -> int:
        """How many characters at the end may be the beginning of a removed phrase."""
        longest = 0
        for phrase in self._removed:
            for size in range(min(len(phrase), len(self._text)), longest, -1):
                if self._text.endswith(phrase[:size]):
                    longest = size
                    break
        return longest
