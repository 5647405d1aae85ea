"""Holes that the session decodes as a whole: at a server, where the model is."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing

from lmqlc.compiler.masks.hole import HoleRun
from lmqlc.compiler.masks.request import DecodesHoles, Ended, Healed, HoleRequest
from lmqlc.grammar.errors import BackendUnavailable
from lmqlc.runtime.decoders.base import BaseDecoder, Told
from lmqlc.runtime.link import LinkedHole, Place


def hole_request(
    hole: HoleRun,
    prompt: Sequence[int],
    healable: int,
    linked: LinkedHole,
    place: Place,
    decoder: BaseDecoder,
    seed: tuple[int, ...],
) -> HoleRequest:
    """What the session is told of a hole. healable: how many ids of the prompt may be taken back, where tokens are healed."""
    return HoleRequest(
        name=hole.name,
        prompt=prompt,
        budget=hole.budget,
        sampling=decoder.sampling,
        seed=seed,
        language=linked.language,
        follow=place.follow,
        healable=healable if decoder.token_healing else 0,
        patience=decoder.patience,
        chunk=decoder.chunk,
        exact=decoder.exact,
    )


async def fill_elsewhere(session: DecodesHoles, request: HoleRequest, hole: HoleRun, told: Told) -> int:
    """Take a hole's tokens from the session as they come. Gives the number of the prompt's ids that were taken back."""
    healed = Healed(0, b"")
    async with aclosing(session.decode(request)) as steps:
        async for step in steps:
            if isinstance(step, Healed):
                healed = step
            elif isinstance(step, Ended):
                hole.conclude(step.reason, step.cut, squeezed=step.squeezed)
                hole.exact = step.exact
            else:
                hole.record(step, healed.text)
                await told(step)
    if hole.reason is None:
        raise BackendUnavailable(f"the session ended before the hole `{hole.name}` did")
    return healed.count
