"""The types of holes: the one place that reads them. Their shapes are in `shapes.py`.

`shape_of` reads a type; `automata/typed.py` turns shapes into languages, `masks/schemas.py` into JSON schemas, `values.py` texts into
values. What of a type has no shape is refused with the path to it: `Order.items[].price`.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import math
import pathlib
import re
import types
import typing
import uuid
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping, MutableMapping, MutableSequence, Sequence, Set
from typing import Any, Literal

from lmqlc.compiler.automata.operands import show
from lmqlc.compiler.automata.problems import BAD_TYPE, UNSUPPORTED, error
from lmqlc.compiler.shapes import (
    Again,
    Anything,
    Bounds,
    DictOf,
    Field,
    Finished,
    Fixed,
    ListOf,
    Made,
    Pattern,
    Plain,
    Record,
    Shape,
    TupleOf,
    UnionOf,
    parts,
    recursive,
    structured,
)
from lmqlc.compiler.type_conditions import FUNCTION_TAG, Conditions, config_strings, read_conditions
from lmqlc.grammar.source import Span

_PLAIN: dict[Any, Plain] = {
    str: Plain("str"), int: Plain("int"), float: Plain("float"), bool: Plain("bool"), None: Plain("none"), type(None): Plain("none"),
    decimal.Decimal: Plain("decimal"), uuid.UUID: Plain("uuid"), datetime.date: Plain("date"), datetime.time: Plain("time"),
    datetime.datetime: Plain("datetime"), datetime.timedelta: Plain("timedelta"),
    **{kind: Plain("str", make=kind) for kind in (pathlib.Path, pathlib.PurePath, pathlib.PurePosixPath, pathlib.PosixPath)},
}  # fmt: skip
_ANYTHING: dict[Any, Anything] = {
    Any: Anything("value"), object: Anything("value"), list: Anything("array"), tuple: Anything("array", tuple), dict: Anything("object"),
}  # fmt: skip
_LISTS: dict[Any, Callable[[Any], Any]] = {
    list: list, set: set, frozenset: frozenset, Sequence: list, MutableSequence: list, Iterable: list, Collection: list, Set: set,
}  # fmt: skip
_DICTS = (dict, Mapping, MutableMapping)
_WEB, _SOCKET, _URL_LENGTH = ("schemes", ("http", "https")), ("schemes", ("ws", "wss")), ("max_length", 2083)
_PYDANTIC = {
    "SecretStr": Plain("str"), "AwareDatetime": Plain("datetime", (("zone", "aware"),)),
    "NaiveDatetime": Plain("datetime", (("zone", "naive"),)), "HttpUrl": Plain("url", (_WEB, _URL_LENGTH)),
    "AnyHttpUrl": Plain("url", (_WEB,)), "WebsocketUrl": Plain("url", (_SOCKET, _URL_LENGTH)), "AnyWebsocketUrl": Plain("url", (_SOCKET,)),
    "FtpUrl": Plain("url", (("schemes", ("ftp",)),)), "AnyUrl": Plain("url", (("schemes", ("http", "https", "ftp", "ws", "wss")),)),
}  # fmt: skip
"""Types of pydantic's own, by name. A URL is narrower than what pydantic takes: with a host, and the characters of RFC 3986."""
_ORDERED = ("int", "float", "decimal", "date", "datetime", "time")
_TOLD_APART = ("str", "int", "float", "decimal", "bool", "none", "date")
_BOUNDED: dict[str, tuple[Any, ...]] = {
    "multiple_of": ("int", "float", "decimal"), "finite": ("float", "decimal"), "max_digits": ("decimal",), "decimal_places": ("decimal",),
    "min_length": ("str", "url", ListOf, DictOf), "max_length": ("str", "url", ListOf, DictOf), "pattern": ("str",), "strip": ("str",),
    "ascii": ("str",), "zone": ("datetime", "time"), "version": ("uuid",),
}  # fmt: skip
"""What a condition may bound: kinds of plain shapes, and shapes; those of an order, what has one."""
LARGEST_STEP = 1_000
"""The largest step of `multiple_of`, counted in its last decimal."""
_HINT = (
    "use str, int, float, Decimal, bool, Literal, Enum, list, tuple, dict, Optional, unions, dates, UUID, dataclasses, TypedDict, "
    "pydantic models"
)
_LATER = "check it after decoding, or leave the field out of the type"
_KEPT = 256


class RecursionFound(Exception):
    """A type that contains itself."""


