"""Shapes of types as languages: plain text, or JSON with keys in declared order and one space after `:` and `,`.

Strings and keys of JSON have one spelling (`spelled.py`); what bounds a string bounds its value. What no automaton of moderate size holds
is left to the memory beside it (`typed_memory.py`).
"""

from __future__ import annotations

import json
import math
from decimal import Decimal, localcontext

from lmqlc.compiler import shapes as s
from lmqlc.compiler.automata import calendar, numbers
from lmqlc.compiler.automata.charset import ASCII, CharSet, category
from lmqlc.compiler.automata.expression import UNBOUNDED, Expressions, Node
from lmqlc.compiler.automata.machine import words
from lmqlc.compiler.automata.problems import BAD_PATTERN, UNSUPPORTED, error
from lmqlc.compiler.automata.regex import PatternProblem, read, search
from lmqlc.compiler.automata.spelled import spelled
from lmqlc.compiler.automata.typed_memory import alone, choices, is_long, is_many, lengths
from lmqlc.compiler.constraints import Op
from lmqlc.compiler.types import RecursionFound, shape_of
from lmqlc.grammar.source import Span

_OPS: dict[str, Op] = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
_UUID = "[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-%s[0-9a-fA-F]{3}-%s[0-9a-fA-F]{3}-[0-9a-fA-F]{12}"
_LABEL = "(?!(?i:xn--))[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_HOST = rf"(?:{_LABEL}\.)*(?=[A-Za-z]){_LABEL}"
_PORT = "(?::(?:[0-9]{1,4}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?"
_URL_CHARACTER = "(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})"
_URL = rf"{_HOST}{_PORT}(?:/{_URL_CHARACTER}*)?(?:\?(?:{_URL_CHARACTER}|\?)*)?(?:#(?:{_URL_CHARACTER}|\?)*)?"
_SMALLEST = Decimal("1e-300")
"""Written without an exponent, numbers closer to 0 count as 0: `float` makes 0 of them further on."""
_LONGEST_BOUND = 300
"""Decimals of a bound that is compared with exactly."""
_FINITE = r"-?(?:0|[1-9][0-9]{0,199})(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,2})?"
_EXACT_DIGITS = 15
"""Digits of a JSON number that keep their value where it is read as a binary fraction first."""


