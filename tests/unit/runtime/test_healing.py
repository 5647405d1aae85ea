"""Where holes are healed, and where they are not: turns of a chat, holes after holes, nested queries, branches, prompts of one token."""

from __future__ import annotations

import math
from typing import Any

import pytest

import lmqlc
from lmqlc.backends.scripted import RandomBackend, scripted

TWICE = """
import lmqlc

@lmqlc.query
def inner():
    '''lmql
    "number [W]" where W in ["1", "10"]
    return W
    '''

"The [X: inner] and 1[Y]" where Y in ["0", "x"]
"""


def healed(result: Any) -> list[str]:
    return [hole.healed for hole in result.holes]


def test_a_hole_right_after_a_hole_takes_nothing_back() -> None:
    result: Any = lmqlc.run_sync("'Say [X][Y] a[Z]'", model="random:3", max_tokens=2)
    assert healed(result) == [" ", "", " a"]
    assert result.holes[1].prompt_ids == (*result.holes[0].prompt_ids, *(token.id for token in result.holes[0].tokens))


def test_turns_of_a_chat_are_healed_within_their_content_only() -> None:
    model = scripted("the", "the cat", chat=True)
    result: Any = lmqlc.run_sync("'{:user}hi{:assistant}[X]{:user}more{:assistant}Well then [Y]'", model=model)
    assert healed(result) == ["", " "]
    x, y = result.holes
    assert x.prompt_ids[-1] in model.vocabulary.special
    assert (x.text, y.text) == ("the", "the cat")
    assert result.prompt == "{:user}hi{:assistant}the{:user}more{:assistant}Well then the cat"


def test_the_only_token_of_a_prompt_stays() -> None:
    assert healed(lmqlc.run_sync("' [X]'", model="random:3", max_tokens=2)) == [""]
    assert healed(lmqlc.run_sync("'[X]'", model="random:3", max_tokens=2)) == [""]


def test_nested_queries_go_back_over_what_they_healed() -> None:
    result: Any = lmqlc.run_sync(TWICE, model=scripted("10", "0"))
    assert result.prompt == "The 10 and 10"
    assert result.variables == {"X": "10", "Y": "0"}


@pytest.mark.parametrize("decoder", ["sample", "beam"])
def test_branches_heal_each_for_itself(decoder: str) -> None:
    model = RandomBackend(11)
    options: dict[str, Any] = {"decoder": decoder, "n": 3, "max_tokens": 3} | ({"seed": 4} if decoder == "sample" else {})
    results = lmqlc.run_sync("'It is [X] a[Y]'", model=model, **options)
    for result in results:
        prompt = "It is " + result.variables["X"] + " a" + result.variables["Y"]
        assert result.prompt == prompt
        for hole in result.holes:
            assert hole.healed
            assert model.vocabulary.tokens[hole.tokens[0].id].startswith(hole.healed.encode())
            assert all(token.logprob < 0 and math.isfinite(token.logprob) for token in hole.tokens)
            assert hole.count <= 3


def test_what_was_taken_back_belongs_to_the_prompt_of_a_stop_inside_the_first_token() -> None:
    """The first token runs into the text and past its stop: the prompt keeps its end, and the text what stands before the stop."""
    from lmqlc.backends.byte_tokenizer import ByteTokenizer

    model = scripted("ab.c", tokenizer=ByteTokenizer((":ab.c", " ab", "xy")))
    result: Any = lmqlc.run_sync("'Say:[X] [Y]' where STOPS_BEFORE(X, '.')", model=model, max_tokens=4)
    x, y = result.holes
    assert (x.text, x.healed, x.finish_reason, len(x.tokens)) == ("ab", ":", "stop", 1)
    assert result.prompt.startswith("Say:ab ")
    encode = model.tokenizer.encode
    assert list(y.prompt_ids) in (
        [*encode("Say:", first=True), *encode("ab", first=False)],
        [*encode("Say:ab", first=True), *encode(" ", first=False)],
    )


def test_counts_see_the_text_alone() -> None:
    for healing in (True, False):
        result: Any = lmqlc.run_sync("'N: [X]' where len(TOKENS(X)) == 2 and len(X) == 4", model="random:8", token_healing=healing)
        assert len(result.variables["X"]) == 4
        assert result.holes[0].count == 2


def test_usage_by_hand() -> None:
    """Positions and calls of a scripted model that forgets nothing: X is put back and ends, the rest is written, Y is chosen."""
    model = scripted("zz", "7")
    result: Any = lmqlc.run_sync("'Q [X]! 1[Y]' where len(X) == 2 and REGEX(Y, '[0-9]-the end')", model=model)
    x, y = result.holes
    assert [token.text for token in x.tokens] == [" ", "z", "z"]
    forced = [token for token in y.tokens if token.forced]
    assert "".join(token.text for token in forced) == "-the end"
    asked = [call.sequences[0] for call in model.calls]
    assert result.usage.forward_passes == len(asked) == result.usage.tokens == len(x.tokens) + len(y.tokens) - len(forced)
    assert result.usage.forced == len(forced)
    read: set[tuple[int, ...]] = set()
    computed = 0
    for ids in asked:
        prefixes = {ids[:end] for end in range(1, len(ids) + 1)}
        computed += max(len(prefixes - read), 1)
        read |= prefixes
    assert result.usage.tokens_computed == computed
    assert result.usage.tokens_reused == sum(map(len, asked)) - computed
