"""The hole of a `distribution` clause: its options are scored together, and the likeliest fills the hole."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lmqlc.backends.text import TextBackend
from lmqlc.compiler.constraints import TRUE
from lmqlc.compiler.ir import HoleIR
from lmqlc.grammar.errors import UnsatisfiableConstraint
from lmqlc.runtime import decorators as deco
from lmqlc.runtime.distribution import Ranked, Start, rank, rank_texts
from lmqlc.runtime.link import whole_constraint
from lmqlc.runtime.problems import at_hole
from lmqlc.runtime.results import HoleResult

if TYPE_CHECKING:
    from lmqlc.runtime.interpreter import Interpreter


async def decode_options(
    at: Interpreter, hole: HoleIR, options: Sequence[Any], slots: tuple[Any, ...], hole_type: object, decorators: Sequence[object]
) -> Any:
    """Rank the options of a `distribution` clause; the likeliest is the hole's value and stands in the prompt.

    Options that do not meet the hole's constraint have the probability 0. Raises UnsatisfiableConstraint where that is all of them, and
    ContextOverflow, before the model is asked, for options that do not fit the context window.
    """
    at.run.reach_hole(at.effects)
    with at_hole(hole.span, at.program.source):
        start, ranked = await _ranked(at, hole, options, _meets(at, hole, slots, hole_type))
        best = max(range(len(options)), key=lambda i: ranked[i].probability)
        if not ranked[best].meets:
            raise UnsatisfiableConstraint(f"none of the {len(options)} options of hole `{hole.name}` meets its constraint")
        shares = [(option, row.probability) for option, row in zip(options, ranked, strict=True)]
        at.log.distribution_variable, at.log.distribution_values = hole.name, shares
        at.log.variables[f"P({hole.name})"] = shares
        return await _conclude(at, hole, options[best], ranked[best], start, decorators)


async def _ranked(
    at: Interpreter, hole: HoleIR, options: Sequence[Any], meets: Callable[[str, int], bool]
) -> tuple[Start | None, list[Ranked]]:
    """Where the options begin (None: at a server that takes text), and their ranks."""
    backend, decoder = await at.run.any_backend(), at.run.decoder
    if isinstance(backend, TextBackend):
        session, prompt = await at.run.text_session(backend), at.prompt.as_text()
        prompt = prompt if decoder.token_healing else replace(prompt, fresh=0)
        at.begin(hole.name)
        return None, await _once(at, rank_texts(session, backend.name, prompt, options, meets, by=decoder.score_by))
    tokenizer = backend.tokenizer
    ids = at.prompt.ids(tokenizer)
    await at.budget(hole, ids, 0)
    start = Start(ids, *(at.prompt.taken_back(tokenizer) if decoder.token_healing else ()))
    at.begin(hole.name, ids)
    running, context = await at.run.session(), backend.context_length
    return start, await _once(at, rank(running, tokenizer, start, options, meets, by=decoder.score_by, context=context))


async def _once(at: Interpreter, ranking: Coroutine[Any, Any, list[Ranked]]) -> list[Ranked]:
    """What a ranking gives; a branch that repeats what another one did is given what that one was."""
    given: list[Ranked] = await (ranking if at.effects is None else at.effects.awaited(ranking, "distribution"))
    return given


async def _conclude(at: Interpreter, hole: HoleIR, option: Any, chosen: Ranked, start: Start | None, decorators: Sequence[object]) -> Any:
    """Post decorators, prompt, log; the hole's value."""
    taken = start.taken if start is not None and chosen.healed else 0
    if taken or chosen.healed:
        at.took_back(taken, len(chosen.healed))
    decoded, whose = str(option), f"hole `{hole.name}`"
    text, value = await deco.after(decorators, at, decoded, option)
    if text != decoded:
        at.prompt.append_text(text, whose)
    elif start is None:
        at.prompt.append_said(text, whose)
    else:
        at.prompt.append_tokens(chosen.ids, text, await at.run.tokenizer(), instead_of=taken, whose=whose)
    count = len(chosen.tokens) - (bool(chosen.healed) and chosen.tokens[0].text == chosen.healed)
    at.finished(HoleResult(hole.name, text, value, chosen.tokens, "distribution", healed=chosen.healed, count=count), text)
    return value


def _meets(at: Interpreter, hole: HoleIR, slots: tuple[Any, ...], hole_type: object) -> Callable[[str, int], bool]:
    """Whether a text of some tokens meets the hole's constraint."""
    from lmqlc.compiler.masks.compose import text_judge

    constraint = whole_constraint(hole.constraint, slots, hole_type)
    if constraint == TRUE:
        return lambda text, tokens: not any("\ud800" <= character <= "\udfff" for character in text)
    return text_judge(constraint, source=at.program.source)
