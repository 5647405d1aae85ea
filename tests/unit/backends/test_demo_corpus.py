"""The demo model's training text: the same for a seed, well-formed, its two parts apart."""

from __future__ import annotations

import datetime
import json
import re
from itertools import islice
from random import Random

from lmqlc.backends.demo import corpus, knowledge, sums, writing
from lmqlc.backends.demo.batches import held_out

COUNT = 3000


def texts(seed: int, count: int = COUNT) -> list[str]:
    return [corpus.plain(document) for document in islice(corpus.documents(seed), count)]


def test_a_seed_gives_the_same_documents() -> None:
    assert texts(3) == texts(3)
    assert texts(3) != texts(4)


def test_every_topic_comes_up_and_documents_are_small() -> None:
    rng = Random(0)
    for weight, maker in corpus.TOPICS:
        assert weight > 0
        made = [corpus.plain(maker(rng)) for _ in range(50)]
        assert len(set(made)) > 5, maker.__name__
        assert all(0 < len(text) < 1200 for text in made), maker.__name__
        assert not any("<|" in text for text in made), maker.__name__


def test_documents_vary() -> None:
    assert len(set(texts(5))) > 0.9 * COUNT


def test_equations_are_right() -> None:
    rng = Random(1)
    found = [match for _ in range(300) for match in re.finditer(r"(\d+) ?([-+*]) ?(\d+) ?= ?(\d+)", sums.equations(rng))]
    assert len(found) > 300
    for first, sign, second, result in (match.groups() for match in found):
        assert {"+": int.__add__, "-": int.__sub__, "*": int.__mul__}[sign](int(first), int(second)) == int(result)


def test_records_are_json_in_the_standard_layout() -> None:
    rng = Random(2)
    for _ in range(300):
        text = writing.record(rng)
        shown = text[text.index("{") :].strip()
        assert json.dumps(json.loads(shown), ensure_ascii=False) == shown


def test_dates_agree() -> None:
    rng = Random(3)
    for _ in range(300):
        text = writing.meeting(rng)
        written = re.search(r"\d+ [A-Z][a-z]+ \d{4}", text)
        iso = re.search(r"\d{4}-\d\d-\d\d", text)
        assert written and iso
        assert datetime.datetime.strptime(written[0], "%d %B %Y").date() == datetime.date.fromisoformat(iso[0])


def test_choices_hold_the_right_answer_once() -> None:
    rng = Random(4)
    for _ in range(300):
        item = knowledge.fact(rng)
        assert item.answer not in item.wrong
        assert len(set(item.wrong)) == len(item.wrong) >= 2
        assert item.answer in item.sentence


def test_held_out_documents_are_a_small_fixed_part() -> None:
    documents = list(islice(corpus.documents(6), COUNT))
    kept = [document for document in documents if held_out(document)]
    assert 0.005 < len(kept) / COUNT < 0.05
    assert kept == [document for document in documents if held_out(document)]
