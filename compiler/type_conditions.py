"""Conditions that annotations put on a type: `annotated_types`, pydantic's fields and types, told by their names without importing either.

What narrows the text becomes a bound (`shapes.Bounds`). What changes the value, or judges it by a function of the program, is left to
the library that knows it (`finishes`). What narrows the text and has no form here is `refused`, in words.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from lmqlc.compiler.shapes import Bounds, Search

_ORDER = ("ge", "gt", "le", "lt")
_LENGTHS = ("min_length", "max_length")
_BOUNDS = (*_ORDER, *_LENGTHS, "multiple_of", "max_digits", "decimal_places")
_CHANGES = ("to_lower", "to_upper")
_NARROWS_NOTHING = ("strict", "coerce_numbers_to_str", "union_mode", "fail_fast", "unit", "doc", "documentation", "host_required")
_FUNCTIONS = ("AfterValidator", "BeforeValidator", "PlainValidator", "WrapValidator", "SkipValidation", "FailFast", "Strict", "Tag")
"""Annotations that are no bounds. What validators demand is known to them alone, and said when the value is made."""
_MARKS = ("Unit", "DocInfo", "Doc", "WithJsonSchema", "Examples", "PlainSerializer", "WrapSerializer", "SerializeAsAny")
FUNCTION_TAG = "a function that tells the options of a union apart"


@dataclass(slots=True)
class Conditions:
    """What annotations say of a type. tag: the field whose value tells the options of a union apart."""

    bounds: list[tuple[str, Any]] = field(default_factory=list)
    finishes: bool = False
    refused: list[str] = field(default_factory=list)
    tag: str | None = None


def read_conditions(metadata: Iterable[Any], rust: bool = True) -> Conditions:
    """The conditions of annotations; those of other libraries are left alone. rust: patterns are Rust's, as pydantic has it by default."""
    found = Conditions()
    for item in metadata:
        _read(item, rust, found)
    return found


def _read(item: Any, rust: bool, found: Conditions) -> None:
    kind = type(item).__name__
    if type(item).__module__.split(".")[0] not in ("annotated_types", "pydantic", "pydantic_core"):
        return
    if kind in _FUNCTIONS:
        found.finishes = found.finishes or "Validator" in kind
    elif kind == "UuidVersion":
        found.bounds.append(("version", item.uuid_version))
    elif kind == "Timezone":
        _take("tz", item.tz, rust, found)
    elif kind == "Discriminator":
        _tagged(item.discriminator, found)
    elif kind not in _MARKS:
        _read_values(item, rust, found)


def _read_values(item: Any, rust: bool, found: Conditions) -> None:
    inside = getattr(item, "metadata", None)
    if isinstance(inside, list):  # pydantic's `Field(ge=0)`
        _tagged(getattr(item, "discriminator", None), found)
        for part in inside:
            _read(part, rust, found)
        return
    pairs = list(_pairs(item))
    if not pairs and type(item).__name__ not in ("StringConstraints", "Interval", "Len"):
        found.refused.append(f"the condition {type(item).__name__}")
    for name, value in pairs:
        if (value is not None and value is not False) or name == "allow_inf_nan":
            _take(name, value, rust, found)


def _pairs(item: Any) -> Iterator[tuple[str, Any]]:
    values = vars(item) if hasattr(item, "__dict__") else {name: getattr(item, name) for name in getattr(item, "__slots__", ())}
    yield from ((name, value) for name, value in values.items() if not name.startswith("_"))


def _take(name: str, value: Any, rust: bool, found: Conditions) -> None:
    if name in _BOUNDS:
        if (name, value) != ("min_length", 0):
            found.bounds.append((name, value))
    elif name == "pattern":
        own = isinstance(value, re.Pattern)
        search = Search(value.pattern, value.flags, False) if own else Search(str(value), 0, rust)
        found.bounds.append(("pattern", search))
    elif name == "strip_whitespace":
        found.bounds.append(("strip", True))
        found.finishes = True
    elif name == "ascii_only":
        found.bounds.append(("ascii", True))
    elif name == "allow_inf_nan":
        found.bounds += [] if value or value is None else [("finite", True)]
    elif name == "tz" and value in (None, ...):
        found.bounds.append(("zone", "aware" if value is ... else "naive"))
    elif name in _CHANGES:
        found.finishes = True
    elif name not in _NARROWS_NOTHING:
        found.refused.append(f"the condition {name}")


def _tagged(tag: Any, found: Conditions) -> None:
    """A field that tells the options of a union apart; a function that does is not known here."""
    if isinstance(tag, str):
        found.tag = tag
    elif tag is not None:
        found.refused.append(FUNCTION_TAG)


def config_strings(config: Any) -> Bounds:
    """What the configuration of a pydantic model says of all its strings."""
    names = {"str_min_length": "min_length", "str_max_length": "max_length"}
    found = [(names[name], value) for name, value in config.items() if name in names and value]
    return (*found, *([("strip", True)] if config.get("str_strip_whitespace") else []))
