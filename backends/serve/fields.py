"""The fields of a JSON request, each read once and checked: type, range, size. What is not known is refused, with a did-you-mean."""

from __future__ import annotations

import math
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

from lmqlc.backends.serve.problems import Problem


class Fields:
    """An object of a request. Values of null count as missing. Everything raises Problem (400) for what does not fit."""

    def __init__(self, values: Any, *, at: str = "") -> None:
        if not isinstance(values, dict):
            raise Problem(400, f"{at or 'the body'} must be a JSON object", param=at or None)
        self._values = values
        self._at = f"{at}." if at else ""
        self._asked: set[str] = set()

    def raw(self, name: str) -> Any:
        """A value as it is; None where it is missing."""
        self._asked.add(name)
        return self._values.get(name)

    def bad(self, name: str, wanted: str, code: str = "invalid_value") -> Problem:
        """The problem of a value that is not what is wanted."""
        return Problem(400, f"`{self._at}{name}` must be {wanted}", code, param=f"{self._at}{name}")

    def text(self, name: str, default: str | None = None, *, most: int = 1 << 20) -> str | None:
        """A string of at most `most` characters."""
        value = self.raw(name)
        if value is None:
            return default
        if not isinstance(value, str) or len(value) > most or not _is_unicode(value):
            raise self.bad(name, f"a string of at most {most} characters")
        return value

    def whole(self, name: str, default: int, least: int, most: int) -> int:
        """A whole number."""
        value = self.raw(name)
        if value is None:
            return default
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise self.bad(name, f"a whole number from {least} to {most}")
        return value

    def number(self, name: str, default: float, least: float, most: float) -> float:
        """A number."""
        value = self.raw(name)
        if value is None:
            return default
        fits = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not fits or not least <= value <= most:
            raise self.bad(name, f"a number from {least:g} to {most:g}")
        return float(value)

    def flag(self, name: str, default: bool = False) -> bool:
        """A truth value."""
        value = self.raw(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self.bad(name, "true or false")
        return value

    def ids(self, name: str, *, most: int, width: int) -> list[int]:
        """Token ids below `width`; [] where they are missing."""
        value = self.raw(name)
        return [] if value is None else self.as_ids(name, value, most=most, width=width)

    def as_ids(self, name: str, value: Any, *, most: int, width: int) -> list[int]:
        """A value as token ids."""
        if not isinstance(value, list) or len(value) > most:
            raise self.bad(name, f"a list of at most {most} token ids")
        if any(type(i) is not int or not 0 <= i < width for i in value):
            raise self.bad(name, f"a list of token ids from 0 to {width - 1}")
        return value

    def objects(self, name: str) -> Fields | None:
        """An object within this one."""
        value = self.raw(name)
        return None if value is None else Fields(value, at=f"{self._at}{name}")

    def done(self, ignored: Sequence[str] = ()) -> None:
        """Refuse what was not asked for."""
        for name in self._values:
            if name not in self._asked and name not in ignored:
                close = get_close_matches(str(name), self._asked, 1)
                hint = f"; did you mean `{self._at}{close[0]}`?" if close else ""
                shown = str(name)[:100].encode("ascii", "backslashreplace").decode()
                raise Problem(400, f"unknown field `{self._at}{shown}`{hint}", "unknown_parameter", param=shown)


def _is_unicode(text: str) -> bool:
    return text.isascii() or not any(0xD800 <= ord(c) <= 0xDFFF for c in text)
