"""`argmax`: the likeliest text where few may fill a hole, else the likeliest legal token, the smallest id where several are equal."""

from __future__ import annotations

from collections.abc import Mapping

from lmqlc.runtime.decoders.base import BaseDecoder


class Decoder(BaseDecoder):
    """The likeliest text of each hole. greedy: token by token, whatever may follow."""

    name = "argmax"
    takes = ("n", "greedy")

    def __init__(self, arguments: Mapping[str, object]) -> None:
        super().__init__(arguments)
        self.exact = not self.switch("greedy", default=False)
