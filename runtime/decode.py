"""Decoding one hole for an interpreter: link, decode, value, decorators, log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lmqlc.backends.base import Tokenizer
from lmqlc.backends.text import TextBackend
from lmqlc.compiler.constraints import Constraint
from lmqlc.compiler.ir import HoleIR
from lmqlc.compiler.masks.certain import CertainText
from lmqlc.compiler.masks.hole import Budget, HoleRun, Written
from lmqlc.compiler.masks.request import DecodesHoles
from lmqlc.grammar.errors import LmqlError
from lmqlc.runtime import decorators as deco
from lmqlc.runtime.budget import EndOfRun, hole_budget
from lmqlc.runtime.decode_text import decode_text, decode_text_options
from lmqlc.runtime.decoders.base import Told
from lmqlc.runtime.distribution import rank
from lmqlc.runtime.elsewhere import fill_elsewhere, hole_request
from lmqlc.runtime.hole_values import takes_space, value_of
from lmqlc.runtime.link import LinkedHole, Place, hand_over, link_hole, number_kind, whole_constraint
from lmqlc.runtime.problems import at_hole
from lmqlc.runtime.results import HoleResult, TokenResult
from lmqlc.runtime.stored import is_static
from lmqlc.runtime.stream import TokenEvent

if TYPE_CHECKING:
    from lmqlc.runtime.interpreter import Interpreter


async def decode_hole(at: Interpreter, hole: HoleIR, slots: tuple[Any, ...], hole_type: object, decorators: Sequence[object]) -> Any:
    """Decode a hole after the prompt as it stands, and give its value.

    Raises UnsatisfiableConstraint and ContextOverflow before the model is called, EndOfRun where the run's length is reached.
    """
    at.run.reach_hole(at.effects)
    with at_hole(hole.span, at.program.source):
        backend = await at.run.any_backend()
        if isinstance(backend, TextBackend):
            return await decode_text(at, backend, hole, whole_constraint(hole.constraint, slots, hole_type), hole_type, decorators)
        tokenizer = await at.run.tokenizer()
        ids = at.prompt.ids(tokenizer)
        budget = await _budget(at, hole, ids)
        constraint = whole_constraint(hole.constraint, slots, hole_type)
        kind = number_kind(constraint)
        leading = not at.prompt.ends_in_space and takes_space(kind, hole_type)
        place = Place(budget.tokens, hole.follow, leading, at.program.source)
        linked = await _link(at, hole, constraint, place)
        await at.run.require_masks(hole, linked)
        heals = at.run.decoder.token_healing and not linked.elsewhere
        taken, heal = at.prompt.taken_back(tokenizer) if heals else (0, b"")
        decoding = HoleRun(hole.name, tokenizer.vocabulary, linked.constraint, budget, linked.phrases, heal)
        shown = CertainText(linked.phrases)
        kept = ids[: len(ids) - taken] if decoding.heals else ids
        at.begin(hole.name, kept)
        told = _teller(at, decoding, shown, decorators)
        if linked.elsewhere:
            taken = await _fill_elsewhere(at, decoding, ids, linked, place, told)
        else:
            await _fill(at, decoding, ids, len(kept), told)
        written = decoding.written()
        text = written.text[1:] if leading and written.text.startswith(" ") else written.text
        value = value_of(kind or hole_type, text)
        return await _conclude(at, hole, tokenizer, decoding, written, taken, shown, (text, value), decorators)


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


async def decode_options(at: Interpreter, hole: HoleIR, options: Sequence[Any]) -> Any:
    """Rank the options of a `distribution` clause; the likeliest is the hole's value and stands in the prompt."""
    at.run.reach_hole(at.effects)
    with at_hole(hole.span, at.program.source):
        backend = await at.run.any_backend()
        if isinstance(backend, TextBackend):
            return await decode_text_options(at, backend, hole, options)
        tokenizer = await at.run.tokenizer()
        ids = at.prompt.ids(tokenizer)
        await _budget(at, hole, ids)
        at.begin(hole.name, ids)
        ranked = await rank(await at.run.session(), tokenizer, ids, options)
        best = max(range(len(options)), key=lambda i: ranked[i].probability)
        value, text = options[best], str(options[best])
        shares = [(option, row.probability) for option, row in zip(options, ranked, strict=True)]
        at.log.distribution_variable, at.log.distribution_values = hole.name, shares
        at.log.variables[f"P({hole.name})"] = shares
        at.prompt.append_tokens(ranked[best].ids, text, tokenizer)
        at.finished(HoleResult(hole.name, text, value, ranked[best].tokens, "distribution"), text)
        return value


async def _budget(at: Interpreter, hole: HoleIR, ids: Sequence[int]) -> Budget:
    decoder, backend = at.run.decoder, await at.run.backend()
    return hole_budget(hole.name, len(ids), max_len=decoder.max_len, max_tokens=decoder.max_tokens, context=backend.context_length)


def _teller(at: Interpreter, decoding: HoleRun, shown: CertainText, decorators: Sequence[object]) -> Told:
    """What is told of every token: tokens are counted, shown, and told to streaming decorators as they come."""
    listeners = deco.steps(decorators, "streaming")
    usage = at.log.usage

    async def told(token: TokenResult) -> None:
        usage.forced += token.forced
        usage.tokens += not token.forced
        text = shown.feed(decoding.last_bytes()) if decoding.reason is None else ""
        at.emit(TokenEvent(decoding.name, token, text))
        await at.run.drain()
        for function in listeners:
            await deco.call(function, decoding.data().decode("utf-8", "replace"), at)

    return told


async def _fill(at: Interpreter, decoding: HoleRun, ids: Sequence[int], kept: int, told: Told) -> None:
    """Let the decoder fill a hole. kept: how many ids of the prompt are not taken back."""
    if decoding.reason is None:
        await at.run.begin_hole(decoding.name, ids, kept)
        batch = await at.run.batch()
        random = np.random.default_rng(at.run.seed_of(at.branch, len(at.log.holes)))
        await at.run.decoder.fill(decoding, ids[:kept], batch.ask, told, random)


async def _fill_elsewhere(at: Interpreter, decoding: HoleRun, ids: Sequence[int], linked: LinkedHole, place: Place, told: Told) -> int:
    """Let the session fill a hole; how many ids of the prompt it took back."""
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
    tokenizer: Tokenizer,
    decoding: HoleRun,
    written: Written,
    taken: int,
    shown: CertainText,
    final: tuple[str, Any],
    decorators: Sequence[object],
) -> Any:
    """Post decorators, prompt, log; the hole's value."""
    decoded, _ = final
    text, value = await deco.after(decorators, at, *final)
    if text == decoded:
        tail = tokenizer.encode(written.tail, first=False) if written.tail else []
        at.prompt.append_tokens([*written.ids, *tail], written.text, tokenizer, instead_of=taken if written.healed else 0)
    else:
        at.prompt.append_text(text)
    if decoding.reason is None:
        raise LmqlError(f"the decoder `{at.run.decoder.name}` left hole `{hole.name}` unfinished")
    result = HoleResult(hole.name, text, value, tuple(decoding.tokens), decoding.reason, healed=decoding.healed)
    at.finished(result, shown.rest(written.text))
    if decoding.reason == "length":
        at.bind(hole.name, value)
        raise EndOfRun
    return value
