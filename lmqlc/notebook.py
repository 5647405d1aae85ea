"""The notebook magic: `%load_ext lmqlc.notebook`, then `%%lmql` above a program.

    %%lmql [--model M] [--decoder D] [--output NAME] [--quiet]

The prompt streams below the cell while it grows, with the holes marked. Names that the program leaves free are taken from the notebook, and
the query's variables become the notebook's. The cell's value is what the query returns; `--output` keeps the whole result under a name.
"""

from __future__ import annotations

import sys
from typing import Any

from IPython.core.error import UsageError
from IPython.core.magic_arguments import MagicArgumentParser

import lmqlc
from lmqlc.api import CompiledQuery, compile_source_to_query
from lmqlc.compiler.ir import Program
from lmqlc.configuration import applied
from lmqlc.grammar.diagnostics import render_all
from lmqlc.grammar.errors import LmqlError
from lmqlc.grammar.source import Source
from lmqlc.run_command import default_decoder, parse_decoder
from lmqlc.runtime.results import Result
from lmqlc.runtime.stream import RunEnd
from lmqlc.terminal import TerminalWriter
from lmqlc.tracebacks import at_fault, format_program_error


def load_ipython_extension(ipython: Any) -> None:
    """Register the magic in a notebook, or in IPython."""

    def lmql(line: str, cell: str) -> Any:
        return run_cell(line, cell, ipython.user_ns, number=getattr(ipython, "execution_count", 0))

    lmql.__doc__ = _parser().format_help()
    ipython.register_magic_function(lmql, magic_kind="cell", magic_name="lmql")


def _parser() -> Any:
    """The magic's options."""
    made = MagicArgumentParser(prog="%%lmql", description="Run a query. Free names come from the notebook, its variables go there.")
    made.add_argument("--model", "-m", help='the model, such as "local:gpt2"; goes before the program\'s own')
    made.add_argument("--decoder", "-d", nargs="+", help='the decoder, such as "sample(n=2)"')
    made.add_argument("--output", "-o", help="the name under which the whole result is kept; a list of them where there are several")
    made.add_argument("--quiet", "-q", action="store_true", help="do not show the prompt as it grows")
    return made


def run_cell(line: str, cell: str, names: dict[str, Any], *, number: int = 0) -> Any:
    """Run a program with the names of a notebook; what it returns. Raises UsageError with what a person should see."""
    given = _parser().parse_argstring(line)
    source = Source(f"<cell {number}>", cell)
    try:
        with applied():
            compiled = compile_source_to_query(source)
            if compiled.diagnostics:
                print(render_all(compiled.diagnostics, source), file=sys.stderr)
            end = _run(compiled, given, names)
    except LmqlError as error:
        raise UsageError(error.message) from None
    except Exception as error:
        if not at_fault(error, source):
            raise
        raise UsageError(format_program_error(error, source)) from None
    names.update({name: value for name, value in end.result.variables.items() if name.isidentifier()})
    if given.output:
        names[_text(given.output)] = end.results[0] if len(end.results) == 1 else list(end.results)
    return _shown(end)


def _run(compiled: CompiledQuery, given: Any, names: dict[str, Any]) -> RunEnd:
    """The end of the run, the way there shown."""
    words = None if given.decoder is None else _text(" ".join(given.decoder))
    decoder, options = parse_decoder(words or default_decoder(compiled.program))
    writer = None if given.quiet else TerminalWriter(sys.stdout, colour=True)
    model = None if given.model is None else _text(given.model)
    events = lmqlc.stream(compiled, model=model, decoder=decoder, **options, **_taken(compiled.program, names))
    try:
        for event in events:
            if isinstance(event, RunEnd):
                return event
            if writer is not None and event.branch == 0:
                writer.write(event)
    finally:
        if writer is not None:
            writer.close()
    raise LmqlError("the run ended without a result")


def _text(word: str) -> str:
    """An argument without the quotes around it, which the magic's line keeps."""
    return word[1:-1] if len(word) > 1 and word[0] in "\"'" and word[-1] == word[0] else word


def _taken(program: Program, names: dict[str, Any]) -> dict[str, Any]:
    """The program's free names that the notebook has."""
    return {name: names[name] for name in (*program.parameters, *program.optional) if name in names}


def _shown(end: RunEnd) -> Any:
    """The value of the cell: nothing where the query returns nothing, since its variables are there by name."""
    values = [result.value for result in end.results if isinstance(result, Result) and result.returned]
    return None if not values else values[0] if len(end.results) == 1 else values
