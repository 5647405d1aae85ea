"""Under `argmax` a hole that few texts may fill gets the likeliest: compared with the scores of all texts, each worked out by itself."""

from __future__ import annotations

import math
import os
import random
import re
from functools import cache
from typing import Any

import numpy as np
import pytest

import lmqlc
from lmqlc.backends.base import Tokenizer
from lmqlc.backends.byte_tokenizer import ByteTokenizer
from lmqlc.backends.scripted import RandomBackend, log_softmax
from lmqlc.backends.tokenizer import load_tokenizer

CASES = 6000 if os.environ.get("LMQLC_LONG") else 150
CORPUS = [
    "New York New York City Newark Paris Rome a ab abc true false truefalse",
    "very positive, positive, neutral, negative, very negative; yes no maybe yes, no.",
    "naïve café — 12 123 1234 007; tea, teapot, team; the, then, there",
]
PROMPTS = ["I say ", "I say", "city:", "I am in New", "naïve caf", "—", "12", "very ", "a", "yes,  "]
PIECES = ["New", " York", " City", "a", "b", "c", "true", "false", "very ", "positive", "é", "—", "1", "2", " ", "tea", "pot", "m", "."]
TEXTS = [*PIECES[:12], "", "ab", "abc", "New York", " New York", " New York City", "Newark", "truefalse", "café", "123", "12", "teapot"]


@cache
def tokenizer(family: str) -> Tokenizer:
    """A tokenizer trained here."""
    from tokenizers import Tokenizer as Core
    from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

    special = ["</s>", "<unk>"]
    if family == "single bytes":
        return ByteTokenizer()
    if family == "bytes":
        core = Core(models.BPE())
        core.pre_tokenizer, core.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
        trainer: Any = trainers.BpeTrainer(
            vocab_size=420, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
        )
    else:
        core = Core(models.BPE(byte_fallback=True, unk_token="<unk>"))
        core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        core.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
        pieces = [*special, *(f"<0x{value:02X}>" for value in range(256))]
        trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=pieces, show_progress=False)
    core.train_from_iterator(CORPUS * 4, trainer)
    if family == "sentencepiece":  # the bytes were given as special tokens, which they are not
        core = Core.from_str(re.sub(r'(<0x[0-9A-F]{2}>",[^}]*?"special": ?)true', r"\1false", core.to_str(pretty=False)))
    return load_tokenizer(core, eos="</s>")


class Sharp(RandomBackend):
    """A random model that is sure of itself, so that the order of the options is not that of their lengths."""

    def row(self, sequence: tuple[int, ...], rest: bytes = b"", taken: bytes = b"") -> Any:
        return super().row(sequence, rest, taken) * 3


def penalised(row: Any, sequence: list[int], options: dict[str, Any]) -> Any:
    changed = row.astype(np.float64)
    for token in set(sequence):
        value, count = changed[token], sequence.count(token)
        repeated = options.get("repetition_penalty", 1.0)
        value = value / repeated if value > 0 else value * repeated
        changed[token] = value - options.get("frequency_penalty", 0.0) * count - options.get("presence_penalty", 0.0)
    return changed


def spelled(model: RandomBackend, heal: bytes, text: str) -> list[int]:
    """A text's ids in its place, where `heal` was taken back."""
    encode, tokens = model.tokenizer.encode, model.vocabulary.tokens
    if not heal:
        return encode(text, first=False)
    joined = encode(heal.decode() + text, first=False)
    if tokens[joined[0]].startswith(heal) and tokens[joined[0]] != heal:
        return joined
    return [*encode(heal.decode(), first=False), *encode(text, first=False)]


