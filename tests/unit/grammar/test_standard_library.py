"""Every module of the standard library is a program: a sample of the files, all of them with `LMQLC_LONG=1`."""

from __future__ import annotations

import ast
import os
import tokenize
import warnings
from pathlib import Path

from lmqlc.grammar.parse import parse_with_diagnostics

LIBRARY = Path(os.__file__).parent
EVERY = 1 if os.environ.get("LMQLC_LONG") else 25


def _files() -> list[Path]:
    found = sorted(path for path in LIBRARY.rglob("*.py") if "site-packages" not in path.parts)
    return found[::EVERY]


def _text(path: Path) -> str:
    try:
        with tokenize.open(path) as file:
            return file.read()
    except (SyntaxError, UnicodeDecodeError):
        return path.read_bytes().decode("latin-1")


def _tree(text: str) -> str | None:
    """The dump of Python's own tree; None where Python refuses the text."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.dump(ast.parse(text), include_attributes=True)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None


def test_every_module_has_its_python_tree() -> None:
    tried, different = 0, []
    for path in _files():
        text = _text(path)
        wanted = _tree(text)
        query, findings = parse_with_diagnostics(text, str(path), prompts=False)
        if wanted is None:
            assert query is None and findings, path
            continue
        tried += 1
        if query is None or ast.dump(query.to_python(), include_attributes=True) != wanted:
            different.append((path, findings))
    assert tried > 20
    assert not different


def test_modules_with_prompts_end_in_a_program_or_findings() -> None:
    for path in _files()[::4]:
        query, findings = parse_with_diagnostics(_text(path), str(path))
        assert query is not None or findings