class Typed:
    """Builds the languages of types; span is where the type stands in the program. remembers: what `typed_memory.py` leaves to the memory
    beside the automaton is not in them."""

    def __init__(self, build: Expressions, span: Span | None, remembers: bool = False) -> None:
        self._build = build
        self._span = span
        self._remembers = remembers

    def node(self, hole_type: object) -> Node:
        """The texts of a type. Raises UnsupportedConstraint for one that contains itself, LmqlCompileError for what is no type."""
        try:
            shape = shape_of(hole_type, self._span)
        except RecursionFound:
            raise error(
                UNSUPPORTED, "a type that contains itself, or any value, is not regular", self._span,
                "use it as a conjunct of its own, not under `or` or `not`",
            ) from None  # fmt: skip
        return self.json(shape) if s.structured(shape) else self.text(shape)

    # -- plain text -----------------------------------------------------------------------------------------------------

    def text(self, shape: s.Shape) -> Node:
        """The plain texts of a shape without structure."""
        build = self._build
        if isinstance(shape, s.UnionOf):
            return build.union(self.text(option) for option in shape.options)
        if isinstance(shape, s.Fixed):
            return words(build, [str(written) for written, _ in shape.options])
        if isinstance(shape, s.Finished):
            return self.text(shape.shape)
        if isinstance(shape, s.Pattern):
            return self._read(shape.source, shape.flags)
        assert isinstance(shape, s.Plain)
        fixed = {"bool": ["True", "False"], "none": ["None"]}.get(shape.kind)
        return words(build, fixed) if fixed else self._scalar(shape)

    def _scalar(self, shape: s.Plain) -> Node:
        """The texts of a shape that is neither bool nor None, without quotes."""
        build, bounds = self._build, dict(shape.bounds)
        if shape.kind in ("str", "url"):
            return self._string(shape)
        if shape.kind == "int":
            return self._number(shape, numbers.integer(build))
        if shape.kind == "float":
            return self._number(shape, self._read(_FINITE, 0) if "finite" in bounds else numbers.json_number(build))
        if shape.kind == "decimal":
            return self._number(shape, numbers.any_decimal(build))
        if shape.kind == "uuid":
            version = bounds.get("version")
            return self._read(_UUID % (("[0-9a-fA-F]", "[0-9a-fA-F]") if version is None else (version, "[89abAB]")), 0)
        every = self._read(calendar.pattern(shape.kind, bounds.get("zone", "")), 0)
        sides = [calendar.compared(build, _OPS[name], value) for name, value in shape.bounds if name in _OPS]
        return build.intersection((every, *sides))

    def _number(self, shape: s.Plain, node: Node) -> Node:
        """Numbers within bounds; bounded ones have no exponent."""
        build, parts = self._build, [node]
        for name, value in shape.bounds:
            if name in _OPS:
                exact = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
                rounded = shape.kind == "float" and name in ("gt", "lt")
                parts.append(_beyond(build, name, exact) if rounded else numbers.decimals(build, _OPS[name], exact))
            elif name == "multiple_of":
                parts.append(numbers.multiples(build, Decimal(repr(value)) if isinstance(value, float) else Decimal(value)))
        bounds = dict(shape.bounds)
        if "max_digits" in bounds or "decimal_places" in bounds:
            parts.append(numbers.sized(build, bounds.get("max_digits"), bounds.get("decimal_places")))
        return build.intersection(parts)

    def _string(self, shape: s.Plain) -> Node:
        """The values of a string within its bounds."""
        build, low, high, parts = self._build, 0, UNBOUNDED, []
        for name, value in shape.bounds:
            if name == "pattern":
                parts.append(self._search(value))
            elif name == "min_length":
                low = max(low, value)
            elif name == "max_length":
                high = min(high, UNBOUNDED if self._remembers and is_long(shape) else value)
            elif name == "ascii":
                parts.append(build.repeat(build.chars(ASCII)))
            elif name == "schemes":
                parts.append(self._read(f"(?:{'|'.join(value)})://{_URL}", 0))
        if low > high:
            return build.empty
        node = build.intersection((build.repeat(build.char, low, high), *parts))
        return self._stripped(node) if dict(shape.bounds).get("strip") else node

    def _stripped(self, node: Node) -> Node:
        """Texts that are in a language once the white space at their ends is gone."""
        build, space = self._build, category("s", False)
        blank, other = build.repeat(build.chars(space - CharSet((0x1C, 0x20)))), build.chars(~space)
        inner = build.concat(other, build.repeat(build.concat(build.repeat(build.char), other), 0, 1))
        return build.sequence([blank, build.intersection((node, build.union((build.epsilon, inner)))), blank])

    def _search(self, pattern: s.Search) -> Node:
        try:
            return search(self._build, pattern.source, pattern.flags, pattern.rust)
        except PatternProblem as problem:
            raise error(BAD_PATTERN, f"{problem.message}: {pattern.source:.200}", self._span, problem.hint) from None

    def _read(self, source: str, flags: int) -> Node:
        try:
            return read(self._build, source, flags)
        except PatternProblem as problem:
            raise error(BAD_PATTERN, f"{problem.message}: {source:.200}", self._span, problem.hint) from None

    # -- JSON -----------------------------------------------------------------------------------------------------------

    def json(self, shape: s.Shape) -> Node:
        """The JSON texts of a shape."""
        build = self._build
        if isinstance(shape, s.UnionOf):
            return build.union(self._option(option, single) for option, single in zip(shape.options, alone(shape.options), strict=True))
        if isinstance(shape, s.Fixed):
            return words(build, [json.dumps(written, ensure_ascii=False) for written, _ in shape.options])
        if isinstance(shape, (s.Made, s.Finished)):
            return self.json(shape.shape)
        if isinstance(shape, s.Pattern):
            return self._quoted(self._read(shape.source, shape.flags))
        if isinstance(shape, s.ListOf):
            return self._list(shape)
        if isinstance(shape, s.TupleOf):
            return self._bracket("[", self._places(shape), "]")
        if isinstance(shape, s.DictOf):
            return self._dict(shape)
        if isinstance(shape, s.Record):
            return self._bracket("{", self._record(shape.fields), "}")
        assert isinstance(shape, s.Plain)
        return self._json_plain(shape)

    def _option(self, shape: s.Shape, single: bool) -> Node:
        """An option of a union; of one that is not the only one of its kind nothing is remembered."""
        return self.json(shape) if single else Typed(self._build, self._span).json(shape)

    def _json_plain(self, shape: s.Plain) -> Node:
        build, fixed = self._build, {"bool": ["true", "false"], "none": ["null"]}.get(shape.kind)
        if fixed:
            return words(build, fixed)
        node = self._scalar(shape)
        if shape.kind in ("int", "float"):
            return node
        if shape.kind != "decimal":
            return self._quoted(node)
        short = build.union((numbers.integer(build), self._read(rf"-?[0-9.]{{1,{_EXACT_DIGITS + 1}}}", 0)))
        return build.union((build.intersection((node, short)), self._quoted(node)))

    def _quoted(self, value: Node) -> Node:
        """A string, by the language of its values."""
        build = self._build
        return build.sequence([build.literal('"'), spelled(build, value), build.literal('"')])

    def _bracket(self, left: str, inside: Node, right: str) -> Node:
        return self._build.sequence([self._build.literal(left), inside, self._build.literal(right)])

    def _separated(self, item: Node, low: int, high: int) -> Node:
        """Items with commas between them."""
        build = self._build
        if high == 0 or low > high:
            return build.epsilon if low == 0 else build.empty
        more = build.repeat(build.concat(build.literal(", "), item), max(low - 1, 0), high if high == UNBOUNDED else high - 1)
        several = build.concat(item, more)
        return build.union((several, build.epsilon)) if low == 0 else several

    def _list(self, shape: s.ListOf) -> Node:
        low, high = self._lengths(shape)
        return self._bracket("[", self._separated(self.json(shape.item), low, high), "]")

    def _lengths(self, shape: s.ListOf | s.DictOf) -> tuple[int, int]:
        """The least and the most parts that are written out; (1, 0) where there are none."""
        low, high = lengths(shape.bounds)
        distinct = isinstance(shape, s.DictOf) or shape.distinct
        if low > high or (distinct and low > choices(shape)):
            return 1, 0
        return low, UNBOUNDED if self._remembers and is_many(shape.bounds) else high

    def _places(self, shape: s.TupleOf) -> Node:
        """Items in their places; the last ones may be missing."""
        build, node, needed = self._build, self._build.epsilon, len(shape.items) - shape.optional
        for at in range(len(shape.items) - 1, -1, -1):
            item = build.concat(self.json(shape.items[at]), node)
            node = item if at == 0 else build.concat(build.literal(", "), item)
            node = node if at < needed else build.union((node, build.epsilon))
        return node

    def _dict(self, shape: s.DictOf) -> Node:
        build = self._build
        low, high = self._lengths(shape)
        value = self.json(shape.value)
        member = build.sequence([self._quoted(self.key(shape.key)), build.literal(": "), value])
        return self._bracket("{", self._separated(member, low, high), "}")

    def key(self, shape: s.Shape) -> Node:
        """What stands for a key, without quotes and escapes."""
        node = self.text(shape)
        if isinstance(shape, s.Plain) and shape.kind in ("int", "float", "decimal"):
            zero = self._build.literal("-", self._build.concat(self._read(r"0(?:\.0*)?(?:[eE].*)?", 0), self._build.epsilon))
            return self._build.intersection((node, self._build.complement(zero)))
        return node

    def _record(self, fields: tuple[s.Field, ...]) -> Node:
        """Fields in order; those that are not required may be left out. Built from the end, with and without a field before."""
        build = self._build
        first = later = build.epsilon
        for field in reversed(fields):
            key = build.literal(json.dumps(field.key, ensure_ascii=False) + ": ")
            member = build.concat(build.concat(key, self.json(field.shape)), later)
            after = build.concat(build.literal(", "), member)
            first = member if field.required else build.union((member, first))
            later = after if field.required else build.union((after, later))
        return first


def _beyond(build: Expressions, name: str, bound: Decimal) -> Node:
    """The decimals that are above (`gt`) or below (`lt`) a bound also once they are rounded to floats."""
    number = float(bound)
    further = math.nextafter(number, math.inf if name == "gt" else -math.inf)
    with localcontext() as context:
        context.prec = 1200
        middle = (Decimal(number) + Decimal(further)) / 2
    if -int(middle.as_tuple().exponent) > _LONGEST_BOUND:
        middle = bound + (_SMALLEST if name == "gt" else -_SMALLEST)
    return build.intersection((numbers.decimals(build, _OPS[name], bound), numbers.decimals(build, _OPS[name], middle)))
