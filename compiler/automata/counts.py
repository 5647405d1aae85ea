"""Counts of characters, words and sentences as languages."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction

from lmqlc.compiler.automata.charset import CharSet, category
from lmqlc.compiler.automata.expression import UNBOUNDED, Expressions, Node
from lmqlc.compiler.automata.limits import LONGEST_TEXT
from lmqlc.compiler.constraints import Op, Unit

Number = int | float | Decimal
Interval = tuple[int, int | None]
"""Lowest and highest count; None where there is no highest."""


def interval(op: Op, bound: Number) -> tuple[int | None, int | None] | None:
    """The integers n with `n op bound`, as lowest and highest (None: no bound); None where there are none. `!=` is not an interval."""
    if bound != bound:
        return None
    if isinstance(bound, (float, Decimal)) and math.isinf(bound):
        return (None, None) if (bound > 0) == (op in ("<", "<=")) and op != "==" else None
    exact = Fraction(bound)
    below, above = math.floor(exact), math.ceil(exact)
    if op == "==":
        return (below, below) if below == above else None
    if op in ("<", "<="):
        return (None, below if op == "<=" else above - 1)
    return (above if op == ">=" else below + 1, None)


def counts(op: Op, bound: Number, never: int = LONGEST_TEXT) -> Interval | None:
    """`interval` for counts, which are never negative. never: a count that no text has, so that an upper bound from there on is none."""
    found = interval(op, bound)
    if found is None or (found[1] is not None and found[1] < 0):
        return None
    low, high = max(found[0] or 0, 0), found[1]
    return low, None if high is None or (high >= never and low < never) else high


def count(build: Expressions, unit: Unit, op: Op, bound: Number) -> Node:
    """The texts whose number of units compares with a bound."""
    if op == "!=":
        return build.complement(count(build, unit, "==", bound))
    found = counts(op, bound)
    if found is None:
        return build.empty
    low, high = found
    if low >= LONGEST_TEXT:
        return build.empty
    return {"chars": _characters, "words": _words, "sentences": _sentences}[unit](build, low, high)


def _times(build: Expressions, body: Node, low: int, high: int | None) -> Node:
    return build.repeat(body, low, UNBOUNDED if high is None else high)


def _characters(build: Expressions, low: int, high: int | None) -> Node:
    return _times(build, build.char, low, high)


def _words(build: Expressions, low: int, high: int | None) -> Node:
    """Words as `str.split()` finds them."""
    space = build.chars(category("s", False))
    blank, gap = build.repeat(space), build.repeat(space, 1)
    word = build.repeat(build.chars(~category("s", False)), 1)
    none = blank if low == 0 else build.empty
    if high == 0:
        return none
    more = _times(build, build.concat(gap, word), max(low - 1, 0), None if high is None else high - 1)
    return build.union((none, build.sequence([blank, word, more, blank])))


def _sentences(build: Expressions, low: int, high: int | None) -> Node:
    """A sentence ends at a run of `.`, `!`, `?` followed by white space or the end of the text; an unended rest that is not blank counts
    as one. `unit` runs up to the next mark; a sentence that ends inside the text is several units and one white space."""
    marks, spaces = CharSet.text(".!?"), category("s", False)
    mark, space = build.chars(marks), build.chars(spaces)
    other, more = build.chars(~(marks | spaces)), build.repeat(build.chars(~marks))
    blank, open_end = build.repeat(space), build.concat(other, more)
    unit = build.union((mark, build.concat(open_end, mark)))
    units = build.repeat(unit, 1)
    ended = build.sequence([blank, units, space])
    last = build.union((units, build.concat(build.repeat(unit), open_end)))
    closed = build.concat(_times(build, ended, low, high), blank)
    if high == 0:
        return closed
    return build.union((closed, build.sequence([_times(build, ended, max(low - 1, 0), None if high is None else high - 1), blank, last])))