def score(model: RandomBackend, prompt: list[int], heal: bytes, text: str, texts: set[str], options: dict[str, Any]) -> float:
    """The score of a text, by its definition."""
    ids, total, at = spelled(model, heal, text), 0.0, list(prompt)
    for token in ids:
        total += log_softmax(penalised(model.row(tuple(at)), at, options))[token]
        at.append(token)
    longer = [other.encode()[len(text.encode()) :] for other in texts if other != text and other.encode().startswith(text.encode())]
    going_on = [i for i, token in enumerate(model.vocabulary.tokens) if token and any(rest.startswith(token) for rest in longer)]
    if going_on:
        shares = np.exp(log_softmax(penalised(model.row(tuple(at)), at, options)))
        shares[going_on] = 0
        total += math.log(shares.sum())
    return float(total)


def case(family: str, seed: int) -> tuple[dict[str, Any], set[str]]:
    """A program with its arguments, and all texts of its hole."""
    rng = random.Random(seed)
    pool = [*TEXTS, *("".join(rng.choices(PIECES, k=rng.randint(1, 4))) for _ in range(12))]
    texts = set(rng.sample(pool, rng.randint(1, 10)))
    wheres = ["X in texts"]
    if rng.random() < 0.3:
        texts = {text for text in texts if "." not in text} or {"a"}
        wheres.append(rng.choice(['STOPS_BEFORE(X, ".")', 'STOPS_BEFORE(X, re.compile("[.]+"))', 'STOPS_AT(X, "~")']))
    elif rng.random() < 0.2:
        wheres = [" or ".join(f"X == {text!r}" for text in sorted(texts))]
    elif rng.random() < 0.2:
        wheres = ["REGEX(X, pattern)"]
    values: dict[str, Any] = {
        "before": rng.choice(PROMPTS),
        "texts": sorted(texts, key=lambda _: rng.random()),
        "pattern": "|".join(map(re.escape, sorted(texts))),
        "source": f"import re\n'{{before}}[X]{rng.choice(['', '.', ' City', 'a', chr(92) + 'n'])}' where {' and '.join(wheres)}",
    }
    penalties = {"repetition_penalty": 1.5, "frequency_penalty": 0.7, "presence_penalty": 0.4}
    values |= {penalty: value for penalty, value in penalties.items() if rng.random() < 0.2}
    values["fast_forward"], values["token_healing"] = rng.random() < 0.8, rng.random() < 0.8
    return values, texts


def check(family: str, seed: int) -> None:
    values, texts = case(family, seed)
    model = Sharp(seed, tokenizer=tokenizer(family))
    source = values.pop("source")
    given = {name: value for name, value in values.items() if name not in ("texts", "pattern") or name in source}
    result = lmqlc.run_sync(source, model=model, **given)
    (hole,) = result.holes
    assert hole.exact and hole.text in texts
    assert result.prompt.startswith(values["before"] + hole.text)
    pieces = model.vocabulary.tokens
    longer = any(other != hole.text and other.startswith(hole.text) for other in texts)
    ending = hole.tokens[-1:] if hole.finish_reason != "closed" else ()
    assert longer or not ending
    written = b"".join(pieces[token.id] for token in hole.tokens[: len(hole.tokens) - len(ending)])
    assert written == hole.healed.encode() + hole.text.encode()
    prompt, heal = list(hole.prompt_ids), hole.healed.encode()
    scores = {text: score(model, prompt, heal, text, texts, values) for text in texts}
    best = max(scores.values())
    assert scores[hole.text] >= best - 1e-4, (hole.text, scores)
    asked = [sequence for call in model.calls for sequence in call.sequences]
    assert len(asked) == len(set(asked))
    at = list(prompt)
    for token in hole.tokens:
        own = log_softmax(model.row(tuple(at)))[token.id]
        assert abs(token.logprob - own) < 1e-4 or (token.forced and token.logprob == 0.0 and values["fast_forward"])
        at.append(token.id)


@pytest.mark.parametrize("family", ["single bytes", "bytes", "sentencepiece"])
def test_the_likeliest_text_is_chosen(family: str) -> None:
    for seed in range(CASES // 3):
        try:
            check(family, seed)
        except Exception as error:
            raise AssertionError(f"{family}, case {seed}") from error
