"""Ends of chat turns: in a conversation, the token with which the model's own template ends a turn ends a text too."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from lmqlc.backends.base import Tokenizer, Vocabulary
from lmqlc.grammar.errors import LmqlError

_VIEW = "_lmqlc_in_chat"
"""Attribute of a tokenizer: itself, or its view in chats."""


class ChatTokenizer:
    """A tokenizer as holes in chat turns see it: `ends` are end-of-text ids beside its own."""

    def __init__(self, tokenizer: Tokenizer, ends: Sequence[int]) -> None:
        self._tokenizer = tokenizer
        own = tokenizer.vocabulary
        self.vocabulary = Vocabulary.build(own.tokens, (*own.eos_ids, *ends), own.special, own.named)

    @property
    def bos_id(self) -> int | None:
        """The id that begins a text."""
        return self._tokenizer.bos_id

    def prefix(self) -> list[int]:
        """The ids before every text."""
        return self._tokenizer.prefix()

    def encode(self, text: str, *, first: bool) -> list[int]:
        """Ids of a text."""
        return self._tokenizer.encode(text, first=first)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids."""
        return self._tokenizer.decode(ids)

    def chat(self, messages: Sequence[dict[str, str]], *, generation_prompt: bool) -> list[int] | None:
        """Ids of a conversation."""
        return self._tokenizer.chat(messages, generation_prompt=generation_prompt)


def in_chat(tokenizer: Tokenizer) -> Tokenizer:
    """The tokenizer for holes in chat turns: itself, where its own end-of-text ids have the end of a turn among them."""
    own: dict[str, Any] = getattr(tokenizer, "__dict__", {})  # a tokenizer around another one has a view of its own
    known: Tokenizer | None = own.get(_VIEW)
    if known is None:
        ends = [i for i in turn_ends(tokenizer) if i not in tokenizer.vocabulary.eos_ids]
        known = ChatTokenizer(tokenizer, ends) if ends else tokenizer
        with suppress(AttributeError):  # one that takes no attributes is looked at every time
            setattr(tokenizer, _VIEW, known)
    return known


def turn_ends(tokenizer: Tokenizer) -> list[int]:
    """The special token that a template writes after what an assistant said; none where it ends turns with plain text."""
    try:
        one, two = (
            tokenizer.chat([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": said}], generation_prompt=False) or []
            for said in ("0", "A")
        )
    except LmqlError:  # the template wants another conversation
        return []
    same = 0
    while same < min(len(one), len(two)) and one[-1 - same] == two[-1 - same]:
        same += 1
    special = tokenizer.vocabulary.special
    return next(([i] for i in one[len(one) - same :] if i in special), [])
