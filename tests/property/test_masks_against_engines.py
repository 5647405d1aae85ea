"""Masks equal those of two other engines, at random states, for patterns on which all three mean the same.

The vocabulary is a byte-level BPE that is trained here. Where the others are known to mean something else by a pattern the difference is
shown too, so that it is noticed when it goes. xgrammar takes part where it is installed; llguidance is what `lmqlc[schema]` brings.
"""

from __future__ import annotations

import os
import random
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

import lmqlc
from lmqlc.compiler.masks.forms import unpack
from lmqlc.loaded_tokenizers import loaded_tokenizer

WALKS = int(os.environ.get("LMQLC_ENGINE_WALKS", "40" if os.environ.get("LMQLC_LONG") else "4"))
STEPS = 12
SIZE = 2000
END = "<|end|>"
SAME = [
    r"[0-9]+",
    r"-?(0|[1-9][0-9]*)(\.[0-9]+)?",
    r"(yes|no|maybe|nobody)",
    r"(car|cart|carton)s?",
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}",
    r"[a-z]+( [a-z]+){0,3}\.",
    r"[A-Za-z0-9_]+@[a-z]+\.(com|org)",
    r"(é|ü|😀|漢字)+",
    r"[^\n]*",
    r'"[^"\\\n]*"',
    r"(ab|a)(bc|c)*",
    r"\{\"name\": \"[a-z]{1,8}\", \"age\": [0-9]{1,3}\}",
]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer trained on the project's own sources."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=SIZE, special_tokens=[END], initial_alphabet=alphabet, show_progress=False)
    texts = [path.read_text(encoding="utf-8") for path in sorted(Path(lmqlc.__file__).parent.glob("*.py"))]
    made.train_from_iterator(texts, trainer)
    file = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    made.save(str(file))
    return file


class Guidance:
    """llguidance."""

    def __init__(self, file: Path) -> None:
        import llguidance
        import llguidance.numpy

        self._module, self._numpy = llguidance, llguidance.numpy
        end = loaded_tokenizer(file, eos=END).vocabulary.eos_ids
        self._tokenizer = llguidance.LLTokenizer(str(file), eos_token=list(end))
        self._bits = llguidance.numpy.allocate_token_bitmask(1, self._tokenizer.vocab_size)

    def begin(self, pattern: str) -> None:
        grammar = self._module.LLMatcher.grammar_from_regex(pattern)
        self._matcher = self._module.LLMatcher(self._tokenizer, grammar)
        assert not self._matcher.is_error(), self._matcher.get_error()

    def mask(self) -> Any:
        self._numpy.fill_next_token_bitmask(self._matcher, self._bits)
        return self._bits[0]

    def advance(self, token: int) -> bool:
        return bool(self._matcher.consume_token(token))


class XGrammar:
    """xgrammar."""

    def __init__(self, file: Path) -> None:
        import xgrammar

        self._module = xgrammar
        vocabulary = loaded_tokenizer(file, eos=END).vocabulary
        info = xgrammar.TokenizerInfo(list(vocabulary.tokens), stop_token_ids=list(vocabulary.eos_ids))
        self._compiler = xgrammar.GrammarCompiler(info, max_threads=1)
        self._bits = xgrammar.allocate_token_bitmask(1, info.vocab_size)

    def begin(self, pattern: str) -> None:
        self._matcher = self._module.GrammarMatcher(self._compiler.compile_regex(pattern))

    def mask(self) -> Any:
        self._matcher.fill_next_token_bitmask(self._bits)
        return self._bits[0].numpy()

    def advance(self, token: int) -> bool:
        return bool(self._matcher.accept_token(token))


ENGINES = [Guidance, XGrammar] if find_spec("xgrammar") else [Guidance]


@pytest.fixture(scope="module")
def engines(tokenizer: Path) -> dict[str, Any]:
    return {engine.__name__: engine(tokenizer) for engine in ENGINES}


