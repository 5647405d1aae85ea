"""Decoding one hole for an interpreter: link, decode, value, decorators, log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lmqlc.backends.text import takes_text
from lmqlc.compiler.constraints import Constraint
from lmqlc.compiler.ir import HoleIR
from lmqlc.compiler.masks.certain import CertainText
from lmqlc.compiler.masks.hole import HoleRun, Written
from lmqlc.compiler.masks.likeliest import is_empty
from lmqlc.compiler.masks.request import DecodesHoles
from lmqlc.grammar.errors import LmqlError
from lmqlc.runtime import decorators as deco
from lmqlc.runtime.decode_text import decode_text
from lmqlc.runtime.decoders.base import Told
from lmqlc.runtime.elsewhere import fill_elsewhere, hole_request
from lmqlc.runtime.hole_values import takes_space, value_of
from lmqlc.runtime.link import LinkedHole, Place, hand_over, link_hole, value_kind, whole_constraint
from lmqlc.runtime.opened import OpenedHole
from lmqlc.runtime.problems import at_hole
from lmqlc.runtime.results import HoleResult, TokenResult
from lmqlc.runtime.stored import is_static
from lmqlc.runtime.stream import TokenEvent

if TYPE_CHECKING:
    from lmqlc.runtime.interpreter import Interpreter


async def decode_hole(at: Interpreter, hole: HoleIR, slots: tuple[Any, ...], hole_type: object, decorators: Sequence[object]) -> Any:
    """Decode a hole after the prompt as it stands, and give its value.

    Raises UnsatisfiableConstraint and ContextOverflow before the model is called, EndOfRun where a bound of the run is reached.
    """
    at.run.reach_hole(at.effects)
    with at_hole(hole.span, at.program.source):
        backend = await at.run.any_backend()
        if takes_text(backend):
            return await decode_text(at, backend, hole, whole_constraint(hole.constraint, slots, hole_type), hole_type, decorators)
        opened: OpenedHole | None = None if at.effects is None else at.effects.past_hole(hole.name)
        if opened is None and (at.path is None or not at.run.searches):
            opened, linked, place = await _open(at, hole, slots, hole_type)
            shown = CertainText(opened.phrases)
            at.begin(hole.name, opened.prompt)
            told = _teller(at, opened.hole, shown, decorators)
            if linked.elsewhere:
                opened = replace(opened, taken=await _fill_elsewhere(at, opened, linked, place, told))
            else:
                await _fill(at, opened, told)
        else:
            opened = opened or await _searched(at, hole, slots, hole_type)
            shown = CertainText(opened.phrases)
            at.begin(hole.name, opened.prompt)
            await _tell(at, opened.hole, shown, decorators)
        written = opened.hole.written()
        text = written.text[1:] if opened.leading and written.text.startswith(" ") else written.text
        value = value_of(opened.kind or hole_type, text)
        return await _conclude(at, hole, opened, written, shown, (text, value), decorators)


async def _open(at: Interpreter, hole: HoleIR, slots: tuple[Any, ...], hole_type: object) -> tuple[OpenedHole, LinkedHole, Place]:
    """A hole ready to be decoded after the prompt as it stands."""
    tokenizer = at.prompt.reader(await at.run.tokenizer())
    ids = at.prompt.ids(tokenizer)
    constraint = whole_constraint(hole.constraint, slots, hole_type)
    kind = value_kind(constraint, hole_type)
    leading = not at.prompt.ends_in_space and takes_space(kind, hole_type)
    taken, heal = at.prompt.taken_back(tokenizer) if at.run.decoder.token_healing else (0, b"")
    place = Place(None, hole.follow, leading, at.program.source, heal)
    linked = await _link(at, hole, constraint, place)
    budget = await at.budget(hole, ids, linked.longest)
    linked = linked.within(budget.tokens, heal)
    await at.run.require_masks(hole, linked)
    taken, heal = (0, b"") if linked.elsewhere else (taken, heal)
    decoding = HoleRun(hole.name, tokenizer.vocabulary, linked.constraint, budget, linked.phrases, heal)
    kept = len(ids) - taken if decoding.heals else len(ids)
    return OpenedHole(hole.name, decoding, tuple(ids), kept, taken, leading, kind, linked.phrases), linked, place


async def _searched(at: Interpreter, hole: HoleIR, slots: tuple[Any, ...], hole_type: object) -> OpenedHole:
    """A hole that a searching decoder has decoded for the branch."""
    assert at.path is not None and at.effects is not None
    opened, _, _ = await _open(at, hole, slots, hole_type)
    if opened.hole.reason is None:
        await at.run.begin_hole(hole.name, opened.ids, opened.kept)
        opened = replace(opened, hole=await at.path.decode(opened))
    at.effects.add_hole(hole.name, opened)
    return opened


async def _link(at: Interpreter, hole: HoleIR, constraint: Constraint, place: Place) -> LinkedHole:
    """What decoding a hole needs: from the session that decodes it as a whole, from the program's artifact, or linked now."""
    tokenizer = await at.run.tokenizer()
    session = await at.run.session()
    if isinstance(session, DecodesHoles) and at.run.decoder.only_samples:
        handed = hand_over(constraint, place, session)
        if handed is not None:
            return handed
    stored = at.run.settings.stored if at.outer is None and is_static(hole) else None
    return (stored.linked(hole, tokenizer, place) if stored else None) or link_hole(constraint, tokenizer, place)


