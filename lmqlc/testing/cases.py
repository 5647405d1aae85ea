"""Tests as they are written: in comments of a program, or in a TOML file beside it.

In a program, a comment `# test: NAME` begins a test; the comments below it that are indented deeper are its lines:

    # test: knows the capital of Japan
    #   args: country="Japan"
    #   assert CAPITAL == "Tokyo"

A line indented deeper still goes on with the one above. `tests/NAME.toml` or `NAME.tests.toml` beside `NAME.lmql` holds a table `[[test]]`
for each test, with the same keys.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from lmqlc.grammar.diagnostics import Diagnostic
from lmqlc.grammar.errors import LmqlError
from lmqlc.grammar.source import Source, Span

KEYS = ("args", "model", "decoder", "says", "assert", "raises")
BAD_TEST = "L0901"
_START = re.compile(r"^#[ \t]*test:[ \t]*(?P<name>[^\r\n]*)", re.MULTILINE)
_COMMENT = re.compile(r"[ \t]*#(?P<indent>[ \t]*)(?P<text>[^\r\n]*)")
_KEY = re.compile(r"(?P<key>[A-Za-z_-]+)(?P<sign>:|\b)[ \t]*(?P<value>.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Check:
    """An assertion: its text, a Python expression, and its line in the file."""

    text: str
    line: int


@dataclass(frozen=True, slots=True)
class QueryTest:
    """One test. args: source of keyword arguments; says: a text for each hole in order, instead of a model; decoder: as on the command
    line; raises: the name of an error, and a part of its message."""

    name: str
    file: Path
    line: int
    args: Mapping[str, str]
    checks: tuple[Check, ...]
    model: str | None = None
    decoder: str | None = None
    says: tuple[str, ...] | None = None
    raises: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class _Line:
    key: str
    value: Any
    line: int
    span: Span | None


class BadTest(Exception):
    """A line of a test that cannot be read."""

    def __init__(self, message: str, line: _Line, hint: str | None = None) -> None:
        super().__init__(message)
        self.line, self.hint = line, hint


def has_tests(text: str) -> bool:
    """A program's text has tests in its comments."""
    return _START.search(text) is not None


def companions(query: Path) -> Iterator[Path]:
    """The files beside a query that hold tests of it."""
    for path in (query.with_suffix(".tests.toml"), query.parent / "tests" / f"{query.stem}.toml"):
        if path.is_file():
            yield path


def written_tests(source: Source, query: Path) -> list[QueryTest]:
    """The tests of a program, those of its companion files last. Raises LmqlError with a place for one that cannot be read."""
    found = list(_written(source, query))
    for path in companions(query):
        found += _companion(path)
    _different(found)
    return found


def _different(tests: Sequence[QueryTest]) -> None:
    seen: dict[str, QueryTest] = {}
    for test in tests:
        if test.name in seen:
            raise LmqlError(f"{test.file}:{test.line}: there are two tests {test.name!r}; the first one is in line {seen[test.name].line}")
        seen[test.name] = test


# In comments


def _written(source: Source, query: Path) -> Iterator[QueryTest]:
    for match in _START.finditer(source.text):
        number = source.position(match.start())[0]
        name = match["name"].strip() or f"line {number}"
        try:
            yield _made(name, query, number, list(_lines(source, number)))
        except BadTest as problem:
            found = Diagnostic(BAD_TEST, "error", f"test {name!r}: {problem}", problem.line.span, hint=problem.hint)
            raise LmqlError(diagnostics=[found], source=source) from None


def _lines(source: Source, start: int) -> Iterator[_Line]:
    """The lines of the test that begins in a line, those that go on with one joined to it."""
    outer = _indent(source.line(start))
    held: list[tuple[int, int, str]] = []
    for number in range(start + 1, source.line_count + 1):
        match = _COMMENT.match(source.line(number))
        if not match or not match["text"].strip() or len(match["indent"].expandtabs(4)) <= outer:
            break
        indent = len(match["indent"].expandtabs(4))
        if held and indent > held[0][0]:
            held.append((indent, number, match["text"]))
            continue
        if held:
            yield _line(source, held)
        held = [(indent, number, match["text"])]
    if held:
        yield _line(source, held)


def _indent(line: str) -> int:
    match = _COMMENT.match(line)
    return len(match["indent"].expandtabs(4)) if match else 0


