"""Decoders by name. A decoder is one module with a class `Decoder`; others register under the entry point group `lmqlc.decoders`."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import entry_points

from lmqlc.grammar.errors import LmqlCompileError
from lmqlc.runtime.decoders.base import COMMON, BaseDecoder

BUILTIN = ("argmax", "sample", "beam", "beam_sample", "var", "beam_var", "best_k")
"""Decoders of this package, each in the module of its name."""

GROUP = "lmqlc.decoders"


def names() -> tuple[str, ...]:
    """Every decoder that can be named in a header."""
    return tuple(sorted({*BUILTIN, *(entry.name for entry in entry_points(group=GROUP))}))


def decoder_class(name: str) -> type[BaseDecoder]:
    """The class of a decoder; raises LmqlCompileError for a name that is none."""
    if name in BUILTIN:
        builtin: type[BaseDecoder] = import_module(f"lmqlc.runtime.decoders.{name}").Decoder
        return builtin
    for entry in entry_points(group=GROUP, name=name):
        found = entry.load()
        if not (isinstance(found, type) and issubclass(found, BaseDecoder)):
            raise LmqlCompileError(f"the decoder `{name}` registered by `{entry.value}` is no subclass of BaseDecoder")
        return found
    close = get_close_matches(name, names(), 1)
    hint = f"did you mean `{close[0]}`?" if close else f"there are: {', '.join(names())}"
    raise LmqlCompileError(f"there is no decoder `{name}` in this version; {hint}")


def takes(name: str) -> tuple[str, ...]:
    """Every argument a decoder takes."""
    return (*decoder_class(name).takes, *COMMON)


def make(name: str, arguments: Mapping[str, object]) -> BaseDecoder:
    """A decoder with its arguments; raises LmqlCompileError for a name, an argument or a value it does not know."""
    return decoder_class(name)(arguments)
