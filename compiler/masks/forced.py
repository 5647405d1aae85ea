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
    accepts, first = steps.automaton.accepts[region], steps.first[2 * region if steps.pairs > 1 else 0]
    text = bytearray()
    while len(text) < LONGEST and not (room >= 0 and accepts[q]):
        values = first[q] % steps.width
        following = np.flatnonzero((values != 0) & (costs.take(values) + steps.leads <= room))
        byte = steps.only_byte[following[0]] if len(following) == 1 else None
        if byte is None:
            break
        text.append(byte)
        room -= int(steps.leads[following[0]])
        q = int(values[following[0]])
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
