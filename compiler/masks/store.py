"""Linked automata as arrays: for artifacts, and for the cache on disk.

Everything that a mask needs is stored: token classes and their table, costs, and the masks of the states as rows, so that nothing is
computed when a stored automaton is opened. What comes from a file is not trusted: shapes, types and ranges are checked, and
whatever does not fit raises ArtifactError.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from lmqlc.backends.base import Vocabulary
from lmqlc.compiler.automata.automaton import StopPhrase, TextAutomaton
from lmqlc.compiler.automata.remembered import rule_from_json, rule_to_json
from lmqlc.compiler.masks.canonical import Encode
from lmqlc.compiler.masks.classes import ClassBlock, table_type
from lmqlc.compiler.masks.core import Core, Known
from lmqlc.compiler.masks.counters import FOREVER, KnownCosts
from lmqlc.compiler.masks.files import Array, cache_folder, drop_file, read_arrays, write_arrays
from lmqlc.compiler.masks.forms import words
from lmqlc.compiler.masks.steps import Steps
from lmqlc.compiler.masks.token_automaton import TokenAutomaton, finished
from lmqlc.grammar.errors import ArtifactError

STORE_VERSION = 6
ROW_BYTES = 1 << 20
"""Rows of masks are stored up to this size; masks of the states that come last are built again when they are asked for."""
FEW_STATES = 8
"""Masks of so many states are stored of an automaton with too many for one block."""
EARLY_BYTES = 1 << 18
"""Costs at the first counts of tokens are stored up to this size."""
EARLY_RUNS = 1 << 12
"""Runs of counts with the same costs that are stored at most."""
_AUTOMATON = {"delta": "<i4", "byte_class": "|u1", "accepts": "|b1", "stops": "|b1", "token_bounds": "<i8"}
_LARGEST = 1 << 26


def to_arrays(linked: TokenAutomaton) -> dict[str, Array]:
    """The arrays of a linked automaton. Its budget, the literal that follows it and its tokenizer are not stored: they are a hole's."""
    core = linked.core
    automaton, costs = core.automaton, core.costs
    arrays: dict[str, Array] = {name: getattr(automaton, name) for name in _AUTOMATON}
    if automaton.holds is not None:
        arrays["holds"] = automaton.holds
    block = core.classes.whole
    if block is not None:
        arrays |= {"class_of": block.class_of, "table": block.table, "chars": block.chars}
    about = {
        "version": STORE_VERSION,
        "fingerprint": core.vocabulary.fingerprint,
        "width": core.steps.width,
        "start": int(automaton.start),
        "char_limit": automaton.char_limit,
        "spaces_end": automaton.spaces_end,
        "phrases": [_stored(phrase) for phrase in automaton.phrases],
        "memory": [rule_to_json(rule) for rule in automaton.memory],
        "whole": block is not None,
        "bytes_needed": costs.bytes_needed,
        "longest": core.longest,
    }
    early, early_at = _early(core)
    rows = _rows(core)
    about["first"] = _first(core, rows)
    encoded = np.frombuffer(json.dumps(about, sort_keys=True).encode(), np.uint8)
    return arrays | {"about": encoded, "finish": costs.unlimited(), "early": early, "early_at": early_at} | rows


def _early(core: Core) -> tuple[Array, Array]:
    """Distinct costs, without a budget, at the first counts of tokens, and the runs int64[N, 2] of counts that share them: `KnownCosts`."""
    width = core.steps.width
    places: dict[int, int] = {}
    found: list[Array] = []
    runs: list[tuple[int, int]] = []
    for end, finish in islice(core.costs.early(), EARLY_RUNS):
        place = places.setdefault(id(finish), len(found))
        if place == len(found):
            if 4 * width * (place + 1) > EARLY_BYTES:
                break
            found.append(finish)
        runs.append((end, place))
    return np.stack(found) if found else np.zeros((0, width), np.int32), np.array(runs, np.int64).reshape(-1, 2)


def _first(core: Core, rows: dict[str, Array]) -> int:
    """The row of the first mask; it is added to the rows where counts of tokens keep it from being that of a state."""
    costs, start = core.costs, core.automaton.start
    finish = costs.after(1, None)
    assert finish is not None
    if finish is costs.unlimited() and rows["row"][start] >= 0:
        return int(rows["row"][start])
    moment = costs.moment(core.steps.region(0), core.steps.pair(0), finish)
    mask, _ = core.masks("").get(start, core.automaton.char_limit or 0, moment, False)
    rows["rows"] = np.concatenate([rows["rows"], mask.bits[None]])
    rows["sizes"] = np.append(rows["sizes"], np.int32(mask.allowed))
    return len(rows["sizes"]) - 1


