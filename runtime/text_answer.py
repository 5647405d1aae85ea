"""Filling a hole from a server that decodes by itself: requests, checks, what to do where the server's text is not allowed.

Where the server enforces a grammar or the hole is unconstrained, there is one request. A checked hole is asked for in chunks. At the
first token that is not allowed the server's work is ended, and the hole goes on, in this order, with

1. nothing, where the text is complete: the model wanted to say something else;
2. the likeliest of the other tokens that the server reported for this place and the constraint allows (a random one where tokens are
   sampled), which is what a mask would have given;
3. nothing, where the text was complete before the token;
4. the text that the constraint leaves no choice about;
5. one token among those allowed, by `logit_bias`, where the model's tokenizer is known and there are few;
6. what the token's allowed beginning says, or another try, sampled at temperature 1, a few times.

A chat server that cannot go on in the middle of an answer is asked for all of the answer, again where it is not allowed.

Where the end of the prompt was taken back, the answer must begin with it, within its first token. A grammar says so itself. A hole that has
no constraint is asked for freely: most answers begin so. Where one does not, the likeliest other token that does stands in, or one token is
asked for under a grammar that begins so. Where nothing helps, the prompt keeps its end.

Where the budget is used up and a grammar's text is not complete, the hole goes back to the last place from which it may end in time, and is
asked for what does; first by a guess of how many characters a token has, at last by one.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace

import numpy as np

from lmqlc.backends.base import Tokenizer
from lmqlc.backends.text import TextAbilities, TextPrompt, TextRequest, TextSession, TextToken
from lmqlc.compiler.masks.forms import unpack
from lmqlc.compiler.masks.hole import Budget
from lmqlc.grammar.errors import ConstraintViolated, LmqlError, StreamBroken
from lmqlc.runtime.link import link_text
from lmqlc.runtime.results import TokenResult
from lmqlc.runtime.text_hole import Mark, TextRun
from lmqlc.runtime.text_plan import ANSWER, Demand, TextPlan, opening_of

TRIES = 4
"""Answers in a row that bring a hole nowhere before it is given up."""
RESUMED = 3
"""How often a hole goes on after its stream broke off."""
CHUNK = 64
"""Tokens that a checked hole is asked for at a time, where the program sets no `chunksize`."""
_PER_TOKEN = (4, 2, 1)
"""Characters that a token is taken to have where a text must end within a budget, by try."""
_EXCLUSIVE = 100.0
"""The bias that lets no other token through, in OpenAI's API."""

Told = Callable[[TokenResult], Awaitable[None]]


@dataclass(frozen=True)
class Asked:
    """All about one hole that does not change while it is filled. request: the first one. budget: tokens it may have."""

    demand: Demand
    plan: TextPlan
    abilities: TextAbilities
    request: TextRequest
    budget: Budget
    chunk: int | None
    tokenizer: Tokenizer | None
    random: np.random.Generator


