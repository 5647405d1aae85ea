"""Decimal numbers as languages: integers without leading zeros, decimals without exponent, and their ranges, compared exactly."""

from __future__ import annotations

from decimal import Decimal

from lmqlc.compiler.automata.charset import DIGITS, CharSet
from lmqlc.compiler.automata.expression import UNBOUNDED, Expressions, Node, Row
from lmqlc.compiler.automata.partition import Partition
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


def multiples(build: Expressions, step: Decimal) -> Node:
    """The decimals without exponent that are multiples of a step."""
    step = step.normalize()
    places = max(-int(step.as_tuple().exponent), 0)
    machine = Residues(build, int(step * 10**places), places)
    return build.intersection((any_decimal(build), machine.node(0)))


class Residues:
    """An automaton over decimals that keeps the residue of the number so far.

    State `place * step + residue`: `place` is 0 before the point, then one more than the decimals read; after the last one that counts
    only zeros follow. step: counted in the last of `places`.
    """

    def __init__(self, build: Expressions, step: int, places: int) -> None:
        self._build, self._step, self._places = build, step, places
        for character in "-.0123456789":
            build.chars(CharSet.text(character))

    def node(self, state: int) -> Node:
        place, residue = divmod(state, self._step)
        left = self._places - max(place - 1, 0)
        return self._build.table(self, state, residue * 10**left % self._step == 0)

    def row(self, state: int, partition: Partition) -> Row:
        place, residue = divmod(state, self._step)
        if place > self._places:
            return [(partition.mask(CharSet.text("0")), self.node(state))]
        then = place + 1 if place else 0
        found: dict[Node, int] = {}
        for digit in range(10):
            node = self.node(then * self._step + (residue * 10 + digit) % self._step)
            found[node] = found.get(node, 0) | partition.mask(CharSet.text(str(digit)))
        row = [(mask, node) for node, mask in found.items()]
        if place == 0:
            row += [
                (partition.mask(CharSet.text("-")), self.node(state)),
                (partition.mask(CharSet.text(".")), self.node(self._step + residue)),
            ]
        return row


def sized(build: Expressions, most: int | None, places: int | None) -> Node:
    """The decimals without exponent of at most so many digits, and so many decimals; zeros at the ends do not count."""
    digit, zeros = build.chars(DIGITS), build.repeat(build.chars(CharSet.single(48)))
    found = []
    for width in [-1] if most is None else range(max(most - (places or 0), 0) + 1):
        whole = build.concat(_digits(build, 1, 9), build.repeat(digit, width - 1, width - 1)) if width > 0 else build.literal("0")
        rest = min(UNBOUNDED if most is None else most - width, UNBOUNDED if places is None else places)
        tail = build.concat(build.repeat(digit, 0, rest), zeros)
        fraction = build.literal(".", build.intersection((tail, build.repeat(digit, 1))))
        found.append(build.concat(_natural(build, 0, None) if most is None else whole, build.repeat(fraction, 0, 1)))
    unsigned = build.union(found)
    if most is not None and most <= (places or 0):  # 0 has a digit before the point, other numbers below 1 have none
        unsigned = build.intersection((unsigned, build.complement(build.literal("0", equal(build, "")))))
    return build.concat(build.repeat(build.literal("-"), 0, 1), unsigned)


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
    if side == "=":
        return build.literal(str(number), equal(build, fraction))
    if side == "<":
        whole_part = build.concat(_natural(build, 0, number - 1), _fraction(build)) if number else build.empty
        return build.union((whole_part, build.literal(str(number), below(build, fraction))))
    whole_part = build.concat(_natural(build, number + 1, None), _fraction(build))
    return build.union((whole_part, build.literal(str(number), above(build, fraction))))


def equal(build: Expressions, fraction: str) -> Node:
    """What may follow an equal whole part of an equal number: the same fraction (without zeros at its end), perhaps more zeros."""
    zeros = build.repeat(build.chars(CharSet.single(48)))
    if fraction:
        return build.concat(build.literal("." + fraction), zeros)
    return build.repeat(build.concat(build.literal(".0"), zeros), 0, 1)


def below(build: Expressions, fraction: str) -> Node:
    """What may follow an equal whole part of a smaller number: nothing, or a smaller fraction."""
    if not fraction:
        return build.empty
    node, rest = build.empty, build.repeat(build.chars(DIGITS))
    for at in range(len(fraction) - 1, -1, -1):
        less = build.concat(_digits(build, 0, int(fraction[at]) - 1), rest)
        same = build.literal(fraction[at], node if at == len(fraction) - 1 else build.union((node, build.epsilon)))
        node = build.union((less, same))
    return build.union((build.epsilon, build.literal(".", node)))


def above(build: Expressions, fraction: str) -> Node:
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
