"""Results as text for people, and as strict JSON."""

from __future__ import annotations

import dataclasses
import enum
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from lmqlc.runtime.results import HoleResult, Result


def as_text(results: Sequence[Result]) -> str:
    """Results for a person: the returned value, else a line per variable; several results under headings."""
    if len(results) == 1:
        return _one_as_text(results[0])
    blocks = [
        f"--- result {number} of {len(results)}, log-probability {result.score:.4f}\n{_one_as_text(result)}"
        for number, result in enumerate(results, 1)
    ]
    return "\n".join(blocks)


def as_json(results: Sequence[Result]) -> str:
    """Results as one JSON object, or a list of them for several branches. Numbers that JSON does not know become null."""
    values = [_result(result) for result in results]
    return json.dumps(values[0] if len(values) == 1 else values, ensure_ascii=False, allow_nan=False, indent=2)


def plain(value: Any) -> Any:
    """A value in terms of JSON: what JSON knows as it is, other values by their own JSON form where they have one, else as text."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, enum.Enum):
        return plain(value.value)
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, set | frozenset):
        return [plain(item) for item in sorted(value, key=repr)]
    return _object(value)


def _object(value: Any) -> Any:
    if isinstance(value, Result):
        return _result(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if callable(getattr(value, "model_dump", None)):
        return plain(value.model_dump(mode="json"))
    if callable(getattr(value, "isoformat", None)):
        return value.isoformat()
    return str(value)


def _one_as_text(result: Result) -> str:
    if result.returned:
        return value_as_text(result.value)
    lines = [f"{name} = {value!r}" for name, value in result.variables.items() if not name.startswith("P(")]
    for value, probability in result.distribution_values or ():
        lines.append(f"P({result.distribution_variable} = {value!r}) = {probability:.6f}")
    return "\n".join(lines)


def value_as_text(value: Any) -> str:
    """A returned value: strings as they are, results by their variables, everything else as Python shows it."""
    if isinstance(value, str):
        return value
    return _one_as_text(value) if isinstance(value, Result) else repr(value)


def _result(result: Result) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "prompt": result.prompt,
        "variables": {name: plain(value) for name, value in result.variables.items() if not name.startswith("P(")},
        "holes": [_hole(hole) for hole in result.holes],
        "finish_reason": result.finish_reason,
        "logprob": plain(result.score),
        "usage": {field.name: getattr(result.usage, field.name) for field in dataclasses.fields(result.usage)},
    }
    if result.returned:
        shown["value"] = plain(result.value)
    if result.distribution_values is not None:
        shown["distribution"] = {
            "variable": result.distribution_variable,
            "values": [{"value": plain(value), "probability": plain(share)} for value, share in result.distribution_values],
        }
    return shown


def _hole(hole: HoleResult) -> dict[str, Any]:
    return {
        "name": hole.name,
        "text": hole.text,
        "value": plain(hole.value),
        "finish_reason": hole.finish_reason,
        "logprob": plain(hole.logprob),
        "tokens": [{"id": token.id, "text": token.text, "logprob": plain(token.logprob), "forced": token.forced} for token in hole.tokens],
    }
