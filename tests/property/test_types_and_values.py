"""Random types: every text that a type's language has becomes a value, and it is the value that pydantic makes of it.

Types are built from what the reader of types knows, conditions and models included; texts are drawn from their automata, the shortest
ones first.
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
import math
import os
import random
import re
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, Optional, Union

import pydantic
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pydantic import ConfigDict, Field, StringConstraints, TypeAdapter
from typing_extensions import TypedDict

from lmqlc.compiler.automata.build import build
from lmqlc.compiler.automata.query import examples, matches, sample
from lmqlc.compiler.constraints import Const, TypeIs
from lmqlc.compiler.types import decode, is_plain_text
from lmqlc.grammar.errors import LmqlCompileError, UnsatisfiableConstraint

EXAMPLES = int(os.environ.get("LMQLC_TYPES", "4000" if os.environ.get("LMQLC_LONG") else "60"))


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"
    ODD = 'a"b\\c\n'


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Mark(enum.StrEnum):
    X = "x"
    Y = "y"


small = st.integers(-30, 30)
LEAVES = st.sampled_from([
    int, float, bool, str, Decimal, datetime.date, datetime.time, datetime.datetime, datetime.timedelta, uuid.UUID, Colour, Level, Mark,
    None, Literal["a", "b"], Literal[1, 2, True], Literal["é\n", 'q"'], Path, pydantic.HttpUrl, pydantic.AnyUrl, pydantic.SecretStr,
    pydantic.AwareDatetime, pydantic.NaiveDatetime, pydantic.UUID4, pydantic.FiniteFloat, pydantic.PositiveInt,
])  # fmt: skip
PATTERNS = [
    r"^[A-Z]:\\[a-z]+$",
    '^"x"$',
    r"^\w+$",
    r"\d{2}",
    "a$",
    "^a.b",
    r"^(foo|ba\"r)?$",
    r"^[^a]*\s$",
    r"\bno\b",
    "^é+$",
    r"^\S{1,3}$",
    "",
]


@st.composite
def bounded(draw: st.DrawFn) -> Any:
    """A type with conditions."""
    kind = draw(st.sampled_from(["int", "float", "decimal", "str", "strip", "date", "list", "dict", "step", "digits"]))
    low = draw(small)
    high = low + draw(st.integers(0, 40))
    names = draw(st.sampled_from([("ge", "le"), ("gt", "lt"), ("ge", "lt"), ("gt",), ("lt",)]))
    bounds = dict(zip(names, (high,) if names == ("lt",) else (low, high + 2), strict=False))
    lengths = {"min_length": draw(st.integers(0, 3)), "max_length": draw(st.integers(3, 6))}
    if kind == "int":
        return Annotated[int, Field(**bounds)]
    if kind == "float":
        return Annotated[float, Field(**{name: value / draw(st.sampled_from([1, 3, 8, 10])) for name, value in bounds.items()})]
    if kind == "decimal":
        return Annotated[Decimal, Field(**{name: Decimal(value) / 4 for name, value in bounds.items()})]
    if kind == "str":
        return Annotated[str, Field(pattern=draw(st.sampled_from(PATTERNS)), max_length=8)]
    if kind == "strip":
        return Annotated[str, StringConstraints(strip_whitespace=True, to_lower=draw(st.booleans()), **lengths)]
    if kind == "date":
        return Annotated[datetime.date, Field(ge=datetime.date(2020, 2, 20), lt=datetime.date(2024, 3, 1))]
    if kind == "list":
        return Annotated[list[draw(LEAVES)], Field(**lengths)]  # type: ignore[misc]
    if kind == "dict":
        return Annotated[dict[str, int], Field(**lengths)]
    if kind == "step":
        return draw(st.sampled_from([
            Annotated[int, Field(multiple_of=5)], Annotated[int, Field(multiple_of=7, gt=0)], Annotated[float, Field(multiple_of=0.5)],
            Annotated[Decimal, Field(multiple_of=Decimal("0.01"))], Annotated[Decimal, Field(multiple_of=Decimal("2.5"))],
        ]))  # fmt: skip
    return Annotated[Decimal, Field(max_digits=draw(st.integers(3, 5)), decimal_places=draw(st.integers(0, 3)))]


def models(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Pydantic models, dataclasses and TypedDicts of some field types."""

    @st.composite
    def made(draw: st.DrawFn) -> Any:
        kind = draw(st.sampled_from(["model", "strict", "dataclass", "typed", "root", "aliased"]))
        hints = draw(st.lists(inner, min_size=1, max_size=3))
        names = ["a", "b\u00e9", "c"][: len(hints)]
        optional = [draw(st.booleans()) for _ in hints]
        if kind == "dataclass":
            fields = [(name, hint) for name, hint, default in zip(names, hints, optional, strict=True) if not default]
            fields += [(name, hint, dataclasses.field(default=None)) for name, hint, d in zip(names, hints, optional, strict=True) if d]  # type: ignore[misc]
            return dataclasses.make_dataclass("Data", fields)
        if kind == "typed":
            return TypedDict("Typed", dict(zip(names, hints, strict=True)), total=draw(st.booleans()))  # type: ignore[operator]
        if kind == "root":
            return pydantic.RootModel[hints[0]]  # type: ignore[valid-type]
        config = ConfigDict(strict=kind == "strict", populate_by_name=draw(st.booleans()))
        alias = {"alias": "the key"} if kind == "aliased" else {}
        made_fields: dict[str, Any] = {
            name: (hint, Field(None, **alias) if default else Field(**alias))
            for name, hint, default in zip(names[:1], hints, optional, strict=False)
        }
        made_fields |= {name: (hint, None if default else ...) for name, hint, default in [*zip(names, hints, optional, strict=True)][1:]}
        return pydantic.create_model("Model", __config__=config, **made_fields)

    return made()


