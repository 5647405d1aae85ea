"""`lmqlc compile`: a program to an artifact, or to the text of a stage."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from lmqlc.api import compile_source_to_query
from lmqlc.grammar.diagnostics import render_all
from lmqlc.grammar.errors import LmqlError
from lmqlc.sources import read_source


def compile_command(query: str, *, output: str | None, tokenizers: Sequence[str] = (), stage: str | None, hole: str | None = None) -> None:
    """Write the artifact of a program, or print a stage; warnings go to standard error."""
    if query == "-" and output is None and stage is None:
        raise click.UsageError("a program from standard input needs -o FILE (or --emit STAGE)")
    if hole is not None and stage is None:
        raise click.UsageError("--hole goes with --emit STAGE")
    compiled = compile_source_to_query(read_source(query), tokenizer=tuple(tokenizers) or None)
    if compiled.diagnostics:
        print(render_all(compiled.diagnostics, compiled.program.source), file=sys.stderr)
    if stage is not None:
        _write(compiled.emit(stage, hole=hole), output)
        return
    target = Path(output) if output is not None else Path(query).with_suffix(".lmqlc")
    compiled.save(target)
    print(f"wrote {target}", file=sys.stderr)


def _write(text: str, output: str | None) -> None:
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        Path(output).write_text(text, encoding="utf-8")
    except OSError as error:
        raise LmqlError(f"cannot write {output!r}: {error.strerror or error}") from None
