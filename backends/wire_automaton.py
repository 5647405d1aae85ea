"""A hole's language as it travels to a server: a text automaton as arrays, a formula as JSON. Nothing in it is executed.

The automaton knows no tokens; the server links it to its own vocabulary. Its bytes are those of `masks.files` (magic, format version,
header, arrays), compressed; it is named by their SHA-256. What arrives is not trusted: sizes, shapes, types and ranges are checked.

Stop phrases travel as texts, and as automata where they are patterns: no pattern is ever compiled at the server.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from dataclasses import replace
from typing import Any

import numpy as np

from lmqlc.compiler.artifact_json import FormatError, constraint_from_json, to_json
from lmqlc.compiler.automata.automaton import PhraseAutomaton, StopPhrase, TextAutomaton
from lmqlc.compiler.automata.remembered import rule_from_json, rule_to_json
from lmqlc.compiler.constraint_parts import parts
from lmqlc.compiler.constraints import Const, Constraint, Custom, Json, Slot, TypeIs
from lmqlc.compiler.masks.files import Array, pack_arrays, unpack_arrays
from lmqlc.compiler.masks.phrases import phrase_as_shown
from lmqlc.compiler.masks.steps import regions_differ
from lmqlc.grammar.errors import ArtifactError, LmqlCompileError

WIRE_VERSION = 3
MAX_PACKED = 8 << 20
"""Bytes of an automaton as it travels."""
MAX_BYTES = 64 << 20
"""Bytes of its arrays."""
MAX_STATES = 1 << 15
"""States, times the pairs of regions of token counts in which tokens are read."""
MAX_TABLE = 1 << 23
"""Entries of the tables that are laid out from it."""
MAX_PHRASES = 1000
MAX_RULES = 10_000
MAX_IN_PHRASES = 1 << 13
"""Bytes of phrases that are texts, and states of those that are patterns."""
_LARGE = f"more than {MAX_IN_PHRASES} bytes and states"
MAX_LIMIT = 1 << 24
MAX_FORMULA = 1 << 18
"""Characters of a formula."""
MAX_ATOMS = 500

_ARRAYS = {"delta": "<i4", "byte_class": "|u1", "accepts": "|b1", "stops": "|b1", "token_bounds": "<i8"}


def pack_automaton(automaton: TextAutomaton) -> tuple[str, bytes]:
    """The name of an automaton, and its bytes. Raises ArtifactError where its stop phrases are too large for a server."""
    arrays: dict[str, Array] = {name: getattr(automaton, name) for name in _ARRAYS}
    if automaton.holds is not None:
        arrays["holds"] = automaton.holds
    phrases: list[list[Any]] = []
    size = 0
    for number, phrase in enumerate(automaton.phrases):
        read = phrase_as_shown(phrase) if phrase.text is None else None
        size += len(phrase.text.encode("utf-8", "replace")) if phrase.text is not None else 0 if read is None else len(read.ends)
        if size > MAX_IN_PHRASES:
            raise ArtifactError(f"its stop phrases have {_LARGE}")
        phrases.append([phrase.keep, phrase.text, None if read is None else read.start])
        if read is not None:
            steps, byte_class = np.unique(np.array(read.steps, np.int32), axis=1, return_inverse=True)
            arrays[f"steps{number}"], arrays[f"class{number}"] = steps, byte_class.reshape(256).astype(np.uint8)
            arrays[f"ends{number}"] = np.array(read.ends, np.bool_)
    meta = {
        "wire": WIRE_VERSION,
        "start": int(automaton.start),
        "limit": automaton.char_limit,
        "phrases": phrases,
        "spaces_end": automaton.spaces_end,
        "memory": [rule_to_json(rule) for rule in automaton.memory],
    }
    data = pack_arrays(arrays, meta)
    return hashlib.sha256(data).hexdigest(), zlib.compress(data, 1)


def unpack_automaton(packed: bytes, name: str) -> TextAutomaton:
    """The automaton of a name. Raises ArtifactError for bytes that are none, or another one, or too large."""
    reader = zlib.decompressobj()
    try:
        data = reader.decompress(packed, MAX_BYTES + 1) if len(packed) <= MAX_PACKED else b""
    except zlib.error as error:
        raise ArtifactError(f"the automaton cannot be decompressed: {error}") from None
    if not data or len(data) > MAX_BYTES or reader.unconsumed_tail or not reader.eof or reader.unused_data:
        raise ArtifactError(f"an automaton has at most {MAX_PACKED} bytes, {MAX_BYTES} when it is decompressed")
    if hashlib.sha256(data).hexdigest() != name:
        raise ArtifactError("the automaton is not the one of its name")
    arrays, meta = unpack_arrays(data, "automaton")
    try:
        return _automaton(arrays, meta)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ArtifactError(f"the automaton is malformed ({error})") from None


def _automaton(arrays: dict[str, Array], meta: dict[str, Any]) -> TextAutomaton:
    if meta["wire"] != WIRE_VERSION:
        raise ArtifactError(f"the automaton has format {meta['wire']!r}; this release reads {WIRE_VERSION}")
    memory = tuple(rule for made in meta["memory"] if (rule := rule_from_json(made)))
    _require(sum(1 + len(rule.many()) for rule in memory) <= MAX_RULES, f"more than {MAX_RULES} rules")
    found = [_array(arrays, key, dtype) for key, dtype in _ARRAYS.items()]
    delta, byte_class, accepts, stops, bounds = found
    depth, states, classes = delta.shape
    regions = len(bounds)
    holds = _array(arrays, "holds", "|b1") if "holds" in arrays else None
    start, limit, spaces_end = meta["start"], meta["limit"], meta["spaces_end"]
    _require(states >= 2 and 1 <= classes <= 256 and depth in (1, regions) and byte_class.shape == (256,), "shapes")
    _require(accepts.shape == stops.shape == (regions, states) and (holds is None or holds.shape == stops.shape), "shapes")
    _require(bool((delta >= 0).all() and (delta < states).all() and (byte_class < classes).all()), "ranges")
    _require(not (delta[:, 0].any() or accepts[:, 0].any() or stops[:, 0].any()), "the dead state")
    _require(bounds[0] == 0 and bool((np.diff(bounds) > 0).all()) and bounds[-1] < 1 << 40, "regions")
    _require(type(start) is int and 0 < start < states, "the start")
    _require(limit is None or (type(limit) is int and 0 <= limit <= MAX_LIMIT), "the limit")
    _require(type(spaces_end) is bool, "what ends it")
    phrases = _phrases(meta["phrases"], arrays)
    lengths = {0 if phrase.keep else None if phrase.text is None else len(phrase.text) for phrase in phrases}
    _require(limit is None or (len(lengths) < 2 and None not in lengths), "the limit")
    automaton = TextAutomaton(delta, byte_class, start, accepts, stops, bounds, limit, phrases, holds, memory, spaces_end)
    if not within_bounds(automaton):
        raise ArtifactError(f"the automaton is too large for this server: it may have {MAX_STATES} states")
    return automaton


def within_bounds(automaton: TextAutomaton) -> bool:
    """Whether a server takes an automaton of this size."""
    _, states, classes = automaton.delta.shape
    pairs = 2 * len(automaton.token_bounds) - 1 if regions_differ(automaton) else 1
    return bool(pairs * states <= MAX_STATES and pairs * states * classes <= MAX_TABLE)


def _array(arrays: dict[str, Array], name: str, dtype: str) -> Array:
    array = arrays[name]
    _require(array.dtype.str == dtype and array.size > 0, f"the array {name!r}")
    _require(dtype != "|b1" or int(array.view(np.uint8).max()) <= 1, f"the array {name!r}")
    return array


def _require(condition: bool, what: str = "its form") -> None:
    if not condition:
        raise ValueError(what)


def _phrases(given: Any, arrays: dict[str, Array]) -> tuple[StopPhrase, ...]:
    _require(isinstance(given, list) and len(given) <= MAX_PHRASES, "the phrases")
    found: list[StopPhrase] = []
    size = 0
    for number, (keep, text, start) in enumerate(given):
        _require(type(keep) is bool and (text is None or (isinstance(text, str) and bool(text) and start is None)), "the phrases")
        read = None if start is None else _phrase_automaton(arrays, number, start)
        size += (0 if text is None else len(text.encode())) + (0 if read is None else len(read.ends))
        found.append(StopPhrase(keep, text, automaton=read))
    _require(size <= MAX_IN_PHRASES, f"stop phrases with {_LARGE}")
    return tuple(found)


def _phrase_automaton(arrays: dict[str, Array], number: int, start: Any) -> PhraseAutomaton:
    steps, byte_class = _array(arrays, f"steps{number}", "<i4"), _array(arrays, f"class{number}", "|u1")
    ends = _array(arrays, f"ends{number}", "|b1")
    states, classes = steps.shape
    _require(byte_class.shape == (256,) and bool((byte_class < classes).all()) and ends.shape == (states,), "the phrases")
    _require(type(start) is int and 0 < start < states and bool((steps >= 0).all() and (steps < states).all()), "the phrases")
    _require(not (steps[0].any() or ends[0] or ends[start]), "the phrases")
    return PhraseAutomaton(byte_class, steps, start, ends)


def pack_formula(constraint: Constraint) -> str | None:
    """A formula as JSON text; None for one that only this process can judge: functions, classes, compiled patterns."""
    if any(isinstance(part, Custom) for part in parts(constraint)):
        return None
    try:
        text = json.dumps(to_json(constraint), separators=(",", ":"))
    except (TypeError, ValueError, RecursionError):
        return None
    return text if len(text) <= MAX_FORMULA else None


def unpack_formula(made: Any) -> Constraint:
    """The formula of a JSON value. Raises ArtifactError for anything else, and for what a server does not judge."""
    try:
        constraint = constraint_from_json(made)
        atoms = list(parts(constraint))
    except (FormatError, KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ArtifactError(f"this is no constraint: {str(error)[:200]}") from None
    if len(atoms) > MAX_ATOMS:
        raise ArtifactError(f"a constraint has at most {MAX_ATOMS} parts")
    for atom in atoms:
        _check_atom(atom)
    return constraint


def _check_atom(atom: Constraint) -> None:
    if isinstance(atom, Custom):
        raise ArtifactError("functions are judged by whoever has them, not by a server")
    for name in atom.__slots__:
        value = getattr(atom, name)
        if isinstance(value, Slot):
            raise ArtifactError("every operand of a constraint must have its value")
        if isinstance(value, Const):
            _check_value(value.value, isinstance(atom, TypeIs))


def _check_value(value: Any, is_type: bool) -> None:
    """Operands are plain values; a type is one of Python's simple ones."""
    if isinstance(value, type) and not is_type:
        raise ArtifactError("a type can only stand in `type(X) is …`")
    if not isinstance(value, type | str | int | float | bool | list | tuple | dict | None):
        raise ArtifactError(f"an operand cannot be a {type(value).__name__}")


def schema_formula(constraint: Constraint) -> Constraint:
    """The formula with JSON schemas for types that contain themselves, which have no name outside of this process."""
    from lmqlc.compiler.constraints import And, Not, Or
    from lmqlc.compiler.masks.schemas import schema_of
    from lmqlc.compiler.types import is_recursive

    if isinstance(constraint, And | Or):
        return replace(constraint, args=tuple(map(schema_formula, constraint.args)))
    if isinstance(constraint, Not):
        return replace(constraint, arg=schema_formula(constraint.arg))
    if isinstance(constraint, TypeIs) and isinstance(constraint.type, Const):
        try:
            if is_recursive(constraint.type.value):
                return Json(Const(schema_of(constraint.type.value, constraint.span)), constraint.span)
        except LmqlCompileError:
            return constraint
    return constraint
