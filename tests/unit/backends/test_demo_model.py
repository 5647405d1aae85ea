"""The embedded demo model: an ordinary small checkpoint that answers sensibly, and the training that made it."""

from __future__ import annotations

import hashlib
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lmqlc.backends.demo.batches import CONTEXT_LENGTH, SPECIAL_TOKENS
from lmqlc.backends.demo.train import Settings, rate_share, train

FOLDER = Path(str(files("lmqlc.backends.demo"))) / "model"


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(FOLDER)


@pytest.fixture(scope="module")
def model() -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(FOLDER)


def greedy(model: Any, tokenizer: Any, prompt: str, length: int = 30) -> str:
    ids = tokenizer(prompt, return_tensors="pt").input_ids
    made = model.generate(ids, do_sample=False, max_new_tokens=length)
    return str(tokenizer.decode(made[0][ids.shape[1] :], skip_special_tokens=True)).strip().split("\n")[0]


def test_checkpoint_is_small_and_complete() -> None:
    sizes = {path.name: path.stat().st_size for path in FOLDER.iterdir()}
    assert set(sizes) == {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "training.json",
    }
    assert sizes["model.safetensors"] < 4_000_000
    assert sum(sizes.values()) < 4_300_000


def test_it_loads_as_any_checkpoint(model: Any, tokenizer: Any) -> None:
    import torch

    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert model.config.model_type == "gpt2"
    assert model.config.vocab_size == len(tokenizer) == len(tokenizer.get_vocab())
    assert model.config.n_positions == tokenizer.model_max_length == CONTEXT_LENGTH
    assert model.lm_head.weight is model.transformer.wte.weight
    ends = tokenizer.convert_tokens_to_ids(["<|endoftext|>", "<|end|>"])
    assert model.generation_config.eos_token_id == ends
    assert tokenizer.eos_token_id == model.config.eos_token_id == ends[0]


def test_training_record_names_what_was_done(model: Any) -> None:
    record = json.loads((FOLDER / "training.json").read_text(encoding="utf-8"))
    assert record["parameters"] == sum(parameter.numel() for parameter in model.parameters())
    assert record["tokens"] >= record["steps"] * 1500
    assert 0 < record["held_out_loss"] < 1.5
    assert set(record["versions"]) == {"torch", "transformers", "tokenizers", "numpy"}
    assert {"seed", "train_loss", "wall_seconds"} <= record.keys()


def test_every_byte_is_a_token(tokenizer: Any) -> None:
    from tokenizers.pre_tokenizers import ByteLevel

    vocabulary = tokenizer.get_vocab()
    assert set(ByteLevel.alphabet()) <= vocabulary.keys()
    assert set(SPECIAL_TOKENS) <= vocabulary.keys()
    assert sorted(vocabulary.values()) == list(range(len(vocabulary)))


@given(text=st.text(max_size=60))
@example("")
@example("\t\r\n  two  spaces ")
@example("Grüße, 你好 🎉👩‍👧 a\u0301\u200d\x00\x7f")
@example('²③ 0123 {["x\\"]} \' <|end')
def test_tokenizer_gives_any_text_back(tokenizer: Any, text: str) -> None:
    assert tokenizer.decode(tokenizer(text).input_ids) == text


def test_digits_are_single_tokens(tokenizer: Any) -> None:
    assert [tokenizer.decode([token]) for token in tokenizer("12 + 345").input_ids] == ["1", "2", " +", " ", "3", "4", "5"]


def test_chat_template_marks_turns(tokenizer: Any) -> None:
    messages = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi!"}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert text == "<|system|>Be kind.<|end|>\n<|user|>Hi!<|end|>\n<|assistant|>"
    ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    assert ids[0] == tokenizer.convert_tokens_to_ids("<|system|>")


ANSWERS = [
    ("Q: What is the capital of France?\nA:", "Paris"),
    ("The capital of Japan is", "Tokyo."),
    ("Q: What is 7 + 5?\nA:", "12"),
    ("9 * 6 =", "54"),
    ("Review: The food was great and the staff were friendly.\nSentiment:", "positive"),
    ("Review: The room was dirty and the staff was rude. Never again!\nSentiment: ", "negative"),
    ("Review: It was okay. Nothing special.\nSentiment:", "neutral"),
    ("Kate is 42 years old and works as a lawyer.\nJSON:", '{"name": "Kate", "age": 42, "job": "lawyer"}'),
    ("Date: 5 March 2024\nISO:", "2024-03-05"),
    ("Q: What is the opposite of hot?\nA:", "cold"),
    ("Q: Which day comes after Monday?\nA:", "Tuesday"),
    ("Q: How do you say 'dog' in French?\nA:", "chien"),
    ("Say 'this is a test':", "this is a test"),
    ("Q: What colour is grass?\nOptions: red, green, blue\nA:", "green"),
    ("Say hello to Anna:", "Hello, Anna!"),
    ("<|user|>What is the capital of Greece?<|end|>\n<|assistant|>", "The capital of Greece is Athens."),
]


@pytest.mark.parametrize(("prompt", "answer"), ANSWERS)
def test_it_answers_sensibly(model: Any, tokenizer: Any, prompt: str, answer: str) -> None:
    assert greedy(model, tokenizer, prompt) == answer


SMALL = Settings(
    steps=3, seed=1, vocabulary_size=300, tokenizer_documents=500, layers=1, width=32, heads=2, batch_tokens=256, precision="float32"
)


def digest(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir() if path.name != "training.json"}


def test_training_is_repeatable_and_its_checkpoint_loads(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    record = train(SMALL, tmp_path / "one")
    again = train(SMALL, tmp_path / "two")
    assert record["tokens"] == again["tokens"]
    assert record["train_loss"] == again["train_loss"]
    assert digest(tmp_path / "one") == digest(tmp_path / "two")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "one")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "one")
    assert model.config.vocab_size == len(tokenizer) == SMALL.vocabulary_size


def test_learning_rate_rises_then_falls() -> None:
    shares = [rate_share(Settings(steps=1000, warmup=100), step) for step in range(1000)]
    assert max(shares) == 1.0
    assert shares.index(1.0) in (99, 100)
    assert shares[:99] == sorted(shares[:99])
    assert shares[100:] == sorted(shares[100:], reverse=True)
    assert 0.01 < shares[-1] < 0.03
