"""What a server's clients ask of a model: holes, logits, scores."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lmqlc.backends.base import Logits, ScoresOptions, Session, SessionUsage
from lmqlc.backends.choice import Sampling
from lmqlc.compiler.masks.hole import HoleRun, TokenResult, logprob
from lmqlc.compiler.masks.likeliest import Search, Tail, TextTree, write
from lmqlc.compiler.masks.request import Ended, Healed
from lmqlc.grammar.errors import ArtifactError

TOGETHER = 64
"""Sequences and options of one work that are computed together."""

Alone = Callable[[Session], Awaitable[None]] | None


class HoleWork:
    """The decoding of one hole, as the runtime does it; its events are tokens, then the end.

    known: tokens that the asker has already: they are taken again without being asked about or told, and the random generator goes on
    after them. heal: what the hole takes back from the prompt where it can. tree: the texts of which the hole gets the likeliest.
    shared: so many ids are at the start of all that is wanted, where several continuations of the prompt are asked about; else 0.
    """

    alone: Alone = None

    def __init__(
        self,
        hole: HoleRun,
        prompt: Sequence[int],
        sampling: Sampling,
        seed: Sequence[int],
        known: Sequence[int] = (),
        heal: Healed | None = None,
        tree: TextTree | None = None,
    ) -> None:
        self.hole = hole
        self.waits = hole.constraint is not None and not hole.constraint.exact
        self.usage = SessionUsage()
        self.events: list[Any] = []
        self.prompt = prompt
        if heal is not None and hole.heals:
            self.prompt = prompt[: len(prompt) - heal.count]
            self.events.append(heal)
        self.begins = (hole.name, prompt, len(self.prompt))
        self._sampling = sampling
        self._random = np.random.default_rng(list(seed))
        self._known = list(known)
        self._asked: list[int] = []
        self.judged = 0  # beginnings of texts, in the search for the likeliest
        self.shared = 0
        self._tails: list[Tail] = []
        self._search = None if tree is None else Search(hole, tree, self.prompt, sampling, known=tuple(known)).run()
        if self._search is not None:
            self._look(None)

    @property
    def searches(self) -> bool:
        """What is wanted is for the search of the likeliest text, all of it together."""
        return self._search is not None

    def _look(self, rows: Logits | None) -> None:
        """Go on with the search for the likeliest text; write it where it is found."""
        assert self._search is not None
        try:
            self.judged += len(self._tails)
            self._tails = next(self._search) if rows is None else self._search.send(rows)
            self.shared = len(self.prompt) if len(self._tails) > 1 else 0
        except StopIteration as end:
            self._search, self.shared = None, 0
            if end.value is not None:
                for token in write(self.hole, end.value):
                    if len(self.hole.tokens) > len(self._known):
                        self.told(token, None)

    def wants(self) -> list[list[int]]:
        if self._search is not None:
            return [[*self.prompt, *tail] for tail in self._tails]
        hole = self.hole
        while hole.reason is None:
            forced = hole.forced()
            if forced:
                self._write(forced)
            elif len(hole.tokens) < len(self._known):
                self._repeat(self._known[len(hole.tokens)])
            else:
                self._asked = [*self.prompt, *hole.ids]
                return [self._asked]
        self.events.append(self.ended())
        return []

    def ended(self) -> Any:
        """The event of the end."""
        reason = self.hole.reason
        assert reason is not None
        return Ended(reason, self.hole.cut, self.hole.exact, self.hole.squeezed)

    def take(self, rows: Logits) -> None:
        if self._search is not None:
            self._look(rows)
            return
        row = rows[0]
        token = self._sampling.choose(self.hole, self.scores(row), self._random)
        self.told(self.hole.push(token, logprob(row, token)), row)

    def scores(self, row: Logits) -> Logits:
        """The logits from which a token is chosen, before masks."""
        return self._sampling.penalised(row, self._asked)

    def told(self, token: TokenResult, row: Logits | None) -> None:
        """Tell of a token; row: the logits that it was chosen from, None for one without a choice."""
        self.events.append(token)

    def _write(self, forced: Sequence[int]) -> None:
        for token in forced:
            place = len(self.hole.tokens)
            if place < len(self._known) and self._known[place] != token:
                raise _other_tokens(place)
            pushed = self.hole.push(token, 0.0, forced=True)
            if place >= len(self._known):
                self.told(pushed, None)
            if self.hole.reason is not None:
                return

    def _repeat(self, token: int) -> None:
        if not self.hole.legal(token):
            raise _other_tokens(len(self.hole.tokens))
        if self._sampling.temperature != 0:
            self._random.random()
        self.hole.push(token, 0.0)


def _other_tokens(place: int) -> ArtifactError:
    return ArtifactError(f"token {place} of those known already cannot stand there: the hole cannot be taken up again")


class LogitsWork:
    """Next-token logits `float32[n, V]` after several sequences; its event is the array."""

    alone: Alone = None
    waits = False
    shared = 0

    def __init__(self, sequences: list[list[int]]) -> None:
        self.usage = SessionUsage()
        self.events: list[Any] = []
        self._sequences = sequences
        self._rows: list[Logits] = []
        self._done = 0

    def wants(self) -> list[list[int]]:
        """A few at a time, so that others get their turn between them."""
        return self._sequences[self._done : self._done + TOGETHER]

    def take(self, rows: Logits) -> None:
        self._rows.append(np.array(rows))
        self._done += len(rows)
        if self._done == len(self._sequences):
            self.events.append(self._rows[0] if len(self._rows) == 1 else np.concatenate(self._rows))


class ScoreWork:
    """Natural log-probabilities of options after a prompt, or of a sequence from a place on; its event is a list of `float64[len]`.

    A few options at a time are scored together.
    """

    waits = False
    shared = 0

    def __init__(self, prompt: list[int], options: Sequence[list[int]] | None = None, *, start: int | None = None) -> None:
        self.usage = SessionUsage()
        self.events: list[Any] = []
        self.alone: Alone = self._judge
        self._prompt = prompt
        self._options = options
        self._scores: list[npt.NDArray[np.float64]] = []
        self._start = start

    async def _judge(self, session: Session) -> None:
        if self._options is None:
            assert self._start is not None
            self.events.append([await session.score(self._prompt, self._start)])
        else:
            part = self._options[len(self._scores) : len(self._scores) + TOGETHER]
            if isinstance(session, ScoresOptions):
                self._scores += await session.score_options(self._prompt, part)
            else:
                self._scores += [await self._one(session, option) for option in part]
            if len(self._scores) < len(self._options):
                return
            self.events.append(self._scores)
        self.alone = None

    async def _one(self, session: Session, option: list[int]) -> npt.NDArray[np.float64]:
        return await session.score([*self._prompt, *option], len(self._prompt)) if option else np.empty(0)

    def wants(self) -> list[list[int]]:
        return []

    def take(self, rows: Logits) -> None:
        """Nothing is wanted, so nothing comes."""


def top_tokens(row: Logits, count: int) -> list[tuple[int, float]]:
    """The likeliest tokens with their natural log-probabilities, likeliest first, the smallest id first where they are equal."""
    if count == 0:
        return []
    count = min(count, len(row))
    ids = np.argpartition(-row, count - 1)[:count]
    ids = ids[np.lexsort((ids, -row[ids]))]
    top = float(row.max())
    norm = float(np.log(np.exp(row - top).sum()))
    return [(int(i), float(row[i]) - top - norm) for i in ids]


def biased(row: Logits, bias: Mapping[int, float]) -> Logits:
    """Logits with additions to some tokens; the same array where there are none."""
    if not bias:
        return row
    changed = row.copy()
    changed[list(bias)] += np.fromiter(bias.values(), np.float32, len(bias))
    return changed
