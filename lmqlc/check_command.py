"""`lmqlc check`: what is wrong with programs, without running them."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from lmqlc.grammar.diagnostics import Diagnostic, render_all
from lmqlc.grammar.errors import LmqlError
from lmqlc.grammar.source import Source
from lmqlc.sources import read_source


def check_command(files: Sequence[str]) -> int:
    """Print the findings of every file, then a summary, to standard error; 1 where there is an error, else 0."""
    errors = warnings = 0
    for file in files:
        source, found = _findings(file)
        if found:
            print(render_all(found, source), file=sys.stderr)
        errors += sum(finding.severity == "error" for finding in found)
        warnings += sum(finding.severity == "warning" for finding in found)
    print(f"{_count(len(files), 'file')} checked: {_count(errors, 'error')}, {_count(warnings, 'warning')}", file=sys.stderr)
    return 1 if errors else 0


def _findings(file: str) -> tuple[Source | None, Sequence[Diagnostic]]:
    from lmqlc.compiler.driver import check_source

    try:
        source = read_source(file)
    except LmqlError as error:
        return error.source, error.diagnostics or (Diagnostic("L0001", "error", error.message),)
    return source, check_source(source)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