def _teller(at: Interpreter, decoding: HoleRun, shown: CertainText, decorators: Sequence[object]) -> Told:
    """What is told of every token: tokens are counted, shown, and told to streaming decorators as they come."""
    listeners = deco.steps(decorators, "streaming")

    async def told(token: TokenResult) -> None:
        await _told(at, decoding, token, shown.feed(decoding.last_bytes()) if decoding.reason is None else "")
        for function in listeners:
            await deco.call(function, shown.so_far if decoding.reason is None else decoding.data().decode("utf-8", "replace"), at)

    return told


async def _fill(at: Interpreter, opened: OpenedHole, told: Told) -> None:
    """Let the decoder fill a hole."""
    decoding = opened.hole
    if decoding.reason is not None:
        decoding.exact = at.run.decoder.exact and is_empty(decoding)
    else:
        await at.run.begin_hole(decoding.name, opened.ids, opened.kept)
        batch = await at.run.batch()
        random = np.random.default_rng(at.run.seed_of(at.branch, len(at.log.holes)))
        await at.run.decoder.fill(decoding, opened.prompt, batch, told, random)


async def _tell(at: Interpreter, decoding: HoleRun, shown: CertainText, decorators: Sequence[object]) -> None:
    """Count, show and tell the tokens of a hole that is complete already."""
    listeners = deco.steps(decorators, "streaming")
    for number, (token, added, text) in enumerate(decoding.history(), 1):
        goes_on = number < len(decoding.tokens)
        await _told(at, decoding, token, shown.feed(added) if goes_on else "")
        for function in listeners:
            await deco.call(function, shown.so_far if goes_on else text.decode("utf-8", "replace"), at)


async def _told(at: Interpreter, decoding: HoleRun, token: TokenResult, text: str) -> None:
    at.log.usage.forced += token.forced
    at.log.usage.tokens += not token.forced
    at.emit(TokenEvent(decoding.name, token, text))
    await at.run.drain()


async def _fill_elsewhere(at: Interpreter, opened: OpenedHole, linked: LinkedHole, place: Place, told: Told) -> int:
    """Let the session fill a hole; how many ids of the prompt it took back."""
    decoding, ids = opened.hole, opened.ids
    session, seed = await at.run.session(), at.run.seed_of(at.branch, len(at.log.holes))
    assert isinstance(session, DecodesHoles)
    healable = at.prompt.healable(await at.run.tokenizer())
    taken = await fill_elsewhere(session, hole_request(decoding, ids, healable, linked, place, at.run.decoder, seed), decoding, told)
    if taken:
        at.took_back(taken)
    return taken


async def _conclude(
    at: Interpreter,
    hole: HoleIR,
    opened: OpenedHole,
    written: Written,
    shown: CertainText,
    final: tuple[str, Any],
    decorators: Sequence[object],
) -> Any:
    """Post decorators, prompt, log; the hole's value."""
    decoding, (decoded, _) = opened.hole, final
    tokenizer = await at.run.tokenizer()
    text, value = await deco.after(decorators, at, *final)
    if text == decoded:
        tail = tokenizer.encode(written.tail, first=False) if written.tail else []
        at.prompt.append_tokens(
            [*written.ids, *tail], written.text, tokenizer, instead_of=opened.taken if written.healed else 0, whose=f"hole `{hole.name}`"
        )
    else:
        at.prompt.append_text(text, f"hole `{hole.name}`")
    if decoding.reason is None:
        raise LmqlError(f"the decoder `{at.run.decoder.name}` left hole `{hole.name}` unfinished")
    budget = decoding.budget
    result = HoleResult(
        hole.name,
        text,
        value,
        tuple(decoding.tokens),
        decoding.reason,
        healed=decoding.healed,
        bound=budget.bound,
        exact=decoding.exact,
        count=decoding.count,
        squeezed=decoding.squeezed,
    )
    at.finished(result, shown.rest(written.text))
    if decoding.reason == "length" and budget.ends_run:
        at.bind(hole.name, value)
        raise at.ended(hole.name, budget.bound)
    return value
