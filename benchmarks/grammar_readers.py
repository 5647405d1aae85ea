"""Engines that read emitted grammars, asked about whole texts: llama.cpp (GBNF), xgrammar (EBNF), llguidance (Lark).

Every reader has the notation it reads, and says which texts a grammar accepts, byte by byte over a vocabulary of bytes.
"""

from __future__ import annotations

import ctypes
import math
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

Accepts = Callable[[str], bool]


class Reader(Protocol):
    name: str
    notation: str
    cannot_see: str
    """Characters that the engine cannot find in a text."""

    def read(self, grammar: str) -> Accepts:
        """Which texts a grammar accepts. Raises ValueError where the engine cannot read it."""
        ...


class XGrammar:
    name, notation, cannot_see = "xgrammar", "ebnf", ""

    def __init__(self) -> None:
        import xgrammar

        self._module = xgrammar
        info = xgrammar.TokenizerInfo([*(bytes([byte]) for byte in range(256)), b"</s>"], stop_token_ids=[256])
        self._compiler = xgrammar.GrammarCompiler(info, max_threads=1, cache_enabled=False)

    def read(self, grammar: str) -> Accepts:
        try:
            compiled = self._compiler.compile_grammar(grammar)
        except Exception as error:  # whatever it raises for a grammar that it cannot read
            raise ValueError(str(error)) from error

        def accepts(text: str) -> bool:
            matcher = self._module.GrammarMatcher(compiled)
            return all(matcher.accept_token(byte) for byte in text.encode()) and bool(matcher.accept_token(256))

        return accepts


class Guidance:
    name, notation, cannot_see = "llguidance", "lark", ""

    def __init__(self) -> None:
        import llguidance

        self._module = llguidance
        self._tokenizer = llguidance.LLTokenizer("byte")
        self._limits = llguidance.LLParserLimits(initial_lexer_fuel=10**9, step_lexer_fuel=10**8)

    def read(self, grammar: str) -> Accepts:
        lark = self._module.LLMatcher.grammar_from_lark(grammar)

        def matcher() -> Any:
            made = self._module.LLMatcher(self._tokenizer, lark, limits=self._limits)
            if made.is_error():
                raise ValueError(made.get_error())
            return made

        first = matcher()

        def accepts(text: str) -> bool:
            asked, data = first.deep_copy(), list(text.encode())
            return (asked.try_consume_tokens(data) if data else 0) == len(data) and bool(asked.is_accepting())

        return accepts


class LlamaCpp:
    """llama.cpp's own grammar sampler, through the library of llama-cpp-python, over a vocabulary file of bytes made here."""

    name, notation = "llama.cpp", "gbnf"
    cannot_see = "\0"  # the text of a token ends there

    def __init__(self) -> None:
        import llama_cpp

        self._module: Any = llama_cpp
        self._log = llama_cpp.llama_log_callback(lambda *_: None)
        llama_cpp.llama_log_set(self._log, ctypes.c_void_p(0))
        llama_cpp.llama_backend_init()
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "bytes.gguf"
            self._first, self._end = _write_bytes_vocabulary(file)
            options = llama_cpp.llama_model_default_params()
            options.vocab_only = True
            self._model = llama_cpp.llama_model_load_from_file(str(file).encode(), options)
        if not self._model:
            raise RuntimeError("llama.cpp did not load the vocabulary of bytes")
        self._vocabulary = llama_cpp.llama_model_get_vocab(self._model)

    def read(self, grammar: str) -> Accepts:
        made = self._module.llama_sampler_init_grammar(self._vocabulary, grammar.encode(), b"root")
        if not made:
            raise ValueError("llama.cpp cannot read it")

        def accepts(text: str) -> bool:
            sampler = self._module.llama_sampler_clone(made)
            try:
                for token in [*(self._first + byte for byte in text.encode()), self._end]:
                    if not self._allows(sampler, token):
                        return False
                    self._module.llama_sampler_accept(sampler, token)
                return True
            finally:
                self._module.llama_sampler_free(sampler)

        return accepts

    def _allows(self, sampler: Any, token: int) -> bool:
        module = self._module
        one = (module.llama_token_data * 1)(module.llama_token_data(token, 1.0, 0.0))
        found = module.llama_token_data_array(one, 1, -1, False)
        module.llama_sampler_apply(sampler, ctypes.byref(found))
        return not math.isinf(one[0].logit)


def _write_bytes_vocabulary(file: Path) -> tuple[int, int]:
    """A GGUF file without weights whose tokens are the 256 bytes; the id of byte 0, and that of end-of-text."""
    import gguf

    writer = gguf.GGUFWriter(file, "llama")
    writer.add_tokenizer_model("llama")
    tokens = [b"<unk>", b"<s>", b"</s>", *(b"<0x%02X>" % byte for byte in range(256))]
    kinds = [gguf.TokenType.UNKNOWN, gguf.TokenType.CONTROL, gguf.TokenType.CONTROL, *([gguf.TokenType.BYTE] * 256)]
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_token_types(kinds)
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_block_count(1)
    writer.add_context_length(64)
    writer.add_embedding_length(8)
    writer.add_feed_forward_length(8)
    writer.add_head_count(1)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return 3, 2


READERS: dict[str, tuple[type[Reader], tuple[str, ...]]] = {
    "xgrammar": (XGrammar, ("xgrammar",)),
    "llguidance": (Guidance, ("llguidance",)),
    "llama.cpp": (LlamaCpp, ("llama_cpp", "gguf")),
}
"""By name: the class, and the packages that it needs."""


def installed() -> list[str]:
    """The names of readers whose packages are here."""
    return [name for name, (_, packages) in READERS.items() if all(find_spec(package) for package in packages)]