def _rows(core: Core) -> dict[str, Array]:
    """Distinct masks of the states without budget, their sizes, the row of every state and the room it takes; see `Known`."""
    steps, width = core.steps, len(core.vocabulary)
    row, enough = np.full(steps.states, -1, np.int32), np.zeros(steps.states, np.int32)
    finish = core.costs.unlimited()
    moment, table = core.costs.moment(0, 0, finish), core.masks("")
    numbers: dict[int, int] = {}
    rows: list[Array] = []
    sizes: list[int] = []
    last = len(steps.bounds) > 1  # then nothing is without budget: the count of tokens is one
    live = [] if last else np.flatnonzero(finish[: steps.states] < FOREVER).tolist()
    for state in live if core.classes.whole is not None else live[:FEW_STATES]:
        most = min(table.need(state, moment)[1], core.automaton.char_limit or 0)  # there is never more room than the limit
        mask, _ = table.get(state, most, moment, False)
        number = numbers.setdefault(id(mask.bits), len(numbers))
        if number == len(rows):
            if 4 * words(width) * (number + 1) > ROW_BYTES:
                break
            rows.append(mask.bits)
            sizes.append(mask.allowed)
        row[state], enough[state] = number, most
    stacked = np.stack(rows) if rows else np.zeros((0, words(width)), np.uint32)
    return {"rows": stacked, "sizes": np.array(sizes, np.int32), "row": row, "enough": enough}


def from_arrays(
    arrays: Mapping[str, Array],
    vocabulary: Vocabulary,
    *,
    max_tokens: int | None = None,
    follow: str | None = None,
    encode: Encode | None = None,
) -> TokenAutomaton:
    """The automaton that `to_arrays` stored, for one hole; see `link`. Arrays are used where they lie.

    Raises ArtifactError for anything malformed or made for another vocabulary, UnsatisfiableConstraint as `link` does.
    """
    try:
        automaton, known = _checked(arrays, vocabulary)
    except (KeyError, TypeError, ValueError, IndexError, RecursionError) as error:
        raise ArtifactError("a stored automaton is damaged") from error
    return finished(Core(automaton, vocabulary, known), max_tokens=max_tokens, follow=follow, encode=encode).require()


def _checked(arrays: Mapping[str, Array], vocabulary: Vocabulary) -> tuple[TextAutomaton, Known]:
    about = json.loads(arrays["about"].tobytes())
    _require(isinstance(about, dict) and about["version"] == STORE_VERSION, "has another version")
    _require(about["fingerprint"] == vocabulary.fingerprint, "was made for another vocabulary")
    automaton = _automaton(arrays, about)
    states, tokens = automaton.delta.shape[1], len(vocabulary)
    width, needed = about["width"], about["bytes_needed"]
    _require(type(width) is int and states < width <= states + _LARGEST)
    _require(automaton.char_limit is not None or width == states + 1)
    _require(needed is None or (type(needed) is int and needed >= 0))
    longest = about["longest"]
    _require(longest is None or (type(longest) is int and longest >= 0))
    rows, sizes, row, enough = (arrays[name] for name in ("rows", "sizes", "row", "enough"))
    first = about["first"]
    _require(type(first) is int and -1 <= first < len(sizes))
    _array(rows, "<u4", (len(sizes), words(tokens)))
    _array(sizes, "<i4", (len(sizes),), 0, tokens + 1)
    _array(row, "<i4", (states,), -1, len(sizes))
    _array(enough, "<i4", (states,), -_LARGEST, _LARGEST)
    word, bit = _never(vocabulary)
    _require(not ((rows[:, word] >> bit) & 1).any())
    _require(type(about["whole"]) is bool)
    block = _block(arrays, Steps(automaton, width), tokens) if about["whole"] else None
    costs = KnownCosts(_finish(arrays["finish"], width), needed, *_early_costs(arrays, width))
    return automaton, Known(width, block, costs, rows, sizes, row, enough, first, longest)


def _finish(array: Array, width: int) -> Array:
    _array(array, "<i4", (width,), -_LARGEST, FOREVER + 1)
    _require(array[0] == FOREVER)
    return array


def _early_costs(arrays: Mapping[str, Array], width: int) -> tuple[tuple[Array, ...], tuple[tuple[int, int], ...]]:
    early, runs = arrays["early"], arrays["early_at"]
    if not len(runs):
        return (), ()
    _array(early, "<i4", (len(early), width), -_LARGEST, FOREVER + 1)
    _array(runs, "<i8", (len(runs), 2), 0, 1 << 40)
    _require(
        bool((np.diff(runs[:, 0], prepend=0) > 0).all()) and bool((runs[:, 1] < len(early)).all()) and bool((early[:, 0] == FOREVER).all())
    )
    return tuple(early), tuple((end, place) for end, place in runs.tolist())


_never_kept: dict[str, tuple[Array, Array]] = {}


def _never(vocabulary: Vocabulary) -> tuple[Array, Array]:
    """Word and bit of what no row may allow: tokens that are never in a text, and places beyond the vocabulary."""
    found = _never_kept.get(vocabulary.fingerprint)
    if found is None:
        if len(_never_kept) >= _VOCABULARIES:
            _never_kept.clear()
        tokens = len(vocabulary)
        ids = np.array(sorted(vocabulary.special.union(vocabulary.eos_ids, range(tokens, 32 * words(tokens)))), np.int64)
        found = _never_kept[vocabulary.fingerprint] = ids >> 5, (ids & 31).astype(np.uint32)
    return found


