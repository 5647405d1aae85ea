"""Decoders by name. A decoder is one module with a class `Decoder`; others register under the entry point group `lmqlc.decoders`."""

from __future__ import annotations

import inspect
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
    """Every decoder that can be named in a header, beside those that a program binds itself."""
    return tuple(sorted({*BUILTIN, *(entry.name for entry in entry_points(group=GROUP))}))


def is_known(name: str) -> bool:
    """The name is a decoder's by itself, whatever a program binds."""
    return name in BUILTIN or name in names()


def decoder_class(name: str) -> type[BaseDecoder]:
    """The class of a decoder; raises LmqlCompileError for a name that is none."""
    if name in BUILTIN:
        builtin: type[BaseDecoder] = import_module(f"lmqlc.runtime.decoders.{name}").Decoder
        return builtin
    for entry in entry_points(group=GROUP, name=name):
        return class_of(name, entry.load())
    close = get_close_matches(name, names(), 1)
    hint = f"did you mean `{close[0]}`?" if close else f"there are: {', '.join(names())}"
    raise LmqlCompileError(f"there is no decoder `{name}`; {hint}")


def class_of(name: str, found: object) -> type[BaseDecoder]:
    """The decoder class that an entry point or a program means by a name: a subclass of BaseDecoder, or an asynchronous function
    `f(search, live, **arguments)`. Raises LmqlCompileError for anything else."""
    if isinstance(found, type) and issubclass(found, BaseDecoder):
        return found
    if inspect.iscoroutinefunction(found):
        from lmqlc.runtime.decoders.function import of_function

        return of_function(name, found)
    raise LmqlCompileError(f"`{name}` is no decoder: it must be a subclass of BaseDecoder, or an `async def f(search, live, **arguments)`")


def takes(name: str) -> tuple[str, ...]:
    """Every argument a decoder takes."""
    return (*decoder_class(name).takes, *COMMON)


def taken(given: str | None, program: str) -> tuple[str, ...]:
    """Arguments of the decoder that a caller names, else of the program's own; of one that the program binds, those of every decoder."""
    return takes(given or program) if given or is_known(program) else COMMON


def make(name: str, arguments: Mapping[str, object]) -> BaseDecoder:
    """A decoder with its arguments; raises LmqlCompileError for a name, an argument or a value it does not know."""
    return decoder_class(name)(arguments)
