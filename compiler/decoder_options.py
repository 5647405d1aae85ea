"""The decoders of the language and the arguments each takes, for checks before a program runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Kind:
    """What an argument's value must be: a test for constants, and words for the message."""

    words: str
    accepts: Callable[[Any], bool]


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value


COUNT = Kind("a whole number of at least 1", lambda v: _is_int(v) and v >= 1)
LIMIT = Kind("a whole number of at least 1, or None", lambda v: v is None or (_is_int(v) and v >= 1))
SEED = Kind("a whole number of at least 0, or None", lambda v: v is None or (_is_int(v) and v >= 0))
TEMPERATURE = Kind("a number of at least 0", lambda v: _is_number(v) and 0 <= v < float("inf"))
SHARE = Kind("a number above 0 and at most 1, or None", lambda v: v is None or (_is_number(v) and 0 < v <= 1))
FLOOR = Kind("a number from 0 to 1, or None", lambda v: v is None or (_is_number(v) and 0 <= v <= 1))
NUMBER = Kind("a number", lambda v: _is_number(v) and abs(v) < float("inf"))
PENALTY = Kind("a number above 0, or None", lambda v: v is None or (_is_number(v) and 0 < v < float("inf")))
OFFSET = Kind("a number, or None", lambda v: v is None or NUMBER.accepts(v))
SECONDS = Kind("a number of seconds above 0, or None", lambda v: v is None or (_is_number(v) and v > 0))
TEXT = Kind("a string, or None", lambda v: v is None or isinstance(v, str))
CACHE = Kind("True, False, a path or None", lambda v: v is None or isinstance(v, bool | str))
COMPARISON = Kind('"sum" or "mean"', lambda v: v in ("sum", "mean"))
SWITCH = Kind("True or False", lambda v: isinstance(v, bool))

COMMON: Mapping[str, Kind] = {
    "backend": TEXT,
    "cache": CACHE,
    "chunk_timeout": SECONDS,
    "chunksize": LIMIT,
    "fast_forward": SWITCH,
    "frequency_penalty": OFFSET,
    "max_len": LIMIT,
    "max_tokens": LIMIT,
    "max_total_tokens": LIMIT,
    "presence_penalty": OFFSET,
    "repetition_penalty": PENALTY,
    "score_by": COMPARISON,
    "timeout": SECONDS,
    "token_healing": SWITCH,
    "verbose": SWITCH,
}

DECODERS: Mapping[str, Mapping[str, Kind]] = {
    "argmax": {"greedy": SWITCH},
    "sample": {"n": COUNT, "temperature": TEMPERATURE, "top_k": LIMIT, "top_p": SHARE, "min_p": FLOOR, "seed": SEED},
    "beam": {"n": COUNT, "length_penalty": NUMBER},
    "beam_sample": {"n": COUNT, "temperature": TEMPERATURE, "length_penalty": NUMBER, "seed": SEED},
    "var": {"b": COUNT, "n": COUNT},
    "beam_var": {"n": COUNT, "length_penalty": NUMBER},
    "best_k": {"k": COUNT, "width": COUNT, "budget": COUNT, "length_penalty": NUMBER},
}
"""Arguments of each decoder beside the common ones."""
