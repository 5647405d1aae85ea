"""Tokenizers of the transformers package: fast ones are taken apart, slow (Python) ones are asked entry by entry."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from lmqlc.backends.base import Tokenizer, Vocabulary
from lmqlc.backends.chat import ChatTemplate, encode_chat
from lmqlc.backends.pieces import byte_level_rule, sentence_piece_rule
from lmqlc.backends.tokenizer_files import chat_template_of
from lmqlc.grammar.errors import BackendUnavailable, LmqlError


def from_transformers(tokenizer: Any, *, eos: Iterable[int | str] = (), width: int | None = None, owned: bool = False) -> Tokenizer:
    """A transformers tokenizer as the project's. eos: ids or names beside the tokenizer's own. owned: nobody else uses the object."""
    names = {key: str(value) for key, value in tokenizer.special_tokens_map.items() if isinstance(value, str)}
    template = chat_template_of(getattr(tokenizer, "chat_template", None), names)
    ends = [*([tokenizer.eos_token_id] if tokenizer.eos_token_id is not None else []), *eos]
    core = getattr(tokenizer, "backend_tokenizer", None)
    if core is None:
        return PythonTokenizer(tokenizer, eos=ends, width=width, template=template)
    from lmqlc.backends.tokenizer import HFTokenizer

    special = [i for i in tokenizer.all_special_ids if i != tokenizer.pad_token_id or len(tokenizer.pad_token) > 1]
    bos = tokenizer.bos_token_id
    return HFTokenizer(core, eos=ends, special=special, width=width, template=template, owned=owned, bos=bos)


def from_directory(path: Path, *, eos: Iterable[int | str] = (), width: int | None = None) -> Tokenizer:
    """The tokenizer of a model directory without a `tokenizer.json`, which only transformers can read."""
    try:
        from transformers import AutoTokenizer
    except ImportError:
        raise BackendUnavailable(
            f"{str(path)!r} holds no tokenizer.json; other formats need transformers: pip install 'lmqlc[hf]'"
        ) from None
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(path), local_files_only=True)
    except Exception as error:  # noqa: BLE001 - whatever the loader meets in a directory that holds no usable tokenizer
        raise LmqlError(f"{str(path)!r} holds no tokenizer that can be read: {error}") from None
    return from_transformers(tokenizer, eos=eos, width=width, owned=True)


class PythonTokenizer:
    """A slow transformers tokenizer. What an entry writes follows from its family: a byte alphabet, `▁` and `<0x..>`, or as joined."""

    def __init__(self, tokenizer: Any, *, eos: Iterable[int | str], width: int | None, template: ChatTemplate | None) -> None:
        self._tokenizer = tokenizer
        self.bos_id: int | None = tokenizer.bos_token_id
        self._eos = [i if isinstance(i, int) else tokenizer.convert_tokens_to_ids(i) for i in eos]
        self._width = width
        self._template = template

    @cached_property
    def vocabulary(self) -> Vocabulary:
        entries: dict[str, int] = self._tokenizer.get_vocab()
        size = max(entries.values(), default=-1) + 1
        width = size if self._width is None else self._width
        tokens = [b""] * max(size, width)
        write = self._writer()
        special = set(self._tokenizer.all_special_ids)
        added = self._tokenizer.added_tokens_decoder
        for piece, token_id in entries.items():
            if token_id not in special:
                tokens[token_id] = piece.encode(errors="ignore") if token_id in added else write(piece)
        named = {piece: token_id for piece, token_id in entries.items() if token_id in special and token_id < width}
        return Vocabulary.build(tokens[:width], [i for i in self._eos if i < width], [i for i in special if i < width], named)

    def _writer(self) -> Callable[[str], bytes]:
        if hasattr(self._tokenizer, "byte_encoder"):
            return byte_level_rule()
        if hasattr(self._tokenizer, "sp_model"):
            return sentence_piece_rule
        if type(self._tokenizer).__name__ == "ByT5Tokenizer":
            return lambda piece: piece.encode("latin-1")  # a character for each byte
        return self._decoded_between(self._anchor())

    def _anchor(self) -> str:
        """An entry that stands for itself."""
        join = self._tokenizer.convert_tokens_to_string
        pieces: Iterable[str] = self._tokenizer.get_vocab()
        return next((piece for piece in pieces if piece.isalpha() and piece.isascii() and join([piece]) == piece), "")

    def _decoded_between(self, anchor: str) -> Callable[[str], bytes]:
        """What a piece writes between two anchors, by the tokenizer's own joining, less the space that the last anchor brings."""
        join = self._tokenizer.convert_tokens_to_string
        ends = [join([anchor, anchor])[len(anchor) :], anchor]

        def write(piece: str) -> bytes:
            joined: str = join([anchor, piece, anchor]) if anchor else join([piece])
            for end in ends:
                if joined.endswith(end):
                    joined = joined[: len(joined) - len(end)]
                    break
            return joined.removeprefix(anchor).encode(errors="ignore")  # lone surrogates, which no text has

        return write

    def prefix(self) -> list[int]:
        plain = self._encode("a")
        whole: list[int] = self._tokenizer.encode("a", add_special_tokens=True)
        for start in range(len(whole) - len(plain) + 1):
            if plain and whole[start : start + len(plain)] == plain:
                return whole[:start]
        return []

    def _encode(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True))

    def encode(self, text: str, *, first: bool) -> list[int]:
        """Text in the middle of a prompt is read after a line break, whose ids are then taken off, so that no dummy space is added."""
        if first or not text:
            return self._encode(text) if text else []
        head = self._encode("\n")
        ids = self._encode("\n" + text)
        return ids[len(head) :] if head and ids[: len(head)] == head else self._encode(text)

    def decode(self, ids: Sequence[int]) -> str:
        tokens = self.vocabulary.tokens
        return b"".join([tokens[i] for i in ids]).decode("utf-8", errors="replace")

    def chat(self, messages: Sequence[dict[str, str]], *, generation_prompt: bool) -> list[int] | None:
        if self._template is None:
            return None
        special = dict(zip(self._tokenizer.all_special_tokens, self._tokenizer.all_special_ids, strict=True))
        marked = self._template.render(messages, generation_prompt=generation_prompt, special=special)
        return encode_chat(marked, special, lambda text: list(self._tokenizer.encode(text, add_special_tokens=False)), self.encode)
