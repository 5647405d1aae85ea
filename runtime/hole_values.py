"""From the text of a hole to its value; the same whoever decoded the text."""

from __future__ import annotations

import re
from typing import Any

from lmqlc.compiler.ir import HoleIR
from lmqlc.runtime.link import number_kind


def takes_space(kind: object, hole_type: object) -> bool:
    """One space may stand before the text: numbers and plain-text types. A pattern says itself where spaces stand."""
    if kind is int or kind is float:
        return True
    hole_type = kind if hole_type is None else hole_type
    if hole_type is None or hole_type is str or isinstance(hole_type, str | re.Pattern):
        return False
    from lmqlc.compiler.types import is_plain_text

    return is_plain_text(hole_type)


def typed_value(hole: HoleIR, hole_type: object, text: str) -> Any:
    """The value of a text that a decorator gave for a hole. Raises ConstraintViolated where the hole has another type."""
    return value_of(hole_type or number_kind(hole.constraint), text)


def value_of(hole_type: object, text: str) -> Any:
    """The Python value of a hole's text."""
    if hole_type is None or hole_type is str:
        return text
    from lmqlc.compiler.types import decode

    return decode(hole_type, text)
