"""`lmqlc cache`: what is kept on disk, and how to be rid of it."""

from __future__ import annotations

import os
from pathlib import Path

from lmqlc.compiler.masks.files import cache_folder
from lmqlc.grammar.errors import LmqlError

KINDS = {"vocabularies": "vocabularies", "automata": "constraints", "tokenizers": "tokenizers of servers"}
"""Folders of the cache, and what their files are."""


def cache_command(*, clear: bool = False) -> None:
    """Print the folder and the size of each part; with `clear`, delete the files of the cache, and nothing else in the folder."""
    folder = cache_folder()
    print("off" if str(folder) == os.devnull else folder)
    for name, what in KINDS.items():
        files = _files(folder / name)
        size = sum(file.stat().st_size for file in files)
        if clear:
            _delete(files)
        print(f"{what}: {len(files)}, {size / 1e6:.1f} MB{', deleted' if clear else ''}")


def _files(folder: Path) -> list[Path]:
    """The files of the cache, half-written ones of processes that ended too soon among them."""
    try:
        return sorted(file for file in folder.iterdir() if file.is_file() and not file.is_symlink() and ".bin" in file.suffixes)
    except OSError:
        return []


def _delete(files: list[Path]) -> None:
    for file in files:
        try:
            file.unlink(missing_ok=True)
        except OSError as error:
            raise LmqlError(f"cannot delete {str(file)!r}: {error.strerror or error}") from None
