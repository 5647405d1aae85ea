"""`argmax` over few texts: which holes get the likeliest text, what it costs, and that it is the same served and recorded."""

from __future__ import annotations

import asyncio
import enum
import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import pytest

import lmqlc
from lmqlc.backends.byte_tokenizer import ByteTokenizer
from lmqlc.backends.scripted import RandomBackend, scripted
from lmqlc.compiler.masks import likeliest
from lmqlc.runtime.results import HoleResult

SURE = 0.999


class Table(RandomBackend):
    """Says after a text, by how it ends (the longest end counts), these tokens with these probabilities, and else nothing in particular."""

    def __init__(self, said: Mapping[str, Mapping[str, float]], *words: str) -> None:
        super().__init__(0, tokenizer=ByteTokenizer(words))
        self._said = said
        self._ids = {token: i for i, token in enumerate(self.vocabulary.tokens) if token}

    def row(self, sequence: tuple[int, ...], rest: bytes = b"", taken: bytes = b"") -> Any:
        text = self.text(sequence).decode()
        end = max((key for key in self._said if text.endswith(key)), key=len, default=None)
        said = {} if end is None else self._said[end]
        left = (1 - sum(said.values())) / (len(self.vocabulary) - len(said))
        row = np.full(len(self.vocabulary), math.log(max(left, 1e-9)), np.float32)
        for token, share in said.items():
            row[self._ids[token.encode()] if token else self.vocabulary.eos_ids[0]] = math.log(share)
        return row


def hole_of(text: str, model: Any, **options: Any) -> HoleResult:
    result: Any = lmqlc.run_sync(text, model=model, **options)
    return result.holes[-1]


CITIES = Table(
    {"in": {" New": 0.6, " Paris": 0.3}, " New": {" York": 0.8}, " York": {" City": 0.7, "": 0.2}, " City": {"": SURE}},
    " New",
    " York",
    " City",
    " Paris",
)


def test_a_text_that_begins_another_counts_what_does_not_go_on() -> None:
    where = '"I live in[X]" where X in [" New York", " New York City", " Paris"]'
    hole = hole_of(where, CITIES)  # 0.6 * 0.8 * 0.7 > 0.3 > 0.6 * 0.8 * 0.3
    assert (hole.text, hole.exact, hole.finish_reason) == (" New York City", True, "closed")
    assert hole.logprob == pytest.approx(math.log(0.6 * 0.8 * 0.7), abs=1e-4)
    shares = dict(lmqlc.run_sync(where.replace("where", "distribution"), model=CITIES).distribution_values)
    assert shares[" New York"] > shares[" New York City"] > shares[" Paris"]


def test_a_text_that_begins_another_ends_with_the_likeliest_token_that_ends_it() -> None:
    model = Table({"in": {" New": SURE}, " New": {" York": SURE}, " York": {" City": 0.3, "": 0.2, ".": 0.4}}, " New", " York", " City")
    where = '"I live in[X]%s" where X in [" New York", " New York City"]'
    hole = hole_of(where % "", model)
    assert (hole.text, hole.finish_reason, hole.tokens[-1].id) == (" New York", "eos", model.vocabulary.eos_ids[0])
    assert hole.tokens[-1].logprob == pytest.approx(math.log(0.2), abs=1e-4)
    hole = hole_of(where % ".", model)
    assert (hole.text, hole.finish_reason, hole.tokens[-1].text) == (" New York", "follow", ".")
    hole = hole_of((where % "!") + ' and STOPS_BEFORE(X, ".")', model)
    assert (hole.text, hole.finish_reason, hole.tokens[-1].text) == (" New York", "stop", ".")


def test_a_first_token_that_many_legal_texts_share_does_not_decide() -> None:
    """The space is the likeliest legal token, and begins nothing that the model would say."""
    model = Table({"is": {" ": 0.3, " Paris": 0.2}, "is ": {"R": 0.2, "x": 0.7}, "R": {"o": 0.1}}, " Paris")
    where = '"The capital of France is[X]" where X in [" Rome", " Paris"]'
    assert hole_of(where, model, greedy=True).text == " Rome"
    assert hole_of(where, model).text == " Paris"
    assert hole_of(where, model, decoder="sample", temperature=0).exact
    for decoder in ("beam", "sample"):
        assert not hole_of(where, model, decoder=decoder, n=1).exact


