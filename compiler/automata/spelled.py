"""Texts as they are spelled within a JSON string: every character in one way.

A quote and a backslash are escaped, control characters as `\\b \\f \\n \\r \\t` or `\\u00xx` in lower case; all others stand for
themselves. The derivative of a spelled language is that of the language, with what must be written in place of its characters.
"""

from __future__ import annotations

import json
from functools import cache

from lmqlc.compiler.automata.charset import CharSet
from lmqlc.compiler.automata.derivative import RULES, Derivatives
from lmqlc.compiler.automata.expression import SPELLED, Expressions, Node, Row
from lmqlc.compiler.automata.machine import words

ESCAPED = CharSet((0, 0x20)) | CharSet.text('"\\')
"""Characters that do not stand for themselves."""
_PLAIN = ~ESCAPED
_BACKSLASH = CharSet.text("\\")
_TAILS = '"\\bfnrtu0123456789abcdef'


def spelled(build: Expressions, body: Node) -> Node:
    """A language as JSON strings spell its texts, without the quotes. The body has no look-around of its own that reaches out of it."""
    for chars in (_PLAIN, _BACKSLASH, *(CharSet.single(ord(character)) for character in _TAILS)):
        build.chars(chars)
    return build.spelled(body)


@cache
def _tail(code: int) -> str:
    """What follows the backslash of an escaped character."""
    return json.dumps(chr(code))[2:-1]


def _spelled(rows: Derivatives, node: Node) -> Row:
    build, partition = rows.build, rows.partition
    plain, found, tails = partition.mask(_PLAIN), [], []
    for mask, then in rows.row(node.args[0]):
        if mask & plain:
            found.append((mask & plain, build.spelled(then)))
        escaped = [_tail(code) for code in _escaped_in(rows, mask & ~plain)]
        if escaped:
            tails.append(build.concat(words(build, escaped), build.spelled(then)))
    if tails:
        found.append((partition.mask(_BACKSLASH), build.union(tails)))
    return rows.close([(mask, (then,)) for mask, then in found], build.union)


def _escaped_in(rows: Derivatives, mask: int) -> list[int]:
    """The escaped characters of some classes."""
    codes: list[int] = []
    while mask:
        low = mask & -mask
        mask ^= low
        ranges = rows.partition.ranges[low.bit_length() - 1]
        codes += [code for start, end in ranges for code in range(start, min(end, 0x80)) if code in ESCAPED]
    return codes


RULES[SPELLED] = _spelled
