"""Each room imports only the floors below it."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

ALLOWED = {
    "grammar": ("lmqlc.grammar",),
    "backends/base.py": ("lmqlc.backends.base",),
    "backends/choice.py": ("lmqlc.backends.base",),
    "backends/text.py": ("lmqlc.backends.base", "lmqlc.backends.choice"),
    "compiler": ("lmqlc.grammar", "lmqlc.compiler", "lmqlc.backends.base", "lmqlc.backends.choice"),
    "runtime": (
        "lmqlc.grammar",
        "lmqlc.compiler",
        "lmqlc.runtime",
        "lmqlc.backends.base",
        "lmqlc.backends.choice",
        "lmqlc.backends.registry",
        "lmqlc.backends.text",
    ),
    "backends": ("lmqlc.grammar.errors", "lmqlc.grammar.diagnostics", "lmqlc.compiler", "lmqlc.backends"),
}


def imports_of(path: Path) -> set[str]:
    """The project's modules that a file imports, anywhere in it; `from package import name` counts as `package.name`
    where that is a module."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {node.module or ""}
            found |= {f"{node.module}.{alias.name}" for alias in node.names if is_module(f"{node.module}.{alias.name}")}
    return {name for name in found if name == "lmqlc" or name.startswith("lmqlc.")}


def is_module(name: str) -> bool:
    path = ROOT / name.removeprefix("lmqlc.").replace(".", "/")
    return path.with_suffix(".py").is_file() or path.is_dir()


def allows(allowed: tuple[str, ...], name: str) -> bool:
    return any(name == prefix or name.startswith(prefix + ".") for prefix in allowed)


def violations(room: str) -> list[str]:
    files = [ROOT / room] if room.endswith(".py") else sorted((ROOT / room).rglob("*.py"))
    packages = {"lmqlc.backends"}
    return [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in files
        for name in sorted(imports_of(path))
        if name not in packages and not allows(ALLOWED[room], name)
    ]


def test_every_room_imports_only_floors_below() -> None:
    assert [line for room in ALLOWED for line in violations(room)] == []


def test_nobody_imports_the_face() -> None:
    rooms = ("grammar", "compiler", "runtime", "backends")
    users = [
        p for room in rooms for p in sorted((ROOT / room).rglob("*.py")) if "lmqlc" in imports_of(p) or "lmqlc.errors" in imports_of(p)
    ]
    assert users == []
