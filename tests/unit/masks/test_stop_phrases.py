"""Stop phrases beside atoms that are not regular: byte automata of their own."""

from __future__ import annotations

import re

import pytest

from lmqlc.compiler.constraints import Const, Stop
from lmqlc.compiler.masks.phrases import phrases_of


@pytest.mark.parametrize(("length", "whole"), [(1, True), (40, True), (41, False), (80, False)])
def test_a_long_bounded_phrase_keeps_its_bound(length: int, whole: bool) -> None:
    (phrase,) = phrases_of([Stop(Const(re.compile("a{1,40}")), keep=False)])
    state = phrase.start
    for _ in range(length):
        state = phrase.steps[state][ord("a")]
    assert phrase.ends[state] == whole
