"""One hole whose text comes from a server: judged character by character as it arrives."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from lmqlc.backends.base import Tokenizer, Vocabulary
from lmqlc.backends.text import TextAbilities, TextPrompt, TextToken
from lmqlc.compiler.masks.heal import covering, taken_back
from lmqlc.compiler.masks.hole import Budget, FinishReason, reaching
from lmqlc.compiler.masks.interface import State, TokenConstraint
from lmqlc.runtime.link import LinkedHole
from lmqlc.runtime.results import TokenResult


class _Bytes:
    """A tokenizer whose tokens are the bytes; id 0 ends a text, byte b has the id b + 1."""

    bos_id: int | None = None

    def __init__(self) -> None:
        self.vocabulary = Vocabulary.build([b"", *(bytes([byte]) for byte in range(256))], [0])

    def prefix(self) -> list[int]:
        return []

    def encode(self, text: str, *, first: bool) -> list[int]:
        return [byte + 1 for byte in text.encode()]

    def decode(self, ids: Any) -> str:
        return bytes(i - 1 for i in ids if i).decode("utf-8", "replace")

    def chat(self, messages: Any, *, generation_prompt: bool) -> list[int] | None:
        return None


BYTES: Tokenizer = _Bytes()


def tail_of(prompt: TextPrompt, run: TextRun, abilities: TextAbilities, tokenizer: Tokenizer | None) -> str:
    """The end of a prompt that a hole takes back. tokenizer: the model's, where it is known: then that is what would be taken back in
    process, and nothing where the hole lets no longer token come."""
    if not prompt.fresh or not abilities.continues or tokenizer is None:
        return abilities.tail
    fresh, vocabulary = prompt.end[len(prompt.end) - prompt.fresh :], tokenizer.vocabulary
    whole = not prompt.turns and prompt.fresh == len(prompt.end)
    ids = tokenizer.encode(fresh, first=whole)
    count, data = taken_back(vocabulary, ids[1:] if whole and not tokenizer.prefix() else ids)
    tail = data.decode("utf-8", "replace")
    if not count or not prompt.end.endswith(tail):
        return ""
    rests = (vocabulary.tokens[token][len(data) :].decode("utf-8", "replace") for token in covering(vocabulary, data)[1])
    begins: dict[str, bool] = {}
    for rest in rests:
        if rest[:1] not in begins:
            begins[rest[:1]] = run.accepts(rest[:1])
        if begins[rest[:1]] and run.accepts(rest):
            return tail
    return ""


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment of a hole, to return to."""

    state: State
    text: str
    tokens: int
    own: int