def is_plain_text(hole_type: object) -> bool:
    """Whether the text of a type is plain (not JSON). Raises LmqlCompileError for what is no type of a hole."""
    return not structured(read_type(hole_type))


def is_recursive(hole_type: object) -> bool:
    """Whether a type contains itself, or any JSON value: then no automaton describes it."""
    return recursive(read_type(hole_type))


def shape_of(hole_type: object, span: Span | None = None) -> Shape:
    """The shape of a type. Raises RecursionFound, and LmqlCompileError for what is no type of a hole."""
    shape = read_type(hole_type, span)
    if recursive(shape):
        raise RecursionFound
    return shape


_known: OrderedDict[type, Shape] = OrderedDict()
"""The shapes of classes; other types are equal where they are not the same: `int | str` and `str | int`."""


def read_type(hole_type: object, span: Span | None = None) -> Shape:
    """The shape of a type, recursive or not. Raises LmqlCompileError for what is no type of a hole."""
    if not isinstance(hole_type, type) or typing.get_origin(hole_type) is not None:
        return _Reader(span).shape(hole_type, _Place(_named(hole_type)))
    shape = _known.get(hole_type)
    if shape is None:
        shape = _known[hole_type] = _Reader(span).shape(hole_type, _Place(_named(hole_type)))
        while len(_known) > _KEPT:
            _known.popitem(last=False)
    return shape


def decode(hole_type: object, text: str) -> Any:
    """The Python value of a hole's text. Raises ConstraintViolated where the text is none of the type."""
    from lmqlc.compiler.values import value_of

    return value_of(hole_type, text)


@dataclasses.dataclass(frozen=True, slots=True)
class _Place:
    """Where a type stands: its path from the hole's type, the classes around it, and what a pydantic model around it says.

    strings: what the model's configuration says of all strings; rust: its patterns are Rust's; finite: its floats are; model: there is one.
    """

    path: str
    inside: tuple[Any, ...] = ()
    strings: Bounds = ()
    rust: bool = True
    finite: bool = False
    model: bool = False

    def at(self, step: str) -> _Place:
        return dataclasses.replace(self, path=self.path + step)

    def within(self, given: Any) -> _Place:
        return dataclasses.replace(self, inside=(*self.inside, given))