class TextAnswer:
    """The filling of one hole. `spent`: tokens of the server so far, of answers that were thrown away too."""

    def __init__(self, session: TextSession, run: TextRun, asked: Asked, told: Told) -> None:
        self._session = session
        self._run = run
        self._asked = asked
        self._told = told
        self._used = 0  # tokens of the text
        self._tries = 0
        self._broken = 0
        self._sampled = False  # the next request is sampled, whatever the decoder
        self._opening = False  # the next request is for the first token alone, under a grammar that begins with the prompt's end
        self._opened = False  # there was such a request
        self._places: list[tuple[Mark, int]] = []  # before each token: the moment, and the tokens used
        self._squeezed = 0  # tries to end within the budget
        self._back_at: tuple[Mark, int] | None = None  # where the last try began, and the tokens it had
        self._within: int | None = None  # characters within which the next request is to end
        self._best = ""  # the longest complete text of answers that were thrown away
        self.spent = 0

    async def fill(self) -> None:
        """Decode the hole to its end. Raises ConstraintViolated where the server's text cannot be made one that is allowed."""
        while self._run.reason is None:
            if self._left() <= 0 and self._end_at_budget():
                return
            try:
                await (self._whole() if self._is_whole() else self._part())
            except StreamBroken:
                self._broken += 1
                if self._broken > RESUMED or (self._run.text and not self._asked.abilities.continues):
                    raise

    def _is_whole(self) -> bool:
        way = self._asked.plan.way
        return way == "schema" or (way == "checked" and not self._asked.abilities.continues)

    def _left(self) -> int:
        """Tokens of the budget that are left."""
        return self._asked.budget.tokens - self._used

    @property
    def prompt(self) -> TextPrompt:
        """The prompt before the hole, without what was taken back."""
        return self._asked.request.prompt.without(len(self._run.heal))

    # Requests

    def _request(self, most: int) -> TextRequest:
        asked, plan = self._asked, self._asked.plan
        grammar = plan.grammar.behind(self._run.heal).after(self._run.said) if plan.grammar is not None else None
        request = replace(asked.request, prompt=self.prompt.and_then(self._run.said), max_tokens=most, grammar=grammar)
        if self._within is not None and grammar is not None:
            request = replace(request, grammar=grammar.within(self._within + len(self._run.healing)))
        if self._opening:
            self._opening = False
            request = replace(request, max_tokens=1, grammar=opening_of(asked.demand, self._run.heal), stops=())
        if self._asked.plan.way != "checked" and not self._run.healing:
            request = replace(request, alternatives=0)
        if not self._sampled:
            return request
        self._sampled = False
        sampling = replace(request.sampling, temperature=max(1.0, request.sampling.temperature))
        return replace(request, sampling=sampling, seed=int(asked.random.integers(1 << 31)))

    async def _part(self) -> None:
        """One request for what comes next; tokens count and show as they arrive."""
        chunk = CHUNK if self._asked.plan.way == "checked" and self._asked.chunk is None else self._asked.chunk
        most = min(self._left(), chunk or self._left()) + bool(self._run.healing)  # what puts the prompt's end back counts nothing
        request, finish, before, used = self._request(most), None, self._run.said, self._used
        more = request.max_tokens > self._left()
        counted, own = 0, 0  # tokens by the server's count; those of them that are the prompt's
        async with aclosing(self._session.complete(request)) as pieces:
            async for piece in pieces:
                for token in piece.tokens:
                    if more and not own and self._left() <= 0:
                        return
                    self.spent += token.count
                    if self._puts_back(token):
                        own += token.count
                    else:
                        self._used += token.count
                    if not await self._token(token):
                        return
                finish = piece.finish or finish
                counted = piece.usage.completion if piece.usage is not None else counted
        self.spent += max(0, counted - own - (self._used - used))
        self._used = used + request.max_tokens - own if finish == "length" else max(self._used, used + counted - own)
        if finish == "stop":
            self._at_end_of_text()
        elif self._run.said == before:
            self._another_try("the server's answer was empty")
        else:
            self._tries = 0

    def _puts_back(self, token: TextToken) -> bool:
        """The token is just the end of the prompt, which was taken back."""
        return bool(self._run.healing) and token.text == self._run.heal

    async def _token(self, token: TextToken) -> bool:
        """Take a token; False where the request is over."""
        run, mark = self._run, self._run.mark()
        self._places.append((mark, self._used - token.count * (not self._puts_back(token))))
        first, put_back = bool(run.healing), self._puts_back(token)
        if first and not token.text:
            return True  # end-of-text, which comes too early
        taken = run.take(token.text)
        if run.reason is None and (taken < len(token.text) or run.healing):
            await self._refused(token, mark, token.text[taken:])
            return False
        await self._keep(token, first=first, put_back=put_back)
        return run.reason is None

    async def _keep(self, token: TextToken, *, first: bool, put_back: bool) -> None:
        """Note and tell of a token that was taken. Not of one that only puts the prompt's end back, where nothing would be taken back in
        process: where the constraint lets no longer token come, which is so behind most ends but white space."""
        run = self._run
        listed = not put_back or self._asked.plan.way == "free" or run.heal.isspace()
        if first and listed:
            run.healed = run.heal
        if listed:
            await self._told(run.keep(token))

    def _at_end_of_text(self) -> None:
        """The server ended the text."""
        run = self._run
        if run.healing:
            self._open(None)
        elif run.complete():
            run.reason = "stop" if self._asked.plan.stops and not self._asked.abilities.stops_kept else "eos"
        elif self._asked.plan.way == "checked":
            if not self._write_forced():
                self._another_try("the server ended the text, which is not complete")
        else:
            raise self._violated("the server ended the text, which is not complete")

    def _end_at_budget(self) -> bool:
        """The budget is used up: whether the hole ends here, and does not go back. Raises ConstraintViolated where it cannot end."""
        run, budget = self._run, self._asked.budget
        if run.complete():
            run.end_at_budget(budget)
            return True
        if not self._goes_back():
            raise self._violated(f"its budget of {budget.tokens} tokens is used up, and its text is not complete")
        return False

    def _goes_back(self) -> bool:
        """Go back to the last place from which the text may end within the budget; False where no try is left."""
        grammar, run = self._asked.plan.grammar, self._run
        if grammar is None or self._asked.budget.tokens <= 0:
            return False
        ends = grammar.to_an_end(run.text)
        while self._squeezed < len(_PER_TOKEN):
            per_token = _PER_TOKEN[self._squeezed]
            self._squeezed += 1
            places = [(mark, self._asked.budget.tokens - used) for mark, used in self._places if len(mark.text) < len(ends)]
            fitting = [(mark, left) for mark, left in places if left > 0 and ends[len(mark.text)] <= per_token * left] or places[:1]
            if not fitting or (self._within is not None and fitting[-1] == self._back_at):
                continue
            self._back_at = mark, left = fitting[-1]
            run.rewind(mark)
            run.squeezed = True
            self._places = [place for place in self._places if len(place[0].text) < len(mark.text)]
            self._used = self._asked.budget.tokens - left
            self._within = max(ends[len(mark.text)], left)
            return True
        return False

    # What is not allowed

    async def _refused(self, token: TextToken, mark: Mark, rest: str) -> None:
        """A token does not fit; `rest` is what was not taken of it, `mark` the moment before it."""
        run = self._run
        if mark.own < len(run.heal):
            run.rewind(mark)
            other = self._open(token)
            if other is not None:
                run.take(other.text)
                put_back = other.text == run.heal
                self._used -= token.count * put_back
                await self._keep(other, first=True, put_back=put_back)
            return
        if self._asked.plan.way != "checked":
            raise self._violated(f"the server let through {rest[:20]!r} after {run.text[-40:]!r}, which its grammar does not allow")
        if run.complete():
            run.reason = "cut"
            await self._told(run.keep(token))
            return
        beginning = run.text[len(mark.text) :]
        run.rewind(mark)
        other = self._other(token)
        if other is not None:
            run.take(other.text)
            await self._told(run.keep(other))
            self._tries = 0
        elif run.complete():
            run.reason = "cut"
        else:
            await self._help(beginning, rest)

    def _open(self, token: TextToken | None) -> TextToken | None:
        """The answer does not begin with the prompt's end: another token that may stand in for its first one; without one, how the next
        request is to begin. token: the first one, None where the answer had none."""
        sampling, way = self._asked.request.sampling, self._asked.plan.way
        chosen_by_score = sampling.temperature == 0 and not sampling.has_penalties
        other = self._other(token) if token is not None and (way == "checked" or chosen_by_score) else None
        if other is None:
            self._used = 0
            if way == "free" and self._asked.abilities.level == "delegated" and not self._opened:
                self._opening = self._opened = True
            else:
                self._run.give_back()
        return other

    async def _help(self, beginning: str, rest: str) -> None:
        """Go on without any token that the server named: forced text, one biased token, the refused token's beginning, another try."""
        run = self._run
        beginning = beginning if beginning.strip() else ""  # a space alone says nothing of what comes next
        if beginning:
            run.take(beginning)
            await self._told(run.keep(TextToken(beginning)))
            self._tries = 0
        if run.reason is None and not self._write_forced() and not await self._biased() and not beginning:
            self._another_try(f"the model says {rest[:20]!r} after {run.text[-40:]!r}")

    def _other(self, token: TextToken) -> TextToken | None:
        """A token that the server reported beside the refused one, and that is allowed."""
        allowed = [(text, logprob) for text, logprob in token.alternatives if text != token.text and self._run.accepts(text)]
        if not allowed:
            return None
        sampling = self._asked.request.sampling
        if sampling.temperature == 0:
            text, logprob = max(allowed, key=lambda pair: pair[1])
        else:
            weights = np.exp([(logprob - allowed[0][1]) / sampling.temperature for _, logprob in allowed])
            text, logprob = allowed[int(self._asked.random.choice(len(allowed), p=weights / weights.sum()))]
        return TextToken(text, None, logprob)

    def _write_forced(self) -> bool:
        """Write the text that the constraint leaves no choice about."""
        text = self._run.forced()
        if not text or not self._run.take(text):
            return False
        self._run.keep(TextToken(text), forced=True)
        self._tries = 0
        return True

    async def _biased(self) -> bool:
        """Ask for one token among the few that are allowed; only with a tokenizer that is known to be the model's."""
        run, ids = self._run, self._allowed_ids()
        if not ids:
            return False
        request = replace(self._request(1), bias=dict.fromkeys(ids, _EXCLUSIVE))
        before, ends = run.text, run.complete()
        async with aclosing(self._session.complete(request)) as pieces:
            async for piece in pieces:
                for token in piece.tokens:
                    if not run.accepts(token.text):
                        break
                    run.take(token.text)
                    await self._told(run.keep(token))
        self._used, self.spent = self._used + 1, self.spent + 1
        if run.text == before and ends:
            run.reason = "eos"
        return run.text != before or ends

    def _allowed_ids(self) -> list[int]:
        asked = self._asked
        if asked.tokenizer is None or not asked.abilities.bias:
            return []
        constraint = link_text(asked.demand.rest, asked.tokenizer, replace(asked.demand.place, budget=None))
        state = constraint.start()
        for token_id in asked.tokenizer.encode(self._run.text, first=False):
            state = constraint.advance(state, token_id)
            if state is None:
                return []
        ids = unpack(constraint.mask(state), len(asked.tokenizer.vocabulary)).nonzero()[0].tolist()
        return ids if len(ids) <= asked.abilities.bias else []

    def _another_try(self, why: str) -> None:
        self._tries += 1
        if self._tries >= TRIES:
            raise self._violated(f"{why}, {TRIES} times")
        self._sampled = True

    def _violated(self, why: str) -> ConstraintViolated:
        server = self._asked.abilities.server
        return ConstraintViolated(
            f"hole `{self._run.name}` at {server}: {why}; relax the constraint, or use a model whose tokens are masked (local:NAME)"
        )

    # Whole answers

    async def _whole(self) -> None:
        """One answer, judged when it is there; the best part of answers that were not allowed is kept."""
        run, start, finish = self._run, self._run.mark(), None
        tokens: list[TextToken] = []
        request = self._request(self._left())
        if self._asked.plan.schema is not None:
            request = replace(request, schema=self._asked.plan.schema)
        async with aclosing(self._session.complete(request)) as pieces:
            async for piece in pieces:
                tokens += piece.tokens
                finish = piece.finish or finish
                if self._asked.plan.schema is None and self._judge(tokens, start) is not None:
                    break
        self.spent += len(tokens)
        if self._asked.plan.schema is not None:
            tokens = _unwrapped(tokens) if self._asked.plan.wrapped else _as_written(tokens)
        await self._settle_whole(tokens, start, finish)
        if run.reason is None:
            self._used = 0

    def _judge(self, tokens: list[TextToken], start: Mark) -> str | None:
        """Judge an answer from its start: None where all of it may stand so far, else what may not (nothing where it has ended)."""
        self._run.rewind(start)
        text = "".join(token.text for token in tokens)
        taken = self._run.take(text)
        if self._run.reason is not None:
            return ""
        if self._run.complete() and len(self._run.text) > len(self._best):
            self._best = self._run.text
        return text[taken:] or None

    async def _settle_whole(self, tokens: list[TextToken], start: Mark, finish: str | None) -> None:
        run = self._run
        rest = self._judge(tokens, start)
        if rest is None and run.complete() and finish == "length":
            run.end_at_budget(self._asked.budget)
        elif rest is None and run.complete():
            run.reason = "eos"
        elif rest and run.complete() and (self._asked.plan.schema is None or self._asked.plan.wrapped):
            run.reason = "cut"
        if run.reason is None and rest is None and finish == "length" and self._asked.plan.level == "delegated":
            raise self._violated(f"its budget of {self._asked.budget.tokens} tokens is used up, and its text is not complete")
        if run.reason is None:
            self._thrown_away(start, rest or "nothing more")
            return
        for token in tokens:
            await self._told(run.keep(token))

    def _thrown_away(self, start: Mark, rest: str) -> None:
        why = f"the model says {rest[:20]!r} after {self._run.text[-40:]!r}"
        self._run.rewind(start)
        if self._asked.plan.level == "delegated":
            raise self._violated(f"{why}, which its schema does not allow")
        if self._tries + 1 >= TRIES and self._best:
            self._run.take(self._best)
            self._run.reason = self._run.reason or "cut"
            self._run.keep(TextToken(self._best))
            return
        self._another_try(why)


