"""`argmax`: the most likely legal token, the smallest id where several are equal."""

from __future__ import annotations

import numpy as np

from lmqlc.backends.base import Logits
from lmqlc.runtime.decoders.base import BaseDecoder
from lmqlc.runtime.holes import HoleRun


class Decoder(BaseDecoder):
    """Greedy decoding. The mask is built only where the model's own choice is not legal."""

    name = "argmax"
    takes = ("n",)

    def choose(self, hole: HoleRun, logits: Logits, random: np.random.Generator) -> int:
        best = int(logits.argmax())
        return best if hole.legal(best) else int(hole.masked(logits).argmax())
