"""Where holes are healed, and where they are not: turns of a chat, holes after holes, nested queries, branches, prompts of one token."""

from __future__ import annotations

import math
from typing import Any

import pytest

import lmqlc
from lmqlc.backends.byte_tokenizer import ByteTokenizer
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
    result: Any = lmqlc.run_sync("'Q [X]! 1[Y]' where len(X) == 2 and REGEX(Y, '[0-9]-the end')", model=model, greedy=True)
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


class Silent(RandomBackend):
    """Ends at once wherever the prompt is whole, and would write text that was taken back as it was."""

    def row(self, sequence: tuple[int, ...], rest: bytes = b"", taken: bytes = b"") -> Any:
        row = super().row(sequence) * 0.01
        whole = self.text(sequence).endswith(b"Say a")
        row[0 if whole else self.tokenizer.encode(" a", first=False)[0]] = 9.0
        return row


@pytest.mark.parametrize("where", ["", " where X in ['', 'nd']", " where not 'z' in X and len(X) < 4", " where len(TOKENS(X)) < 2"])
@pytest.mark.parametrize("options", [{}, {"decoder": "beam", "n": 1}, {"max_tokens": 2}])
def test_a_model_that_would_end_at_once_may_do_so(where: str, options: dict[str, Any]) -> None:
    """The text that was taken back is put back, and end-of-text follows it, as without healing."""
    for healing in (True, False):
        result: Any = lmqlc.run_sync("'Say a[X]'" + where, model=Silent(1), token_healing=healing, **options)
        (hole,) = result.holes
        assert (hole.text, result.prompt) == ("", "Say a")
        assert hole.healed == (" a" if healing else "")
        assert (hole.finish_reason, hole.tokens[-1].id) == ("eos", 0)


def test_a_model_may_end_at_once_within_a_budget_of_one_token() -> None:
    result: Any = lmqlc.run_sync("'Say a[X]'", model=Silent(1), max_tokens=1)
    assert (result.holes[0].text, result.holes[0].finish_reason, result.holes[0].healed) == ("", "eos", " a")


class Turning(RandomBackend):
    """Says `ok`, and then the special token of a turn."""

    def row(self, sequence: tuple[int, ...], rest: bytes = b"", taken: bytes = b"") -> Any:
        row = super().row(sequence) * 0.01
        text, tokens = self.text(sequence), self.vocabulary.tokens
        row[TURN if text.endswith(b"ok") else tokens.index(b"k" if text.endswith(b"o") else b"o" if text.endswith(b" a") else b" a")] = 9.0
        return row


CHAT = ByteTokenizer(chat=True)
TURN = CHAT.vocabulary.named["<user>"]


@pytest.mark.parametrize("stop", ["STOPS_AT", "STOPS_BEFORE"])
@pytest.mark.parametrize("decoder", [{}, {"decoder": "sample", "temperature": 0.01}, {"decoder": "beam", "n": 1}])
def test_a_special_token_stops_a_hole_that_names_it(stop: str, decoder: dict[str, Any]) -> None:
    model = Turning(1, tokenizer=CHAT)
    for rest in ("", " and len(X) < 9", " and X in ['', 'ok', 'okay']"):
        result: Any = lmqlc.run_sync(f"'Say a[X]!' where {stop}(X, '<user>'){rest}", model=model, **decoder)
        (hole,) = result.holes
        assert (hole.text, hole.finish_reason, hole.tokens[-1].id, result.prompt) == ("ok", "stop", TURN, "Say aok!")
    other: Any = lmqlc.run_sync("'Say a[X]!' where len(X) < 9", model=model, **decoder)
    assert TURN not in [token.id for token in other.holes[0].tokens]  # not where no stop names it


def test_a_special_token_alone_stops_a_healed_hole() -> None:
    class At(Turning):
        def row(self, sequence: tuple[int, ...], rest: bytes = b"", taken: bytes = b"") -> Any:
            row = super().row(sequence)
            if self.text(sequence).endswith(b" a"):
                row[TURN] = 19.0
            return row

    result: Any = lmqlc.run_sync("'Say a[X]!' where STOPS_AT(X, '<user>')", model=At(1, tokenizer=CHAT))
    (hole,) = result.holes
    assert (hole.text, hole.finish_reason, hole.healed, result.prompt) == ("", "stop", " a", "Say a!")


def test_the_turn_end_of_the_demo_model_is_a_stop() -> None:
    chat = "'{:user}What is 2 + 2?{:assistant}[X]' where STOPS_AT(X, '<|end|>')"
    plain: Any = lmqlc.run_sync(chat.partition(" where")[0], model="demo")
    found: Any = lmqlc.run_sync(chat, model="demo")
    assert found.holes[0].text == plain.holes[0].text != ""
    assert found.holes[0].tokens[-1].id == plain.holes[0].tokens[-1].id
