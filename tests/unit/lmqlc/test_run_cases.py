"""Programs of `tests/cases/run`, each on a scripted model, compared with what is written beside them.

Comments at the top of a program say how to run it: `# script: [texts]`, one per hole in order; `# after: {end of prompt: text}`;
`# args: {name: value}`; `# chat: true` for a model with a chat template; `# context: N` for its context window. `LMQLC_UPDATE=1` writes
the expectations.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest

from lmqlc.backends.scripted import scripted
from lmqlc.compiler.driver import compile_source
from lmqlc.grammar.errors import LmqlError
from lmqlc.queries import run_program
from lmqlc.runtime.plain import plain
from lmqlc.runtime.results import Result
from lmqlc.sources import read_source
from lmqlc.tracebacks import format_program_error

CASES = Path(__file__).parents[2] / "cases" / "run"
PROGRAMS = sorted(CASES.glob("*.lmql"))


def settings_of(text: str) -> dict[str, Any]:
    """The settings in a program's first comments."""
    found: dict[str, Any] = {}
    for line in text.splitlines():
        key, colon, value = line.removeprefix("#").strip().partition(":")
        if not line.startswith("#") or not colon:
            break
        found[key] = json.loads(value)
    return found


def shown(results: list[Result]) -> list[str]:
    lines: list[str] = []
    for result in results:
        lines.append(f"prompt: {json.dumps(result.prompt, ensure_ascii=False)}")
        lines += [f"{hole.name}: {hole.value!r} {hole.finish_reason} {len(hole.tokens)}" for hole in result.holes]
        names = {hole.name for hole in result.holes}
        lines += [f"{name} = {value!r}" for name, value in result.variables.items() if name not in names and not name.startswith("P(")]
        lines += [f"P({value!r}) = {share:.4f}" for value, share in result.distribution_values or ()]
        lines.append(f"end: {result.finish_reason}" + (f" -> {json.dumps(plain(result.value))}" if result.returned else ""))
    return lines


def outcome_of(path: Path) -> str:
    source = read_source(path)
    source = type(source)(path.name, source.text)
    given = settings_of(source.text)
    model = scripted(*given.get("script", ()), after=given.get("after"), chat=given.get("chat", False), context_length=given.get("context"))
    printed = io.StringIO()
    partial: Result | None
    with contextlib.redirect_stdout(printed):
        try:
            results = asyncio.run(run_program(compile_source(source), (), {**given.get("args", {}), "model": model}))
            lines = shown(results)
        except LmqlError as error:
            partial = error.result
            lines = [f"{type(error).__name__}:", *error.message.splitlines(), *(shown([partial]) if partial else [])]
        except Exception as error:
            partial = getattr(error, "lmql_result", None)
            lines = [*format_program_error(error, source).splitlines(), *(shown([partial]) if partial else [])]
    return "\n".join([*(f"| {line}" for line in printed.getvalue().splitlines()), *lines]) + "\n"


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_run_case(path: Path) -> None:
    expected = path.with_suffix(".expected")
    got = outcome_of(path)
    if os.environ.get("LMQLC_UPDATE"):
        expected.write_text(got, encoding="utf-8")
    assert got == expected.read_text(encoding="utf-8")


def test_there_are_cases() -> None:
    assert len(PROGRAMS) >= 100
