"""`lmqlc compile`: a program to an artifact, or to the text of a stage."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from lmqlc.api import compile_source_to_query
from lmqlc.grammar.diagnostics import render_all
from lmqlc.sources import read_source


def compile_command(query: str, *, output: str | None, tokenizer: str | None, stage: str | None) -> None:
    """Write the artifact of a program, or print a stage; warnings go to standard error."""
    if query == "-" and output is None and stage is None:
        raise click.UsageError("a program from standard input needs -o FILE (or --emit STAGE)")
    compiled = compile_source_to_query(read_source(query), tokenizer=tokenizer)
    if compiled.diagnostics:
        print(render_all(compiled.diagnostics, compiled.program.source), file=sys.stderr)
    if stage is not None:
        text = compiled.emit(stage)
        if output is None:
            click.echo(text, nl=not text.endswith("\n"))
        else:
            Path(output).write_text(text, encoding="utf-8")
        return
    target = Path(output) if output is not None else Path(query).with_suffix(".lmqlc")
    compiled.save(target)
    print(f"wrote {target}", file=sys.stderr)
