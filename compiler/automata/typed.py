"""Shapes of types as languages: plain text, or JSON with keys in declared order and one space after `:` and `,`."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from lmqlc.compiler import types as t
from lmqlc.compiler.automata import numbers
from lmqlc.compiler.automata.charset import CharSet
from lmqlc.compiler.automata.expression import UNBOUNDED, Expressions, Node
from lmqlc.compiler.automata.machine import words
from lmqlc.compiler.automata.problems import BAD_PATTERN, UNSUPPORTED, error
from lmqlc.compiler.automata.regex import PatternProblem, read
from lmqlc.grammar.source import Span

_YEAR = "(?!0000)[0-9]{4}"
_LEAP = "(?!0000)(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)"
_DAYS = (
    "(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))"
)  # fmt: skip
_DATE = f"(?:{_YEAR}-{_DAYS}|{_LEAP}-02-29)"
_TIME = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,6})?(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])?"
_PATTERNS = {"date": _DATE, "time": _TIME, "datetime": f"{_DATE}T{_TIME}"}

_UNESCAPED = ~(CharSet((0, 0x20)) | CharSet.text('"\\'))
_HEX = "[0-9a-fA-F]"
_PAIR = rf"[dD][89abAB]{_HEX}{{2}}\\u[dD][c-fC-F]{_HEX}{{2}}"
_ESCAPES = rf'\\(?:["\\/bfnrt]|u(?:[0-9a-ce-fA-CE-F]{_HEX}{{3}}|[dD][0-7]{_HEX}{{2}}|{_PAIR}))'
"""One escaped character. Surrogates stand in pairs only."""


class Typed:
    """Builds the languages of types; span is where the type stands in the program."""

    def __init__(self, build: Expressions, span: Span | None) -> None:
        self._build = build
        self._span = span

    def node(self, hole_type: object) -> Node:
        """The texts of a type. Raises UnsupportedConstraint for one that contains itself, LmqlCompileError for what is no type."""
        try:
            shape = t.shape_of(hole_type, self._span)
        except t.RecursionFound:
            raise error(
                UNSUPPORTED, "a type that contains itself, or any value, is not regular", self._span,
                "use it as a conjunct of its own, not under `or` or `not`",
            ) from None  # fmt: skip
        return self._json(shape) if t.structured(shape) else self._text(shape)

    def _text(self, shape: t.Shape) -> Node:
        build = self._build
        if isinstance(shape, t.UnionOf):
            return build.union(self._text(option) for option in shape.options)
        if isinstance(shape, t.Fixed):
            return words(build, [str(written) for written, _ in shape.options])
        if isinstance(shape, t.Pattern):
            return self._read(shape.source, shape.flags)
        assert isinstance(shape, t.Plain)
        if shape.kind == "str":
            return self._string(shape.bounds, build.char)
        fixed = {"bool": ["True", "False"], "none": ["None"]}.get(shape.kind)
        return words(build, fixed) if fixed else self._scalar(shape)

    def _scalar(self, shape: t.Plain) -> Node:
        if shape.kind == "int":
            return self._number(shape.bounds, numbers.integer(self._build))
        if shape.kind == "float":
            return self._number(shape.bounds, numbers.json_number(self._build))
        return self._read(_PATTERNS[shape.kind], 0)

    def _number(self, bounds: t.Bounds, node: Node) -> Node:
        """Numbers within bounds; bounded ones have no exponent."""
        build, ops = self._build, {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
        for name, value in bounds:
            limit = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
            side: Any = ops[name]
            node = build.intersection((node, numbers.decimals(build, side, limit)))
        return node

    def _string(self, bounds: t.Bounds, character: Node) -> Node:
        """A string over one-character texts, with its length and pattern; a pattern allows only characters written as themselves."""
        build, low, high = self._build, 0, UNBOUNDED
        patterns = []
        for name, value in bounds:
            if name == "pattern":
                source = value.pattern if hasattr(value, "pattern") else str(value)
                patterns.append(self._read(f"(?s:.*)(?:{source})(?s:.*)", getattr(value, "flags", 0)))
            elif name == "min_length":
                low = max(low, value)
            else:
                high = min(high, value)
        if low > high:
            return build.empty
        if patterns and character is not build.char:
            character = build.chars(_UNESCAPED)
        return build.intersection((build.repeat(character, low, high), *patterns))

    def _read(self, source: str, flags: int) -> Node:
        try:
            return read(self._build, source, flags)
        except PatternProblem as problem:
            raise error(BAD_PATTERN, f"{problem.message}: {source:.200}", self._span, problem.hint) from None

    def _quoted(self, inside: Node) -> Node:
        return self._build.sequence([self._build.literal('"'), inside, self._build.literal('"')])

    def _json(self, shape: t.Shape) -> Node:
        build = self._build
        if isinstance(shape, t.UnionOf):
            return build.union(self._json(option) for option in shape.options)
        if isinstance(shape, t.Fixed):
            return words(build, [json.dumps(written, ensure_ascii=False) for written, _ in shape.options])
        if isinstance(shape, t.Pattern):
            return self._quoted(build.intersection((self._read(shape.source, shape.flags), build.repeat(build.chars(_UNESCAPED)))))
        if isinstance(shape, t.ListOf):
            return self._list(shape)
        if isinstance(shape, t.TupleOf):
            return self._bracket("[", self._spread([self._json(item) for item in shape.items]), "]")
        if isinstance(shape, t.DictOf):
            member = build.sequence([self._json(shape.key), build.literal(": "), self._json(shape.value)])
            return self._bracket("{", self._separated(member, 0, UNBOUNDED), "}")
        if isinstance(shape, t.Record):
            return self._bracket("{", self._record(shape.fields), "}")
        return self._json_plain(shape)

    def _json_plain(self, shape: t.Plain) -> Node:
        if shape.kind == "str":
            character = self._build.union((self._build.chars(_UNESCAPED), self._read(_ESCAPES, 0)))
            return self._quoted(self._string(shape.bounds, character))
        fixed = {"bool": ["true", "false"], "none": ["null"]}.get(shape.kind)
        if fixed:
            return words(self._build, fixed)
        node = self._scalar(shape)
        return node if shape.kind in ("int", "float") else self._quoted(node)

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

    def _spread(self, items: list[Node]) -> Node:
        comma = self._build.literal(", ")
        return self._build.sequence([part for item in items for part in (comma, item)][1:])

    def _list(self, shape: t.ListOf) -> Node:
        bounds = dict(shape.bounds)
        inside = self._separated(self._json(shape.item), bounds.get("min_length", 0), bounds.get("max_length", UNBOUNDED))
        return self._bracket("[", inside, "]")

    def _record(self, fields: tuple[t.Field, ...]) -> Node:
        """Fields in order; those that are not required may be left out. Built from the end, with and without a field before."""
        build = self._build
        first = later = build.epsilon
        for field in reversed(fields):
            key = build.literal(json.dumps(field.key, ensure_ascii=False) + ": ")
            member = build.concat(build.concat(key, self._json(field.shape)), later)
            after = build.concat(build.literal(", "), member)
            first = member if field.required else build.union((member, first))
            later = after if field.required else build.union((after, later))
        return first
