"""Runs the LALR(1) tables that Lark builds from the `.lark` files.

Lark itself is not imported: it costs more than the whole parse of a usual program, and the walk over a finished table is
a few lines. Rules whose name starts with `_` (those that Lark makes for `*` and `+` among them) give the list of what they
hold, which flows into the rule above; every other rule calls the method of its name (or alias) on `actions`.
"""

from __future__ import annotations

import json
import pkgutil
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple, Protocol

END = "$END"


class Symbol(Protocol):
    """What the parser needs of a token."""

    @property
    def type(self) -> str: ...


class Rule(NamedTuple):
    """A production: the symbol it makes, the action to call (None: a list), how many symbols it takes."""

    origin: str
    action: str | None
    size: int


@dataclass(frozen=True, slots=True)
class Tables:
    """Action tables. `states[s][symbol]` is a state to go to, or `-1 - rule` for a reduction."""

    states: tuple[dict[str, int], ...]
    rules: tuple[Rule, ...]
    start: int
    end: int


class Unexpected(Exception):
    """The next token cannot follow. `expected` are the terminals that could."""

    def __init__(self, token: Symbol, expected: frozenset[str]) -> None:
        super().__init__(token, expected)
        self.token = token
        self.expected = expected


@cache
def load(name: str) -> Tables:
    """The tables of a grammar (`lmql`, `qstring`), which ship beside it as JSON."""
    text = pkgutil.get_data("lmqlc.grammar", f"{name}.tables.json")
    assert text is not None, "the package's loader reads files"
    return from_json(json.loads(text))


def from_json(data: dict[str, Any]) -> Tables:
    """Tables from what `build_tables.tables` made."""
    return Tables(tuple(data["states"]), tuple(Rule(*rule) for rule in data["rules"]), data["start"], data["end"])


class Parser:
    """A parse under way. After `Unexpected` the parser can go on with another token."""

    def __init__(self, tables: Tables, actions: object) -> None:
        self._tables = tables
        self._calls = [getattr(actions, rule.action) if rule.action else None for rule in tables.rules]
        self._states = [tables.start]
        self._values: list[Any] = []

    @property
    def height(self) -> int:
        """How many symbols are on the stack."""
        return len(self._values)

    def cut(self, height: int) -> None:
        """Drop what is above `height`."""
        del self._states[height + 1 :]
        del self._values[height:]

    def feed(self, token: Symbol) -> None:
        """Take one token; raises `Unexpected` and keeps its state where the token cannot follow."""
        states, kind = self._tables.states, token.type
        while True:
            actions = states[self._states[-1]]
            action = actions.get(kind)
            if action is None:
                if kind == END and self._states[-1] == self._tables.end:
                    return
                raise Unexpected(token, frozenset(name for name in actions if name.isupper()))
            if action >= 0:
                self._states.append(action)
                self._values.append(token)
                return
            self._reduce(-1 - action)

    def _reduce(self, number: int) -> None:
        rule, call = self._tables.rules[number], self._calls[number]
        cut = len(self._values) - rule.size
        taken = self._values[cut:]
        del self._values[cut:]
        del self._states[cut + 1 :]
        values = _flat(taken)
        self._values.append(values if call is None else call(values))
        self._states.append(self._tables.states[self._states[-1]][rule.origin])

    def finish(self, token: Symbol) -> Any:
        """The value of the whole, once `token` (of type `END`) has been accepted."""
        self.feed(token)
        return self._values[0]


def _flat(taken: list[Any]) -> list[Any]:
    """The symbols of a rule with the lists of helper rules spread out; a leading list is extended in place."""
    if not any(type(value) is list for value in taken):
        return taken
    flat: list[Any] = taken[0] if type(taken[0]) is list else [taken[0]]
    for value in taken[1:]:
        if type(value) is list:
            flat.extend(value)
        else:
            flat.append(value)
    return flat
