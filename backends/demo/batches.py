"""From documents to rows of token ids: the demo model's tokenizer, and the stream of training batches.

The tokenizer is a byte-level BPE as GPT-2's is, with two differences: digits are always single tokens, so that a small
model can learn to calculate, and four tokens mark the turns of a chat.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from itertools import islice, pairwise
from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt

from lmqlc.backends.demo.corpus import Document, documents, plain

END_OF_TEXT = "<|endoftext|>"
TURN_END = "<|end|>"
SPECIAL_TOKENS = (END_OF_TEXT, "<|system|>", "<|user|>", "<|assistant|>", TURN_END)
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
CONTEXT_LENGTH = 512

_HELD_OUT_SHARE = 50  # one document in so many is kept out of the training
_SHAPES = ((128, 6), (256, 3), (512, 1))  # row length in tokens, and how often
_SPLIT_AFTER = " \n\":'-("

Rows = npt.NDArray[np.int64]


def train_tokenizer(seed: int, vocabulary_size: int, count: int) -> Any:
    """A `tokenizers.Tokenizer` of `vocabulary_size` tokens: the special ones, all 256 bytes, then merges learnt from
    `count` documents."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    digits = pre_tokenizers.Digits(individual_digits=True)
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((plain(document) for document in islice(documents(seed), count)), trainer)
    return tokenizer


def held_out(document: Document) -> bool:
    """Whether a document belongs to the held-out part; it depends on its text alone, so the two parts share none."""
    return zlib.crc32(plain(document).encode()) % _HELD_OUT_SHARE == 0


def _segments(text: str, rng: Random) -> list[str]:
    """The text, sometimes cut in pieces that are tokenised apart, as a program's literals and holes are."""
    places = [place for place in range(1, len(text)) if text[place - 1] in _SPLIT_AFTER]
    if not places or rng.random() < 0.6:
        return [text]
    cuts = sorted({0, len(text), *rng.sample(places, min(len(places), rng.choice((1, 1, 2, 4))))})
    return [text[start:end] for start, end in pairwise(cuts)]


def encode(tokenizer: Any, document: Document, rng: Random) -> list[int]:
    """The ids of one document, end-of-text last. A text mostly loses its final newline, so that answers end cleanly."""
    if not isinstance(document, str):
        said = "".join(f"<|{role}|>{content}{TURN_END}\n" for role, content in document)
        ids: list[int] = tokenizer.encode(said).ids
    else:
        text = document.rstrip("\n") if rng.random() < 0.75 else document
        ids = [token for part in _segments(text, rng) for token in tokenizer.encode(part).ids]
    return [*ids, tokenizer.token_to_id(END_OF_TEXT)]


def batches(tokenizer: Any, seed: int, tokens: int, *, held_out_part: bool = False) -> Iterator[Rows]:
    """Batches `int64[rows, length]` of about `tokens` tokens, without end. Every row starts with a new document, as a
    prompt does, and is filled with further ones; the last is cut at the row's end."""
    rng = Random(seed)  # noqa: S311  # text, not secrets
    source = (document for document in documents(seed) if held_out(document) == held_out_part)
    while True:
        (length,) = rng.choices([length for length, _ in _SHAPES], [weight for _, weight in _SHAPES])
        rows = []
        for _ in range(max(1, tokens // length)):
            row: list[int] = []
            while len(row) < length:
                row += encode(tokenizer, next(source), rng)
            rows.append(row[:length])
        yield np.array(rows, dtype=np.int64)