class Colour(enum.Enum):
    RED = "red"
    DARK_RED = "dark red"


@pytest.mark.parametrize(
    ("hole", "arguments"),
    [
        ("[X: bool]", {}),
        ("[X: T]", {"T": Literal["a", "ab", 3]}),
        ("[X: T]", {"T": Colour}),
        ("[X: T]", {"T": tuple[Literal["a", "b"], bool]}),
        ('[X]" where X == "a" or X == "bcd', {}),
        ('[X]" where REGEX(X, "[ab]{1,3}") and not X == "ab', {}),
        ('[X]" where INT(X) and 3 <= int(X) <= 120 and not "x" == "y', {}),
        ('[X]" where X in ["Yes", "No"] and STOPS_BEFORE(X, "\\n") and not X == "', {}),
        ('[X]" where X in ["Yes.", "No."] and STOPS_AT(X, ".") and not X == "', {}),
        ('[X]" where X == "only this', {}),
        ('[X]" where X in [""] and not X == "a', {}),
        ('[X]" where X in opts and not X == "a', {"opts": [f"{number:03} é—🙂"[: 3 + number % 4] for number in range(512)]}),
    ],
)
@pytest.mark.parametrize("before", ["Say: ", "Say:", "Is it"])
def test_holes_of_few_texts(hole: str, arguments: dict[str, Any], before: str) -> None:
    text = f'"{before}{hole}"'
    found, again = hole_of(text, RandomBackend(3), **arguments), hole_of(text, RandomBackend(3), fast_forward=False, **arguments)
    assert found.exact and again.exact
    assert (found.text, found.value, found.finish_reason) == (again.text, again.value, again.finish_reason)
    with lmqlc.serve(RandomBackend(3), port=0, block=False) as server:
        served = hole_of(text, lmqlc.model("random", endpoint=server.url), **arguments)
        greedy = hole_of(text, lmqlc.model("random", endpoint=server.url), greedy=True, **arguments)
    assert (served.text, served.exact, served.finish_reason, served.tokens) == (found.text, True, found.finish_reason, found.tokens)
    assert not greedy.exact or not greedy.tokens
    here = hole_of(text, RandomBackend(3), greedy=True, **arguments)
    assert (here.text, here.tokens) == (greedy.text, greedy.tokens)


@lmqlc.constraint
def fine(text: str, final: bool) -> bool:
    return True


@pytest.mark.parametrize(
    ("where", "options"),
    [
        ('X in ["a", "b"] and len(TOKENS(X)) < 3', {}),
        ('X in ["a", "bcdefgh"]', {"max_tokens": 3}),
        ('X in ["a", "b"] and fine(X)', {"fine": fine}),
        ('REGEX(X, "[ab]+") and len(TOKENS(X)) < 3', {}),
        ('REGEX(X, "[a-z]{1,9}")', {}),
        ("len(X) < 9", {"max_tokens": 20}),
        ('GRAMMAR(X, "start: \\"a\\" | \\"b\\"")', {}),
    ],
)
def test_what_is_decoded_token_by_token(where: str, options: dict[str, Any]) -> None:
    found, greedy = (hole_of(f"'Say: [X]' where {where}", RandomBackend(3), greedy=by, **options) for by in (False, True))
    assert not found.exact
    assert (found.text, found.tokens) == (greedy.text, greedy.tokens)


def test_a_budget_that_is_just_enough_does_not_bind() -> None:
    hole = hole_of('"Say:[X]" where X in ["abc", "abd", "ab"]', RandomBackend(1), max_tokens=3)
    assert hole.exact and hole.finish_reason != "budget"
    assert not hole_of('"Say:[X]" where X in ["abc", "abd", "ab"]', RandomBackend(1), max_tokens=2).exact


