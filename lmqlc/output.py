"""Results as text for people, and as strict JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from lmqlc.runtime.results import Result


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
    values = [result.to_dict() for result in results]
    return json.dumps(values[0] if len(values) == 1 else values, ensure_ascii=False, allow_nan=False, indent=2)


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