def _as_written(tokens: list[TextToken]) -> list[TextToken]:
    """A JSON answer in the one layout that JSON has in programs: one space after `:` and `,`, no other. One token where that changes it."""
    text = "".join(token.text for token in tokens)
    parts = [part if part.startswith('"') else _laid_out(part) for part in _STRINGS.split(text)]
    written = "".join(parts)
    if written == text:
        return tokens
    logprobs = [token.logprob for token in tokens if token.logprob is not None]
    return [TextToken(written, None, math.fsum(logprobs) if logprobs else None)]


def _unwrapped(tokens: list[TextToken]) -> list[TextToken]:
    """The one value of an answer that is an object; numbers as they are written. Other answers as they are."""
    try:
        value = json.loads("".join(token.text for token in tokens), parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        return tokens
    text = value.get(ANSWER) if isinstance(value, dict) else None
    logprobs = [token.logprob for token in tokens if token.logprob is not None]
    return [TextToken(text, None, math.fsum(logprobs) if logprobs else None)] if isinstance(text, str) else tokens


_STRINGS = re.compile(r'("(?:[^"\\]|\\.)*")')


def _laid_out(text: str) -> str:
    return re.sub(r"[ \t\r\n]+", "", text).replace(":", ": ").replace(",", ", ")


def check_prompt(name: str, prompt: TextPrompt, abilities: TextAbilities) -> None:
    """Raise LmqlError where a server cannot go on with a prompt."""
    if prompt.turns and prompt.turns[-1][0] != "assistant":
        raise LmqlError(
            f"hole `{name}` stands in a turn of `{prompt.turns[-1][0]}`: {abilities.server} answers only as the assistant; "
            "start a turn with `{:assistant}` before the hole"
        )
    if prompt.turns and prompt.begun and not abilities.continues:
        raise LmqlError(
            f"hole `{name}` stands behind text of its own turn: {abilities.server} begins every answer anew; "
            "let the hole begin the turn, or use a server that continues answers (vllm/NAME, sglang/NAME, llama.cpp/NAME)"
        )
