"""`lmqlc fmt`: programs laid out as they should be written."""

from __future__ import annotations

import difflib
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from lmqlc.format.program import WIDTH, format_source
from lmqlc.grammar.errors import LmqlError
from lmqlc.grammar.source import Source
from lmqlc.sources import read_source

_SKIPPED = frozenset({"node_modules", "build", "dist", "__pycache__"})


@dataclass(slots=True)
class _Counts:
    changed: int = 0
    kept: int = 0
    failed: int = 0


def fmt_command(files: Sequence[str], *, check: bool, diff: bool, width: int | None = None) -> int:
    """Format programs in place, `-` from standard input to standard output; with `check` and `diff` nothing is written.

    1 where a file is no program, or with `check` or `diff` where one would change; else 0.
    """
    width = WIDTH if width is None else width
    if "-" in files:
        if len(files) > 1:
            raise click.UsageError("`-` is standard input: it stands alone")
        return _standard_input(check=check, diff=diff, width=width)
    counts = _Counts()
    for file in _programs(files):
        _one(file, counts, check=check, diff=diff, width=width)
    print(_summary(counts, check or diff), file=sys.stderr)
    return 1 if counts.failed or ((check or diff) and counts.changed) else 0


def _standard_input(*, check: bool, diff: bool, width: int) -> int:
    source = read_source("-")
    text = format_source(source, width=width)
    if diff:
        _show_diff(source, text)
    elif not check:
        _write_out(text)
    return 1 if (check or diff) and text != source.text else 0


def _one(file: str, counts: _Counts, *, check: bool, diff: bool, width: int) -> None:
    try:
        source = read_source(file)
        text = format_source(source, width=width)
        if text == source.text:
            counts.kept += 1
            return
        if diff:
            _show_diff(source, text)
        elif check:
            print(f"would format {file}", file=sys.stderr)
        else:
            _replace(Path(file), text)
            print(f"formatted {file}", file=sys.stderr)
        counts.changed += 1
    except LmqlError as error:
        print(error.message, file=sys.stderr)
        counts.failed += 1


def _programs(files: Sequence[str]) -> Iterator[str]:
    """The files named, and every `.lmql` file below the folders named, hidden and built ones aside."""
    for file in files:
        if not Path(file).is_dir():
            yield file
            continue
        for folder, inner, names in os.walk(file):
            inner[:] = sorted(name for name in inner if not name.startswith(".") and name not in _SKIPPED)
            yield from (str(Path(folder) / name) for name in sorted(names) if name.endswith(".lmql"))


def _replace(path: Path, text: str) -> None:
    """Write a file whole or not at all; a link stays a link, and the file keeps its mode."""
    target = path.resolve()
    try:
        mode = target.stat().st_mode
        with tempfile.NamedTemporaryFile("wb", dir=target.parent, prefix=f".{target.name}.", delete=False) as file:
            file.write(text.encode("utf-8"))
        os.chmod(file.name, mode & 0o7777)
        os.replace(file.name, target)
    except OSError as error:
        raise LmqlError(f"cannot write {str(path)!r}: {error.strerror or error}") from None


def _show_diff(source: Source, text: str) -> None:
    lines = difflib.unified_diff(source.text.splitlines(True), text.splitlines(True), source.name, f"{source.name} (formatted)")
    _write_out("".join(line if line.endswith("\n") else f"{line}\n" for line in lines))


def _write_out(text: str) -> None:
    sys.stdout.flush()
    sys.stdout.buffer.write(text.encode("utf-8"))
    sys.stdout.buffer.flush()


def _summary(counts: _Counts, only_looks: bool) -> str:
    verb = "would change" if only_looks else "formatted"
    parts = [f"{_files(counts.changed)} {verb}", f"{counts.kept} unchanged"]
    return ", ".join([*parts, *([f"{counts.failed} cannot be read as programs"] if counts.failed else [])])


def _files(number: int) -> str:
    return "1 file" if number == 1 else f"{number} files"
