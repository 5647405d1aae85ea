"""Sampling against its definition, written out over sorted probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmqlc.backends.choice import Sampling


class Hole:
    """A hole of which some tokens are legal."""

    def __init__(self, legal: np.ndarray) -> None:
        self._legal = legal

    def legal(self, token_id: int) -> bool:
        return bool(self._legal[token_id])

    def masked(self, logits: np.ndarray) -> np.ndarray:
        return np.where(self._legal, logits, np.float32(-np.inf))


class Fixed:
    """A random generator that gives one number."""

    def __init__(self, number: float) -> None:
        self._number = number

    def random(self) -> float:
        return self._number


def shares(sampling: Sampling, logits: np.ndarray, legal: np.ndarray) -> dict[int, float]:
    """The probability of every token that may be chosen, likeliest first."""
    wide = np.where(legal, logits.astype(np.float64), -np.inf) / sampling.temperature
    probabilities = np.exp(wide - wide.max())
    probabilities /= probabilities.sum()
    order = sorted(np.flatnonzero(probabilities).tolist(), key=lambda i: (-probabilities[i], i))
    order = order[: sampling.top_k or None]
    total = sum(probabilities[i] for i in order)
    kept, mass = {}, 0.0
    for i in order:
        if sampling.top_p < 1 and mass >= sampling.top_p * total:
            break
        mass += probabilities[i]
        if probabilities[i] >= sampling.min_p * probabilities[order[0]]:
            kept[i] = probabilities[i]
    return {i: p / sum(kept.values()) for i, p in kept.items()}


SAMPLINGS = st.builds(
    Sampling,
    temperature=st.sampled_from([0.3, 1.0, 2.5]),
    top_k=st.sampled_from([0, 0, 1, 3, 40]),
    top_p=st.sampled_from([1.0, 1.0, 0.93, 0.41]),
    min_p=st.sampled_from([0.0, 0.0, 0.07, 0.6]),
)


@settings(max_examples=300, deadline=None)
@given(SAMPLINGS, st.integers(0, 2**32), st.integers(1, 300), st.sampled_from([0.3, 2.0, 12.0]))
def test_choices_follow_the_definition(sampling: Sampling, seed: int, width: int, spread: float) -> None:
    """At every tenth of the unit interval the token chosen is the one whose share lies there, away from the borders of shares."""
    source = np.random.default_rng(seed)
    logits = (source.standard_normal(width) * spread).astype(np.float32)
    legal = source.random(width) < source.choice([0.1, 1.0])
    legal[source.integers(width)] = True
    expected = shares(sampling, logits, legal)
    cut = (sampling.top_k, sampling.top_p, sampling.min_p) != (0, 1.0, 0.0)
    order = list(expected) if cut else sorted(expected)
    borders = np.cumsum([expected[i] for i in order])
    for number in (*np.linspace(0, 0.999, 11), np.nextafter(1.0, 0.0)):
        any_: Any = Fixed(float(number))
        chosen = sampling.choose(Hole(legal), logits, any_)
        assert legal[chosen]
        if abs(borders - number).min() > 1e-5:
            assert chosen == order[int(np.searchsorted(borders, number, side="right"))]


@pytest.mark.parametrize(
    "sampling", [Sampling(temperature=1.0), Sampling(temperature=0.7, top_p=0.8), Sampling(temperature=1.5, top_k=20, min_p=0.1)]
)
def test_frequencies(sampling: Sampling) -> None:
    source = np.random.default_rng(3)
    logits = source.standard_normal(2000).astype(np.float32) * 3
    legal = source.random(2000) < 0.8
    expected = shares(sampling, logits, legal)
    drawn = np.bincount([sampling.choose(Hole(legal), logits, source) for _ in range(4000)], minlength=2000)
    assert set(np.flatnonzero(drawn).tolist()) <= set(expected)
    for token, share in list(expected.items())[:5]:
        assert abs(drawn[token] / 4000 - share) < 5 * (share * (1 - share) / 4000) ** 0.5 + 1e-3


def test_one_legal_token_is_chosen_whatever_the_number() -> None:
    legal = np.zeros(1000, dtype=bool)
    legal[129] = True
    logits = np.zeros(1000, dtype=np.float32)
    for number in (0.0, 0.5, np.nextafter(1.0, 0.0)):
        any_: Any = Fixed(float(number))
        assert Sampling(temperature=1.0).choose(Hole(legal), logits, any_) == 129
        assert Sampling(temperature=1.0, top_p=0.5).choose(Hole(legal), logits, any_) == 129
