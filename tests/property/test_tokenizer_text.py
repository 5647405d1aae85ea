"""Any text, cut anywhere, is written exactly by the tokens it becomes, and never becomes a special token."""

from __future__ import annotations

import os
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from lmqlc.backends.byte_tokenizer import ByteTokenizer
from lmqlc.backends.tokenizer import HFTokenizer

EXAMPLES = 20_000 if os.environ.get("LMQLC_LONG") else 300

SPECIAL = ["<|endoftext|>", "<|im_start|>", "</s>"]


@cache
def byte_level() -> HFTokenizer:
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=330, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False)
    core.train_from_iterator(["the end of the text is the start of the im", "  \n\n\t naïve 🙂"] * 4, trainer)
    core.add_tokens([AddedToken("plain", normalized=False)])
    return HFTokenizer(core, eos=SPECIAL[:1])


@cache
def sentence_piece() -> HFTokenizer:
    pieces = ["<unk>", *SPECIAL, *(f"<0x{value:02X}>" for value in range(256)), "▁", "s", "/", "e", "n", "d", "en", "end", "▁end", "▁▁"]
    merges = [("e", "n"), ("en", "d"), ("▁", "end"), ("▁", "▁")]
    core = Tokenizer(models.BPE({p: i for i, p in enumerate(pieces)}, merges, unk_token="<unk>", byte_fallback=True))
    core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    core.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    core.add_special_tokens(["<unk>", *SPECIAL])
    return HFTokenizer(core, eos=SPECIAL[2:])


BUILDERS = {"byte_level": byte_level, "sentence_piece": sentence_piece, "bytes": ByteTokenizer}

texts = st.lists(
    st.one_of(
        st.sampled_from([*SPECIAL, " ", "  ", "end", "plain", "the end", "\n", "<0x41>", "Ġ", "é", "🙂"]),
        st.text(max_size=8).filter(lambda text: "▁" not in text),  # which SentencePiece's files read as a space
    ),
    max_size=6,
).map("".join)


@pytest.mark.parametrize("family", BUILDERS)
@settings(max_examples=EXAMPLES, deadline=None)
@given(text=texts, cut=st.integers(0, 40))
def test_tokens_write_the_text_they_were_made_of(family: str, text: str, cut: int) -> None:
    tokenizer = BUILDERS[family]()
    vocabulary = tokenizer.vocabulary
    first = tokenizer.encode(text[:cut], first=True)
    ids = first + tokenizer.encode(text[cut:], first=False)
    assert vocabulary.special.isdisjoint(ids)
    written = b"".join(vocabulary.tokens[i] for i in ids)
    assert written == text.encode() or (written == b" " + text.encode() and first and getattr(tokenizer, "marks_start", False))
    assert tokenizer.decode(ids).encode() == written
