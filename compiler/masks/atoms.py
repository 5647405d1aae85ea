"""What a combined constraint asks of an atom beyond the regular fragment: a grammar engine, or a Python function.

All texts are the bytes written so far. A prefix check may say yes where no continuation is valid; it never says no where one is.
"""

from __future__ import annotations

from typing import Protocol

from lmqlc.compiler.masks.interface import Bits


class TextAtom(Protocol):
    """One atom over the text of a hole. Nothing here has side effects that a caller could see."""

    def begin(self) -> None:
        """The constraint is linked, and texts may come: what fails from now on raises ConstraintViolated, no compile error."""
        ...

    def alive(self, text: bytes) -> bool:
        """Some continuation of `text`, itself included, may hold. Once False for a text, False for all that begin with it."""
        ...

    def holds(self, text: bytes) -> bool:
        """`text`, as a final text, holds; False where it ends inside a character."""
        ...

    def mask(self, text: bytes) -> Bits:
        """The tokens after which a text that is alive stays so, uint32[ceil(V / 32)]."""
        ...

    def closed(self, text: bytes) -> bool:
        """`text` holds and no longer text does; may say False where it cannot tell."""
        ...

    def forced(self, text: bytes) -> bytes:
        """Bytes with which every longer text that holds goes on; may be empty where it cannot tell."""
        ...


def whole_characters(text: bytes) -> str | None:
    """The text up to its last whole character; None where its bytes begin no UTF-8 text."""
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.reason != "unexpected end of data":
            return None
        return text[: error.start].decode("utf-8")
