"""Vocabularies: consistent parts, and fingerprints that tell them apart."""

from __future__ import annotations

import pytest

from lmqlc.backends.base import Vocabulary


def test_special_and_end_ids_write_nothing() -> None:
    vocabulary = Vocabulary.build([b"a", b"<s>", b"</s>", b""], eos_ids=[2], special=[1])
    assert vocabulary.tokens == (b"a", b"", b"", b"")
    assert vocabulary.eos_ids == (2,)
    assert vocabulary.special == {1, 2, 3}
    assert len(vocabulary) == 4


@pytest.mark.parametrize("bad", [[4], [-1]])
def test_ids_outside_are_refused(bad: list[int]) -> None:
    with pytest.raises(ValueError, match="between 0 and 3"):
        Vocabulary.build([b"a", b"b", b"c", b"d"], eos_ids=bad)


def test_equal_parts_have_equal_fingerprints() -> None:
    one = Vocabulary.build([b"a", b"b", b"x"], eos_ids=[2, 2])
    two = Vocabulary.build([b"a", b"b", b"y"], eos_ids=[2], special=[2])
    assert one == two
    assert hash(one) == hash(two)


@pytest.mark.parametrize(
    "other",
    [
        Vocabulary.build([b"ab", b"c", b"", b""], eos_ids=[2]),
        Vocabulary.build([b"a", b"bc", b"", b"", b""], eos_ids=[2]),
        Vocabulary.build([b"a", b"bc", b"", b""], eos_ids=[3]),
        Vocabulary.build([b"a", b"bc", b"", b""], eos_ids=[2, 3]),
        Vocabulary.build([b"a", b"bc", b"", b""]),
    ],
)
def test_other_parts_have_other_fingerprints(other: Vocabulary) -> None:
    assert Vocabulary.build([b"a", b"bc", b"", b""], eos_ids=[2]) != other
