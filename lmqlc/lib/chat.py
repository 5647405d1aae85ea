"""Conversations on the terminal.

from lmql.lib.chat import message

"{:system}You are a helpful assistant."
while True:
    "{:user}{await input('> ')}"
    "{:assistant}[@message ANSWER]"
"""

from __future__ import annotations

from typing import Any


class message:
    """Decorator of a hole: prints its text as it is decoded. Holes without it stay unseen."""

    def __init__(self) -> None:
        self._printed = ""

    def streaming(self, value: str, context: Any) -> None:
        """Print what is new."""
        if value.startswith(self._printed):
            print(value[len(self._printed) :], end="", flush=True)
            self._printed = value

    def post(self, value: Any, text: str) -> None:
        """Print the rest, and end the line."""
        print(text[len(self._printed) :] if text.startswith(self._printed) else f"\n{text}")
