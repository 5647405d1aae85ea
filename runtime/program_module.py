"""Programs as a module: what `sys.modules` says of the name that classes of programs have as their `__module__`.

`dataclasses` and `typing` look there for names in annotations that are strings, as all are after `from __future__ import annotations`.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

NAME = "__lmql__"
"""`__name__` in programs."""


class _Programs(ModuleType):
    """Its names are those of the program that runs in this context."""

    @property
    def __dict__(self) -> dict[str, Any]:  # type: ignore[override]
        from lmqlc.runtime.interpreter import CURRENT

        interpreter = CURRENT.get()
        return {} if interpreter is None else interpreter.environment


def make_known() -> None:
    """Let classes of programs be found."""
    sys.modules.setdefault(NAME, _Programs(NAME))
