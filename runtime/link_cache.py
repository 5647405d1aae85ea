"""Linked constraints on disk: `automata` in the cache folder, by constraint and vocabulary.

An entry is named by a hash of the constraint, of the vocabulary, and of everything that decides what they mean together: the compiler's own
text, and the versions of Python and of its Unicode tables. Entries of other releases are never found, and go when the folder is full.
Nothing fails because of the cache: what cannot be read is built, what cannot be written is left.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import re
import sys
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmqlc.backends.base import Vocabulary
from lmqlc.compiler.constraints import And, Constraint

if TYPE_CHECKING:
    from lmqlc.compiler.masks.core import Core

WORTH_KEEPING = 0.05
"""Seconds; what is built faster is built again."""
SMALLEST_VOCABULARY = 4096
"""Tokens; constraints over smaller vocabularies are linked faster than files are opened."""
MOST_BYTES = 256 << 20
"""Bytes of the folder; past this the entries that were not used for longest go."""
LARGEST = 48 << 20
"""Bytes of the tables of one entry; larger automata are not kept. Tables that nothing has asked for yet are built to be kept."""


@dataclass(frozen=True)
class DiskEntry:
    """The place of one linked constraint. key: names it, whatever the process."""

    key: str
    vocabulary: Vocabulary

    @classmethod
    def of(cls, constraint: Constraint, leading_space: bool, vocabulary: Vocabulary) -> DiskEntry | None:
        """The place of a constraint, None where it has none: operands that only this process knows, or little to gain."""
        if len(vocabulary) < SMALLEST_VOCABULARY:
            return None
        try:
            words = "\n".join(_words(constraint))
            key = hashlib.sha256(f"{_meaning()}\n{leading_space}\n{words}".encode("utf-8", "surrogatepass")).hexdigest()
        except (TypeError, OSError, RecursionError):
            return None
        return cls(key, vocabulary)

    def recalled(self) -> Core | None:
        """The core that was kept, None where there is none that is sound."""
        from lmqlc.compiler.masks.store import recall
        from lmqlc.grammar.errors import UnsatisfiableConstraint

        try:
            linked = recall(self.key, self.vocabulary)
        except UnsatisfiableConstraint:  # kept for a vocabulary that cannot write any text: building it says so too
            return None
        return None if linked is None else linked.core

    def keep(self, core: Core, seconds: float) -> None:
        """Keep a core that took `seconds` to build, if that is worth it."""
        from lmqlc.compiler.masks.files import cache_folder
        from lmqlc.compiler.masks.store import keep
        from lmqlc.compiler.masks.token_automaton import TokenAutomaton

        whole = core.classes.whole
        size = core.automaton.delta.nbytes if whole is None else whole.table.nbytes + whole.class_of.nbytes
        if seconds < WORTH_KEEPING or size > LARGEST:
            return
        keep(self.key, TokenAutomaton(core, max_tokens=None, follow="", encode=None))
        with contextlib.suppress(OSError):
            prune(cache_folder() / "automata", MOST_BYTES)


def prune(folder: Path, most: int) -> None:
    """Remove the files of a folder that were used longest ago until at most `most` bytes are left. Raises OSError."""
    with os.scandir(folder) as entries:
        stats = [(entry.stat(), entry.path) for entry in entries if entry.is_file(follow_symlinks=False)]
    total = sum(stat.st_size for stat, _ in stats)
    for stat, path in sorted(stats, key=lambda item: max(item[0].st_atime_ns, item[0].st_mtime_ns)):
        if total <= most:
            return
        Path(path).unlink(missing_ok=True)
        total -= stat.st_size


@cache
def _meaning() -> str:
    """A hash of what decides how constraints are compiled, this process's own: another compiler may understand them otherwise."""
    import lmqlc.compiler

    digest = hashlib.sha256(repr((sys.version_info[:3], unicodedata.unidata_version, sys.byteorder)).encode())
    for folder in lmqlc.compiler.__path__:
        files = sorted(Path(folder).rglob("*.py"))
        if not files:
            raise FileNotFoundError(folder)
        for file in files:
            digest.update(file.read_bytes())
    return digest.hexdigest()


def _words(value: Any) -> Iterator[str]:
    """A value as lines that are equal only for what compiles alike, in every process. Raises TypeError for values that have none."""
    if value is None or type(value) in (bool, int, float, str, bytes):
        yield repr(value)
    elif type(value) in (list, tuple):
        yield f"{type(value).__name__} {len(value)}"
        if set(map(type, value)) == {str}:
            yield from map(repr, value)
            return
        for item in value:
            yield from _words(item)
    elif type(value) in (set, frozenset):
        yield f"{type(value).__name__} {len(value)}"
        yield from sorted("\n".join(_words(item)) for item in value)
    elif isinstance(value, re.Pattern):
        yield f"pattern {value.flags}"
        yield from _words(value.pattern)
    elif isinstance(value, type) and value.__module__ == "builtins":
        yield f"type {value.__name__}"
    elif dataclasses.is_dataclass(value) and type(value).__module__ == And.__module__:
        yield type(value).__name__
        for field in dataclasses.fields(value):
            if field.name not in ("span", "pattern_span"):
                yield from _words(getattr(value, field.name))
    else:
        raise TypeError(f"{type(value).__name__} has no name outside of this process")
