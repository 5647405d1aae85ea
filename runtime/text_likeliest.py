"""The likeliest text of a hole at a server that scores given texts, where the hole has few.

All texts are scored as the model's tokenizer writes them after the prompt. Where a text begins others, the log-probability that the model
goes on with none of them is added, as far as the tokenizer writes them with the shorter one's tokens: what other tokens lead into them
only a vocabulary could tell. Then the hole is not called exact.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence

from lmqlc.backends.text import ScoredText, ScoresTexts, TextAbilities, TextPrompt, TextSession
from lmqlc.compiler.masks.compose import is_regular
from lmqlc.compiler.masks.few_texts import FewTexts, few_texts
from lmqlc.grammar.errors import BackendUnavailable, LmqlCompileError, UnsupportedConstraint
from lmqlc.runtime.link import text_automaton
from lmqlc.runtime.results import TokenResult
from lmqlc.runtime.text_hole import TextRun
from lmqlc.runtime.text_plan import Demand

MOST = 64
"""Texts that are scored."""
READ = 200_000
"""Characters that the server may read for it, the prompt once for each text: a server that scores prompts reads them anew."""
_SPARE = 40


async def fill_likeliest(
    session: TextSession,
    run: TextRun,
    demand: Demand,
    prompt: TextPrompt,
    abilities: TextAbilities,
    most: int,
    told: Callable[[TokenResult], Awaitable[None]],
) -> bool:
    """Fill a hole with the likeliest of its texts; False where they are not few, or the server cannot say. most: tokens that the hole may
    have."""
    texts = _texts(demand)
    size = len(prompt.text) + sum(len(content) for _, content in prompt.turns) + _SPARE
    if not texts or not abilities.scores or not isinstance(session, ScoresTexts) or prompt.begun or len(texts) * size > READ:
        return False
    try:
        scored = await session.score_texts(prompt, texts)
    except (BackendUnavailable, UnsupportedConstraint):
        return False
    if any(len(found.tokens) > most or not found.tokens or any(t.logprob is None for t in found.tokens) for found in scored):
        return False
    ends = [_goes_on_with_none(found, scored) for found in scored]
    totals = [math.fsum(token.logprob or 0.0 for token in found.tokens) - found.tail + end for found, end in zip(scored, ends, strict=True)]
    best = max(range(len(texts)), key=totals.__getitem__)
    if math.isinf(totals[best]):
        return False
    run.exact = not any(one != other and one.startswith(other) for one in texts for other in texts)
    await _write(run, texts[best], scored[best], told)
    return True


async def _write(run: TextRun, text: str, scored: ScoredText, told: Callable[[TokenResult], Awaitable[None]]) -> None:
    """Write a text into its hole, which ends with it; by its tokens, where what the server calls their texts is the text."""
    run.heal = run.healed = scored.healed
    whole = scored.healed + text
    spelled = "".join(token.text for token in scored.tokens) == whole
    for place, token in enumerate(scored.tokens, 1):
        last = place == len(scored.tokens)
        run.take(token.text if spelled else whole if last else "")
        kept = run.keep(token)
        if last:
            run.reason = run.reason or "closed"
        await told(kept)


def _texts(demand: Demand) -> list[str]:
    """The texts of a hole where they are few, else none."""
    if demand.limit is not None or not is_regular(demand.rest):
        return []
    try:
        found = few_texts(text_automaton(demand.rest, demand.place))
    except LmqlCompileError:
        return []
    return [text.decode() for text in found.texts] if isinstance(found, FewTexts) and 1 < len(found.texts) <= MOST else []


def _goes_on_with_none(text: ScoredText, others: Sequence[ScoredText]) -> float:
    """The log-probability that the model goes on from a text with none of those that its tokens begin."""
    ids = [token.id for token in text.tokens]
    after = {}
    for other in others:
        if len(other.tokens) > len(ids) and [token.id for token in other.tokens[: len(ids)]] == ids:
            token = other.tokens[len(ids)]
            after[token.id] = math.exp(token.logprob or 0.0)
    share = math.fsum(after.values())
    return math.log1p(-share) if share < 1.0 else -math.inf
