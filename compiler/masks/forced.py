"""Text that a constraint leaves no choice about."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from lmqlc.compiler.masks.steps import Steps

LONGEST = 4096
"""Bytes of forced text found at once."""


def forced_bytes(steps: Steps, costs: npt.NDArray[np.int32], q: int, room: int) -> bytes:
    """The bytes after a state while only one byte can follow and the text cannot end; whole characters only.

    costs: code points to finish with by value, in the last region of token counts. The text ends with the stop that it reaches.
    """
    region = len(steps.bounds) - 1
    automaton, pair = steps.automaton, 2 * region if steps.pairs > 1 else 0
    first, members = steps.first[pair], steps.only_byte
    text = bytearray()
    while len(text) < LONGEST and not (room >= 0 and automaton.accepts[region, q]):
        following = []
        for byte_class in np.flatnonzero(first[q]).tolist():
            value = int(first[q, byte_class]) % steps.width
            byte = members[byte_class]
            chars = 0 if byte is None else steps.lead(byte)
            if costs[value] + chars <= room:
                following.append((byte, value, chars))
        if len(following) != 1:
            break
        byte, q, chars = following[0]
        if byte is None:
            break
        text.append(byte)
        room -= chars
        if q >= steps.states:
            break
    return _whole(bytes(text))


def _whole(text: bytes) -> bytes:
    """The longest beginning that is whole characters; empty where the text begins inside one."""
    for end in range(len(text), max(len(text) - 4, 0), -1):
        try:
            text[:end].decode()
        except UnicodeDecodeError:
            continue
        return text[:end]
    return b""
