"""Conversations by a model's own chat template, with message texts that can never pass for the template's special tokens."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from lmqlc.grammar.errors import BackendUnavailable, LmqlError

# A private-use character that no message keeps: it breaks up special tokens written in a message while the template is rendered.
_BREAK = "\uf8f3"


@dataclass(frozen=True)
class ChatTemplate:
    """A Jinja template of a tokenizer and the special tokens it may name (`bos_token` …)."""

    text: str
    names: dict[str, str] = field(default_factory=dict)

    def render(self, messages: Sequence[dict[str, str]], *, generation_prompt: bool, special: Sequence[str] | dict[str, int]) -> str:
        """The conversation as text; special tokens inside of messages are broken up by a private-use character."""
        try:
            from jinja2 import TemplateError
            from transformers.utils.chat_template_utils import render_jinja_template
        except ImportError:
            raise BackendUnavailable("chat templates need transformers and jinja2: pip install 'lmqlc[hf]'") from None
        safe = [{key: _broken(value, special) for key, value in message.items()} for message in messages]
        try:
            rendered, _ = render_jinja_template(
                conversations=[safe], chat_template=self.text, add_generation_prompt=generation_prompt, **self.names
            )
        except (TemplateError, TypeError, ValueError, KeyError) as error:
            raise LmqlError(f"the model's chat template refuses this conversation: {error}") from None
        return str(rendered[0])


def _broken(text: str, special: Sequence[str] | dict[str, int]) -> str:
    text = text.replace(_BREAK, "")
    pattern = _pattern(special)
    return pattern.sub(lambda m: m[0][0] + _BREAK + m[0][1:], text) if pattern else text


def _pattern(special: Sequence[str] | dict[str, int]) -> re.Pattern[str] | None:
    texts = sorted(filter(None, special), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, texts))) if texts else None


class _Encode(Protocol):
    def __call__(self, text: str, *, first: bool) -> list[int]: ...


def encode_chat(marked: str, special: dict[str, int], encode_template: Callable[[str], list[int]], encode: _Encode) -> list[int]:
    """Ids of a rendered conversation. Without broken-up special tokens the tokenizer reads it whole; with them the template's own special
    tokens are set between texts that are read as plain characters."""
    if _BREAK not in marked:
        return encode_template(marked)
    pattern = _pattern(special)
    ids: list[int] = []
    position = 0
    for match in pattern.finditer(marked) if pattern else ():
        ids += [*_plain(marked[position : match.start()], encode, first=not ids), special[match[0]]]
        position = match.end()
    return ids + _plain(marked[position:], encode, first=not ids)


def _plain(text: str, encode: _Encode, *, first: bool) -> list[int]:
    return encode(text.replace(_BREAK, ""), first=first) if text else []