def _line(source: Source, held: Sequence[tuple[int, int, str]]) -> _Line:
    number = held[0][1]
    written = source.line(number)
    start = source.offset(number, written.index("#") + 1) + 1
    span = Span(
        start + len(written[written.index("#") + 1 :]) - len(written[written.index("#") + 1 :].lstrip()), source.offset(number, 1 << 20)
    )
    end = source.offset(number, len(written) + 1)
    match = _KEY.fullmatch("\n".join(text.rstrip() for _, _, text in held))
    whole = Span(min(span.start, end), end)
    if match is None:
        raise BadTest("a line without a key", _Line("", "", number, whole), f"its keys are: {', '.join(KEYS)}")
    return _Line(match["key"], match["value"].strip(), number, whole)


def _made(name: str, file: Path, number: int, lines: Sequence[_Line]) -> QueryTest:
    given: dict[str, Any] = {"checks": ()}
    for line in lines:
        if line.key not in KEYS:
            close = get_close_matches(line.key, KEYS, 1)
            raise BadTest(
                f"there is no key `{line.key}`", line, f"did you mean `{close[0]}`?" if close else f"its keys are: {', '.join(KEYS)}"
            )
        if line.key == "assert":
            given["checks"] += (Check(_expression(line), line.line),)
        elif line.key in given:
            raise BadTest(f"`{line.key}` stands twice", line, "keep one of them")
        else:
            given[line.key] = _value(line)
    if not given["checks"] and "raises" not in given:
        raise BadTest("it claims nothing", _Line("", "", number, None), "add a line such as `assert ANSWER == 42`, or `raises: ValueError`")
    return QueryTest(name, file, number, given.pop("args", {}), given.pop("checks"), **given)


def _value(line: _Line) -> Any:
    if not str(line.value).strip():
        raise BadTest(f"`{line.key}` without a value", line)
    if line.key == "args":
        return _arguments(line)
    if line.key == "says":
        return _texts(line)
    if line.key == "raises":
        name, _, part = line.value.partition(" ")
        return name.rstrip(":"), part.strip().strip("\"'")
    return line.value


def _expression(line: _Line) -> str:
    text = str(line.value)
    try:
        ast.parse(f"({text}\n)", mode="eval")
    except (SyntaxError, ValueError) as error:
        raise BadTest(f"not a Python expression: {getattr(error, 'msg', error)}", line) from None
    return text


def _arguments(line: _Line) -> dict[str, str]:
    try:
        call = ast.parse(f"f({line.value}\n)", mode="eval").body
        assert isinstance(call, ast.Call)
    except (SyntaxError, ValueError, AssertionError):
        raise BadTest("arguments that cannot be read", line, 'write them as in a call: `args: country="Japan", n=3`') from None
    if call.args or any(keyword.arg is None for keyword in call.keywords):
        raise BadTest("an argument without a name", line, 'name every argument: `args: country="Japan"`')
    return {str(keyword.arg): ast.unparse(keyword.value) for keyword in call.keywords}


def _texts(line: _Line) -> tuple[str, ...]:
    hint = 'write one text for each hole in order, as in `says: "Tokyo", "yes"`'
    try:
        value = ast.literal_eval(f"({line.value}\n,)")
    except (SyntaxError, ValueError):
        raise BadTest("texts that cannot be read", line, hint) from None
    if not all(isinstance(text, str) for text in value):
        raise BadTest("something in it is no text", line, hint)
    return tuple(value)


# In a companion file


def _companion(path: Path) -> Iterator[QueryTest]:
    import tomllib

    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LmqlError(f"{path} cannot be read: {error}") from None
    tests = table.get("test", [])
    if table.keys() - {"test"} or not isinstance(tests, list) or not all(isinstance(test, dict) for test in tests):
        raise LmqlError(f"{path}: a table `[[test]]` for each test is all that stands here")
    for number, test in enumerate(tests, 1):
        name = test.pop("name", None) or f"{path.name} {number}"
        try:
            yield _made(str(name), path, number, list(_entries(test, number)))
        except BadTest as problem:
            hint = f"; {problem.hint}" if problem.hint else ""
            raise LmqlError(f"{path}: test {name!r}: {problem}{hint}") from None


def _entries(test: Mapping[str, Any], number: int) -> Iterator[_Line]:
    """A test's keys as lines; values of TOML are written as those of a comment."""
    for key, value in test.items():
        if key == "assert":
            yield from (_Line(key, str(one), number, None) for one in (value if isinstance(value, list) else [value]))
        elif key == "args" and isinstance(value, dict):
            yield _Line(key, ", ".join(f"{name}={_literal(item)}" for name, item in value.items()), number, None)
        elif key == "says":
            yield _Line(key, ", ".join(map(repr, value if isinstance(value, list) else [value])), number, None)
        else:
            yield _Line(key, str(value), number, None)


def _literal(value: object) -> str:
    if isinstance(value, str | int | float | bool | list | dict):
        return repr(value)
    return repr(str(value))
