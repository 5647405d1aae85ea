"""Where programs come from: text, files, standard input."""

from __future__ import annotations

import os
import sys
from difflib import get_close_matches
from pathlib import Path

from lmqlc.grammar.diagnostics import Diagnostic
from lmqlc.grammar.errors import LmqlError, LmqlSyntaxError
from lmqlc.grammar.source import Source

MOST_BYTES = 1 << 20
"""Bytes of a program's text; larger files are no programs."""


def source_of(text_or_path: str | os.PathLike[str]) -> Source:
    """The program that a text or a path names: a path object, or a string of one line that ends with `.lmql`, names a file."""
    if not isinstance(text_or_path, str):
        return read_source(text_or_path)
    if text_or_path.endswith(".lmql") and "\n" not in text_or_path:
        return read_source(text_or_path)
    return Source("<string>", text_or_path)


def read_source(path: str | os.PathLike[str]) -> Source:
    """The program in a file; `-` is standard input. Raises LmqlError where it cannot be read, LmqlSyntaxError where it is no UTF-8."""
    if str(path) == "-":
        return decode_source("<stdin>", sys.stdin.buffer.read(MOST_BYTES + 1))
    return decode_source(str(path), read_bytes(path))


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """A file's content, no further than shows that it is too long for a program. Raises LmqlError with a hint where it cannot be read."""
    try:
        with Path(path).open("rb") as file:
            return file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        raise LmqlError(f"there is no file {str(path)!r}{_similar(Path(path))}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise LmqlError(f"cannot read {str(path)!r}: {reason}") from None


def readable(path: str | os.PathLike[str]) -> Path:
    """A path that names a file. Raises LmqlError where there is none, with a similar name."""
    if not Path(path).exists():
        read_bytes(path)
    return Path(path)


def decode_source(name: str, data: bytes) -> Source:
    """Bytes as a program: UTF-8, with or without a byte order mark."""
    if len(data) > MOST_BYTES:
        message = f"the program is longer than {MOST_BYTES >> 20} MiB, the most that is compiled"
        found = Diagnostic("L0001", "error", message, hint="keep data in files of their own, and read them in the program")
        raise LmqlSyntaxError(diagnostics=[found], source=Source(name, ""))
    try:
        return Source(name, data.decode("utf-8"))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        found = Diagnostic(
            "L0001",
            "error",
            f"the file is not UTF-8: byte 0x{data[error.start]:02x} at offset {error.start}, line {line}",
            hint="save the program as UTF-8",
        )
        raise LmqlSyntaxError(diagnostics=[found], source=Source(name, "")) from None


def _similar(path: Path) -> str:
    try:
        names = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        return ""
    close = get_close_matches(path.name, names, 1, cutoff=0.75)
    return f"; did you mean {str(path.with_name(close[0]))!r}?" if close else ""
