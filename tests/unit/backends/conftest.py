"""Small tokenizers of every family, built in code."""

from __future__ import annotations

from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

CORPUS = ["the cat sat on the mat", "Hello world, hello Wörld! 12 + 30 = 42\n", "naïve café — 日本語 🙂", "a  b\tc\n\nd"] * 8


def byte_level(*, add_prefix_space: bool = False) -> Tokenizer:
    """GPT-2's family."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=320, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet, show_progress=False)
    core.train_from_iterator(CORPUS, trainer)
    return core


def llama() -> Tokenizer:
    """SentencePiece BPE with byte fallback, as Llama 2's file has it: a normalizer writes the dummy space."""
    pieces = [
        "<unk>",
        "<s>",
        "</s>",
        *(f"<0x{value:02X}>" for value in range(256)),
        "▁",
        "t",
        "h",
        "e",
        "c",
        "a",
        "th",
        "the",
        "▁the",
        "▁c",
    ]
    merges = [("t", "h"), ("th", "e"), ("▁", "the"), ("▁", "c")]
    core = Tokenizer(models.BPE({p: i for i, p in enumerate(pieces)}, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    core.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    core.add_special_tokens([AddedToken(name, normalized=False, special=True) for name in ("<unk>", "<s>", "</s>")])
    core.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 1)])
    return core


def metaspace(scheme: str) -> Tokenizer:
    """SentencePiece Unigram with a Metaspace pre-tokenizer."""
    core = Tokenizer(models.Unigram())
    core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=True)
    core.decoder = decoders.Metaspace(prepend_scheme=scheme)
    trainer = trainers.UnigramTrainer(vocab_size=90, special_tokens=["<unk>", "</s>"], unk_token="<unk>", show_progress=False)
    core.train_from_iterator(CORPUS, trainer)
    return core


def word_piece() -> Tokenizer:
    """BERT's family: white space is dropped, letters are lower-cased."""
    pieces = ["[UNK]", "[CLS]", "[SEP]", "hello", "wor", "##ld", "##s", ",", "the"]
    core = Tokenizer(models.WordPiece({p: i for i, p in enumerate(pieces)}, unk_token="[UNK]"))
    core.normalizer = normalizers.Lowercase()
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    core.decoder = decoders.WordPiece(prefix="##")
    core.add_special_tokens(["[UNK]", "[CLS]", "[SEP]"])
    core.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    return core


def letters() -> Tokenizer:
    """A word list over single characters: no decoder, nothing dropped."""
    core = Tokenizer(models.WordLevel({"<u>": 0, "a": 1, "b": 2, "</s>": 3}, unk_token="<u>"))
    core.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    return core


ZOO: dict[str, Any] = {
    "byte_level": byte_level,
    "byte_level_prefixed": lambda: byte_level(add_prefix_space=True),
    "llama": llama,
    "metaspace_first": lambda: metaspace("first"),
    "metaspace_always": lambda: metaspace("always"),
    "word_piece": word_piece,
    "letters": letters,
}


@pytest.fixture(scope="session")
def zoo() -> dict[str, Tokenizer]:
    """A tokenizer of each family, by name."""
    return {name: build() for name, build in ZOO.items()}
