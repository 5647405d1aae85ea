"""Settings of the tools: `[tool.lmqlc]` of the nearest `pyproject.toml`, and environment variables, which go before it.

The command line, the pytest plugin, the language server and the notebook magic read both; options of a command go before all of them. What
a program runs with is handed down as environment variables, so that every part of the project finds it in one place.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from lmqlc.grammar.errors import LmqlError

FILE = "pyproject.toml"
_MOST_BYTES = 1 << 20
_LARGEST = 1 << 20


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: its key in `[tool.lmqlc]`, its environment variable, what it is and what it is for."""

    key: str
    variable: str
    kind: Literal["text", "number", "path"]
    default: str
    meaning: str


SETTINGS = (
    Setting("model", "LMQL_DEFAULT_MODEL", "text", "demo", "the model of programs that name none"),
    Setting("decoder", "LMQLC_DECODER", "text", "argmax", "the decoder of programs without a header"),
    Setting("endpoint", "LMQLC_ENDPOINT", "text", "localhost:8080", "where models are served that a program names without a place"),
    Setting("cache", "LMQLC_CACHE", "path", "~/.cache/lmqlc", 'the folder of compiled constraints; "off" for none'),
    Setting("test-model", "LMQLC_TEST_MODEL", "text", "that of `model`", "the model of tests that name none"),
    Setting("max-tokens", "LMQLC_MAX_TOKENS", "number", "2048", "tokens of a hole that nothing bounds"),
    Setting("line-length", "LMQLC_LINE_LENGTH", "number", "120", "characters of a line of `lmqlc fmt`"),
)
_BY_KEY = {setting.key: setting for setting in SETTINGS}


@dataclass(frozen=True, slots=True)
class Value:
    """A setting's value as text, and where it was found."""

    text: str
    origin: str


@dataclass(frozen=True)
class Configuration:
    """What was found. file: the pyproject.toml with a `[tool.lmqlc]` table; warnings: keys that mean nothing, files that cannot be read."""

    file: Path | None = None
    values: Mapping[str, Value] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def text(self, key: str) -> str | None:
        """A setting's value, None where nobody sets it."""
        found = self.values.get(key)
        return None if found is None else found.text

    def number(self, key: str) -> int | None:
        """A setting's value as a number."""
        text = self.text(key)
        return None if text is None else int(text)


def find(folder: Path | None = None, environment: Mapping[str, str] | None = None) -> Configuration:
    """The settings for work in a folder, the current one by default. Raises LmqlError for a value of the wrong kind."""
    variables = os.environ if environment is None else environment
    file, table, warnings = _table(folder)
    values: dict[str, Value] = {}
    for key, value in table.items():
        setting = _BY_KEY.get(key)
        if setting is None:
            warnings.append(f"{file}: [tool.lmqlc] has no setting `{key}`{_near(key)}")
        else:
            values[key] = Value(_checked(setting, value, f"{file}: [tool.lmqlc] {key}", file), str(file))
    for setting in SETTINGS:
        if variables.get(setting.variable):
            values[setting.key] = Value(_checked(setting, variables[setting.variable], setting.variable, None), f"${setting.variable}")
    return Configuration(file, values, tuple(warnings))


@contextmanager
def applied(folder: Path | None = None) -> Iterator[Configuration]:
    """The settings, set as environment variables while the block runs; warnings go to standard error."""
    found = find(folder)
    for warning in found.warnings:
        print(f"lmqlc: warning: {warning}", file=sys.stderr)
    fresh = [setting for setting in SETTINGS if setting.key in found.values and not os.environ.get(setting.variable)]
    os.environ.update({setting.variable: found.values[setting.key].text for setting in fresh})
    try:
        yield found
    finally:
        for setting in fresh:
            os.environ.pop(setting.variable, None)


def _table(folder: Path | None) -> tuple[Path | None, dict[str, Any], list[str]]:
    """The nearest `[tool.lmqlc]` at or above a folder, with its file and what is wrong with files on the way."""
    warnings: list[str] = []
    try:
        start = (folder or Path()).resolve()
    except OSError:
        return None, {}, warnings
    for place in (start, *start.parents):
        table = _read(place / FILE, warnings)
        if table is not None:
            return place / FILE, table, warnings
    return None, {}, warnings


def _read(file: Path, warnings: list[str]) -> dict[str, Any] | None:
    try:
        with file.open("rb") as stream:
            data = stream.read(_MOST_BYTES)
    except OSError:
        return None
    if b"lmqlc" not in data:
        return None
    import tomllib

    try:
        tool = tomllib.loads(data.decode("utf-8")).get("tool", {})
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        warnings.append(f"{file} cannot be read: {error}")
        return None
    table = tool.get("lmqlc") if isinstance(tool, dict) else None
    return table if isinstance(table, dict) else None


def _checked(setting: Setting, value: object, place: str, file: Path | None) -> str:
    """A value as text; a path in a file counts from the file's folder."""
    if setting.kind == "number":
        text = str(value)
        if isinstance(value, bool) or not text.isascii() or not text.isdigit() or not 0 < int(text[:20]) <= _LARGEST:
            raise LmqlError(f"{place} is a whole number above 0, not {value!r}")
        return text
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise LmqlError(f"{place} is a text, not {value!r}")
    if setting.kind == "path" and file is not None and value != "off":
        return str(file.parent / Path(value).expanduser())
    return value


def _near(key: str) -> str:
    close = get_close_matches(key.replace("_", "-").lower(), _BY_KEY, 1, 0.6)
    return f"; did you mean `{close[0]}`?" if close else f"; its settings are: {', '.join(_BY_KEY)}"
