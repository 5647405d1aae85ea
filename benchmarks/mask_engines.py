"""The engines of `benchmarks.masks` behind one small interface: compile a row, start a text, mask, apply, advance."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from benchmarks.mask_rows import Row
from lmqlc.backends.tokenizer import load_tokenizer
from lmqlc.compiler import artifact
from lmqlc.compiler import constraints as c
from lmqlc.compiler.automata.automaton import TextAutomaton
from lmqlc.compiler.automata.build import build
from lmqlc.compiler.driver import compile_source
from lmqlc.compiler.masks import files, forms, store
from lmqlc.compiler.masks.core import forget_cores
from lmqlc.compiler.masks.token_automaton import TokenAutomaton, link
from lmqlc.grammar.source import Source

_PROGRAM = compile_source(Source("q.lmql", '"[X]"\n'))
"""What the arrays of an artifact stand beside."""
Scores = np.ndarray[Any, np.dtype[np.float32]]


class Text(Protocol):
    """One text being decoded."""

    def mask(self) -> object: ...

    def apply(self, scores: Scores) -> None:
        """Apply the mask computed last."""
        ...

    def advance(self, token: int) -> bool: ...


class Engine(Protocol):
    name: str

    def compile(self, row: Row) -> Any:
        """Compile from nothing; None where the engine cannot."""
        ...

    def start(self, compiled: Any) -> Text: ...


class OurText:
    def __init__(self, linked: TokenAutomaton) -> None:
        self.linked, self.state, self.bits = linked, linked.start(), None

    def mask(self) -> object:
        self.bits = self.linked.mask(self.state)
        return self.bits

    def apply(self, scores: Scores) -> None:
        forms.apply(scores, self.bits)

    def advance(self, token: int) -> bool:
        state = self.linked.advance(self.state, token)
        if state is None:
            return False
        self.state = state
        return True


class Ours:
    """lmqlc: compiled from nothing, linked again from a kept text automaton, or read from a file."""

    name = "lmqlc"

    def __init__(self, folder: Path) -> None:
        self.vocabulary = load_tokenizer(str(folder)).vocabulary
        link(build(c.Equals(c.Const("a"))), self.vocabulary)  # the tokenizer's own index is built, or read, here

    def compile(self, row: Row) -> TokenAutomaton:
        forget_cores()
        return link(build(row.constraint), self.vocabulary)

    def again(self, automaton: TextAutomaton) -> TokenAutomaton:
        return link(automaton, self.vocabulary)

    def save(self, linked: TokenAutomaton, artifact_path: Path, kept_path: Path) -> None:
        """As an artifact (`lmqlc compile --tokenizer`), and as the cache on disk keeps it."""
        arrays = store.to_arrays(linked)
        artifact.save(_PROGRAM, artifact_path, arrays)
        files.write_arrays(kept_path, arrays, {"kind": "automaton"})

    def first(self, arrays: Mapping[str, files.Array]) -> OurText:
        """A text over what an artifact holds."""
        return self.start(store.from_arrays(arrays, self.vocabulary))

    def recalled(self, kept_path: Path) -> OurText:
        """A text over a file of the cache, opened now."""
        return self.first(files.read_arrays(kept_path)[0])

    def start(self, compiled: TokenAutomaton) -> OurText:
        return OurText(compiled)


class GuidanceText:
    def __init__(self, engine: Guidance, compiled: str) -> None:
        import llguidance

        self.engine = engine
        self.matcher = llguidance.LLMatcher(engine.tokenizer, compiled)
        if self.matcher.is_error():
            raise ValueError(self.matcher.get_error())

    def mask(self) -> object:
        self.engine.fill(self.matcher, self.engine.bits)
        return self.engine.bits

    def apply(self, scores: Scores) -> None:
        self.engine.apply(scores, self.engine.bits)

    def advance(self, token: int) -> bool:
        return bool(self.matcher.consume_token(token))


class Guidance:
    name = "llguidance"

    def __init__(self, folder: Path, eos: list[int]) -> None:
        import llguidance
        import llguidance.numpy

        self.tokenizer = llguidance.LLTokenizer(str(folder / "tokenizer.json"), eos_token=eos)
        self.fill = llguidance.numpy.fill_next_token_bitmask
        self.apply = llguidance.numpy.apply_token_bitmask_inplace
        self.bits = llguidance.numpy.allocate_token_bitmask(1, self.tokenizer.vocab_size)

    def compile(self, row: Row) -> str | None:
        import llguidance

        if row.lark:
            return str(llguidance.LLMatcher.grammar_from_lark(row.lark))
        return str(llguidance.LLMatcher.grammar_from_regex(row.pattern)) if row.pattern else None

    def start(self, compiled: str) -> GuidanceText:
        return GuidanceText(self, compiled)


class XGrammarText:
    def __init__(self, engine: XGrammar, compiled: Any) -> None:
        import xgrammar

        self.engine = engine
        self.matcher = xgrammar.GrammarMatcher(compiled)

    def mask(self) -> object:
        self.matcher.fill_next_token_bitmask(self.engine.bits)
        return self.engine.bits

    def apply(self, scores: Scores) -> None:
        import xgrammar

        xgrammar.apply_token_bitmask_inplace(torch.from_numpy(scores)[None], self.engine.bits)

    def advance(self, token: int) -> bool:
        return bool(self.matcher.accept_token(token))


class XGrammar:
    name = "xgrammar"

    def __init__(self, tokens: tuple[bytes, ...], eos: list[int]) -> None:
        import xgrammar

        info = xgrammar.TokenizerInfo(list(tokens), stop_token_ids=eos)
        self.compiler = xgrammar.GrammarCompiler(info, max_threads=1, cache_enabled=False)
        self.bits = xgrammar.allocate_token_bitmask(1, info.vocab_size)

    def compile(self, row: Row) -> Any:
        return self.compiler.compile_regex(row.pattern) if row.pattern else None

    def start(self, compiled: Any) -> XGrammarText:
        return XGrammarText(self, compiled)


class OutlinesText:
    def __init__(self, engine: Outlines, index: Any) -> None:
        import outlines_core

        self.engine = engine
        self.guide = outlines_core.Guide(index)

    def mask(self) -> object:
        bits = self.engine.bits
        self.guide.write_mask_into(bits.ctypes.data, bits.size, bits.itemsize)
        return bits

    def apply(self, scores: Scores) -> None:
        forms.apply(scores, self.engine.bits)  # it has no way of its own over NumPy arrays

    def advance(self, token: int) -> bool:
        try:
            self.guide.advance(token, False)
        except ValueError:
            return False
        return True


class Outlines:
    """outlines-core, the engine of outlines: an index of every state, built at once."""

    name = "outlines-core"

    def __init__(self, tokens: tuple[bytes, ...], eos: list[int]) -> None:
        import outlines_core

        entries: dict[bytes, list[int]] = {}
        for token_id, token in enumerate(tokens):
            if token and token_id not in eos:
                entries.setdefault(token, []).append(token_id)
        self.module = outlines_core
        self.vocabulary = outlines_core.Vocabulary(eos[0], entries)
        self.bits = np.zeros(forms.words(len(tokens)), np.uint32)

    def compile(self, row: Row) -> Any:
        return self.module.Index(row.pattern, self.vocabulary) if row.pattern else None

    def start(self, compiled: Any) -> OutlinesText:
        return OutlinesText(self, compiled)
