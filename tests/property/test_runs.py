"""Runs on random models: whatever the model says, the text meets the constraint, and prompt, ids and events agree.

`LMQLC_LONG=1` runs more seeds.
"""

from __future__ import annotations

import os
import random
import re
from typing import Any

import pytest

import lmqlc
from lmqlc.backends.scripted import RandomBackend
from lmqlc.runtime.stream import Event, HoleEnd, HoleStart, TextEvent, TokenEvent

SEEDS = range(200 if os.environ.get("LMQLC_LONG") else 6)


def words(text: str) -> int:
    return len(text.split())


CONSTRAINTS: list[tuple[str, Any]] = [
    ("X in ['red', 'green', 'bluish', 'grün']", lambda x: x in ["red", "green", "bluish", "grün"]),
    ("X not in ['a', 'b'] and len(X) == 1", lambda x: x not in "ab" and len(x) == 1),
    ("len(X) < 5 and not 'e' in X", lambda x: len(x) < 5 and "e" not in x),
    ("REGEX(X, '[a-c]{2,7}(é|x)+')", lambda x: re.fullmatch("[a-c]{2,7}(é|x)+", x)),
    ("REGEX(X, r'\\d+(\\.\\d+)?') and len(X) > 3", lambda x: re.fullmatch(r"\d+(\.\d+)?", x) and len(x) > 3),
    ("INT(X) and len(X) <= 4", lambda x: re.fullmatch(r"-?(0|[1-9]\d*)", x) and len(x) <= 4),
    ("-5 <= int(X) < 130", lambda x: re.fullmatch(r"-?(0|[1-9]\d*)", x) and -5 <= int(x) < 130),
    ("len(TOKENS(X)) == 3", lambda x: True),
    ("len(WORDS(X)) == 2 and len(X) < 12", lambda x: words(x) == 2 and len(x) < 12),
    ("STOPS_AT(X, '.') and len(X) < 20", lambda x: len(x) < 20 and "." not in x[:-1]),
    ("STOPS_BEFORE(X, ['e', 'the']) and len(X) < 9", lambda x: len(x) < 9 and "e" not in x),
    (
        "X.startswith(('ab', 'c')) and X.endswith('z') and len(X) < 9",
        lambda x: x.startswith(("ab", "c")) and x.endswith("z") and len(x) < 9,
    ),
    ("(X == 'yes' or X.isdigit()) and len(X) < 6", lambda x: (x == "yes" or x.isdigit()) and len(x) < 6),
    ("'🙂' in X and len(X) <= 4", lambda x: "🙂" in x and len(x) <= 4),
]


class Recorder:
    def __init__(self) -> None:
        self.text = ""
        self.open = False

    def write(self, event: Event) -> None:
        if isinstance(event, HoleStart):
            assert not self.open
        self.open = isinstance(event, HoleStart | TokenEvent)
        if isinstance(event, TextEvent | TokenEvent):
            self.text += event.text
        elif isinstance(event, HoleEnd):
            self.text += event.rest


def asked_ids(model: RandomBackend) -> list[tuple[int, ...]]:
    return [sequence for call in model.calls for sequence in call.sequences]


@pytest.mark.parametrize(("where", "holds"), CONSTRAINTS, ids=[where for where, _ in CONSTRAINTS])
@pytest.mark.parametrize("decoder", ["argmax", "sample"])
def test_every_text_meets_its_constraint(where: str, holds: Any, decoder: str) -> None:
    for seed in SEEDS:
        pick = random.Random(f"{where}{seed}")
        prompt, after = pick.choice(["Q: ", "n=", "", "é"]), pick.choice([".", " and", "\n", "e", ""])
        model, recorder = RandomBackend(seed), Recorder()
        options = {"max_tokens": pick.choice([12, 20, 40])} | ({"seed": seed} if decoder == "sample" else {})
        text = f'"{{p}}[X]{after.encode("unicode_escape").decode()}" where {where}\n"[Y]" where len(TOKENS(Y)) <= 2'
        result = lmqlc.run_sync(text, p=prompt, model=model, decoder=decoder, output_writer=recorder, **options)
        hole = result.holes[0]
        assert holds(hole.text), (seed, hole)
        rest = hole.text + after + result.holes[1].text
        assert result.prompt in (prompt + rest, f"{prompt} {rest}")
        assert recorder.text == result.prompt
        assert len(hole.tokens) <= options["max_tokens"] + 1
        spoken = [b"".join(model.vocabulary.tokens[i] for i in ids) for ids in asked_ids(model)]
        whole = result.prompt.encode()
        assert all(whole.startswith(said) or hole.exact or hole.finish_reason in ("stop", "follow") for said in spoken), (
            seed,
            spoken,
            whole,
        )


def test_same_seed_same_run() -> None:
    def run() -> Any:
        result = lmqlc.run_sync('"[X]" where len(X) < 30', model="random:5", decoder="sample", seed=3, temperature=1.5)
        return [(token.id, token.logprob) for token in result.holes[0].tokens]

    assert run() == run()