def composed(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        inner.map(lambda t: list[t]),
        inner.map(lambda t: tuple[t, ...]),
        st.tuples(inner, inner).map(lambda pair: tuple[pair]),  # type: ignore[valid-type]
        st.tuples(st.sampled_from([str, int, Colour, uuid.UUID, datetime.date, Literal["k", "l"]]), inner).map(lambda p: dict[p[0], p[1]]),  # type: ignore[valid-type]
        inner.map(lambda t: Optional[t]),  # noqa: UP045
        st.tuples(inner, inner).map(lambda pair: Union[pair]),  # type: ignore[valid-type]  # noqa: UP007
        models(inner),
    )


TYPES = st.recursive(LEAVES | bounded(), composed, max_leaves=5)


def texts_of(hole_type: Any, seed: int) -> list[str]:
    automaton = build(TypeIs(Const(hole_type)))
    texts = [*examples(automaton, 3), *(sample(automaton, random.Random(seed + at)) for at in range(12))]
    assert all(matches(automaton, text) for text in texts)
    return texts


def same(one: Any, other: Any) -> bool:
    """Values that are equal part by part, and of one type."""
    if isinstance(one, float) and isinstance(other, float):
        return one == other or (math.isnan(one) and math.isnan(other))
    if isinstance(one, (datetime.time, datetime.datetime)):
        return bool(one == other and one.utcoffset() == other.utcoffset())
    if type(one) is not type(other):
        return False
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return len(one) == len(other) and all(same(*pair) for pair in zip(one.items(), other.items(), strict=True))
    if dataclasses.is_dataclass(one):
        return same(vars(one), vars(other))
    if isinstance(one, pydantic.BaseModel):
        return same(dict(one), dict(other))
    return bool(one == other)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(TYPES, st.integers(0, 10_000))
def test_every_text_of_a_type_is_a_value_and_pydantics(hole_type: Any, seed: int) -> None:
    try:
        texts = texts_of(hole_type, seed)
    except UnsatisfiableConstraint:
        return
    except LmqlCompileError as refused:
        assert "is not supported" in str(refused) or "no type of a hole" in str(refused), refused
        assume(False)
    adapter = TypeAdapter(hole_type)
    for text in texts:
        value = decode(hole_type, text)
        if not is_plain_text(hole_type):
            assert same(value, adapter.validate_json(text)), text


def test_patterns_of_models_are_rusts() -> None:
    """Every character for which `re` and Rust's `regex` could differ, on both sides."""
    for pattern in (r"^\w$", r"^\W$", r"^\s$", r"^\S$", r"^\d$", r"^.$", "(?i)^k$", "(?i)^s$", r"^a$", r"^(?m:a$)"):
        hole_type = Annotated[str, Field(pattern=pattern)]
        automaton, adapter = build(TypeIs(Const(hole_type))), TypeAdapter(hole_type)
        for code in [*range(0x3000), *range(0x1F100, 0x1F200), 0xD7FF, 0xFE33, 0x10FFFF]:
            for text in (chr(code), *(["a\n", "a\nb"] if code == 0 else [])):
                try:
                    expected = adapter.validate_python(text) == text
                except pydantic.ValidationError:
                    expected = False
                if expected != matches(automaton, text):
                    assert not expected or code in _NEWER, (pattern, ascii(text), expected)


_NEWER = {code for code in range(0x110000) if re.match(r"[\W]", chr(code)) and not chr(code).isprintable()}
"""Characters that this Python's Unicode does not know."""
