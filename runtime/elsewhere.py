"""Holes that the session decodes as a whole: at a server, where the model is."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing

from lmqlc.compiler.masks.hole import HoleRun
from lmqlc.compiler.masks.request import DecodesHoles, Ended, HoleRequest
from lmqlc.grammar.errors import BackendUnavailable
from lmqlc.runtime.decoders.base import BaseDecoder, Told
from lmqlc.runtime.link import LinkedHole, Place


def hole_request(
    hole: HoleRun, prompt: Sequence[int], linked: LinkedHole, place: Place, decoder: BaseDecoder, seed: tuple[int, ...]
) -> HoleRequest:
    """What the session is told of a hole."""
    return HoleRequest(
        name=hole.name,
        prompt=prompt,
        budget=hole.budget,
        sampling=decoder.sampling,
        seed=seed,
        language=linked.language,
        follow=place.follow,
        patience=decoder.patience,
        chunk=decoder.chunk,
    )


async def fill_elsewhere(session: DecodesHoles, request: HoleRequest, hole: HoleRun, told: Told) -> None:
    """Take a hole's tokens from the session as they come."""
    async with aclosing(session.decode(request)) as steps:
        async for step in steps:
            if isinstance(step, Ended):
                hole.conclude(step.reason, step.cut)
            else:
                hole.record(step)
                await told(step)
    if hole.reason is None:
        raise BackendUnavailable(f"the session ended before the hole `{hole.name}` did")
