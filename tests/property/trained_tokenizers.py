"""Tokenizers of the usual kinds, trained on text that is on every machine.

`LMQLC_TOKENIZERS` names a folder of folders with a `tokenizer.json`; those with the names used here take the place of the trained ones.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import random
import textwrap
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from lmqlc.backends.base import Tokenizer
from lmqlc.backends.byte_tokenizer import ByteTokenizer
from lmqlc.backends.tokenizer import load_tokenizer

CL100K = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
O200K = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CONTRACTIONS = "I'll say it's what they've done; don't, we're, I'd, I'm. 12345 1 22 333 2024-01-31 3.14159\n\n\n  \n\t\tx\r\n"
OTHER_SCRIPTS = "naïve café, über façade. 日本語の文字、かな漢字。 Привет, мир! مرحبا 안녕하세요 🙂😀 ½ ² “quoted” — it’s … €5\u00a0000\n"


@cache
def corpus() -> list[str]:
    sources = "".join(map(inspect.getsource, (argparse, textwrap, random, inspect)))
    return [sources, CONTRACTIONS * 20, OTHER_SCRIPTS * 20]


def byte_level(pattern: str | None = None) -> Any:
    """A BPE over bytes. pattern: of the words into which texts are parted; None for GPT-2's."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    if pattern is not None:
        split = pre_tokenizers.Split(Regex(pattern), "isolated")
        core.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=3000, special_tokens=["</s>"], initial_alphabet=alphabet, show_progress=False)
    core.train_from_iterator(corpus(), trainer)
    return core


def byte_fallback() -> Any:
    """A BPE over characters that parts no words, as Llama's and Gemma's: spaces are `▁`, unknown characters are bytes."""
    from tokenizers import Tokenizer, decoders, models, normalizers, trainers

    core = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    core.normalizer = normalizers.Replace(" ", "▁")
    core.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    pieces = ["<unk>", "</s>", *(f"<0x{value:02X}>" for value in range(256))]
    alphabet = [chr(code) for code in range(33, 127)]
    trainer = trainers.BpeTrainer(
        vocab_size=2500, special_tokens=pieces, initial_alphabet=alphabet, limit_alphabet=120, max_token_length=16, show_progress=False
    )
    core.train_from_iterator((text[at : at + 40] for text in corpus() for at in range(0, len(text), 40)), trainer)
    spec = json.loads(core.to_str())
    for token in spec["added_tokens"]:  # the bytes were given as special tokens, which they are not
        token["special"] = not token["content"].startswith("<0x")
    return Tokenizer.from_str(json.dumps(spec))


def unigram() -> Any:
    """The likeliest path, with a mark before words."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    core = Tokenizer(models.Unigram())
    core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=True)
    core.decoder = decoders.Metaspace(prepend_scheme="first")
    alphabet = [chr(code) for code in (*range(33, 127), 9, 10)]
    trainer = trainers.UnigramTrainer(
        vocab_size=1500, special_tokens=["<unk>", "</s>"], unk_token="<unk>", initial_alphabet=alphabet, show_progress=False
    )
    core.train_from_iterator(corpus(), trainer)
    return core


TRAINED: dict[str, Callable[[], Tokenizer]] = {
    "gpt2": lambda: load_tokenizer(byte_level(), eos="</s>"),
    "cl100k": lambda: load_tokenizer(byte_level(CL100K), eos="</s>"),
    "o200k": lambda: load_tokenizer(byte_level(O200K), eos="</s>"),
    "byte_fallback": lambda: load_tokenizer(byte_fallback(), eos="</s>"),
    "unigram": lambda: load_tokenizer(unigram(), eos="</s>"),
    "longest_match": ByteTokenizer,
}


@cache
def tokenizer(name: str) -> Tokenizer:
    folder = os.environ.get("LMQLC_TOKENIZERS")
    found = Path(folder) / name if folder else None
    return load_tokenizer(found) if found and found.is_dir() else TRAINED[name]()
