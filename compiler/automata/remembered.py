"""What is remembered beside an automaton while a text is written: keys and items seen, long lengths, digits of long integers.

A `Rule` says it for one place of a JSON text (or for a plain number), `Scan` follows a text by it, byte by byte. An automaton with a memory
(`TextAutomaton.memory`) has the texts that it accepts and that break no rule. Texts are in our layout, which the automaton sees to: strings
have one spelling, `, ` stands between items, `: ` behind keys.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

Same = Literal["", "text", "float", "decimal"]
"""How two keys or items are told to be one: by their text; as Python's values, with numbers as floats, or as decimals."""


@dataclass(frozen=True, slots=True)
class Many:
    """What holds for an array or object.

    count: the most items or keys. least: the fewest. distinct: no two keys, or items, are the same. few: the only texts that these have,
    where they are few. each: of every item or member; named: of members by key; places: of items by place.
    """

    count: int | None = None
    least: int = 0
    distinct: Same = ""
    few: tuple[str, ...] | None = None
    each: Rule | None = None
    named: tuple[tuple[str, Rule], ...] = ()
    places: tuple[Rule | None, ...] = ()


@dataclass(frozen=True, slots=True)
class Rule:
    """What holds at one place, by what stands there. chars: of a string, the most characters of its value. digits: of a number, the most
    digits of its whole part."""

    chars: int | None = None
    digits: int | None = None
    array: Many | None = None
    object: Many | None = None

    def many(self) -> list[Many]:
        """What holds for arrays and objects, here and inside."""
        found = [part for part in (self.array, self.object) if part is not None]
        return [*found, *(one for rule in self._inner() for one in rule.many())]

    def bounds(self) -> list[int]:
        """All most lengths, here and inside."""
        own = (self.chars, self.digits, *(part.count for part in (self.array, self.object) if part is not None))
        return [*(bound for bound in own if bound is not None), *(bound for rule in self._inner() for bound in rule.bounds())]

    def _inner(self) -> list[Rule]:
        parts = [part for part in (self.array, self.object) if part is not None]
        inner = [rule for part in parts for rule in (part.each, *(rule for _, rule in part.named), *part.places)]
        return [rule for rule in inner if rule is not None]


def rule_to_json(rule: Rule | None) -> Any:
    """A rule as JSON values."""
    if rule is None:
        return None
    made: dict[str, Any] = {name: value for name, value in (("chars", rule.chars), ("digits", rule.digits)) if value is not None}
    for name, many in (("array", rule.array), ("object", rule.object)):
        if many is not None:
            named = [[key, rule_to_json(inner)] for key, inner in many.named]
            made[name] = {
                "count": many.count, "least": many.least, "distinct": many.distinct, "few": many.few, "each": rule_to_json(many.each),
                "named": named, "places": [rule_to_json(inner) for inner in many.places],
            }  # fmt: skip
    return made


def rule_from_json(made: Any, depth: int = 0) -> Rule | None:
    """The rule of JSON values. Raises ValueError, TypeError or KeyError for anything else."""
    if made is None:
        return None
    if not isinstance(made, dict) or depth > _DEEPEST or not set(made) <= {"chars", "digits", "array", "object"}:
        raise ValueError("this is no rule of a memory")
    array, members = (None if made.get(name) is None else _many_from_json(made[name], depth) for name in ("array", "object"))
    return Rule(_bound(made.get("chars")), _bound(made.get("digits")), array, members)


def _many_from_json(made: Any, depth: int) -> Many:
    if made["distinct"] not in ("", "text", "float", "decimal"):
        raise ValueError("this is no rule of a memory")
    named = ((_text(key), rule_from_json(inner, depth + 1)) for key, inner in made["named"])
    return Many(
        _bound(made["count"]),
        _bound(made["least"]) or 0,
        made["distinct"],
        None if made["few"] is None else tuple(map(_text, made["few"])),
        rule_from_json(made["each"], depth + 1),
        tuple((key, rule) for key, rule in named if rule is not None),
        tuple(rule_from_json(inner, depth + 1) for inner in made["places"]),
    )


_DEEPEST = 100


def _bound(value: Any) -> int | None:
    if value is not None and (type(value) is not int or value < 0):
        raise ValueError("a bound of a memory is a whole number")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("this is no text")
    return value


def value_of(text: str, same: Same) -> Any:
    """What two items are told to be one by."""
    if same == "text":
        return text
    number = Decimal if same == "decimal" else float
    try:
        return _hashable(json.loads(text, parse_float=number, parse_int=number))
    except (ValueError, RecursionError, OverflowError):
        return text