def test_past_the_bound_the_hole_is_decoded_token_by_token(monkeypatch: pytest.MonkeyPatch) -> None:
    text, model = "'Say: [X]' where REGEX(X, '[0-9]{4}')", RandomBackend(3)
    greedy = hole_of(text, RandomBackend(3), greedy=True)
    assert hole_of(text, model).exact
    monkeypatch.setattr(likeliest, "MOST_JUDGED", 20)
    model.calls.clear()
    hole = hole_of(text, model)
    assert not hole.exact
    assert (hole.text, hole.tokens) == (greedy.text, greedy.tokens)
    assert sum(len(call.sequences) for call in model.calls) <= 20 + 4
    with lmqlc.serve(RandomBackend(3), port=0, block=False) as server:
        served = hole_of(text, lmqlc.model("random", endpoint=server.url))
    assert (served.exact, served.tokens) == (False, greedy.tokens)


def calls(where: str, model: RandomBackend, **options: Any) -> tuple[int, int]:
    """Calls of the model, and sequences asked about."""
    model.calls.clear()
    hole_of(f'"Say:[X]" where {where}', model, **options)
    return len(model.calls), sum(len(call.sequences) for call in model.calls)


def test_model_calls() -> None:
    words = [f" word{number:02}" for number in range(40)]
    model = RandomBackend(2, tokenizer=ByteTokenizer([*words, " New", " York", " City", " very", " good", " bad"]))
    assert calls("X in [' word01', ' word02', ' word03']", model) == (1, 1)
    assert calls("X in [' word01', ' good bad', ' very good', ' very bad']", model) == (1, 3)  # what follows is asked about at once
    assert calls(f"X in {words!r}", model) == (1, 1)
    assert calls("X == ' word07'", model) == (0, 0)
    assert calls("X in [' New York good', ' New York bad']", model) == (1, 1)  # what all begin with is not asked about
    assert calls("X in [' New York good', ' New York bad']", model, fast_forward=False) == (2, 3)


def test_many_options_cost_few_calls() -> None:
    """The model is sure; 512 options of three tokens take as many calls as decoding one, or fewer."""
    names = [f" {first}{second}{third}" for first in "abcdefgh" for second in "ijklmnop" for third in "qrstuvwx"]
    chain = {"Say:": {" ": SURE}, " ": {"c": 0.9}, "c": {"k": 0.9}, "k": {"w": 0.9}}
    found, greedy = calls(f"X in {names!r}", Table(chain)), calls(f"X in {names!r}", Table(chain), greedy=True)
    assert hole_of(f'"Say:[X]" where X in {names!r}', Table(chain)).text == " ckw"
    assert found[0] <= 2 * greedy[0] and found[1] <= 30


def test_tokens_are_told_when_the_text_is_found() -> None:
    events = list(lmqlc.stream('"I live in[X]." where X in [" New York", " New York City", " Paris"]', model=CITIES))
    result = events[-1].result
    shown = [event.rest if hasattr(event, "rest") else getattr(event, "text", "") for event in events[:-1]]
    assert "".join(shown) == result.prompt
    assert result.to_dict()["holes"][0]["exact"] is True
    assert result.usage.tokens + result.usage.forced == len(result.holes[0].tokens)


def test_a_hole_at_a_server_is_taken_up_where_its_stream_broke() -> None:
    from lmqlc.backends.choice import Sampling
    from lmqlc.backends.works import HoleWork
    from lmqlc.compiler.masks.hole import Budget, HoleRun
    from lmqlc.compiler.masks.likeliest import text_tree
    from lmqlc.compiler.masks.token_automaton import link
    from lmqlc.runtime.link import Place, text_automaton

    model = RandomBackend(5)
    automaton = text_automaton(lmqlc.compile("'[X]' where X in ['abc', 'abd', 'ab', 'ba']").program.holes[0].constraint, Place())

    def events(known: list[int]) -> list[Any]:
        linked = link(automaton, model.vocabulary, encode=lambda text: model.tokenizer.encode(text, first=False))
        hole = HoleRun("X", model.vocabulary, linked, Budget(20, "budget"))
        work = HoleWork(hole, [1, 2], Sampling(), [0], known, tree=text_tree(hole))
        while wanted := work.wants():
            work.take(np.stack([model.row(tuple(ids)) for ids in wanted]))
        return work.events

    whole = events([])
    ids = [event.id for event in whole[:-1]]
    for taken in range(1, len(ids) + 1):
        assert events(ids[:taken])[-1] == whole[-1]
        assert [event.id for event in events(ids[:taken])[:-1]] == ids[taken:]
    other = next(text for text in ("abc", "ba") if model.tokenizer.encode(text, first=False)[0] != ids[0] or text == "abc")
    start = model.tokenizer.encode(other, first=False)[:1]
    assert [*start, *(event.id for event in events(start)[:-1])][:1] == start


