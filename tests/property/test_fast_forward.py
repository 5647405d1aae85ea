"""Text that a constraint leaves no choice about: at once or token by token, the same is written, in no more model calls than tokens."""

from __future__ import annotations

import os
import random
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import lmqlc
from lmqlc.backends.byte_tokenizer import ByteTokenizer
from lmqlc.backends.scripted import RandomBackend
from lmqlc.grammar.errors import UnsatisfiableConstraint

CASES = 2000 if os.environ.get("LMQLC_LONG") else 60
WORDS = (
    "the",
    " the",
    " answer",
    " is",
    "answer",
    "th",
    "an",
    "swer",
    " yes",
    " no",
    "no",
    "yes",
    "20",
    "2024",
    "-0",
    "name",
    '": "',
    '{"',
    "\n\n",
    ": ",
    "é",
)


@dataclass
class Person:
    name: str
    age: int


FORMULAS = [
    "X in ['the answer is yes', 'the answer is no', 'another answer', 'nothing']",
    "REGEX(X, r'(the answer|an answer) is (yes|no|[0-9]{1,2}), of course\\\\.?')",
    "REGEX(X, r'20[0-9]{2}-0[1-9]-[0-3][0-9]')",
    "X.startswith('the answer is ') and len(X) < 20",
    "REGEX(X, r'the the the .{1,4} the the the')",
    "REGEX(X, r'é{3}[a-c]é{3}')",
    "type(X) is Person",
    "STOPS_BEFORE(X, ' is') and X.startswith('the answer')",
    "X.startswith('the answer') and STOPS_AT(X, 'no')",
    "len(TOKENS(X)) < 9 and X in ['the answer is yes', 'the answer is no']",
    "JSON(X, schema)",
]
NAMED = {"name": {"enum": ["the answer", "an answer"]}}
SCHEMA = {"type": "object", "properties": NAMED, "required": ["name"], "additionalProperties": False}
PROMPTS = ["The answer: ", "Q", "th", 'A: {"', "is\n"]


def run(number: int, formula: str, prompt: str, **options: Any) -> tuple[Any, int]:
    rng = random.Random(number)
    model = RandomBackend(number, tokenizer=ByteTokenizer(tuple(rng.sample(WORDS, rng.randint(4, len(WORDS))))))
    values = {name: value for name, value in (("Person", Person), ("schema", SCHEMA)) if name in formula}
    text = f"'{{prompt}}[X], [Y]' where {formula} and len(TOKENS(Y)) < 3"
    result: Any = lmqlc.run_sync(text, prompt=prompt, model=model, **options, **values)
    return result, len(model.calls)


def compare(seed: int) -> int:
    rng = random.Random(seed)
    formula, prompt = rng.choice(FORMULAS), rng.choice(PROMPTS)
    options: dict[str, Any] = {"token_healing": rng.random() < 0.7, "max_tokens": rng.choice([None, None, 30, 60])}
    options |= {"decoder": "sample", "seed": seed, "temperature": 0.8} if rng.random() < 0.5 else {"greedy": True}
    try:
        fast, calls = run(seed, formula, prompt, **options)
    except UnsatisfiableConstraint as error:  # a budget that no text fits
        with pytest.raises(type(error)):
            run(seed, formula, prompt, **options, fast_forward=False)
        return 0
    slow, more = run(seed, formula, prompt, **options, fast_forward=False)
    assert fast.prompt == slow.prompt
    for one, other in zip(fast.holes, slow.holes, strict=True):
        assert [(token.id, token.forced) for token in one.tokens] == [(token.id, token.forced) for token in other.tokens]
        assert (one.finish_reason, one.healed, one.value) == (other.finish_reason, other.healed, other.value)
        free = [(a.logprob, b.logprob) for a, b in zip(one.tokens, other.tokens, strict=True) if not a.forced]
        assert not free or np.allclose(*zip(*free, strict=True))
        assert all(token.logprob == 0.0 for token in one.tokens if token.forced)
        assert all(token.logprob < 0.0 for token in other.tokens if token.forced)
    tokens = sum(len(hole.tokens) for hole in fast.holes)
    assert calls == fast.usage.tokens == tokens - fast.usage.forced
    assert more == tokens
    if "TOKENS(X)" in formula:
        assert not any(token.forced for token in fast.holes[0].tokens)
    return int(fast.usage.forced)


@pytest.mark.parametrize("part", range(3))
def test_forced_text_is_the_same_in_one_call_or_many(part: int) -> None:
    assert sum(compare(seed) for seed in range(part, CASES, 3)) > CASES