def _hashable(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(map(_hashable, value))
    return tuple(map(_hashable, value.items())) if isinstance(value, dict) else value


@dataclass(slots=True)
class Frame:
    """An open array or object. seen: its keys or items by `value_of`. count: how many have begun. part: the text of the key or item that is
    open, None where none is."""

    rule: Many | None
    is_object: bool
    seen: frozenset[Any] = frozenset()
    count: int = 0
    part: bytes | None = None

    def copy(self) -> Frame:
        return Frame(self.rule, self.is_object, self.seen, self.count, self.part)

    def keep(self, byte: int) -> None:
        if self.part is not None:
            self.part += bytes((byte,))

    @property
    def tracks(self) -> bool:
        return self.rule is not None and bool(self.rule.distinct)


Mode = Literal["value", "key", "string", "escape", "unicode", "number", "word", "after", "colon", "done"]
_WORDS = {0x74: 4, 0x66: 5, 0x6E: 4}
_OPEN_STRING, _BACKSLASH, _COMMA, _COLON, _SPACE = b'"\\,: '
_BRACKETS = {0x5B: False, 0x7B: True}
_CLOSING = b"]}"
_DIGITS = frozenset(b"0123456789")
_ENDS_RUN = (b'"', b"\\")


class Scan:
    """A text under way. `rule`: of the value that is open or comes next. `left`: what is left of its bound; None for none.

    States are not changed: `after` gives another one.
    """

    __slots__ = ("in_key", "left", "mode", "pending", "rule", "stack")

    def __init__(self, rule: Rule | None) -> None:
        self.rule = rule
        self.mode: Mode = "value"
        self.stack: list[Frame] = []
        self.left: int | None = None
        self.pending = 0  # bytes left of a word or of an escape
        self.in_key = False

    def after(self, text: bytes) -> Scan | None:
        """The state after more bytes; None where they break a rule."""
        made = Scan(self.rule)
        made.mode, made.left, made.pending, made.in_key = self.mode, self.left, self.pending, self.in_key
        made.stack = [frame.copy() for frame in self.stack]
        if made.mode == "string" and not any(sign in text for sign in _ENDS_RUN):
            fits = made._run(text, sum(byte & 0xC0 != 0x80 for byte in text))
        elif made.mode == "number" and text.isdigit():
            fits = made._run(text, len(text))
        else:
            fits = all(map(made._step, text))
        return made if fits and made._alive() else None

    def _run(self, text: bytes, count: int) -> bool:
        """Several bytes inside a string, or digits of a number, at once."""
        for frame in self.stack:
            if frame.part is not None:
                frame.part += text
        if self.left is not None:
            self.left -= count
        return self.left is None or self.left >= 0

    # -- one byte -------------------------------------------------------------------------------------------------------

    def _step(self, byte: int) -> bool:
        mode = self.mode
        for frame in self.stack[:-1]:
            frame.keep(byte)
        if mode in ("string", "escape", "unicode"):
            self._keep(byte)
            return self._in_string(byte)
        if mode == "number":
            if byte in b".eE+-" or byte in _DIGITS:
                self._keep(byte)
                return self._in_number(byte)
            if not self._end():
                return False
            mode = self.mode
        if mode == "word":
            self._keep(byte)
            self.pending -= 1
            return self._end() if self.pending == 0 else True
        if mode == "value":
            return self._begin(byte)
        if mode == "key":
            if byte == _OPEN_STRING:
                return self._open_key()
            return self._close() if byte in _CLOSING else True
        if mode == "colon":
            if byte == _COLON:
                self.mode = "value"
            return True
        return self._behind(byte) if mode == "after" else True

    def _keep(self, byte: int) -> None:
        if self.stack:
            self.stack[-1].keep(byte)

    def _begin(self, byte: int) -> bool:
        """The first byte of a value."""
        if byte == _SPACE:
            return True
        if byte in _CLOSING:
            return self._close()
        if self.stack and not self.stack[-1].is_object and not self._begin_item(self.stack[-1]):
            return False
        self._keep(byte)
        if byte in _BRACKETS:
            self._open(_BRACKETS[byte])
        elif byte == _OPEN_STRING:
            self.mode, self.left = "string", self.rule.chars if self.rule else None
        elif byte in _WORDS:
            self.mode, self.pending = "word", _WORDS[byte] - 1
        else:
            self.mode, self.left = "number", self.rule.digits if self.rule else None
            return self._in_number(byte)
        return True

    def _open(self, is_object: bool) -> None:
        rule = None if self.rule is None else self.rule.object if is_object else self.rule.array
        self.stack.append(Frame(rule, is_object))
        self.mode, self.rule = "key" if is_object else "value", None
        if not is_object:
            self._next_rule()

    def _begin_item(self, frame: Frame) -> bool:
        frame.count += 1
        if frame.tracks:
            frame.part = b""
        return frame.rule is None or frame.rule.count is None or frame.count <= frame.rule.count

    def _next_rule(self) -> None:
        """The rule of the next item of the open array."""
        frame = self.stack[-1]
        rule = frame.rule
        places = rule.places if rule is not None else ()
        self.rule = None if rule is None else places[frame.count] if frame.count < len(places) else rule.each

    def _open_key(self) -> bool:
        frame = self.stack[-1]
        frame.count += 1
        frame.part = b""
        self.mode, self.left, self.in_key = "string", None, True
        return frame.rule is None or frame.rule.count is None or frame.count <= frame.rule.count

    def _in_string(self, byte: int) -> bool:
        if self.mode == "escape":
            self.mode, self.pending = ("unicode", 4) if byte == 0x75 else ("string", 0)
            return True
        if self.mode == "unicode":
            self.pending -= 1
            self.mode = "unicode" if self.pending else "string"
            return True
        if byte == _OPEN_STRING:
            return self._end_key() if self.in_key else self._end()
        if byte == _BACKSLASH:
            self.mode = "escape"
        return byte & 0xC0 == 0x80 or self._count()

    def _in_number(self, byte: int) -> bool:
        if byte in b".eE":
            self.left = None
        return byte not in _DIGITS or self._count()

    def _count(self) -> bool:
        """One more character, or digit."""
        if self.left is None:
            return True
        self.left -= 1
        return self.left >= 0

    def _end_key(self) -> bool:
        frame = self.stack[-1]
        text = (frame.part or b'"')[:-1].decode("utf-8", "replace")
        frame.part, self.in_key, self.mode = None, False, "colon"
        rule = frame.rule
        if rule is None:
            return True
        self.rule = next((inner for key, inner in rule.named if key == text), rule.each)
        return self._see(frame, text)

    def _see(self, frame: Frame, text: str) -> bool:
        if frame.rule is None or not frame.rule.distinct:
            return True
        value = value_of(text, frame.rule.distinct)
        if value in frame.seen:
            return False
        frame.seen |= {value}
        return True

    def _end(self) -> bool:
        """A value has ended."""
        self.mode = "after" if self.stack else "done"
        frame = self.stack[-1] if self.stack else None
        if frame is None or frame.is_object or frame.part is None:
            return True
        text, frame.part = frame.part.decode("utf-8", "replace"), None
        return self._see(frame, text)

    def _behind(self, byte: int) -> bool:
        """What follows a value inside an array or object."""
        if byte in _CLOSING:
            return self._close()
        if byte == _COMMA:
            if self.stack[-1].is_object:
                self.mode = "key"
            else:
                self.mode = "value"
                self._next_rule()
        return True

    def _close(self) -> bool:
        if not self.stack:
            return True
        self.stack.pop()
        return self._end()

    # -- what may still come -------------------------------------------------------------------------------------------------

    def _alive(self) -> bool:
        """Where keys or items are few: one that is not seen yet can still be written."""
        for frame in self.stack:
            rule = frame.rule
            if rule is None or rule.few is None or not rule.distinct:
                continue
            awaited = "key" if frame.is_object else "value"
            expects = frame is self.stack[-1] and frame.part is None and frame.count > 0 and self.mode == awaited
            if (expects or frame.part is not None) and not unseen(frame):
                return False
        return True

    def repeats(self) -> bool:
        """An open number is the same as an item seen before: it must go on."""
        frame = self.stack[-1] if self.stack else None
        if self.mode != "number" or frame is None or frame.part is None or frame.rule is None:
            return False
        return value_of(frame.part.decode("utf-8", "replace"), frame.rule.distinct) in frame.seen


def unseen(frame: Frame) -> list[str]:
    """The texts, of the few, that go on from the open part of a frame and are not seen yet."""
    rule = frame.rule
    assert rule is not None and rule.few is not None
    part = (frame.part or b"").decode("utf-8", "ignore")
    return [text for text in rule.few if text.startswith(part) and value_of(text, rule.distinct) not in frame.seen]


def binding(memory: tuple[Rule, ...], longest: int | None) -> tuple[Rule, ...]:
    """The rules that texts of at most `longest` characters (None: of any length) can break."""
    if longest is None:
        return memory
    return tuple(rule for rule in memory if tells_apart(rule) or min(rule.bounds(), default=longest) < longest)


def tells_apart(rule: Rule) -> bool:
    """Whether a rule has keys or items that must differ."""
    return any(part.distinct for part in rule.many())


def remembers(memory: tuple[Rule, ...], text: str) -> bool:
    """Whether a whole text breaks no rule of a memory."""
    data = text.encode("utf-8", "surrogatepass")
    return all(Scan(rule).after(data) is not None for rule in memory)
