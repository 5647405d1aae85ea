"""`argmax`: the most likely legal token, the smallest id where several are equal."""

from __future__ import annotations

from lmqlc.runtime.decoders.base import BaseDecoder


class Decoder(BaseDecoder):
    """Greedy decoding."""

    name = "argmax"
    takes = ("n",)