def test_old_servers_are_not_asked_for_it() -> None:
    from lmqlc.backends.base import ModelSpec
    from lmqlc.backends.http import ServerBackend, load_server

    with lmqlc.serve(RandomBackend(3), port=0, block=False) as server:
        backend = load_server(ModelSpec("server", "random", (("endpoint", server.url),)))
        assert isinstance(backend, ServerBackend) and backend.exact
        backend.exact = False
        hole = hole_of('"Say:[X]" where X in ["abc", "abd", "ab"]', backend)
        asyncio.run(backend.close())
    greedy = hole_of('"Say:[X]" where X in ["abc", "abd", "ab"]', RandomBackend(3), greedy=True)
    assert (hole.exact, hole.text, hole.tokens) == (False, greedy.text, greedy.tokens)


def test_a_script_that_goes_on_is_followed() -> None:
    assert hole_of('"Say: [X]" where X in ["yes", "yes please", "no"]', scripted("yes please")).text == "yes please"
    assert hole_of('"Say: [X]" where X in ["yes", "yes please", "no"]', scripted("yes")).text == "yes"


def test_an_unexpected_argument_is_named() -> None:
    with pytest.raises(lmqlc.errors.LmqlError, match="greedy"):
        hole_of('"[X]" where X in ["a"]', RandomBackend(1), greedy="yes")
    with pytest.raises(lmqlc.errors.LmqlError, match="greedy"):
        lmqlc.run_sync('beam(greedy=True)\n    "[X]"', model=RandomBackend(1))


def test_the_same_program_again_gives_the_same_certificate(tmp_path: Any) -> None:
    path = str(tmp_path / "run.json")
    lmqlc.run_sync('"I say [X]." where X in ["ab", "abc", "b"]', model="random:4", certificate=path)
    assert lmqlc.verify_sync(path)


def test_recordings_keep_no_texts_that_were_not_chosen(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from lmqlc.testing.running import Choices, TestedQuery

    monkeypatch.chdir(tmp_path)
    query_file = tmp_path / "q.lmql"
    query_file.write_text("# test: t\n#   assert X\n'Say: [X]' where REGEX(X, '[0-9]{3}')\n")
    query = TestedQuery.read(query_file)
    assert query.run(query.tests[0], Choices(model="random:3", mode="record")).passed
    query.save()
    assert (tmp_path / "cassettes" / "q.json").stat().st_size < 3000


def test_a_long_search_says_that_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server says how far it is, so that no client takes it for dead."""
    import time

    from lmqlc.backends.serve import holes

    class Slow(RandomBackend):
        seconds = 0.0

        def row(self, sequence: tuple[int, ...], rest: bytes = b"", taken: bytes = b"") -> Any:
            time.sleep(self.seconds)
            return super().row(sequence) * 0.01  # it hardly prefers any text

    monkeypatch.setattr(holes, "HEARTBEAT", 0.05)
    text, slow = "'Say: [X]' where REGEX(X, '[0-9]{3}')", Slow(3)
    here, slow.seconds = hole_of(text, slow), 0.02
    slow.calls.clear()
    with lmqlc.serve(slow, port=0, block=False) as server:
        started = time.monotonic()
        hole = hole_of(text, lmqlc.model("random", endpoint=server.url), chunk_timeout=1.0)
    assert time.monotonic() - started > 1.0
    assert hole.exact and hole.tokens == here.tokens
    asked = [sequence for call in slow.calls for sequence in call.sequences]
    assert len(asked) == len(set(asked))  # it was asked for once