_VOCABULARIES = 16


def _automaton(arrays: Mapping[str, Array], about: Mapping[str, Any]) -> TextAutomaton:
    delta, byte_class, accepts, stops, bounds = (arrays[name] for name in _AUTOMATON)
    depth, states, classes = delta.shape
    regions = len(bounds)
    _require(depth in (1, regions) and states >= 2 and 1 <= classes <= 256)
    _array(delta, "<i4", delta.shape, 0, states)
    _array(byte_class, "|u1", (256,), 0, classes)
    _array(accepts, "|b1", (regions, states))
    _array(stops, "|b1", (regions, states))
    _array(bounds, "<i8", (regions,), 0, 1 << 40)
    holds = arrays.get("holds")
    if holds is not None:
        _array(holds, "|b1", (regions, states))
    _require(bounds[0] == 0 and (regions == 1 or bool((bounds[1:] > bounds[:-1]).all())))
    _require(not delta[:, 0].any() and not accepts[:, 0].any() and not stops[:, 0].any())
    start, limit, spaces_end = about["start"], about["char_limit"], about["spaces_end"]
    _require(type(start) is int and 0 < start < states)
    _require(limit is None or (type(limit) is int and 0 <= limit < _LARGEST))
    _require(type(spaces_end) is bool)
    phrases = tuple(map(_phrase, about["phrases"]))
    memory = tuple(rule for made in about["memory"] if (rule := rule_from_json(made)))
    return TextAutomaton(delta, byte_class, start, accepts, stops, bounds, limit, phrases, holds, memory, spaces_end)


def _stored(phrase: StopPhrase) -> dict[str, Any]:
    return {name: getattr(phrase, name) for name in ("keep", "text", "pattern", "flags")}


def _phrase(stored: Mapping[str, Any]) -> StopPhrase:
    phrase = StopPhrase(**stored)
    _require(type(phrase.keep) is bool and type(phrase.flags) is int)
    _require(isinstance(phrase.text, str) or (phrase.text is None and isinstance(phrase.pattern, str)))
    return phrase


def _block(arrays: Mapping[str, Array], steps: Steps, tokens: int) -> ClassBlock:
    """The block of all states."""
    class_of, table, chars = (arrays[name] for name in ("class_of", "table", "chars"))
    kinds = len(chars)
    _require(class_of.dtype.str in ("<u2", "<u4"))
    _array(class_of, class_of.dtype.str, (tokens,), 0, kinds)
    _array(table, table_type(steps).str, (steps.pairs, steps.states, kinds), 0, steps.width)
    _array(chars, "<i4", (kinds,), 0, _LARGEST if steps.counts_chars else 1)
    _require(not table[:, :, 0].any())
    return ClassBlock(0, class_of, table, chars)


def _require(sound: bool, problem: str = "is damaged") -> None:
    if not sound:
        raise ArtifactError(f"a stored automaton {problem}")


def _array(array: Array, dtype: str, shape: tuple[int, ...], low: int | None = None, high: int = 0) -> None:
    _require(array.dtype.str == dtype and array.shape == shape)
    if low is None or not array.size:
        return
    if low == 0:  # one pass: read as unsigned, negative numbers are too large
        _require(int(np.maximum.reduce(array.view(_UNSIGNED[array.itemsize]), axis=None)) < high)
    else:
        _require(bool(np.minimum.reduce(array, axis=None) >= low and np.maximum.reduce(array, axis=None) < high))


_UNSIGNED = {size: np.dtype(f"<u{size}") for size in (1, 2, 4, 8)}


def _place(key: str, vocabulary: Vocabulary) -> Path:
    name = hashlib.sha256(f"{STORE_VERSION}\0{vocabulary.fingerprint}\0{key}".encode()).hexdigest()
    return cache_folder() / "automata" / f"{name}.bin"


def keep(key: str, linked: TokenAutomaton) -> None:
    """Keep a linked automaton in the cache on disk; a cache that cannot be written is left alone.

    key: names the constraint with everything it depends on; the vocabulary is added.
    """
    with contextlib.suppress(OSError):
        write_arrays(_place(key, linked.vocabulary), to_arrays(linked), {"kind": "automaton"})


def recall(
    key: str, vocabulary: Vocabulary, *, max_tokens: int | None = None, follow: str | None = None, encode: Encode | None = None
) -> TokenAutomaton | None:
    """The linked automaton that `keep` stored, None where there is none that is sound. Raises UnsatisfiableConstraint as `link` does."""
    place = _place(key, vocabulary)
    try:
        arrays, _ = read_arrays(place)
        return from_arrays(arrays, vocabulary, max_tokens=max_tokens, follow=follow, encode=encode)
    except ArtifactError:
        drop_file(place)
    except OSError:
        pass
    return None
