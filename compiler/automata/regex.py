"""Regular expressions in Python's syntax as expressions, with the meaning of `re.fullmatch`.

Python's own parser reads the pattern. Lazy quantifiers have the language of greedy ones. Anchors and word boundaries are look-around
over one character. Atomic groups and possessive quantifiers are written out with look-ahead, which makes them exact. A PatternProblem is
raised for back-references and conditionals, and for some repetitions in atomic groups whose turns may be empty.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from re import _constants as op
from re import _parser
from typing import Any

from lmqlc.compiler.automata import folding
from lmqlc.compiler.automata.assertion import anchored
from lmqlc.compiler.automata.charset import ANY, NEWLINE, CharSet
from lmqlc.compiler.automata.expression import (
    ASSERTS,
    CONCAT,
    OR,
    REPEAT,
    UNBOUNDED,
    Expressions,
    Node,
)  # fmt: skip
from lmqlc.compiler.automata.limits import LimitExceeded
from lmqlc.compiler.automata.machine import words
from lmqlc.compiler.automata.search import shortest

Items = Sequence[tuple[Any, Any]]

_CHECK_STATES = 5_000
_CHECK_STEPS = 1_000_000
_MAX_COPIES = 500
_TYPE_FLAGS = re.ASCII | re.UNICODE | re.LOCALE
_EMPTY_HAS_NO_BOUNDARY = re.search(r"\B", "") is None
"""Before Python 3.14 `\\B` does not match in the empty text."""


class PatternProblem(Exception):
    """A pattern that cannot be compiled. `construct` names the kind of syntax at fault, for finding its place; `position` is known
    where Python's parser gave one."""

    def __init__(self, message: str, construct: str = "", position: int | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.construct = construct
        self.position = position
        self.hint = hint


def read(build: Expressions, pattern: str, flags: int = 0) -> Node:
    """The language of a pattern. Raises PatternProblem."""
    parsed = _parse(pattern, flags)
    items = _strip_anchors(list(parsed))
    return anchored(build, Reader(build).sequence(items, parsed.state.flags))


def _parse(pattern: str, flags: int) -> Any:
    try:
        return _parser.parse(pattern, flags & ~re.DEBUG)
    except re.error as problem:
        raise PatternProblem(f"the pattern is not valid: {problem.msg}", position=problem.pos) from None
    except OverflowError as problem:
        raise PatternProblem(f"the pattern is not valid: {problem}") from None


def search(build: Expressions, pattern: str, flags: int, rust: bool) -> Node:
    """The texts some part of which a pattern matches. rust: the pattern is one of Rust's `regex`, read as far as `re` writes it alike.
    Raises PatternProblem."""
    if rust and _rust_only(pattern):
        raise PatternProblem("the pattern has syntax of Rust's `regex` that Python's `re` reads otherwise", hint="write it as for `re`")
    parsed = _parse(pattern, flags)
    items, flags = list(parsed), parsed.state.flags
    before = after = build.anything
    ends = (op.AT_END_STRING, op.AT_END) if rust and not flags & re.MULTILINE else (op.AT_END_STRING,)
    if items and items[0] in ((op.AT, op.AT_BEGINNING_STRING), *([] if flags & re.MULTILINE else [(op.AT, op.AT_BEGINNING)])):
        before, items = build.epsilon, items[1:]
    if items and items[-1] in [(op.AT, end) for end in ends]:
        after, items = build.epsilon, items[:-1]
    return anchored(build, build.sequence([before, Reader(build, rust=rust).sequence(items, flags), after]))


_RUST_CLASS = re.compile(r"\\.|\[\^?\]?((?:\\.|[^\]\\])*)\]", re.DOTALL)


def _rust_only(pattern: str) -> bool:
    """Whether a pattern has what only Rust's syntax knows: set operations and classes within classes, other word boundaries."""
    inside = [found[1] or "" for found in _RUST_CLASS.finditer(pattern)]
    signs = any(sign in part for part in inside for sign in ("[", "&&", "--", "~~"))
    return signs or any(found in (r"\<", r"\>", r"\b{") for found in re.findall(r"\\(?:b\{|.)", pattern, re.DOTALL))


def _strip_anchors(items: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """Drop anchors at the ends of the whole pattern, where a full match meets them anyway."""
    while items and items[0] in ((op.AT, op.AT_BEGINNING), (op.AT, op.AT_BEGINNING_STRING)):
        items = items[1:]
    while items and items[-1] in ((op.AT, op.AT_END), (op.AT, op.AT_END_STRING)):
        items = items[:-1]
    return items


class Reader:
    """Turns parsed patterns into nodes. `bare`: read every assertion as true, for a language that includes the real one. `rust`: with the
    meaning of Rust's `regex`: other words and spaces, and `$` at the very end only."""

    def __init__(self, build: Expressions, bare: bool = False, rust: bool = False) -> None:
        self._build = build
        self._bare = bare
        self._rust = rust

    def sequence(self, items: Items, flags: int) -> Node:
        """Items one after the other."""
        node = self._build.epsilon
        for what, value in reversed(items):
            node = self._build.concat(self._item(what, value, flags), node)
        return node

    def _item(self, what: Any, value: Any, flags: int) -> Node:
        build = self._build
        chars = _one_character(what, value, flags, self._rust)
        if chars is not None:
            return build.chars(chars)
        if what is op.SUBPATTERN:
            _, added, removed, items = value
            return self.sequence(items, _scoped(flags, added, removed))
        if what is op.BRANCH:
            return self._branch(value[1], flags)
        if what in (op.MAX_REPEAT, op.MIN_REPEAT):
            low, high, body = value
            return self._repeat(self.sequence(body, flags), low, UNBOUNDED if high is op.MAXREPEAT else high)
        if what is op.ATOMIC_GROUP:
            return self._atomic(value, flags)
        if what is op.POSSESSIVE_REPEAT:
            return self._possessive(value, flags)
        if what is op.FAILURE:
            return build.empty
        return self._assertion(what, value, flags)

    def _assertion(self, what: Any, value: Any, flags: int) -> Node:
        if what is op.AT:
            return self._build.epsilon if self._bare else self._anchor(value, flags)
        if what in (op.ASSERT, op.ASSERT_NOT):
            return self._build.epsilon if self._bare else self._look(value, what is op.ASSERT, flags)
        if what is op.GROUPREF:
            raise PatternProblem("a back-reference is not regular", "reference", hint="spell the repeated text out, or compare two holes")
        raise PatternProblem("a conditional group is not supported", "conditional", hint="write both cases as alternatives")

    def _branch(self, options: Sequence[Items], flags: int) -> Node:
        """Alternatives. Literal ones are joined into one tree first."""
        plain, other = [], []
        for option in options:
            if not flags & re.IGNORECASE and all(what is op.LITERAL for what, _ in option):
                plain.append("".join(chr(code) for _, code in option))
            else:
                other.append(self.sequence(option, flags))
        if plain:
            other.append(words(self._build, plain))
        return self._build.union(other)

    def _repeat(self, body: Node, low: int, high: int) -> Node:
        """A repetition. One whose body looks around is rewritten so that every turn reads a character: only then can turns be taken
        one by one."""
        build = self._build
        empty_turn = self._empty_part(body) if body.flags & ASSERTS else build.empty
        if empty_turn is build.empty:
            return build.repeat(body, low, high)
        if low > _MAX_COPIES:
            raise PatternProblem("a repetition of look-around is too long", hint=f"repeat it at most {_MAX_COPIES} times")
        rest = high if high == UNBOUNDED else high - low
        return build.sequence([body] * low + [build.repeat(self._full_part(body), 0, rest)])

    def _empty_part(self, node: Node) -> Node:
        """The ways of a node to match the empty text."""
        build = self._build
        if node.kind == OR:
            return build.union(self._empty_part(arg) for arg in node.args)
        if node.kind == CONCAT:
            return build.sequence([self._empty_part(arg) for arg in node.args])
        if not node.flags:
            return build.epsilon if node.nullable else build.empty
        if node.kind == REPEAT:
            return build.epsilon if node.counts[0] == 0 else self._empty_part(node.args[0])
        return node

    def _full_part(self, node: Node) -> Node:
        """The ways of a node to match at least one character."""
        build = self._build
        if node.kind == OR:
            return build.union(self._full_part(arg) for arg in node.args)
        if not node.flags:
            return build.intersection((node, build.something)) if node.nullable else node
        if node.kind == CONCAT:
            head, tail = node.args
            late = build.concat(self._empty_part(head), self._full_part(tail))
            return build.union((build.concat(self._full_part(head), tail), late))
        if node.kind == REPEAT:
            low, high = node.counts
            return build.repeat(node.args[0], max(low, 1), high)
        return build.empty

    def _look(self, value: tuple[int, Any], positive: bool, flags: int) -> Node:
        direction, items = value
        build, body = self._build, self.sequence(items, flags)
        if direction > 0:
            return build.look(body, positive)
        shortest_width, longest_width = items.getwidth()
        if shortest_width != longest_width:
            raise PatternProblem("look-behind requires a pattern of fixed width", "look-behind")
        return self._behind(build.concat(build.anything, body), positive)

    def _behind(self, before: Node, positive: bool) -> Node:
        return self._build.behind(self._build.concat(before, self._build.mark) if before.flags else before, positive)

    def _anchor(self, where: Any, flags: int) -> Node:
        build, newline = self._build, self._build.chars(NEWLINE)
        if where is op.AT_BEGINNING_STRING or (where is op.AT_BEGINNING and not flags & re.MULTILINE):
            return build.behind(build.epsilon, True)
        if where is op.AT_BEGINNING:
            return build.behind(build.union((build.epsilon, build.concat(build.anything, newline))), True)
        if where is op.AT_END_STRING or (where is op.AT_END and self._rust and not flags & re.MULTILINE):
            return build.look(build.char, False)
        if where is op.AT_END:
            other = build.chars(~NEWLINE)
            return build.look(other if flags & re.MULTILINE else build.union((other, build.concat(newline, build.char))), False)
        return self._boundary(where is op.AT_BOUNDARY, flags)

    def _boundary(self, wanted: bool, flags: int) -> Node:
        """`\\b` or `\\B`: word characters on one side only, or on both or none."""
        build = self._build
        word = build.chars(folding.named(op.CATEGORY_WORD, flags, self._rust))
        before = build.concat(build.anything, word)
        inside = [build.concat(build.behind(before, True), build.look(word, not wanted))]
        outside = [build.behind(before, False), build.look(word, wanted)]
        if not wanted and _EMPTY_HAS_NO_BOUNDARY:
            outside.append(build.union((build.behind(build.something, True), build.look(build.char, True))))
        return build.union((*inside, build.sequence(outside)))

    # -- atomic groups ---------------------------------------------------------------------------------------------------------
    #
    # A group that is not entered again matches what Python tries first: at a place in a text, its *first way*. Which way that is depends on
    # what follows, so it is said by look-ahead. `_first(items, after)` are the texts of the first way among those after which a text of
    # `after` begins; it stands only where such a text does follow, so that this need not be said again. (`after` is the empty text where
    # nothing is asked of what follows.)

    def _atomic(self, items: Items, flags: int) -> Node:
        """What a group matches that keeps its first way to match."""
        if self._bare:
            return self.sequence(items, flags)
        return self._first(items, flags, self._build.epsilon)

    def _possessive(self, value: tuple[int, Any, Items], flags: int) -> Node:
        """A repetition that keeps what it has read; every turn of it is atomic by itself, too."""
        low, high, items = value
        if self._bare:
            return self.sequence([(op.MAX_REPEAT, value)], flags)
        build, most = self._build, UNBOUNDED if high is op.MAXREPEAT else high - low
        first = self._repeat(self._atomic(items, flags), low, low)
        if _may_be_empty(items):
            items = _split(items)[0]  # at the empty way the repetition ends, so that those after it are never tried
        turn = self._atomic(items, flags)
        last = build.look(self.sequence(items, flags), False)
        if most == UNBOUNDED:
            return build.sequence([first, self._repeat(turn, 0, most), last])
        whole = self._repeat(turn, most, most)
        return build.concat(first, build.union((whole, build.concat(self._repeat(turn, 0, most - 1), last))) if most else whole)

    def _first(self, items: Items, flags: int, after: Node) -> Node:
        """The texts of the first way through some items."""
        build, node = self._build, self._build.epsilon
        if _width(items) is not None or self._one_length(items, flags):
            return self.sequence(items, flags)
        for what, value in reversed(items):
            node = build.concat(self._first_of(what, value, flags, after), node)
            after = build.concat(self._item(what, value, flags), after)
        return node

    def _first_of(self, what: Any, value: Any, flags: int, after: Node) -> Node:
        """The texts of the first way through one item."""
        if what is op.SUBPATTERN:
            return self._first(value[3], _scoped(flags, value[1], value[2]), after)
        if what is op.BRANCH:
            return self._first_option(value[1], flags, after)
        if what in (op.MAX_REPEAT, op.MIN_REPEAT):
            return self._first_turns(what is op.MAX_REPEAT, value, flags, after)
        return self._item(what, value, flags)

    def _first_option(self, options: Sequence[Items], flags: int, after: Node) -> Node:
        """The texts of the first way through alternatives: those of one of them where none before it is a way."""
        build = self._build
        ways: list[Node] = []
        earlier = build.empty
        for option in options:
            first = self._first(option, flags, after)
            ways.append(build.concat(build.look(build.concat(earlier, after), False), first) if earlier is not build.empty else first)
            earlier = build.union((earlier, self.sequence(option, flags)))
        return build.union(ways)

    def _first_turns(self, greedy: bool, value: tuple[int, Any, Items], flags: int, after: Node) -> Node:
        """The texts of the first way through a repetition, turn by turn: each is the first one after which the others can follow."""
        low, high, items = value
        build, body = self._build, self.sequence(items, flags)
        most = UNBOUNDED if high is op.MAXREPEAT else high - low
        node = self._optional_turns(greedy, items, flags, most, after)
        if low and (_width(items) is not None or self._one_length(items, flags)):
            return build.concat(self._repeat(body, low, low), node)
        for done in range(_copies(low)):
            rest = build.concat(self._repeat(body, done, most if most == UNBOUNDED else most + done), after)
            node = build.concat(self._first(items, flags, rest), node)
        return node

    def _optional_turns(self, greedy: bool, items: Items, flags: int, most: int, after: Node) -> Node:
        """Up to `most` turns that need not be taken: a greedy repetition takes one where it can, a lazy one where it must."""
        free = after.nullable and not after.flags
        if _may_be_empty(items):
            before, behind = _split(items)
            if greedy and not free and before is not _NEVER and behind is not _NEVER:
                raise _unsupported("a repetition of what may be empty")
            items = before if greedy and free else _either((before, behind))  # the empty way ends the repetition
            greedy = greedy and (free or behind is _NEVER)
        build, body = self._build, self.sequence(items, flags)
        if most == 0 or (free and not greedy):
            return build.epsilon
        if free or most == UNBOUNDED:
            rest = build.epsilon if free else build.concat(self._repeat(body, 0, UNBOUNDED), after)
            turn = self._first(items, flags, rest)
            if not greedy:
                return self._repeat(build.concat(build.look(after, False), turn), 0, UNBOUNDED)
            last = build.look(build.concat(body, rest), False)
            if most == UNBOUNDED:
                return build.concat(self._repeat(turn, 0, UNBOUNDED), last)
            return build.union((self._repeat(turn, most, most), build.concat(self._repeat(turn, 0, most - 1), last)))
        node = build.epsilon
        for more in range(_copies(most)):
            rest = build.concat(self._repeat(body, 0, more), after)
            turn = build.concat(self._first(items, flags, rest), node)
            if greedy:
                node = build.union((turn, build.look(build.concat(body, rest), False)))
            else:
                node = build.union((build.epsilon, build.concat(build.look(after, False), turn)))
        return node

    def _one_length(self, items: Items, flags: int) -> bool:
        """Whether items match, at any place of any text, with at most one length: no text of theirs begins with another one."""
        with Expressions(min(_CHECK_STEPS, self._build.steps_left)) as build:
            allowed = build.steps_left
            try:
                node = Reader(build, bare=True).sequence(items, flags)
                longer = build.intersection((node, build.concat(node, build.something)))
                return shortest(build, longer, _CHECK_STATES) is None
            except LimitExceeded:
                return False
            finally:
                self._build.step(allowed - max(build.steps_left, 0))


def _copies(turns: int) -> int:
    """Turns that are written out one by one."""
    if turns > _MAX_COPIES:
        raise PatternProblem(f"a repetition in an atomic group has more than {_MAX_COPIES} turns", "atomic", hint="repeat it less often")
    return turns


def _unsupported(what: str) -> PatternProblem:
    return PatternProblem(f"{what} is not supported in an atomic group", "atomic", hint="use an ordinary group")


def _may_be_empty(items: Items) -> bool:
    """Whether items may match the empty text, at some place."""
    return all(_lowest(what, value) == 0 for what, value in items)


def _lowest(what: Any, value: Any) -> int:
    """Characters that an item reads at least, as far as 1."""
    if what in (op.AT, op.ASSERT, op.ASSERT_NOT):
        return 0
    if what is op.SUBPATTERN:
        return 0 if _may_be_empty(value[3]) else 1
    if what is op.ATOMIC_GROUP:
        return 0 if _may_be_empty(value) else 1
    if what is op.BRANCH:
        return 0 if any(map(_may_be_empty, value[1])) else 1
    if what in (op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT):
        return 0 if value[0] == 0 or _may_be_empty(value[2]) else 1
    return 1


def _conditional(items: Items) -> bool:
    """Whether items that may be empty are so only where some assertion holds."""
    return any(_asserts(what, value) for what, value in items)


def _asserts(what: Any, value: Any) -> bool:
    if what in (op.AT, op.ASSERT, op.ASSERT_NOT):
        return True
    if what is op.SUBPATTERN:
        return _conditional(value[3])
    if what is op.ATOMIC_GROUP:
        return _conditional(value)
    if what is op.BRANCH:
        return any(_conditional(option) for option in value[1] if _may_be_empty(option))
    return value[0] > 0 and _conditional(value[2])


_NEVER: Items = [(op.FAILURE, ())]


def _split(items: Items) -> tuple[Items, Items]:
    """The ways of items that may be empty, less the empty one: those before it, and those after it, in order."""
    before: list[Items] = []
    later: list[Items] = []
    for at, (what, value) in enumerate(items):
        if at and _asserts(*items[at - 1]):
            raise _unsupported("a repetition of what is empty at some places")
        first, last = _split_item(what, value)
        before += [[*first, *items[at + 1 :]]] if first is not _NEVER else []
        later[:0] = [[*last, *items[at + 1 :]]] if last is not _NEVER else []
    return _either(before), _either(later)


def _split_item(what: Any, value: Any) -> tuple[Items, Items]:
    if what in (op.AT, op.ASSERT, op.ASSERT_NOT):
        return _NEVER, _NEVER
    if what is op.SUBPATTERN:
        first, last = _split(value[3])
        return tuple(part if part is _NEVER else [(what, (*value[:3], part))] for part in (first, last))  # type: ignore[return-value]
    if what is op.BRANCH:
        return _split_options(value[1])
    if what is op.MAX_REPEAT or what is op.MIN_REPEAT:
        low, high, body = value
        if not _may_be_empty(body):
            full: Items = [(what, (max(low, 1), high, body))]
            return (full, _NEVER) if what is op.MAX_REPEAT else (_NEVER, full)
        first, last = _split(body)
        if what is op.MAX_REPEAT and last is _NEVER:
            return ([(what, (1, high, first))] if first is not _NEVER else _NEVER), _NEVER
    raise _unsupported("a repetition of what may be empty")


def _split_options(options: Sequence[Items]) -> tuple[Items, Items]:
    at = next(number for number, option in enumerate(options) if _may_be_empty(option))
    if _conditional(options[at]):
        raise _unsupported("a repetition of what is empty at some places")
    first, last = _split(options[at])
    rest = [_full(option) for option in options[at + 1 :]]
    return _either([*options[:at], first]), _either([last, *rest])


def _full(items: Items) -> Items:
    """The ways of items that are not empty, in order."""
    return _either(list(_split(items))) if _may_be_empty(items) else items


def _either(ways: Sequence[Items]) -> Items:
    """Alternatives, less those that are none."""
    found = [way for way in ways if way is not _NEVER]
    return _NEVER if not found else found[0] if len(found) == 1 else [(op.BRANCH, (None, found))]


def _width(items: Items) -> int | None:
    """The one length of all that items match, as far as that is plain to see."""
    total = 0
    for what, value in items:
        if what in (op.LITERAL, op.NOT_LITERAL, op.IN, op.ANY):
            total += 1
        elif what is op.SUBPATTERN and (width := _width(value[3])) is not None:
            total += width
        elif what not in (op.AT, op.ASSERT, op.ASSERT_NOT):
            return None
    return total


def _scoped(flags: int, added: int, removed: int) -> int:
    """The flags inside a group."""
    if added & _TYPE_FLAGS:
        flags &= ~_TYPE_FLAGS
    return (flags | added) & ~removed


def _one_character(what: Any, value: Any, flags: int, rust: bool) -> CharSet | None:
    """The set of an item that reads one character; None for other items."""
    if what is op.LITERAL:
        return folding.literal(value, flags)
    if what is op.NOT_LITERAL:
        return ~folding.literal(value, flags)
    if what is op.IN:
        return folding.members(value, flags, rust)
    if what is op.ANY:
        return ANY if flags & re.DOTALL else ~NEWLINE
    return None
