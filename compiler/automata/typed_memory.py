"""Which parts of a shape are left to the memory beside an automaton, and by what rules: both what `typed.py` builds and what is remembered
follow from it, so that they agree.

A place of a text has one rule. Where options of a union could put values of one kind there, no lengths are remembered of them: they are
written out as states.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from lmqlc.compiler import shapes as s
from lmqlc.compiler.automata.expression import UNBOUNDED, Expressions
from lmqlc.compiler.automata.limits import LimitExceeded
from lmqlc.compiler.automata.remembered import Many, Rule, Same, value_of
from lmqlc.compiler.automata.search import texts
from lmqlc.compiler.types import read_type

LONG = 100
"""Characters of a string up to which its bound is written out as states."""
MANY = 32
"""Items of an array, or keys of an object, up to which their number is written out."""
FEW = 1_000
"""Keys or items of a kind that are known one by one."""
_STEPS = 200_000
DIGITS = 4_300
"""Digits of an integer that `int` reads."""


def is_long(shape: s.Plain) -> bool:
    """The longest length of a string is remembered."""
    return LONG < lengths(shape.bounds)[1] < UNBOUNDED and not dict(shape.bounds).keys() & {"strip", "pattern"}


def is_many(bounds: s.Bounds) -> bool:
    """The largest number of items or keys is remembered."""
    return MANY < lengths(bounds)[1] < UNBOUNDED


def lengths(bounds: s.Bounds) -> tuple[int, int]:
    """The least and the most characters, items or keys."""
    lows = [value for name, value in bounds if name == "min_length"]
    highs = [value for name, value in bounds if name == "max_length"]
    return max(lows, default=0), min(highs, default=UNBOUNDED)


def alone(options: tuple[s.Shape, ...]) -> list[bool]:
    """Of every option of a union, whether no other writes a value of its JSON kinds, so that something may be remembered of it."""
    kinds = [_kinds(option) for option in options]
    return [not any(mine & other for at, other in enumerate(kinds) if at != here) for here, mine in enumerate(kinds)]


_KINDS: dict[s.Kind, tuple[str, ...]] = {
    "int": ("number",), "float": ("number",), "decimal": ("number", "string"), "bool": (), "none": (),
}  # fmt: skip


def _kinds(shape: s.Shape) -> frozenset[str]:
    """The kinds of JSON values that a shape writes, as far as rules tell them apart."""
    if isinstance(shape, s.UnionOf):
        return frozenset().union(*map(_kinds, shape.options))
    if isinstance(shape, s.Made | s.Finished):
        return _kinds(shape.shape)
    if isinstance(shape, s.Plain):
        return frozenset(_KINDS.get(shape.kind, ("string",)))
    if isinstance(shape, s.Fixed):
        return frozenset({str: "string", int: "number", float: "number"}.get(type(written), "") for written, _ in shape.options) - {""}
    return frozenset(["array" if isinstance(shape, s.ListOf | s.TupleOf) else "string" if isinstance(shape, s.Pattern) else "object"])


def type_rule(hole_type: object) -> Rule | None:
    """What is remembered of the texts of a type; None for nothing."""
    shape = read_type(hole_type)
    if s.structured(shape):
        return None if s.recursive(shape) else rule_of(shape)
    kinds = {part.kind if isinstance(part, s.Plain) else "" for part in s.parts(shape) if not isinstance(part, s.UnionOf | s.Fixed)}
    return Rule(digits=DIGITS) if "int" in kinds and not kinds & {"", "str", "float", "decimal"} else None


def rule_of(shape: s.Shape) -> Rule | None:
    """What is remembered of a structured shape; None for nothing."""
    return _rule(list(_options(shape)))


def _options(shape: s.Shape) -> Iterator[s.Shape]:
    """The shapes that a shape may be: those of a union, without what makes their values."""
    if isinstance(shape, s.UnionOf):
        for option in shape.options:
            yield from _options(option)
    elif isinstance(shape, s.Made | s.Finished):
        yield from _options(shape.shape)
    else:
        yield shape


def _rule(options: list[s.Shape]) -> Rule | None:
    """What is remembered of a place where one of some shapes stands. Where several write the same kind of value, only what all of them
    say: that keys, and items of sets, are distinct."""
    if not options:
        return None
    by_kind: dict[str, list[s.Shape]] = {}
    for option in options:
        for kind in _kinds(option):
            by_kind.setdefault(kind, []).append(option)
    strings, numbers = by_kind.get("string", []), by_kind.get("number", [])
    rule = Rule(
        chars=_chars(strings[0]) if len(strings) == 1 else None,
        digits=DIGITS if len(numbers) == 1 and isinstance(numbers[0], s.Plain) and numbers[0].kind == "int" else None,
        array=_array(by_kind.get("array", [])),
        object=_object(by_kind.get("object", [])),
    )
    return None if rule == Rule() else rule


def _chars(shape: s.Shape) -> int | None:
    long = isinstance(shape, s.Plain) and shape.kind in ("str", "url") and is_long(shape)
    return lengths(shape.bounds)[1] if long and isinstance(shape, s.Plain) else None


def _array(shapes: list[s.Shape]) -> Many | None:
    """What is remembered of arrays."""
    lists = [shape for shape in shapes if isinstance(shape, s.ListOf)]
    tuples = [shape for shape in shapes if isinstance(shape, s.TupleOf)]
    several = len(shapes) > 1
    inside = [option for shape in lists for option in _options(shape.item)]
    places = [[*inside, *(o for t in tuples for o in _options(t.items[at]) if at < len(t.items))] for at in range(_widest(tuples))]
    made = Many(
        count=lengths(lists[0].bounds)[1] if lists and not several and is_many(lists[0].bounds) else None,
        least=lengths(lists[0].bounds)[0] if lists and not several and lists[0].distinct else 0,
        distinct=_same(lists) if lists and not tuples and all(shape.distinct for shape in lists) else "",
        few=few_texts(lists[0]) if lists and not several and lists[0].distinct else None,
        each=_rule(inside),
        places=tuple(map(_rule, places)) if any(map(_rule, places)) else (),
    )
    return None if made == Many() else made


def _widest(tuples: list[s.TupleOf]) -> int:
    return max((len(shape.items) for shape in tuples), default=0)


def _object(shapes: list[s.Shape]) -> Many | None:
    """What is remembered of objects: no key comes twice. Those with fields alone, in their order, say so themselves."""
    dicts = [shape for shape in shapes if isinstance(shape, s.DictOf)]
    records = [shape for shape in shapes if isinstance(shape, s.Record)]
    values = [option for shape in dicts for option in _options(shape.value)]
    members: dict[str, list[s.Shape]] = {}
    for record in records:
        for field in record.fields:
            members.setdefault(_spelled(field.key), [*values]).extend(_options(field.shape))
    rules = ((key, _rule(options)) for key, options in members.items())
    alone_here = dicts[0] if len(shapes) == 1 and dicts else None
    made = Many(
        count=lengths(alone_here.bounds)[1] if alone_here and is_many(alone_here.bounds) else None,
        least=lengths(alone_here.bounds)[0] if alone_here else 0,
        distinct="text" if dicts else "",
        few=few_texts(alone_here) if alone_here else None,
        each=_rule(values),
        named=tuple((key, rule) for key, rule in rules if rule is not None),
    )
    return None if made == Many() else made


def few_texts(shape: s.ListOf | s.DictOf) -> tuple[str, ...] | None:
    """The texts of items, or of keys without their quotes, where they are few."""
    from lmqlc.compiler.automata.typed import Typed

    with Expressions(_STEPS) as build:
        typed = Typed(build, None)
        try:
            found = texts(build, typed.json(shape.item) if isinstance(shape, s.ListOf) else typed.key(shape.key), FEW)
        except LimitExceeded:
            return None
    return None if found is None else tuple(found if isinstance(shape, s.ListOf) else map(_spelled, found))


def choices(shape: s.ListOf | s.DictOf) -> int:
    """How many different items, or keys, there are, where they are few; else `UNBOUNDED`."""
    found = few_texts(shape)
    same: Same = _same([shape]) if isinstance(shape, s.ListOf) else "text"
    return UNBOUNDED if found is None else len({value_of(text, same) for text in found})


def _spelled(key: str) -> str:
    return json.dumps(key, ensure_ascii=False)[1:-1]


def _same(lists: list[s.ListOf]) -> Same:
    """How the items of sets are told to be one."""
    inside = [part for shape in lists for part in s.parts(shape.item)]
    kinds = {part.kind for part in inside if isinstance(part, s.Plain)}
    values = [written for part in inside if isinstance(part, s.Fixed) for written, _ in part.options]
    if "float" in kinds or any(isinstance(value, float) for value in values):
        return "float"
    return "decimal" if kinds & {"int", "decimal", "bool"} or any(isinstance(value, int) for value in values) else "text"
