"""One hole's text while it is decoded: where its constraint stands, what was written, and the way back."""

from __future__ import annotations

from collections.abc import Sequence

from lmqlc.compiler.masks.interface import Bits, State, TokenConstraint


class Matcher:
    """The run of a constraint over the tokens of one hole.

    tokens: `Vocabulary.tokens`, the bytes of every token.
    """

    def __init__(self, constraint: TokenConstraint, tokens: Sequence[bytes]) -> None:
        self.constraint = constraint
        self._bytes = tokens
        self._ids: list[int] = []
        self._states: list[State] = [constraint.start()]

    @property
    def state(self) -> State:
        return self._states[-1]

    @property
    def tokens(self) -> tuple[int, ...]:
        """The ids so far, an ending token included."""
        return tuple(self._ids)

    @property
    def stopped(self) -> bool:
        """Whether the text has ended by a stop, an end-of-text token, or the text that follows."""
        return self.constraint.stopped(self.state) is not None

    @property
    def final(self) -> bool:
        """Whether the text so far is valid."""
        return self.constraint.is_final(self.state)

    @property
    def closed(self) -> bool:
        """Whether the text is valid and no continuation gives another one."""
        return self.constraint.is_closed(self.state)

    def mask(self) -> Bits:
        """The tokens allowed next; see `TokenConstraint.mask`."""
        return self.constraint.mask(self.state)

    def advance(self, token_id: int) -> bool:
        """Add a token. False, and nothing changes, where it is not allowed."""
        state = self.constraint.advance(self.state, token_id)
        if state is None:
            return False
        self._ids.append(token_id)
        self._states.append(state)
        return True

    def forced(self) -> list[int]:
        """The tokens of text without a choice; see `TokenConstraint.forced`."""
        return self.constraint.forced(self.state)

    def rollback(self, count: int) -> None:
        """Take back the last `count` tokens. Raises ValueError where there are fewer."""
        if not 0 <= count <= len(self._ids):
            raise ValueError(f"cannot take back {count} of {len(self._ids)} tokens")
        if count:
            del self._ids[-count:]
            del self._states[-count:]

    def written(self) -> bytes:
        """The bytes of all tokens; special tokens write none."""
        return b"".join(self._bytes[token] for token in self._ids)

    def text_bytes(self) -> bytes:
        """The bytes of the text, without what a stop cuts."""
        written = self.written()
        return written[: len(written) - (self.constraint.stopped(self.state) or 0)]

    def text(self) -> str:
        """The text, without what a stop cuts. An unfinished character at the end becomes U+FFFD."""
        return self.text_bytes().decode(errors="replace")
