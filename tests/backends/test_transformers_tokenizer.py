"""Tokenizers as transformers gives them: fast ones agree with their files, slow ones are read entry by entry."""

from __future__ import annotations

import json
from pathlib import Path

from lmqlc.backends.tokenizer import load_tokenizer


def test_fast_tokenizers_agree_with_their_files(checkpoints: Path) -> None:
    from transformers import AutoTokenizer

    given = AutoTokenizer.from_pretrained(checkpoints / "gpt2")
    from_object, from_file = load_tokenizer(given), load_tokenizer(checkpoints / "gpt2")
    assert from_object.vocabulary == from_file.vocabulary
    assert from_object.vocabulary.eos_ids == (given.eos_token_id,)
    text = "the cat\n<|endoftext|> 🙂"
    assert from_object.encode(text, first=True) == from_file.encode(text, first=True)
    assert from_object.decode(from_object.encode(text, first=True)) == text
    assert given("a<|endoftext|>")["input_ids"][-1] == given.eos_token_id  # the given one is as it was


def test_chat_agrees_with_transformers(checkpoints: Path) -> None:
    from transformers import AutoTokenizer

    given = AutoTokenizer.from_pretrained(checkpoints / "gpt2")
    given.chat_template = "{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    messages = [{"role": "user", "content": "the cat"}, {"role": "assistant", "content": "sat"}]
    expected = given.apply_chat_template(messages, tokenize=True, return_dict=False)
    assert load_tokenizer(given).chat(messages, generation_prompt=False) == expected


def test_byte_tokenizers_without_a_core() -> None:
    from transformers import ByT5Tokenizer

    tokenizer = load_tokenizer(ByT5Tokenizer())
    assert tokenizer.vocabulary.eos_ids == (1,)
    assert tokenizer.prefix() == []
    for text in ("hé </s> 🙂", "", "\x00\n"):
        ids = tokenizer.encode(text, first=False)
        assert tokenizer.decode(ids) == text
        assert tokenizer.vocabulary.special.isdisjoint(ids)


def test_word_tokenizers_without_a_core(tmp_path: Path) -> None:
    from transformers import CTRLTokenizer

    words = {"<unk>": 0, "a@@": 1, "b": 2, "ab": 3}
    (tmp_path / "vocab.json").write_text(json.dumps(words), encoding="utf-8")
    (tmp_path / "merges.txt").write_text("#version: 0.2\na b</w>\n", encoding="utf-8")
    tokenizer = load_tokenizer(CTRLTokenizer(str(tmp_path / "vocab.json"), str(tmp_path / "merges.txt")))
    assert tokenizer.vocabulary.tokens == (b"", b" a", b" b", b" ab")
    assert tokenizer.decode(tokenizer.encode("ab b", first=True)) == " ab b"
    assert tokenizer.chat([], generation_prompt=True) is None