class _Reader:
    """Reads types; `span` is where the type of the hole is written."""

    def __init__(self, span: Span | None) -> None:
        self._span = span

    def shape(self, given: Any, at: _Place) -> Shape:
        if isinstance(given, str):
            return Pattern(given, 0)
        if isinstance(given, re.Pattern) and isinstance(given.pattern, str):
            return Pattern(given.pattern, given.flags)
        try:
            plain, anything = _PLAIN.get(given), _ANYTHING.get(given)
        except TypeError:
            raise self._bad(given, at) from None
        if plain is not None:
            return self._configured(plain, at)
        if anything is not None:
            return anything
        if isinstance(given, type) and typing.get_origin(given) is None:
            return self._class(given, at)
        return self._generic(given, at)

    def _configured(self, plain: Plain, at: _Place) -> Plain:
        """A plain type as the configuration of the model around it has it."""
        if plain.kind == "str" and plain.make is None and at.strings:
            return dataclasses.replace(plain, bounds=at.strings)
        return dataclasses.replace(plain, bounds=(("finite", True),)) if plain.kind == "float" and at.finite else plain

    # -- classes ------------------------------------------------------------------------------------------------------------------

    def _class(self, given: Any, at: _Place) -> Shape:
        if given in at.inside:
            return Again(given)
        at = at.within(given)
        if issubclass(given, enum.Enum):
            return self._fixed(list(given), at)
        if given.__module__.partition(".")[0] == "pydantic" and given.__name__ in _PYDANTIC:
            return dataclasses.replace(_PYDANTIC[given.__name__], make=_validation(given))
        if hasattr(given, "model_fields") and hasattr(given, "model_validate_json"):
            return self._model(given, at)
        if dataclasses.is_dataclass(given):
            return self._dataclass(given, at)
        if typing.is_typeddict(given) or hasattr(given, "__required_keys__"):
            hints = self._hints(given, at)
            fields = (self._key_of(given, name, hint, at) for name, hint in hints.items())
            return Record(given.__name__, tuple(fields), dict, given)
        if issubclass(given, tuple) and hasattr(given, "_fields"):
            hints = self._hints(given, at)
            items = tuple(self.shape(hints.get(name, Any), at.at(f".{name}")) for name in given._fields)
            return TupleOf(items, lambda values: given(*values), len(getattr(given, "_field_defaults", ())))
        raise self._bad(given, at)

    def _key_of(self, given: Any, name: str, hint: Any, at: _Place) -> Field:
        """One key of a TypedDict."""
        return Field(name, self.shape(hint, at.at(f".{name}")), _is_required(given, name, hint), name)

    def _dataclass(self, given: Any, at: _Place) -> Shape:
        own = getattr(given, "__pydantic_fields__", None)
        if own is not None:
            return Made(given.__name__, self._fields_of(given, own, _config_of(given, at)), _json_validation(given), given)
        hints, fields = self._hints(given, at), []
        for name, field in given.__dataclass_fields__.items():
            hint = hints[name]
            if field.init and typing.get_origin(hint) is not typing.ClassVar and hint is not typing.ClassVar:
                optional = field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
                hint = hint.type if isinstance(hint, dataclasses.InitVar) else hint
                fields.append(Field(name, self.shape(hint, at.at(f".{name}")), not optional, name))
        return Record(given.__name__, tuple(fields), lambda values: given(**values), given)

    def _model(self, given: Any, at: _Place) -> Shape:
        if not getattr(given, "__pydantic_complete__", True):
            try:
                given.model_rebuild()
            except Exception as problem:  # noqa: BLE001 - whatever the names in its annotations do
                raise self._unknown(given, problem) from None
        at = _config_of(given, at)
        if getattr(given, "__pydantic_root_model__", False):
            field = given.model_fields["root"]
            return Made(given.__name__, self._annotated(field.annotation, field.metadata, at), given.model_validate_json, given)
        return Made(given.__name__, self._fields_of(given, given.model_fields, at), given.model_validate_json, given)

    def _fields_of(self, given: Any, fields: Mapping[str, Any], at: _Place) -> Record:
        """The fields of a pydantic model or dataclass, under the keys that its validation reads."""
        by_alias = _config(given).get("validate_by_alias", True)
        found = []
        for name, field in fields.items():
            here = at.at(f".{name}")
            if getattr(field, "init", None) is False:
                continue
            key = self._key(name, field, here) if by_alias else name
            tag = getattr(field, "discriminator", None)
            tag = getattr(tag, "discriminator", tag)
            shape = self._annotated(field.annotation, field.metadata, here)
            if isinstance(tag, str):
                shape = self._with_tag(shape, tag, here)
            elif tag is not None:
                raise self._unsupported(FUNCTION_TAG, here)
            found.append(Field(key, shape, field.is_required(), name))
        return Record(given.__name__, tuple(found))

    def _key(self, name: str, field: Any, at: _Place) -> str:
        alias = field.validation_alias or field.alias or name
        choices = getattr(alias, "choices", [alias])
        for choice in choices:
            if isinstance(choice, str):
                return choice
            path: Sequence[Any] = getattr(choice, "path", ())
            if len(path) == 1 and isinstance(path[0], str):
                return path[0]
        message = f"{at.path}: an alias that is a path into other values is not supported"
        raise error(UNSUPPORTED, message, self._span, "use a name as alias, or `AliasChoices` with one")

    # -- generic types ------------------------------------------------------------------------------------------------------------

    def _generic(self, given: Any, at: _Place) -> Shape:
        origin, args = typing.get_origin(given), typing.get_args(given)
        if origin is typing.Annotated:
            return self._annotated(args[0], given.__metadata__, at)
        if origin in (typing.Required, typing.NotRequired, typing.ClassVar, typing.Final) and args:
            return self.shape(args[0], at)
        if origin is Literal:
            return self._fixed(list(args), at)
        if origin in (typing.Union, types.UnionType):
            return UnionOf(tuple(self.shape(arg, at) for arg in args))
        if origin in _LISTS:
            return ListOf(self.shape(args[0], at.at("[]")), (), _LISTS[origin])
        if origin is tuple:
            return self._tuple(args, at)
        if origin in _DICTS:
            return DictOf(self._dict_key(args[0], at.at("{key}")), self.shape(args[1], at.at("{}")))
        if hasattr(given, "__supertype__"):
            return self.shape(given.__supertype__, at)
        if hasattr(given, "__value__"):
            return Again(given) if given in at.inside else self.shape(given.__value__, at.within(given))
        if isinstance(origin, type) and (hasattr(origin, "model_fields") or dataclasses.is_dataclass(origin)):
            raise self._unsupported("a generic class with parameters", at)
        raise self._bad(given, at)

    def _tuple(self, args: Sequence[Any], at: _Place) -> Shape:
        if len(args) == 2 and args[1] is Ellipsis:
            return ListOf(self.shape(args[0], at.at("[]")), (), tuple)
        return TupleOf(tuple(self.shape(arg, at.at(f"[{number}]")) for number, arg in enumerate(args) if arg != ()))

    def _dict_key(self, given: Any, at: _Place) -> Shape:
        key = self.shape(given, at)
        inner = key.shape if isinstance(key, Finished) else key
        words = isinstance(inner, Fixed) and all(isinstance(written, str) for written, _ in inner.options)
        kinds = ("str", "int", "float", "decimal", "uuid", "date", "datetime", "time", "timedelta")
        if words or isinstance(inner, Pattern) or (isinstance(inner, Plain) and inner.kind in kinds):
            return key
        raise error(BAD_TYPE, f"{at.path}: the keys of a dict must be strings, numbers or dates", self._span, "use dict[str, …]")

    def _fixed(self, values: list[Any], at: _Place) -> Shape:
        """Literals and members of enumerations. A model's own validation knows them by their values only."""
        options = []
        for value in values:
            inner = value.value if isinstance(value, enum.Enum) else value
            written = inner if _is_scalar(inner) else value.name if isinstance(value, enum.Enum) else str(value)
            if at.model and (not _is_scalar(inner) or (isinstance(value, enum.Enum) and type(value) not in at.inside and value != inner)):
                raise self._unsupported(f"the option {value!r}, which has no form in JSON", at)
            options.append((written, value))
        return Fixed(tuple(options))

    # -- conditions ---------------------------------------------------------------------------------------------------------------

    def _annotated(self, given: Any, metadata: Iterable[Any], at: _Place) -> Shape:
        """A type with the conditions of `annotated_types` or pydantic; annotations that are no conditions are left alone."""
        metadata = tuple(metadata)
        found = read_conditions(metadata, at.rust)
        if found.refused:
            raise self._unsupported(found.refused[0], at)
        shape = self.shape(given, at)
        if found.bounds:
            shape = self._bounded(shape, found, at)
        if found.tag is not None:
            shape = self._with_tag(shape, found.tag, at)
        if found.finishes and not at.model:
            shape = Finished(shape, _validation(typing.Annotated[(given, *metadata)]))
        return shape

    def _bounded(self, shape: Shape, found: Conditions, at: _Place) -> Shape:
        if isinstance(shape, UnionOf):
            return UnionOf(tuple(option if option == Plain("none") else self._bounded(option, found, at) for option in shape.options))
        if isinstance(shape, Finished):
            return dataclasses.replace(shape, shape=self._bounded(shape.shape, found, at))
        for name, value in found.bounds:
            self._check_bound(shape, name, value, at)
        assert isinstance(shape, (Plain, ListOf, DictOf))
        own = {name for name, _ in found.bounds}
        kept = shape.bounds if shape.bounds != at.strings else tuple(pair for pair in shape.bounds if pair[0] not in own)
        shape = dataclasses.replace(shape, bounds=(*kept, *found.bounds))
        if isinstance(shape, ListOf) and shape.make in (set, frozenset) and dict(shape.bounds).get("min_length", 0) > 1:
            self._check_distinct(shape.item, at)
            shape = dataclasses.replace(shape, distinct=True)
        return shape

    def _check_bound(self, shape: Shape, name: str, value: Any, at: _Place) -> None:
        """Raise for a condition that is not supported for a shape."""
        kind: Any = shape.kind if isinstance(shape, Plain) else type(shape)
        if kind not in _BOUNDED.get(name, _ORDERED) or (name in ("ge", "gt", "le", "lt") and not can_order(kind, value)):
            raise self._unsupported(f"the condition {name}={value!r:.60}", at)
        if name == "multiple_of" and not is_small_step(kind, value):
            raise self._unsupported(f"the condition {name}={value!r:.60}", at)

    def _check_distinct(self, item: Shape, at: _Place) -> None:
        """Raise for the items of a set of so many members that nothing tells apart by their texts."""
        for part in parts(item):
            plain = isinstance(part, Plain) and part.kind in _TOLD_APART and part.make is None and not dict(part.bounds).get("strip")
            if not plain and not isinstance(part, (Fixed, Pattern, UnionOf)) and not (isinstance(part, TupleOf) and part.make is tuple):
                raise self._unsupported("a set with a least number of such items", at)

    def _with_tag(self, shape: Shape, tag: str, at: _Place) -> Shape:
        """The options of a union with the field that tells them apart, which must be written."""
        if isinstance(shape, UnionOf):
            return UnionOf(tuple(option if option == Plain("none") else self._with_tag(option, tag, at) for option in shape.options))
        if isinstance(shape, (Made, Finished)):
            return dataclasses.replace(shape, shape=self._with_tag(shape.shape, tag, at))
        if isinstance(shape, Record):
            names = [field.name for field in shape.fields]
            if tag in names:
                fields = (dataclasses.replace(field, required=field.required or field.name == tag) for field in shape.fields)
                return dataclasses.replace(shape, fields=tuple(fields))
        if isinstance(shape, Again):
            return shape
        raise self._unsupported(f"the discriminator {tag!r}", at)

    # -- problems -----------------------------------------------------------------------------------------------------------------

    def _hints(self, given: Any, at: _Place) -> dict[str, Any]:
        try:
            return typing.get_type_hints(given, localns={given.__name__: given}, include_extras=True)
        except NameError as problem:
            raise self._unknown(given, problem) from None

    def _unknown(self, given: Any, problem: Exception) -> Exception:
        first = str(problem).partition("\n")[0]
        return error(BAD_TYPE, f"a field of {given.__name__} has an unknown type: {first}", self._span, "define it first")

    def _unsupported(self, what: str, at: _Place) -> Exception:
        return error(UNSUPPORTED, f"{at.path}: {what} is not supported", self._span, _LATER)

    def _bad(self, given: object, at: _Place) -> Exception:
        name = _named(given)
        place = "" if at.path == name else f"{at.path}: "
        return error(BAD_TYPE, f"{place}{name:.80} is no type of a hole", self._span, _HINT)


