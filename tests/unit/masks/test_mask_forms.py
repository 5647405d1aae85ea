"""Masks as bits, ids and rows, and how they are applied to scores."""

from __future__ import annotations

import numpy as np
import pytest

from lmqlc.compiler.masks import forms
from lmqlc.compiler.masks.classes import ClassBlock

WIDTHS = [1, 31, 32, 33, 1000]


def random_flags(width: int, share: float) -> np.ndarray:
    return np.random.default_rng(width).random(width) < share


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.98, 1.0])
def test_packing_goes_both_ways_and_leaves_no_bit_past_the_width(width: int, share: float) -> None:
    flags = random_flags(width, share)
    bits = forms.pack(flags)
    assert bits.dtype == np.uint32 and len(bits) == forms.words(width)
    assert np.array_equal(forms.unpack(bits, width), flags)
    assert not forms.unpack(bits, 32 * len(bits))[width:].any()
    assert [forms.allows(bits, i) for i in range(width)] == flags.tolist()
    assert not forms.allows(bits, 32 * len(bits)) and not forms.allows(bits, -1)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.98, 1.0])
@pytest.mark.parametrize("known", [True, False])
def test_applying_sets_exactly_the_forbidden_scores(width: int, share: float, known: bool) -> None:
    flags = random_flags(width, share)
    bits = forms.pack(flags)
    mask = forms.Mask(bits, width, int(flags.sum())) if known else None
    scores = np.random.default_rng(0).standard_normal(width).astype(np.float32)
    expected = np.where(flags, scores, np.float32(-np.inf))
    for _ in range(2):
        forms.apply(scores, bits)
        assert np.array_equal(scores, expected)
    assert mask is None or mask.bits is bits


def test_scores_wider_than_the_mask_are_forbidden_there() -> None:
    scores = np.zeros(70, np.float32)
    forms.apply(scores, forms.pack(np.ones(40, np.bool_)))
    assert np.isfinite(scores[:40]).all() and np.isneginf(scores[40:]).all()


def test_masks_are_read_only() -> None:
    mask = forms.Mask(forms.pack(np.ones(40, np.bool_)), 40, 40)
    with pytest.raises(ValueError, match="read-only"):
        mask.bits[0] = 0


def test_ids_list_the_rarer_kind() -> None:
    few = forms.Mask(forms.pack(np.arange(100) == 7), 100, 1)
    most = forms.Mask(forms.pack(np.arange(100) != 7), 100, 99)
    assert few.lists_allowed and few.ids.tolist() == [7]
    assert not most.lists_allowed and most.ids.tolist() == [7]


def test_rows_are_kept_within_bounds() -> None:
    masks = [forms.Mask(forms.pack(random_flags(64, 0.5)), 64, 32) for _ in range(forms.ROWS + 5)]
    rows = [mask.row for mask in masks]
    assert sum(mask.has_row for mask in masks) <= forms.ROWS
    assert all(np.array_equal(row, mask.row) for row, mask in zip(rows, masks, strict=True))


@pytest.mark.parametrize("listed", [True, False])
def test_the_pool_builds_unions_and_extends_them(listed: bool) -> None:
    pool = forms.MaskPool(50)
    members = [np.arange(0, 10), np.arange(10, 45), np.arange(45, 50)]
    class_of = np.repeat(np.arange(3, dtype=np.uint16), [10, 35, 5])
    classes = ClassBlock(0, class_of, np.zeros((1, 1, 3), np.uint16), np.zeros(3, np.int32), members if listed else [])
    none = np.zeros(0, np.intp)
    for allowed in ([True, False, False], [True, True, False], [False, False, False], [True, True, True]):
        mask = pool.build(classes, np.array(allowed), none)
        expected = sorted(token for group, yes in zip(members, allowed, strict=True) for token in group.tolist() if yes)
        assert np.flatnonzero(forms.unpack(mask.bits, 50)).tolist() == expected
        assert mask.allowed == len(expected)
        longer = pool.extend(mask.bits, mask.allowed, np.array([3, 49]))
        assert np.flatnonzero(forms.unpack(longer.bits, 50)).tolist() == sorted({*expected, 3, 49})
        assert longer.allowed == len({*expected, 3, 49})
