"""The notebook magic in a real kernel."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

CELLS = (
    "%load_ext lmqlc.notebook",
    'name = "Anna"',
    '%%lmql --model "scripted:Hello"\n"Greet {name}: [GREETING]" where len(GREETING) == 5\n',
    "print(repr(GREETING))",
    '%%lmql -m scripted:ab -o whole -q\n"[X]" where len(X) == 2\nreturn X.upper()\n',
    "print(type(whole).__name__, whole.prompt, X)",
    '%%lmql\n"[X]" where STOP_AT(X, ".")\n',
    '%%lmql -m scripted:ab -q\n"[X]" where len(X) == 2\nraise ValueError("no good")\n',
    '%%lmql -m random:1 -d "sample(n=2, seed=3)" -q -o both\n"[X]" where len(X) == 2\nreturn len(X)\n',
    "print(len(both))",
    '%%lmql -m demo -q\n"{missing_name} [X]"\n',
    "%%lmql --help-me\nx = 1\n",
    'print(get_ipython().find_cell_magic("lmql").__doc__)',
)


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    folder = str(tmp_path_factory.mktemp("notebook"))
    done = NotebookClient(notebook, timeout=120, allow_errors=True, resources={"metadata": {"path": folder}}).execute()
    return list(done.cells)


def text_of(cell: Any) -> str:
    """What a cell shows, without colours."""
    parts = []
    for output in cell.outputs:
        parts += [output.get("text", ""), output.get("data", {}).get("text/plain", ""), output.get("evalue", "")]
    return re.sub(r"\x1b\[[0-9;]*m", "", "".join(parts))


def test_output_streams_and_variables_arrive(cells: list[Any]) -> None:
    assert text_of(cells[0]) == ""
    assert text_of(cells[2]) == "Greet Anna: [GREETING|Hello]\n"
    assert len(cells[2].outputs) > 2, "it comes bit by bit"
    assert any("\x1b[" in output["text"] for output in cells[2].outputs)
    assert text_of(cells[3]) == "'Hello'\n"


def test_values_and_results(cells: list[Any]) -> None:
    assert text_of(cells[4]) == "'AB'"
    assert text_of(cells[5]) == "Result ab ab\n"
    assert text_of(cells[8]) == "[2, 2]"
    assert text_of(cells[9]) == "2\n"


def test_errors_show_the_program(cells: list[Any]) -> None:
    assert re.search(r"<cell \d+>:1:13: error\[L0450\]: unknown constraint `STOP_AT`", text_of(cells[6]))
    assert re.search(r'File "<cell \d+>", line 2', text_of(cells[7])) and "ValueError: no good" in text_of(cells[7])
    assert "tracebacks.py" not in text_of(cells[7])
    assert "needs a value for `missing_name`" in text_of(cells[10])
    assert "--help-me" in text_of(cells[11])


def test_help(cells: list[Any]) -> None:
    assert "Run a query" in text_of(cells[12]) and "--model" in text_of(cells[12])


def test_an_error_stops_the_notebook() -> None:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in (CELLS[0], CELLS[6])])
    with pytest.raises(CellExecutionError, match="unknown constraint"):
        NotebookClient(notebook, timeout=120).execute()


def test_extension_imports_nothing_at_start() -> None:
    text = (Path(__file__).resolve().parents[3] / "lmqlc" / "cli.py").read_text(encoding="utf-8")
    assert "notebook" not in text
