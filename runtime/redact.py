"""Secrets out of what is written down: by the names under which values stand, by their looks, and wherever a known secret occurs.

A value is secret where its name says so (`api_key`, `Authorization`, `password` …), where it looks like a key of a known kind, or where
an environment variable with such a name has it. What is found is also taken out of every other text.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

REMOVED = "<removed>"

_NAME = re.compile(
    r"(?:api|access|private|auth)[-_ ]?key|secret|passw(?:or)?d|passphrase|authorization|credential|bearer"
    r"|(?:^|[-_ ])(?:auth|pat|token)$|[-_ ]pwd$|^(?:set[-_])?cookie$",  # PWD alone is a folder
    re.IGNORECASE,
)
_LOOKS = re.compile(
    r"\b(?:sk|pk|rk)-[A-Za-z0-9_-]{16,}|\bhf_[A-Za-z0-9]{16,}|\bgh[pousr]_[A-Za-z0-9]{20,}|\bgithub_pat_[A-Za-z0-9_]{20,}|\bAKIA[0-9A-Z]{16}\b"
    r"|\bAIza[0-9A-Za-z_-]{30,}|\bxox[abprs]-[A-Za-z0-9-]{10,}|\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{4,}"
    r"|(?<=Bearer )[A-Za-z0-9._~+/-]{8,}=*"
)
_SHORTEST = 6
"""Characters of a secret that is looked for in other texts; shorter ones occur by chance."""


class Redaction:
    """What is secret. names: further names of values that are. known: secrets found so far."""

    def __init__(self, names: Iterable[str] = (), environment: Mapping[str, str] | None = None) -> None:
        self._names = {name.lower() for name in names}
        self._known: set[str] = set()
        for name, value in (os.environ if environment is None else environment).items():
            if self.is_secret_name(name):
                self._keep(value)

    def is_secret_name(self, name: str) -> bool:
        """A value under this name is secret."""
        return name.lower() in self._names or _NAME.search(name) is not None

    def learn(self, value: Any) -> None:
        """Find the secrets of a value by the names inside it, so that they are known everywhere."""
        for text in _named_texts(value, self.is_secret_name):
            self._keep(text)

    def text(self, text: str) -> str:
        """A text without secrets."""
        for secret in sorted(self._known, key=len, reverse=True):
            text = text.replace(secret, REMOVED)
        return _LOOKS.sub(REMOVED, text)

    def clean(self, value: Any) -> Any:
        """A value in terms of JSON without secrets, names of members included."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {
                self.text(key): REMOVED if self.is_secret_name(key) and _says_something(item) else self.clean(item)
                for key, item in value.items()
            }
        if isinstance(value, list | tuple):
            return [self.clean(item) for item in value]
        return value

    def _keep(self, text: str) -> None:
        if len(text) >= _SHORTEST:
            self._known |= {text, repr(text)[1:-1], json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]}


def _says_something(value: Any) -> bool:
    return value is not None and not isinstance(value, bool)


def _named_texts(value: Any, is_secret: Any, inside: bool = False) -> Iterator[str]:
    """The strings of a value that stand under a secret name."""
    if isinstance(value, str) and inside:
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _named_texts(item, is_secret, inside or (isinstance(key, str) and is_secret(key)))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _named_texts(item, is_secret, inside)
