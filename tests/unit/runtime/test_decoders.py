"""Decoders: which token comes next, and their arguments."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lmqlc.backends.base import Vocabulary
from lmqlc.compiler.masks.hole import Budget, HoleRun
from lmqlc.grammar.errors import LmqlCompileError
from lmqlc.runtime import decoders

VOCABULARY = Vocabulary.build([b"", b"a", b"b", b"c", b"d"], eos_ids=[0])
LOGITS = np.log(np.array([0.05, 0.4, 0.3, 0.2, 0.05], np.float32))


def hole() -> HoleRun:
    return HoleRun("X", VOCABULARY, None, Budget(9, "length"))


def shares(draws: int = 4000, **arguments: Any) -> np.ndarray:
    decoder = decoders.make("sample", arguments)
    random = np.random.default_rng(3)
    counts = np.bincount([decoder.choose(hole(), LOGITS, random) for _ in range(draws)], minlength=5)
    return counts / draws


def test_argmax_takes_the_smallest_of_equal_tokens() -> None:
    assert decoders.make("argmax", {}).choose(hole(), np.array([0, 1, 1, 0, 1], np.float32), np.random.default_rng()) == 1


def test_sample_follows_the_probabilities() -> None:
    assert np.abs(shares() - np.exp(LOGITS)).max() < 0.03


def test_temperature_sharpens_and_zero_is_argmax() -> None:
    squared = np.exp(2 * LOGITS) / np.exp(2 * LOGITS).sum()
    assert np.abs(shares(temperature=0.5) - squared).max() < 0.03
    assert shares(draws=50, temperature=0)[1] == 1.0


def test_cuts() -> None:
    assert np.abs(shares(top_k=2) - [0, 4 / 7, 3 / 7, 0, 0]).max() < 0.03
    assert np.abs(shares(top_p=0.69) - [0, 4 / 7, 3 / 7, 0, 0]).max() < 0.03
    assert np.abs(shares(top_p=0.71) - [0, 4 / 9, 3 / 9, 2 / 9, 0]).max() < 0.03
    assert np.abs(shares(min_p=0.6) - [0, 4 / 7, 3 / 7, 0, 0]).max() < 0.03
    assert shares(draws=50, top_p=0.01)[1] == 1.0


def test_repetition_penalty_is_that_of_transformers() -> None:
    import torch
    from transformers import RepetitionPenaltyLogitsProcessor

    logits, sequence = np.array([1.0, -2.0, 3.0, -4.0, 0.5], np.float32), [0, 1, 1, 2]
    expected = RepetitionPenaltyLogitsProcessor(1.7)(torch.tensor([sequence]), torch.tensor(logits)[None].clone())[0].numpy()
    assert np.allclose(decoders.make("argmax", {"repetition_penalty": 1.7}).sampling.penalised(logits, sequence), expected)


def test_frequency_and_presence_penalties_count() -> None:
    decoder = decoders.make("argmax", {"frequency_penalty": 0.5, "presence_penalty": 0.25})
    assert np.allclose(decoder.sampling.penalised(np.zeros(5, np.float32), [1, 1, 3]), [0, -1.25, 0, -0.75, 0])
    plain = np.zeros(5, np.float32)
    assert decoders.make("argmax", {}).sampling.penalised(plain, [1]) is plain


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("argmx", {}, "did you mean `argmax`"),
        ("nothing_like_it", {}, "there are: argmax, beam, beam_sample, beam_var, best_k, sample, var"),
        ("argmax", {"temperature": 1}, "takes no argument `temperature`"),
        ("sample", {"temprature": 1}, "did you mean `temperature`"),
        ("sample", {"temperature": -1}, "at least 0"),
        ("sample", {"top_p": 1.5}, "between 0 and 1"),
        ("sample", {"n": 0}, "integer of at least 1"),
        ("sample", {"n": True}, "integer of at least 1"),
        ("sample", {"temperature": float("nan")}, "a number"),
        ("argmax", {"max_len": "long"}, "integer of at least 1"),
        ("argmax", {"repetition_penalty": 0}, "above 0"),
    ],
)
def test_wrong_names_and_values_are_named(name: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(LmqlCompileError, match=message):
        decoders.make(name, arguments)
