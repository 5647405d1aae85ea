"""Decimal numbers as languages: integers without leading zeros, decimals without exponent, and their ranges, compared exactly."""

from __future__ import annotations

from decimal import Decimal

from lmqlc.compiler.automata.charset import DIGITS, CharSet
from lmqlc.compiler.automata.expression import Expressions, Node
from lmqlc.compiler.constraints import Op


def integer(build: Expressions) -> Node:
    """`-?(0|[1-9][0-9]*)`."""
    return integers(build, None, None)


def json_number(build: Expressions) -> Node:
    """A JSON number: an integer, then perhaps a fraction, then perhaps an exponent."""
    digits = build.repeat(build.chars(DIGITS), 1)
    sign = build.repeat(build.chars(CharSet.text("+-")), 0, 1)
    exponent = build.sequence([build.chars(CharSet.text("eE")), sign, digits])
    return build.sequence([integer(build), _fraction(build), build.repeat(exponent, 0, 1)])


def integers(build: Expressions, low: int | None, high: int | None) -> Node:
    """The integers from `low` to `high`; None for no bound. `-0` is 0."""
    found = build.empty
    if high is None or high >= 0:
        found = _natural(build, max(low or 0, 0), high)
    if low is None or low <= 0:
        magnitude = _natural(build, max(-high, 0) if high is not None else 0, None if low is None else -low)
        found = build.union((found, build.literal("-", magnitude)))
    return found


def decimals(build: Expressions, op: Op, bound: Decimal) -> Node:
    """The decimals without exponent, `-?(0|[1-9][0-9]*)([.][0-9]+)?`, that compare with a bound as `op` says."""
    if op == "!=":
        return build.union((decimals(build, "<", bound), decimals(build, ">", bound)))
    parts = [_signed(build, bound, side) for side in op.replace("==", "=")]
    return build.union(parts)


def any_decimal(build: Expressions) -> Node:
    """The decimals without exponent."""
    return build.concat(integer(build), _fraction(build))


def _signed(build: Expressions, bound: Decimal, side: str) -> Node:
    """Decimals on one side of a bound: `<`, `=` or `>`."""
    size = abs(bound)
    mirrored = {"<": ">", ">": "<", "=": "="}[side]
    plus = _magnitude(build, size, side) if bound >= 0 else (_unsigned(build) if side == ">" else build.empty)
    minus = _magnitude(build, size, mirrored) if bound <= 0 else (_unsigned(build) if side == "<" else build.empty)
    return build.union((plus, build.literal("-", minus)))


def _unsigned(build: Expressions) -> Node:
    return build.concat(_natural(build, 0, None), _fraction(build))


def _fraction(build: Expressions) -> Node:
    return build.repeat(build.literal(".", build.repeat(build.chars(DIGITS), 1)), 0, 1)


def _magnitude(build: Expressions, size: Decimal, side: str) -> Node:
    """Unsigned decimals below (`<`), equal to (`=`) or above (`>`) a size."""
    whole, _, fraction = format(size, "f").partition(".")
    fraction = fraction.rstrip("0")
    number = int(whole)
    zeros = build.repeat(build.chars(CharSet.single(48)))
    if side == "=":
        end = build.concat(build.literal("." + fraction), zeros)
        if not fraction:
            end = build.repeat(build.concat(build.literal(".0"), zeros), 0, 1)
        return build.literal(str(number), end)
    if side == "<":
        whole_part = build.concat(_natural(build, 0, number - 1), _fraction(build)) if number else build.empty
        return build.union((whole_part, build.literal(str(number), _below(build, fraction))))
    whole_part = build.concat(_natural(build, number + 1, None), _fraction(build))
    return build.union((whole_part, build.literal(str(number), _above(build, fraction))))


def _below(build: Expressions, fraction: str) -> Node:
    """What may follow an equal whole part of a smaller number: nothing, or a smaller fraction."""
    if not fraction:
        return build.empty
    node, rest = build.empty, build.repeat(build.chars(DIGITS))
    for at in range(len(fraction) - 1, -1, -1):
        less = build.concat(_digits(build, 0, int(fraction[at]) - 1), rest)
        same = build.literal(fraction[at], node if at == len(fraction) - 1 else build.union((node, build.epsilon)))
        node = build.union((less, same))
    return build.union((build.epsilon, build.literal(".", node)))


def _above(build: Expressions, fraction: str) -> Node:
    """What follows an equal whole part of a greater number: a greater fraction."""
    digits = build.repeat(build.chars(DIGITS))
    node = build.sequence([build.repeat(build.chars(CharSet.single(48))), _digits(build, 1, 9), digits])
    for digit in reversed(fraction):
        node = build.union((build.concat(_digits(build, int(digit) + 1, 9), digits), build.literal(digit, node)))
    return build.literal(".", node)


def _digits(build: Expressions, low: int, high: int) -> Node:
    return build.chars(CharSet.of([(48 + low, 48 + high)])) if low <= high else build.empty


def _natural(build: Expressions, low: int, high: int | None) -> Node:
    """Natural numbers without leading zeros from `low` to `high` (None: no bound)."""
    if high is not None and low > high:
        return build.empty
    found = _at_least(build, str(low))
    return found if high is None else build.intersection((found, _at_most(build, str(high))))


def _at_least(build: Expressions, bound: str) -> Node:
    digit = build.chars(DIGITS)
    longer = build.concat(_digits(build, 1, 9), build.repeat(digit, len(bound)))
    return build.union((longer, _same_length(build, bound, above=True)))


def _at_most(build: Expressions, bound: str) -> Node:
    digit, same = build.chars(DIGITS), _same_length(build, bound, above=False)
    if len(bound) == 1:
        return same
    shorter = build.concat(_digits(build, 1, 9), build.repeat(digit, 0, len(bound) - 2))
    return build.union((build.literal("0"), shorter, same))


def _same_length(build: Expressions, bound: str, above: bool) -> Node:
    """Numbers with as many digits as a bound that are not below it, or not above it."""
    node, digit = build.epsilon, build.chars(DIGITS)
    for at in range(len(bound) - 1, -1, -1):
        here, first = int(bound[at]), 1 if at == 0 and len(bound) > 1 else 0
        other = _digits(build, here + 1, 9) if above else _digits(build, first, here - 1)
        rest = build.repeat(digit, len(bound) - 1 - at, len(bound) - 1 - at)
        node = build.union((build.concat(other, rest), build.literal(bound[at], node)))
    return node
