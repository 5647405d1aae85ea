"""What each entry of a tokenizer's vocabulary writes, in bytes.

A tokenizer file names its entries in a notation of its own: byte-level alphabets (GPT-2, Llama 3, Qwen), `▁` for a space and `<0x0A>`
for a byte (SentencePiece), `##` for a continuation (WordPiece), `</w>` for the end of a word. The decoder of the file says which; where
it has none, the pre-tokenizer and normalizer do. Each entry is taken as it reads in the middle of a text:

- A space that a decoder strips from the start of a whole text (the dummy prefix) belongs to the entry: `▁a` writes " a".
- A tokenizer that drops white space (WordPiece, word lists) cannot say where it stood: an entry that begins a word writes a space and
  the word, a continuation only its letters, as the tokenizer's own decoder does in the middle of a text.

Format: the `tokenizer.json` of https://huggingface.co/docs/tokenizers (decoders, version 0.23).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from lmqlc.grammar.errors import LmqlError

Spec = dict[str, Any]
Rule = Callable[[str], str | bytes]

_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>\Z")
_WORD_SPLITTERS = {"Whitespace", "WhitespaceSplit", "BertPreTokenizer"}


def flatten(part: Any, members: str) -> list[Spec]:
    """The steps of a normalizer, pre-tokenizer or decoder object, sequences opened. `members`: the key a sequence keeps them under."""
    if part is None:
        return []
    return _open(json.loads(part.__getstate__()), members)


def _open(spec: Spec, members: str) -> list[Spec]:
    if spec["type"] != "Sequence":
        return [spec]
    return [step for member in spec[members] for step in _open(member, members)]


def byte_alphabet() -> dict[int, str]:
    """The characters that byte-level tokenizers write bytes as: a `str.translate` table from character to `chr(byte)`.

    Printable Latin-1 characters stand for themselves; the other bytes, in order, for U+0100 and up. Characters outside of the alphabet
    become U+FFFF, which no byte is.
    """
    kept = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(256) if byte not in kept]
    table = dict.fromkeys(others, "\uffff") | {byte: chr(byte) for byte in kept}
    return table | {0x100 + i: chr(byte) for i, byte in enumerate(others)}


def byte_level_rule() -> Callable[[str], bytes]:
    """The rule of byte-level vocabularies: every character stands for a byte."""
    table = byte_alphabet()

    def write(piece: str) -> bytes:
        try:
            return piece.translate(table).encode("latin-1")
        except UnicodeEncodeError:  # not in the alphabet: an entry that was added as plain text
            return piece.encode()

    return write


def _byte_fallback(piece: str) -> str | bytes:
    match = _BYTE.match(piece)
    return bytes([int(match[1], 16)]) if match else piece


def sentence_piece_rule(piece: str) -> bytes:
    """The rule of SentencePiece vocabularies: `▁` is a space, `<0x0A>` a byte."""
    text = _byte_fallback(piece)
    return text if isinstance(text, bytes) else text.replace("▁", " ").encode()


def _replace(spec: Spec) -> Rule:
    pattern, content = spec["pattern"], spec["content"]
    if "String" in pattern:
        return lambda piece: piece.replace(pattern["String"], content)
    from tokenizers import Regex, decoders

    step = decoders.Replace(Regex(pattern["Regex"]), content)
    return lambda piece: str(step.decode([piece]))


def _metaspace(spec: Spec) -> Rule:
    return lambda piece: piece.replace(spec["replacement"], " ")


def _word_piece(spec: Spec) -> Rule:
    prefix = spec["prefix"]
    return lambda piece: piece[len(prefix) :] if prefix and piece.startswith(prefix) else f" {piece}"


def _word_end(spec: Spec) -> Rule:
    return lambda piece: piece.replace(spec["suffix"], " ")


def _strip(spec: Spec) -> Rule:
    from tokenizers import decoders

    step = decoders.Strip(spec["content"], spec["start"], spec["stop"])
    return lambda piece: str(step.decode([piece]))


_RULES: dict[str, Callable[[Spec], Rule]] = {
    "ByteLevel": lambda spec: byte_level_rule(),
    "ByteFallback": lambda spec: _byte_fallback,
    "Replace": _replace,
    "Metaspace": _metaspace,
    "WordPiece": _word_piece,
    "BPEDecoder": _word_end,
    "Strip": _strip,
}


def _implied_steps(core: Any) -> list[Spec]:
    """The decoder steps of a tokenizer that names none, from what it does to text before it looks words up."""
    steps = flatten(core.pre_tokenizer, "pretokenizers")
    kinds = {step["type"] for step in steps}
    prefix = getattr(core.model, "continuing_subword_prefix", None)
    if "ByteLevel" in kinds:
        return [{"type": "ByteLevel"}]
    if prefix or kinds & _WORD_SPLITTERS:
        return [{"type": "WordPiece", "prefix": prefix or ""}]
    spaces = [step for step in flatten(core.normalizer, "normalizers") if step.get("pattern") == {"String": " "}]
    found = [step for step in steps if step["type"] == "Metaspace"]
    found += [{"type": "Replace", "pattern": {"String": step["content"]}, "content": " "} for step in spaces]
    return [*found, {"type": "ByteFallback"}] if getattr(core.model, "byte_fallback", False) else found


def piece_writer(core: Any) -> Callable[[str], bytes]:
    """What an entry of the vocabulary of a `tokenizers.Tokenizer` writes. Raises LmqlError for decoders that are none of text."""
    rules: list[Rule] = []
    for step in flatten(core.decoder, "decoders") or _implied_steps(core):
        if step["type"] == "Fuse":  # what follows acts on a whole text, at its ends
            break
        if step["type"] not in _RULES:
            raise LmqlError(f"the tokenizer's decoder {step['type']} does not say what text a token writes; use a text model's tokenizer")
        rules.append(_RULES[step["type"]](step))

    def write(piece: str) -> bytes:
        text: str | bytes = piece
        for rule in rules:
            if isinstance(text, bytes):
                break
            text = rule(text)
        return text if isinstance(text, bytes) else text.encode()

    return write


def token_bytes(core: Any) -> tuple[list[bytes], set[int]]:
    """The bytes of every id of a `tokenizers.Tokenizer`, and the ids that its file marks as special (unknown-word entry included).

    Ids that the tokenizer leaves out write nothing. Entries added as plain text write exactly that text.
    """
    entries: dict[str, int] = core.get_vocab(with_added_tokens=True)
    added = core.get_added_tokens_decoder()
    write = piece_writer(core)
    tokens = [b""] * (max(entries.values(), default=-1) + 1)
    for piece, token_id in entries.items():
        if token_id not in added:
            tokens[token_id] = write(piece)
    for token_id, token in added.items():
        known = core.model.id_to_token(token_id) == token.content
        tokens[token_id] = b"" if token.special else write(token.content) if known else token.content.encode()
    special = {token_id for token_id, token in added.items() if token.special}
    unknown = unknown_id(core)
    return tokens, special if unknown is None else special | {unknown}


def unknown_id(core: Any) -> int | None:
    """The id that stands for words the tokenizer does not know, None where it has none."""
    name = getattr(core.model, "unk_token", None)
    if name is None and type(core.model).__name__ == "Unigram":
        index = json.loads(core.model.__getstate__()).get("unk_id")
        return None if index is None else int(index)
    return None if name is None else core.token_to_id(name)
