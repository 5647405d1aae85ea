"""`lmqlc run`: a program from a file or standard input, its results on standard output."""

from __future__ import annotations

import _thread
import asyncio
import io
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import FrameType, MappingProxyType
from typing import Any

import click

from lmqlc.api import CompiledQuery, compile_source_to_query, load
from lmqlc.compiler.ir import Program
from lmqlc.grammar.errors import ContextOverflow, DeadlineExceeded, LmqlError, RunEnded
from lmqlc.output import as_json as results_as_json
from lmqlc.output import as_text
from lmqlc.queries import run_program, settings_of
from lmqlc.runtime.results import Result
from lmqlc.runtime.run import Settings
from lmqlc.runtime.verbose import warn
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
    limits: Mapping[str, float] = MappingProxyType({}),
) -> None:
    """Run a program and print what it gives. limits: bounds of the run, by the names of the decoder's arguments. A run that is ended from
    outside shows what it has written so far, where that was not shown."""
    _write_utf8()
    sys.path.insert(0, "" if query == "-" else str(Path(query).resolve().parent))  # as for a Python script
    started = time.perf_counter()
    compiled = compiled_query(query)
    program = compiled.program
    arguments = parse_arguments(args)
    name, options = parse_decoder(decoder or default_decoder(program))
    progress = ProgressLine(sys.stderr)
    shows = sys.stderr.isatty() if stream is None else stream
    shown = sys.stderr if shows else io.StringIO()
    warnings: list[str] = []
    writer = TerminalWriter(shown, colour=uses_colour(shown))
    settings = replace(
        settings_of(compiled),
        model=model,
        decoder=name,
        options={**options, **limits},
        writers=(writer,),
        progress=progress,
        certificate=certificate,
        warn=warnings.append,
    )
    ready = time.perf_counter()
    try:
        results = _run(program, arguments, settings)
    except RunEnded as error:
        _show(error.results, as_json=as_json)
        raise
    except (KeyboardInterrupt, DeadlineExceeded, ContextOverflow):
        writer.close()
        if isinstance(shown, io.StringIO):
            sys.stderr.write(shown.getvalue())
        raise
    finally:
        progress.close()
        writer.close()
        for message in warnings:
            warn(message)
    _show(results, as_json=as_json)
    if timed:
        print(_costs(results, ready - started), file=sys.stderr)


def _show(results: Sequence[Result], *, as_json: bool) -> None:
    """Print what a run gave."""
    text = results_as_json(results) if as_json else as_text(results)
    if text:
        print(text, flush=True)


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
    timeout = settings.options.get("timeout")
    try:
        with _interruptible(), _struck(timeout if isinstance(timeout, int | float) else None):
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


_LATE = 1.5
"""Seconds after its deadline at which a run that did not notice it is interrupted: it may be in code that never awaits."""


@contextmanager
def _struck(timeout: float | None) -> Iterator[None]:
    """Interrupts the main thread after a timeout, and some patience. Raises DeadlineExceeded then."""
    if timeout is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    struck = threading.Event()

    def strike() -> None:
        struck.set()
        if hasattr(signal, "pthread_kill"):
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        else:
            _thread.interrupt_main()

    timer = threading.Timer(timeout + _LATE, strike)
    timer.daemon = True
    timer.start()
    try:
        yield
    except KeyboardInterrupt:
        if struck.is_set():
            raise DeadlineExceeded(f"the query took longer than its timeout of {timeout:g} seconds, in code that never awaits") from None
        raise
    finally:
        timer.cancel()


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
