"""Every snippet of the README and the docs runs.

Fences and what is done with them:
    ```lmql            the program compiles
    ```lmql run        the program runs on the demo model; a ```text output fence right below it is what the command line prints
    ```lmql finds CODE the program has a finding with this code; a ```text fence right below it is what is printed of it
    ```python          the code runs; `assert` what it claims
    ```console         lines after `$ ` are run by a shell; the lines below one are its output (`...` stands for anything)
    ```sh, ```text …   left alone: installation lines, pictures, output

`LMQLC_UPDATE=1` writes the outputs of programs.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "benchmarks").glob("*.md"))]
FENCE = re.compile(r"^( *)```([^\n`]*)\n(.*?)^\1```[ ]*$", re.MULTILINE | re.DOTALL)
KINDS = re.compile(r"lmql( run| finds L\d{4})?|python|console")
PRINTED = re.compile(r"\s*```text( output)?\n(.*?)^```", re.MULTILINE | re.DOTALL)


def snippets() -> Iterator[object]:
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        for match in FENCE.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            code = re.sub(rf"^{match[1]}", "", match[3], flags=re.MULTILINE)
            kind = match[2].strip()
            if KINDS.fullmatch(kind):
                below = PRINTED.match(text, match.end())
                printed = below[2] if below and (kind.startswith("lmql finds") or below[1]) else None
                yield pytest.param(kind, code, printed, document, id=f"{document.relative_to(ROOT)}:{line}")


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the examples in it, and the scripts of this interpreter first on the path."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("NO_COLOR", "1")
    return tmp_path


def run_console(code: str) -> None:
    """Runs each command; its output must match the lines below it where there are any."""
    for block in re.split(r"^\$ ", code, flags=re.MULTILINE)[1:]:
        command, _, expected = block.partition("\n")
        done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=120, check=False)
        shown = done.stdout + done.stderr
        assert "Traceback" not in shown, shown
        if expected.strip():
            pattern = ".*".join(map(re.escape, expected.strip().split("...")))
            assert re.fullmatch(pattern, shown.strip(), re.DOTALL), f"$ {command}\n{shown}"
        else:
            assert done.returncode == 0, f"$ {command}\n{shown}"


def check_findings(code: str, wanted: str, printed: str | None) -> None:
    """The program has a finding with the code `wanted`, and what is printed of all of them is as shown."""
    from lmqlc.compiler.driver import check_source
    from lmqlc.grammar.diagnostics import render_all
    from lmqlc.grammar.source import Source

    source = Source("q.lmql", code)
    found = check_source(source)
    assert wanted in [finding.code for finding in found]
    assert printed is None or render_all(found, source).strip() == printed.strip()


def check_run(code: str, printed: str | None, document: Path) -> None:
    """The program runs, and prints what is shown."""
    from lmqlc.compiler.driver import compile_source
    from lmqlc.grammar.source import Source
    from lmqlc.output import as_text
    from lmqlc.queries import run_program

    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        print(as_text(asyncio.run(run_program(compile_source(Source("q.lmql", code)), (), {"model": "demo"}))))
    if printed is not None and os.environ.get("LMQLC_UPDATE") and shown.getvalue() != printed:
        text = document.read_text(encoding="utf-8")
        place = text.index(f"```text output\n{printed}```", text.index(code)) + len("```text output\n")
        document.write_text(text[:place] + shown.getvalue() + text[place + len(printed) :], encoding="utf-8")
    elif printed is not None:
        assert rounded(shown.getvalue()) == rounded(printed)


def rounded(text: str) -> str:
    """Machines differ in the last digits of a probability."""
    return re.sub(r"\d+\.\d{4,}", lambda number: f"{float(number[0]):.2f}", text)


@pytest.mark.parametrize(("kind", "code", "printed", "document"), list(snippets()))
def test_snippet_runs(kind: str, code: str, printed: str | None, document: Path, workplace: Path) -> None:
    import lmqlc

    if kind == "lmql":
        assert lmqlc.compile(code).program.queries is not None
    elif kind == "lmql run":
        check_run(code, printed, document)
    elif kind.startswith("lmql finds"):
        check_findings(code, kind.split()[-1], printed)
    elif kind == "python":
        (workplace / "snippet.py").write_text(code, encoding="utf-8")
        runpy.run_path(str(workplace / "snippet.py"), run_name="__main__")
    else:
        run_console(code)


def test_documents_hold_snippets() -> None:
    assert sum(1 for _ in snippets()) >= 10