def can_order(kind: str, value: Any) -> bool:
    """Whether values of a plain kind have an order with a value that a language can hold."""
    if kind in ("int", "float", "decimal"):
        return isinstance(value, int) or (isinstance(value, (float, decimal.Decimal)) and math.isfinite(value))
    kinds: dict[str, type] = {"date": datetime.date, "datetime": datetime.datetime, "time": datetime.time}
    return type(value) is kinds.get(kind) and getattr(value, "tzinfo", None) is None


def is_small_step(kind: str, value: Any) -> bool:
    """Whether multiples of a number have a language of moderate size."""
    if isinstance(value, bool) or not can_order(kind, value) or value <= 0:
        return False
    step = (decimal.Decimal(repr(value)) if isinstance(value, float) else decimal.Decimal(value)).normalize()
    places = max(-int(step.as_tuple().exponent), 0)
    return step * 10**places <= LARGEST_STEP and places <= 6 and (kind != "int" or places == 0)


def _is_scalar(value: object) -> bool:
    return value is None or isinstance(value, (str, int)) or (isinstance(value, float) and math.isfinite(value))


def _is_required(given: Any, name: str, hint: Any) -> bool:
    """Whether a TypedDict must have a key. What the annotation says goes first: it may have been a string when the class was made."""
    origin = typing.get_origin(hint)
    if origin in (typing.Required, typing.NotRequired):
        return origin is typing.Required
    return name in given.__required_keys__


def _named(given: object) -> str:
    return str(getattr(given, "__name__", None) or show(given))


def _config(given: Any) -> Mapping[str, Any]:
    """The configuration of a pydantic class."""
    found: Mapping[str, Any] = getattr(given, "model_config", None) or getattr(given, "__pydantic_config__", None) or {}
    return found


def _config_of(given: Any, at: _Place) -> _Place:
    """The place of the fields of a pydantic class."""
    config = _config(given)
    rust, finite = config.get("regex_engine") != "python-re", config.get("allow_inf_nan") is False
    return dataclasses.replace(at, strings=config_strings(config), rust=rust, finite=finite, model=True)


def _validation(given: Any) -> Callable[[Any], Any]:
    """What pydantic makes of a value by a type."""

    def validate(value: Any) -> Any:
        return _adapter(given).validate_python(value)

    return validate


def _json_validation(given: Any) -> Callable[[str], Any]:
    """What pydantic makes of a JSON text by a type."""

    def validate(text: str) -> Any:
        return _adapter(given).validate_json(text)

    return validate


def _adapter(given: Any) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(given)
