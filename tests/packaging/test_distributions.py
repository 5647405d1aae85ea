"""The wheel and the sdist hold the same files as the tree, and nothing else becomes importable."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = {
    "lmqlc": "lmqlc",
    "backends": "lmqlc/backends",
    "compiler": "lmqlc/compiler",
    "grammar": "lmqlc/grammar",
    "runtime": "lmqlc/runtime",
}
EXTRA_TREES = ("benchmarks", "docs", "editors", "examples", "tests")
IGNORED = {"__pycache__", ".hypothesis", ".pytest_cache", ".mypy_cache", ".ruff_cache"}


def files_below(folder: Path) -> set[str]:
    """Paths below a folder, relative to it, without caches."""
    found = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc")
    return {path.relative_to(folder).as_posix() for path in found if not IGNORED & set(path.parts)}


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A wheel and an sdist of a copy of the tree, so that no build output lands in it."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--sdist", "--outdir", str(out), str(source)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    return next(out.glob("*.whl")), next(out.glob("*.tar.gz"))


def test_wheel_holds_every_file_of_the_packages(distributions: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(distributions[0]) as wheel:
        packaged = {name for name in wheel.namelist() if ".dist-info/" not in name}
    expected = {f"{target}/{name}" for room, target in ROOMS.items() for name in files_below(ROOT / room)}
    assert packaged == expected


def test_sdist_holds_every_file_of_the_tree(distributions: tuple[Path, Path]) -> None:
    with tarfile.open(distributions[1]) as sdist:
        packaged = {name.partition("/")[2] for name in sdist.getnames() if not sdist.getmember(name).isdir()}
    trees = {f"{tree}/{name}" for tree in (*ROOMS, *EXTRA_TREES) for name in files_below(ROOT / tree)}
    assert trees - packaged == set()
    assert {"LICENSE", "README.md", "CHANGELOG.md", "constraints.txt", "Makefile", "pyproject.toml"} <= packaged


def test_installed_wheel_imports_under_one_name(distributions: tuple[Path, Path], tmp_path: Path) -> None:
    with zipfile.ZipFile(distributions[0]) as wheel:
        wheel.extractall(tmp_path)
    program = (
        "import importlib.util, sys; sys.path.insert(0, sys.argv[1]);"
        "import lmqlc, lmqlc.grammar.parse, lmqlc.compiler.driver, lmqlc.runtime.interpreter, lmqlc.backends.registry;"
        "assert lmqlc.grammar.parse.__file__.startswith(sys.argv[1]), lmqlc.grammar.parse.__file__;"
        "bare = [n for n in ('grammar', 'compiler', 'runtime', 'backends') if importlib.util.find_spec(n)];"
        "heavy = [n for n in ('torch', 'transformers', 'accelerate') if n in sys.modules];"
        "assert not bare and not heavy, (bare, heavy)"
    )
    run = subprocess.run([sys.executable, "-I", "-c", program, str(tmp_path)], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
