"""Regular expressions in Python's syntax as expressions, with the meaning of `re.fullmatch`.

Python's own parser reads the pattern. Lazy quantifiers have the language of greedy ones. Anchors and word boundaries are look-around
over one character. Atomic groups and possessive quantifiers are written out with look-ahead where every part of them matches with
one length only, which makes that exact; elsewhere, and for back-references and conditionals, a PatternProblem is raised.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from re import _constants as op
from re import _parser
from typing import Any

from lmqlc.compiler.automata import folding
from lmqlc.compiler.automata.assertion import anchored
from lmqlc.compiler.automata.charset import ANY, NEWLINE, CharSet, category
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
    try:
        parsed = _parser.parse(pattern, flags & ~re.DEBUG)
    except re.error as problem:
        raise PatternProblem(f"the pattern is not valid: {problem.msg}", position=problem.pos) from None
    except OverflowError as problem:
        raise PatternProblem(f"the pattern is not valid: {problem}") from None
    items = _strip_anchors(list(parsed))
    return anchored(build, Reader(build).sequence(items, parsed.state.flags))


def _strip_anchors(items: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """Drop anchors at the ends of the whole pattern, where a full match meets them anyway."""
    while items and items[0] in ((op.AT, op.AT_BEGINNING), (op.AT, op.AT_BEGINNING_STRING)):
        items = items[1:]
    while items and items[-1] in ((op.AT, op.AT_END), (op.AT, op.AT_END_STRING)):
        items = items[:-1]
    return items


class Reader:
    """Turns parsed patterns into nodes. `bare`: read every assertion as true, for a language that includes the real one."""

    def __init__(self, build: Expressions, bare: bool = False) -> None:
        self._build = build
        self._bare = bare

    def sequence(self, items: Items, flags: int) -> Node:
        """Items one after the other."""
        node = self._build.epsilon
        for what, value in reversed(items):
            node = self._build.concat(self._item(what, value, flags), node)
        return node

    def _item(self, what: Any, value: Any, flags: int) -> Node:
        build = self._build
        chars = _one_character(what, value, flags)
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
            return self._atomic(list(value), flags)
        if what is op.POSSESSIVE_REPEAT:
            return self._atomic([(op.MAX_REPEAT, value)], flags)
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
        if where is op.AT_END_STRING:
            return build.look(build.char, False)
        if where is op.AT_END:
            other = build.chars(~NEWLINE)
            return build.look(other if flags & re.MULTILINE else build.union((other, build.concat(newline, build.char))), False)
        return self._boundary(where is op.AT_BOUNDARY, flags)

    def _boundary(self, wanted: bool, flags: int) -> Node:
        """`\\b` or `\\B`: word characters on one side only, or on both or none."""
        build = self._build
        word = build.chars(category("w", not flags & re.UNICODE))
        before = build.concat(build.anything, word)
        inside = [build.concat(build.behind(before, True), build.look(word, not wanted))]
        outside = [build.behind(before, False), build.look(word, wanted)]
        if not wanted and _EMPTY_HAS_NO_BOUNDARY:
            outside.append(build.union((build.behind(build.something, True), build.look(build.char, True))))
        return build.union((*inside, build.sequence(outside)))

    def _atomic(self, items: list[tuple[Any, Any]], flags: int) -> Node:
        """What a group matches that keeps its first way to match. Exact: alternatives are tried in order, and where each part has only
        one length at a place, the first way is found by look-ahead."""
        build = self._build
        if self._bare or self._one_length(items, flags):
            return self.sequence(items, flags)
        (what, value), *rest = items
        if rest:
            if not self._one_length(items[:1], flags):
                raise PatternProblem(
                    "an atomic group or possessive quantifier is only supported where its parts match with one length",
                    "atomic", hint="use a greedy quantifier, or a negative look-ahead",
                )  # fmt: skip
            return build.concat(self.sequence(items[:1], flags), self._atomic(rest, flags))
        if what is op.SUBPATTERN:
            return self._atomic(list(value[3]), _scoped(flags, value[1], value[2]))
        if what is op.BRANCH:
            node = build.empty
            for option in reversed(value[1]):
                other = build.concat(build.look(self.sequence(option, flags), False), node)
                node = build.union((self._atomic(list(option), flags), other))
            return node
        return self._atomic_repeat(what, value, flags)

    def _atomic_repeat(self, what: Any, value: Any, flags: int) -> Node:
        if what not in (op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT) or not self._one_length(list(value[2]), flags):
            raise PatternProblem("this atomic group is not supported", "atomic", hint="use an ordinary group")
        build, (low, high, items) = self._build, value
        body = self.sequence(items, flags)
        if what is op.MIN_REPEAT:
            return self._repeat(body, low, low)
        last = build.look(body, False)
        if high is op.MAXREPEAT:
            return build.concat(self._repeat(body, low, UNBOUNDED), last)
        if low == high:
            return self._repeat(body, low, high)
        return build.union((self._repeat(body, high, high), build.concat(self._repeat(body, low, high - 1), last)))

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


def _scoped(flags: int, added: int, removed: int) -> int:
    """The flags inside a group."""
    if added & _TYPE_FLAGS:
        flags &= ~_TYPE_FLAGS
    return (flags | added) & ~removed


def _one_character(what: Any, value: Any, flags: int) -> CharSet | None:
    """The set of an item that reads one character; None for other items."""
    if what is op.LITERAL:
        return folding.literal(value, flags)
    if what is op.NOT_LITERAL:
        return ~folding.literal(value, flags)
    if what is op.IN:
        return folding.members(value, flags)
    if what is op.ANY:
        return ANY if flags & re.DOTALL else ~NEWLINE
    return None
