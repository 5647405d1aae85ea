"""Dates, times and durations as languages: ISO 8601, real days only, and those before or after a given one."""

from __future__ import annotations

import datetime

from lmqlc.compiler.automata import numbers
from lmqlc.compiler.automata.charset import CharSet
from lmqlc.compiler.automata.expression import Expressions, Node
from lmqlc.compiler.automata.regex import read
from lmqlc.compiler.constraints import Op

_YEAR = "(?!0000)[0-9]{4}"
_LEAP = "(?!0000)(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)"
_DAYS = (
    "(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))"
)  # fmt: skip
_DATE = f"(?:{_YEAR}-{_DAYS}|{_LEAP}-02-29)"
_CLOCK = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,6})?"
_ZONE = r"(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
_ZONES = {"aware": _ZONE, "naive": "", "": f"{_ZONE}?"}
_SECONDS = r"[0-9]{1,6}(?:\.[0-9]{1,6})?S"
_DURATION = (
    rf"-?P(?:[0-9]{{1,6}}W|[0-9]{{1,6}}D|(?:[0-9]{{1,6}}D)?T(?:[0-9]{{1,6}}H(?:[0-9]{{1,6}}M)?(?:{_SECONDS})?"
    rf"|[0-9]{{1,6}}M(?:{_SECONDS})?|{_SECONDS}))"
)


def pattern(kind: str, zone: str = "") -> str:
    """The pattern of a date, time, datetime or timedelta. zone: "aware", "naive", or "" for both."""
    clock = _CLOCK + _ZONES[zone]
    return {"date": _DATE, "time": clock, "datetime": f"{_DATE}T{clock}", "timedelta": _DURATION}[kind]


def compared(build: Expressions, op: Op, bound: datetime.date | datetime.time) -> Node:
    """The dates, datetimes or times without zone that compare with a bound, which is of the kind."""
    kind = "datetime" if isinstance(bound, datetime.datetime) else "date" if isinstance(bound, datetime.date) else "time"
    every = read(build, pattern(kind, "naive"))
    if op == "!=":
        return build.intersection((every, build.complement(compared(build, "==", bound))))
    text = bound.isoformat()
    whole, _, fraction = text.partition(".")
    parts = [_side(build, whole, fraction.rstrip("0"), side) for side in op.replace("==", "=")]
    return build.intersection((every, build.union(parts)))


def _side(build: Expressions, whole: str, fraction: str, side: str) -> Node:
    """Texts of one layout that stand before (`<`), at (`=`) or after (`>`) a bound: digits in their places, then a fraction of a second."""
    ends = {"<": numbers.below, "=": numbers.equal, ">": numbers.above}
    node = ends[side](build, fraction)
    if side == "=":
        return build.literal(whole, node)
    for at in range(len(whole) - 1, -1, -1):
        node = build.union((build.concat(build.chars(_digits(whole[at], side)), build.anything), build.literal(whole[at], node)))
    return node


def _digits(digit: str, side: str) -> CharSet:
    """The digits before (`<`) or after (`>`) one; none for what is no digit."""
    if not digit.isdigit():
        return CharSet(())
    low, high = ("0", chr(ord(digit) - 1)) if side == "<" else (chr(ord(digit) + 1), "9")
    return CharSet.of([(ord(low), ord(high))]) if low <= high else CharSet(())
