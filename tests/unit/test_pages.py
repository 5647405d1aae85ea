"""The pages of the documentation: all of them are reached, and the API page has every public name."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import lmqlc
from lmqlc.lib import actions

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(path.name for path in (ROOT / "docs").glob("*.md"))
API = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
DIRECTIVE = re.compile(r"^::: ([\w.]+)\n((?: +.*\n)*)", re.MULTILINE)


def resolved(path: str) -> Any:
    """The module, or the name in one, that a dotted path means."""
    try:
        return import_module(path)
    except ModuleNotFoundError:
        module, _, name = path.rpartition(".")
        return getattr(import_module(module), name)


def public(module: ModuleType) -> list[str]:
    """The names that a module defines for others."""
    own = [name for name, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__]
    return list(getattr(module, "__all__", [name for name in own if not name.startswith("_")]))


def documented() -> Iterator[Any]:
    """Everything that the API page shows the docstring of."""
    for path, options in DIRECTIVE.findall(API):
        shown = resolved(path)
        members = re.search(r"members: \[(.*)\]", options)
        if not isinstance(shown, ModuleType):
            yield shown
            continue
        for name in members[1].split(", ") if members else public(shown):
            yield getattr(shown, name)
    for path in re.findall(r"^### `([\w.]+)\(", API, re.MULTILINE):  # queries: their docstrings are programs
        yield resolved(path)


def shown(value: Any) -> bool:
    return any(value is other for other in documented())


def test_the_api_page_has_every_public_name() -> None:
    values = {name: getattr(lmqlc, name) for name in lmqlc.__all__}
    modules = [value for value in values.values() if isinstance(value, ModuleType)]
    values |= {f"{module.__name__}.{name}": getattr(module, name) for module in [*modules, actions] for name in public(module)}
    assert [name for name, value in values.items() if not isinstance(value, ModuleType) and not shown(value)] == []


def test_the_table_of_the_api_page_is_the_public_face() -> None:
    rows = re.findall(r"^\| \[.*\]\(#.*\) \| (.*) \|$", API, re.MULTILINE)
    names = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert sorted(names) == sorted(lmqlc.__all__)


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").split("\nnav:\n")[1]
    assert sorted(re.findall(r"[\w-]+\.md", navigation)) == PAGES


def test_the_first_page_leads_to_every_other() -> None:
    links = set(re.findall(r"\(([\w-]+\.md)\)", (ROOT / "docs" / "index.md").read_text(encoding="utf-8")))
    assert links == set(PAGES) - {"index.md"}


def test_the_architecture_names_every_room() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rooms = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["package-dir"].values()
    assert [room for room in rooms if f"`{room}/`" not in text] == []