def bits(mask: Any, size: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    return np.asarray(unpack(np.ascontiguousarray(mask).view(np.uint32), size), bool)


def is_forced(tokens: set[bytes]) -> bool:
    """Whether a text has one way to go on: then llguidance allows the canonical token alone."""
    longest = max(tokens, key=len, default=b"")
    return b"" not in tokens and all(longest.startswith(token) for token in tokens)


@pytest.mark.parametrize("pattern", SAME)
def test_masks_are_equal_along_random_texts(pattern: str, tokenizer: Path, engines: dict[str, Any]) -> None:
    vocabulary = loaded_tokenizer(tokenizer, eos=END).vocabulary
    automaton = lmqlc.token_automaton("REGEX(X, pattern)", tokenizer=tokenizer, env={"pattern": pattern}, eos=END)
    for seed in range(WALKS):
        rng = random.Random(seed)
        state, path = automaton.start(), b""
        for engine in engines.values():
            engine.begin(pattern)
        for _ in range(STEPS):
            ours = bits(automaton.mask(state), len(vocabulary))
            both = ours.copy()
            both[list(vocabulary.eos_ids)] = False
            both[[i for i, known in enumerate(vocabulary.tokens) if known.endswith(b"\xed")]] = False  # see the surrogates below
            for name, engine in engines.items():
                theirs = bits(engine.mask(), len(vocabulary))
                mine, others = ({vocabulary.tokens[i] for i in np.flatnonzero(mask)} for mask in (ours, theirs))
                canonical = name == "Guidance" and is_forced(mine) and len(others) == 1 and others < mine
                assert canonical or (ours == theirs).all(), (name, path, mine ^ others)
                both &= theirs
            if not both.any():
                break
            token = int(rng.choice(np.flatnonzero(both)))
            state, path = automaton.advance(state, token), path + vocabulary.tokens[token]
            assert all(engine.advance(token) for engine in engines.values())


def first_tokens(pattern: str, tokenizer: Path, engine: Any) -> tuple[set[bytes], set[bytes]]:
    """The tokens that a text may begin with, for us and for an engine."""
    vocabulary = loaded_tokenizer(tokenizer, eos=END).vocabulary
    automaton = lmqlc.token_automaton("REGEX(X, pattern)", tokenizer=tokenizer, env={"pattern": pattern}, eos=END)
    engine.begin(pattern)
    found = bits(automaton.mask(automaton.start()), len(vocabulary)), bits(engine.mask(), len(vocabulary))
    ours, theirs = ({vocabulary.tokens[i] for i in np.flatnonzero(mask)} for mask in found)
    return ours, theirs


@pytest.mark.parametrize("engine", [engine.__name__ for engine in ENGINES])
def test_known_differences(engine: str, tokenizer: Path, engines: dict[str, Any]) -> None:
    """llguidance takes `.` and `\\d` as we do. xgrammar lets `.` match newlines and surrogates, and `\\d` match ASCII digits only."""
    ours, theirs = first_tokens(".+", tokenizer, engines[engine])
    newlines = {token for token in theirs - ours if b"\n" in token}
    assert ours == theirs - newlines
    assert bool(newlines) == (engine == "XGrammar")
    assert engines[engine].advance(loaded_tokenizer(tokenizer, eos=END).vocabulary.tokens.index(b"\xed"))
    after = {loaded_tokenizer(tokenizer, eos=END).vocabulary.tokens[i] for i in np.flatnonzero(bits(engines[engine].mask(), SIZE))}
    assert b"\x80" in after
    assert (b"\xa0" in after) == (engine == "XGrammar")  # no character begins so: UTF-8 has no surrogates
    ours, theirs = first_tokens(r"\d+", tokenizer, engines[engine])
    assert theirs <= ours
    assert (b"\xd9" in ours - theirs) == (engine == "XGrammar")  # as U+0660, ARABIC-INDIC DIGIT ZERO, begins
