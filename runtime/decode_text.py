"""Decoding one hole at a server that takes and says text: plan, fill, value, decorators, log."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lmqlc.backends.choice import Sampling
from lmqlc.backends.text import KnowsTokens, TextAbilities, TextBackend, TextPrompt, TextRequest
from lmqlc.compiler.constraints import Constraint
from lmqlc.compiler.ir import HoleIR
from lmqlc.compiler.masks.certain import CertainText
from lmqlc.compiler.masks.hole import Bound, Budget
from lmqlc.grammar.errors import LmqlError, UnsatisfiableConstraint, UnsupportedConstraint
from lmqlc.runtime import decorators as deco
from lmqlc.runtime.budget import Prompted, hole_budget, unbounded_tokens
from lmqlc.runtime.hole_values import takes_space, value_of
from lmqlc.runtime.link import Place, value_kind
from lmqlc.runtime.results import HoleResult, TokenResult
from lmqlc.runtime.stream import TokenEvent
from lmqlc.runtime.text_answer import Asked, TextAnswer, check_prompt
from lmqlc.runtime.text_hole import TextRun, tail_of
from lmqlc.runtime.text_likeliest import fill_likeliest
from lmqlc.runtime.text_plan import Demand, demand_of, plan_of

if TYPE_CHECKING:
    from lmqlc.runtime.decoders.base import BaseDecoder
    from lmqlc.runtime.interpreter import Interpreter

_SILENT = 120.0
"""Seconds that a server may stay silent, where the program sets no `chunk_timeout`."""
_REPORTED = 20
"""Other tokens that are asked for beside each token of a checked hole, as far as the server gives them."""


async def decode_text(
    at: Interpreter, backend: TextBackend, hole: HoleIR, constraint: Constraint, hole_type: object, decorators: Sequence[object]
) -> Any:
    """Decode a hole at a server, and give its value; `constraint` is bound, its type's condition included.

    Raises UnsupportedConstraint for what no server of this kind can hold, before any request.
    """
    decoder = at.run.decoder
    _check_decoder(decoder, backend)
    kind = value_kind(constraint, hole_type)
    leading = not at.prompt.ends_in_space and takes_space(kind, hole_type)
    demand = demand_of(constraint, Place(None, hole.follow, leading, at.program.source))
    run = TextRun(hole.name, demand.linked, hole.follow)
    at.begin(hole.name)
    shown = CertainText(demand.linked.phrases)
    if run.reason is None and not _is_written(run, demand):
        await _ask(at, backend, run, demand, shown, decorators)
    text = run.final[1:] if leading and run.final.startswith(" ") else run.final
    value = value_of(kind or hole_type, text)
    return await _conclude(at, run, shown, (text, value), decorators)


def _check_decoder(decoder: BaseDecoder, backend: TextBackend) -> None:
    """Only decoders that choose one token after the other can run at a server that chooses by itself."""
    if not decoder.only_samples:
        raise UnsupportedConstraint(
            f"the decoder `{decoder.name}` needs the scores of every next token, which `{backend.name}` does not give; "
            "use argmax or sample, or a model whose tokens are masked (local:NAME)"
        )


def _is_written(run: TextRun, demand: Demand) -> bool:
    """The constraint leaves one text; it is written without asking. Raises UnsatisfiableConstraint where no token is allowed."""
    if demand.limit == 0:
        if not run.complete():
            raise UnsatisfiableConstraint(f"no text of 0 tokens meets the constraint of hole `{run.name}`")
        run.reason = "closed"
        return True
    if demand.limit is not None:
        return False  # how many tokens a text has is the server's to say
    mark, text = run.mark(), run.forced()
    if text:
        run.take(text)
    if run.reason is None:
        run.rewind(mark)
        return False
    return True


async def _ask(
    at: Interpreter, backend: TextBackend, run: TextRun, demand: Demand, shown: CertainText, decorators: Sequence[object]
) -> None:
    """Let the server fill a hole; tokens are counted, shown and told to streaming decorators as they come."""
    prompt, session = at.prompt.as_text(), await at.run.text_session(backend)
    prompt = prompt if at.run.decoder.token_healing else replace(prompt, fresh=0)
    abilities = await session.abilities(prompt)
    check_prompt(run.name, prompt, abilities)
    abilities = replace(abilities, tail=tail_of(prompt, run, abilities, backend.tokenizer))
    listeners, usage = deco.steps(decorators, "streaming"), at.log.usage
    told_of = 0

    async def told(token: TokenResult) -> None:
        nonlocal told_of
        usage.tokens += 1
        fresh = shown.feed(run.text[told_of:].encode()) if run.reason is None else ""
        told_of = len(run.text)
        at.emit(TokenEvent(run.name, token, fresh))
        await at.run.drain()
        for function in listeners:
            await deco.call(function, shown.so_far if run.reason is None else run.final, at)

    asked = _asked(at, run.name, backend, prompt, abilities, demand)
    run.budget = asked.budget
    exact = at.run.decoder.exact and _is_plain(at.run.decoder.sampling)
    if not (exact and await fill_likeliest(session, run, demand, prompt, abilities, asked.budget.tokens, told)):
        run.heal = "" if asked.plan.way == "schema" else abilities.tail  # no schema begins with a text
        answer, before = TextAnswer(session, run, asked, told), usage.tokens
        try:
            await answer.fill()
        finally:
            usage.tokens = max(usage.tokens, before + answer.spent)
            usage.forced += sum(token.forced for token in run.tokens)
    if run.healed:
        at.took_back(0, len(run.healed))
    if isinstance(session, KnowsTokens):
        await _settle_tokens(session, prompt.without(len(run.healed)), run)


def _is_plain(sampling: Sampling) -> bool:
    return sampling.temperature == 0 and not sampling.has_penalties


async def _settle_tokens(session: KnowsTokens, prompt: TextPrompt, run: TextRun) -> None:
    """Fill in the log-probabilities that the server gave only after masks, and let the session know of the tokens that were said.
    prompt: what stood before the tokens."""
    ids = [token.id for token in run.tokens]
    if ids and min(ids) >= 0 and any(math.isnan(token.logprob) for token in run.tokens):
        found = await session.score_said(prompt, ids)
        if found is not None:
            run.tokens[:] = [replace(token, logprob=value) for token, value in zip(run.tokens, found, strict=True)]
    text, written = run.healed + run.final, ""
    for count, token in enumerate(run.tokens, 1):
        written += token.text
        if written == text and token.text and min(ids[:count]) >= 0:
            session.remember(prompt, text, ids[:count])


def _asked(at: Interpreter, name: str, backend: TextBackend, prompt: TextPrompt, abilities: TextAbilities, demand: Demand) -> Asked:
    decoder, plan = at.run.decoder, plan_of(demand, abilities)
    budget = _budget(at, name, demand, abilities.room)
    random = np.random.default_rng(at.run.seed_of(at.branch, len(at.log.holes)))
    chunk = decoder.chunksize if abilities.continues else None
    request = TextRequest(
        prompt,
        budget.tokens,
        decoder.sampling,
        stops=plan.stops,
        alternatives=min(_REPORTED, abilities.alternatives) if plan.way in ("checked", "free") else 0,
        seed=None if decoder.seed is None else int(random.integers(1 << 31)),
        seconds=decoder.chunk_timeout or _SILENT,
    )
    return Asked(demand, plan, abilities, request, budget, chunk, backend.tokenizer, random)


def _budget(at: Interpreter, name: str, demand: Demand, room: int | None) -> Budget:
    """How many tokens a hole may have. room: what the server says that its window has left, None where it says nothing.

    `max_len` bounds the whole sequence where the model's tokenizer is known, else the tokens that the run has decoded: what a prompt takes
    is the server's to know. Where the server does not say how much room there is, no hole is asked for more than what one has by itself.
    """
    before = _prompt_tokens(at)
    limits, longest = at.limits(), demand.linked.longest
    limits = replace(limits, context=None if room is None else before + room)
    if longest is not None and (room is None or longest < unbounded_tokens()):
        longest = None  # a server may say more than the hole takes
    prompted = Prompted(before, bool(at.log.usage.tokens))
    budget = hole_budget(name, limits, prompted, longest if demand.limit is None else demand.limit)
    return Budget(demand.limit, "closed") if demand.limit is not None and demand.limit <= budget.tokens else budget


def _prompt_tokens(at: Interpreter) -> int:
    """The tokens before a hole, as far as they are known: they are counted only where somebody asks."""
    tokenizer = None if at.run.opened is None else at.run.opened.tokenizer
    if at.run.decoder.max_len is None or tokenizer is None:
        return at.log.usage.tokens
    return len(tokenizer.prefix()) + len(tokenizer.encode(at.prompt.text, first=True))


async def _conclude(at: Interpreter, run: TextRun, shown: CertainText, final: tuple[str, Any], decorators: Sequence[object]) -> Any:
    """Post decorators, prompt, log; the hole's value."""
    text, value = await deco.after(decorators, at, *final)
    if text == final[0]:
        at.prompt.append_said(run.final, f"hole `{run.name}`")
    else:
        at.prompt.append_text(text, f"hole `{run.name}`")
    if run.reason is None:
        raise LmqlError(f"the server left hole `{run.name}` unfinished")
    bound: Bound = "" if run.budget is None else run.budget.bound
    result = HoleResult(
        run.name,
        text,
        value,
        tuple(run.tokens),
        run.reason,
        healed=run.healed,
        bound=bound,
        exact=run.exact,
        count=run.count,
        squeezed=run.squeezed,
    )
    at.finished(result, shown.rest(run.final))
    if run.reason == "length" and run.budget is not None and run.budget.ends_run:
        at.bind(run.name, value)
        raise at.ended(run.name, bound)
    return value
