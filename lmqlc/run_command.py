"""`lmqlc run`: a program from a file or standard input, its results on standard output."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import click

from lmqlc.api import CompiledQuery, compile_source_to_query, load
from lmqlc.compiler.ir import Program
from lmqlc.grammar.errors import LmqlError
from lmqlc.output import as_json as results_as_json
from lmqlc.output import as_text
from lmqlc.queries import run_program, settings_of
from lmqlc.runtime.results import Result
from lmqlc.runtime.run import Settings
from lmqlc.terminal import ProgressLine, TerminalWriter, uses_colour
from lmqlc.tracebacks import ProgramFailed, at_fault


def run_command(
    query: str,
    *,
    model: str | None,
    decoder: str | None,
    args: Sequence[str],
    as_json: bool,
    stream: bool | None,
    certificate: str | None = None,
    timed: bool,
) -> None:
    """Run a program and print what it gives."""
    _write_utf8()
    sys.path.insert(0, "" if query == "-" else str(Path(query).resolve().parent))  # as for a Python script
    started = time.perf_counter()
    compiled = compiled_query(query)
    program = compiled.program
    arguments = parse_arguments(args)
    name, options = parse_decoder(decoder or default_decoder(program))
    progress = ProgressLine(sys.stderr)
    writer = TerminalWriter(sys.stderr, colour=uses_colour(sys.stderr))
    shows = sys.stderr.isatty() if stream is None else stream
    settings = replace(
        settings_of(compiled),
        model=model,
        decoder=name,
        options=options,
        writers=(writer,) if shows else (),
        progress=progress,
        certificate=certificate,
    )
    ready = time.perf_counter()
    try:
        results = _run(program, arguments, settings)
    finally:
        progress.close()
        writer.close()
    text = results_as_json(results) if as_json else as_text(results)
    if text:
        print(text)
    if timed:
        print(_costs(results, ready - started), file=sys.stderr)


def parse_arguments(pairs: Sequence[str]) -> dict[str, Any]:
    """`k=v` pairs: the value is JSON where it reads as JSON, else the string itself."""
    values: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key.isidentifier():
            raise click.BadParameter(f"{pair!r} is not of the form NAME=VALUE", param_hint="--arg")
        values[key] = text
        with suppress(ValueError):
            values[key] = json.loads(text)
    return values


def parse_decoder(text: str | None) -> tuple[str | None, dict[str, Any]]:
    """A decoder's name, and the arguments of `name(key=value, …)`; values are Python literals."""
    import ast

    if text is None:
        return None, {}
    wrong = click.BadParameter(f"{text!r} is no decoder; write a name, or NAME(KEY=VALUE, …)", param_hint="--decoder")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        if isinstance(tree, ast.Name):
            return tree.id, {}
        if not isinstance(tree, ast.Call) or not isinstance(tree.func, ast.Name) or tree.args:
            raise wrong
        return tree.func.id, {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in tree.keywords if keyword.arg}
    except (SyntaxError, ValueError):
        raise wrong from None


def default_decoder(program: Program) -> str | None:
    """The decoder of programs without a header, where settings name one."""
    import ast

    named = os.environ.get("LMQLC_DECODER")
    if not named or any(isinstance(node, ast.Attribute) and node.attr == "configure" for node in ast.walk(program.body)):
        return None
    return named


def compiled_query(query: str) -> CompiledQuery:
    """The program that a command line names: `-`, a `.lmql` file, or an artifact."""
    from lmqlc.sources import decode_source, read_bytes, read_source

    if query == "-":
        return compile_source_to_query(read_source(query))
    data = read_bytes(query)
    is_artifact = data.startswith(b"PK") or query.endswith(".lmqlc")
    return load(query) if is_artifact else compile_source_to_query(decode_source(query, data))


def _run(program: Program, arguments: dict[str, Any], settings: Settings) -> list[Result]:
    """Run a program; what it raises itself becomes a ProgramFailed, which shows its own lines only."""
    try:
        with _interruptible():
            return asyncio.run(run_program(program, (), arguments, settings))
    except (LmqlError, BrokenPipeError):
        raise
    except Exception as error:
        if not at_fault(error, program.source):
            raise
        raise ProgramFailed(error, program.source) from None


@contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C interrupts whatever runs. The event loop's own way waits for the next `await`, which a program may be far from."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGINT, interrupt)
    except ValueError:  # not the main thread, where no signal arrives
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _costs(results: Sequence[Result], compiling: float) -> str:
    usage = results[0].usage
    tokens, forced = (sum(getattr(result.usage, kind) for result in results) for kind in ("tokens", "forced"))
    rate = f", {tokens / usage.seconds:.1f} tokens/s" if usage.seconds > 0 and tokens else ""
    return (
        f"lmqlc: compiled in {compiling:.3f} s, ran in {usage.seconds:.3f} s{rate}: {tokens} tokens decoded, {forced} written, "
        f"{usage.forward_passes} model calls, {usage.tokens_computed} positions computed, {usage.tokens_reused} reused"
    )


def _write_utf8() -> None:
    """Results are UTF-8 whatever the locale, and no character stops them."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
