"""`sample`: tokens at random, in proportion to the model's probabilities among the legal tokens; the formula is `backends.choice`'s."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from lmqlc.runtime.decoders.base import BaseDecoder


class Decoder(BaseDecoder):
    """Sampling with temperature and the usual cuts."""

    name = "sample"
    takes = ("n", "temperature", "top_k", "top_p", "min_p", "seed")

    def __init__(self, arguments: Mapping[str, object]) -> None:
        super().__init__(arguments)
        self.seed = None if arguments.get("seed") is None else self.count("seed", 0, least=0)
        self.sampling = replace(
            self.sampling,
            temperature=self.number("temperature", 1.0),
            top_k=self.count("top_k", 0, least=0),
            top_p=self.number("top_p", 1.0, above=0.0),
            min_p=self.number("min_p", 0.0),
        )
        self.exact = self.sampling.temperature == 0
        if self.sampling.temperature < 0:
            raise self._bad("temperature", self.sampling.temperature, "a number of at least 0")
        for key, value in (("top_p", self.sampling.top_p), ("min_p", self.sampling.min_p)):
            if not 0 <= value <= 1:
                raise self._bad(key, value, "a number between 0 and 1")