class TextRun:
    """The text of one hole as it arrives.

    linked: the constraint over `BYTES`. follow: the literal after the hole; its first character ends the hole where the text is complete
    and does not go on with it; where a Python function has yet to say whether it does, what arrives must agree with all of it.
    `text`: the characters taken; `reason`: how the hole ended, None before; `budget`: of its request. `heal`: the prompt's end, which was
    taken back and must be said first; it is no part of the text. `healed`: the same, where a token that begins with it is listed.
    `exact`: the text is the likeliest of all. `squeezed`: it went back to end within its budget, or its budget ended it where more could
    follow.
    """

    def __init__(self, name: str, linked: LinkedHole, follow: str | None) -> None:
        self.name = name
        self.phrases = linked.phrases
        self.tokens: list[TokenResult] = []
        self.text = ""
        self.reason: FinishReason | None = None
        self.budget: Budget | None = None
        self.exact = self.squeezed = False
        self._constraint: TokenConstraint | None = linked.constraint
        self._follow = follow or ""
        self._state: State = None if linked.constraint is None else linked.constraint.start()
        self._cut = 0
        self._before = self._state
        self.heal = self.healed = ""
        self._own = 0  # characters of `heal` that were said
        self._settle()

    @property
    def healing(self) -> str:
        """What is still to be said of the prompt's end."""
        return self.heal[self._own :]

    @property
    def said(self) -> str:
        """All characters taken: of the prompt's end, and of the text."""
        return self.heal[: self._own] + self.text

    def give_back(self) -> None:
        """The prompt keeps its end after all; nothing must have been taken."""
        self.heal, self._own = "", 0

    @property
    def final(self) -> str:
        """The final text: what was taken, without what a stop removed."""
        data = self.text.encode()
        return data[: len(data) - self._cut].decode("utf-8", "replace") if self._cut else self.text

    @property
    def count(self) -> int:
        """The server's tokens that reach into the final text."""
        return reaching([len(token.text) for token in self.tokens], len(self.healed), len(self.final))

    def complete(self) -> bool:
        """The text so far may be the whole text."""
        if self.healing:
            return False
        return self._constraint is None or self.reason is not None or self._constraint.is_final(self._state)

    def end_at_budget(self, budget: Budget) -> None:
        """End the hole, whose text is complete and not closed, where its budget is used up."""
        self.reason = budget.reason
        self.squeezed |= self._constraint is not None and budget.reason != "closed"  # which a count of tokens in the constraint says

    def take(self, text: str) -> int:
        """Take characters up to the end of the hole, or to the first one that may not come next; how many were taken."""
        for place, character in enumerate(text):
            if self.reason is not None:
                return place
            own = bool(self.healing)
            if not self._take(character):
                if self._follow.startswith(character) and self.complete():
                    self.reason = "follow"
                return place
            if not own and self._is_literal(text[place:]):
                return place
        return len(text)

    def _is_literal(self, rest: str) -> bool:
        """End the hole before what was taken last, where that agrees with the following literal and no function has it yet."""
        if self.reason is not None or self._constraint is None or not self._follow or not self._constraint.undecided(self._state):
            return False
        before, text = self._before, self.text
        if not self._constraint.is_final(before) or not (self._follow.startswith(rest) or rest.startswith(self._follow)):
            return False
        self._state, self.text, self.reason = before, text[:-1], "follow"
        return True

    def accepts(self, text: str) -> bool:
        """The text may come next, as far as it goes before the hole ends; nothing is changed."""
        mark = self.mark()
        taken = self.take(text)
        fits = bool(text) and (taken == len(text) or self.reason is not None) and not self.healing
        self.rewind(mark)
        return fits

    def forced(self) -> str:
        """What must come next; empty where there is a choice, or the text may end."""
        if self._constraint is None or self.reason is not None or self.healing:
            return ""
        data = BYTES.decode(self._constraint.forced(self._state))
        return data.rstrip("\ufffd")  # a character whose end is open

    def mark(self) -> Mark:
        return Mark(self._state, self.text, len(self.tokens), self._own)

    def rewind(self, mark: Mark) -> None:
        """Back to a mark of before the end, whatever was taken since."""
        self._state, self.text, self.reason, self._cut, self._own = mark.state, mark.text, None, 0, mark.own
        del self.tokens[mark.tokens :]

    def keep(self, token: TextToken, *, forced: bool = False) -> TokenResult:
        """Note a token of the hole."""
        logprob = 0.0 if forced else math.nan if token.logprob is None else token.logprob
        self.tokens.append(TokenResult(-1 if token.id is None else token.id, token.text, logprob, forced))
        return self.tokens[-1]

    def _take(self, character: str) -> bool:
        if self.healing:
            fits = self.healing[0] == character
            self._own += fits
            return fits
        if self._constraint is None:
            self.text += character
            return True
        state: State | None = self._state
        self._before = self._state
        data = character.encode("utf-8", "surrogatepass")
        for byte in data:
            assert self._constraint is not None
            state = self._constraint.advance(state, byte + 1)
            if state is None:
                return False
        self._state = state
        self.text += character
        self._settle()
        return True

    def _settle(self) -> None:
        """End the hole where a stop or closure ends it."""
        if self._constraint is None:
            return
        cut = self._constraint.stopped(self._state)
        if cut is not None:
            self._cut, self.reason = cut, "stop"
        elif self._constraint.is_closed(self._state):
            self.reason = "closed"
