"""The backend that docs/backends.md shows is a complete package: installed, it is found by its model string."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A folder with the package of the document, as an installer leaves it."""
    text = (ROOT / "docs" / "backends.md").read_text(encoding="utf-8")
    (module,) = re.findall(r'```python\n(""".*?)```', text, re.DOTALL)
    (entry,) = re.findall(r'```toml\n\[project.entry-points."lmqlc.backends"\]\n(.*?)```', text, re.DOTALL)
    assert len(module.splitlines()) < 60
    (tmp_path / "lmqlc_bigram.py").write_text(module, encoding="utf-8")
    about = tmp_path / "lmqlc_bigram-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: lmqlc-bigram\nVersion: 1\n", encoding="utf-8")
    (about / "entry_points.txt").write_text(f"[lmqlc.backends]\n{entry.replace(chr(34), '')}", encoding="utf-8")
    return tmp_path


def test_the_documented_plugin_runs(installed: Path) -> None:
    query = installed / "q.lmql"
    program = '"Say b[X]!" where X in ["anana", "onono"] or REGEX(X, "[0-9]")\n"[Y]" distribution Y in ["an", "na"]\n'
    query.write_text(program, encoding="utf-8")
    command = [sys.executable, "-m", "lmqlc", "run", str(query), "--model", "bigram:banana", "--no-stream"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(installed), *filter(None, [os.environ.get("PYTHONPATH")])])}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "X = 'anana'" in done.stdout
    assert "P(Y = 'na') = 0.5" in done.stdout
