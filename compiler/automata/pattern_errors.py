"""Reading patterns on behalf of atoms: problems become findings that point into the pattern."""

from __future__ import annotations

import re

from lmqlc.compiler.automata.expression import Expressions, Node
from lmqlc.compiler.automata.problems import BAD_PATTERN, error
from lmqlc.compiler.automata.regex import PatternProblem, read
from lmqlc.compiler.constraints import Matches, Stop
from lmqlc.compiler.literal_places import inside_literal
from lmqlc.grammar.errors import LmqlCompileError
from lmqlc.grammar.source import Source

_PLACES = {
    "reference": re.compile(r"\\[1-9][0-9]?|\(\?P=\w+\)"),
    "conditional": re.compile(r"\(\?\("),
    "atomic": re.compile(r"\(\?>|(?<!\\)[*+?}]\+"),
    "look-behind": re.compile(r"\(\?<[=!]"),
}
_SKIPPED = re.compile(r"\\[^1-9]|\[\^?\]?(?:\\.|[^\]\\])*\]", re.DOTALL)


def read_pattern(build: Expressions, pattern: str, flags: int, atom: Matches | Stop, source: Source | None) -> Node:
    """The language of a pattern. Raises LmqlCompileError with a span inside the pattern where the program shows it."""
    try:
        return read(build, pattern, flags)
    except PatternProblem as problem:
        raise _finding(problem, pattern, atom, source) from None


def _finding(problem: PatternProblem, pattern: str, atom: Matches | Stop, source: Source | None) -> LmqlCompileError:
    start, end = _place(problem, pattern)
    shown = atom.pattern_span if isinstance(atom, Matches) else None
    span = inside_literal(source, shown, pattern, start, end) if source is not None and shown is not None else None
    message = problem.message
    if span is None:
        message += "".join(f"\n  {line}" for line in _caret(pattern, start, end))
    return error(BAD_PATTERN, message, span or shown or atom.span, problem.hint, source)


def _place(problem: PatternProblem, pattern: str) -> tuple[int, int]:
    """Where in the pattern the construct at fault stands."""
    if problem.position is not None:
        return problem.position, problem.position + 1
    at, wanted = 0, _PLACES.get(problem.construct)
    while wanted is not None and at < len(pattern):
        found = wanted.match(pattern, at)
        if found:
            return found.span()
        skipped = _SKIPPED.match(pattern, at)
        at = skipped.end() if skipped else at + 1
    return 0, len(pattern)


def _caret(pattern: str, start: int, end: int) -> list[str]:
    """The pattern's line with carets below it."""
    first = pattern.rfind("\n", 0, start) + 1
    line = pattern[first:].split("\n", 1)[0]
    low, high = max(0, start - first - 40), start - first + 40
    width = max(1, min(end, first + len(line)) - start)
    return [line[low:high], " " * (start - first - low) + "^" * min(width, 40)]
