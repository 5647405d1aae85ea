"""The tree of branches that a searching decoder grows.

A branch is a way through the program up to a hole, and the tokens of that hole so far. Copying one inside a hole copies no program: the
branches of a hole wait at the same `Site`. The first whose hole ends goes on with the program that waits there; for each of the others the
program runs again from its start (`lmqlc.runtime.effects`).
"""

from __future__ import annotations

import asyncio
import math
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lmqlc.backends.base import Logits
from lmqlc.backends.choice import Sampling
from lmqlc.compiler.ir import Program
from lmqlc.compiler.masks.hole import HoleRun
from lmqlc.runtime.deadline import GRACE
from lmqlc.runtime.effects import Effects, Entry
from lmqlc.runtime.interpreter import Interpreter
from lmqlc.runtime.path import Path, Site
from lmqlc.runtime.results import Result, attach
from lmqlc.runtime.run import Run
from lmqlc.runtime.verbose import tell


@dataclass(frozen=True, eq=False, slots=True)
class Branch:
    """One branch.

    score: what it is compared by: the sum of its tokens' log-probabilities after penalties, unless the decoder says otherwise. logprob: of
    the model itself. length: how many tokens were decoded. hole: the hole it is in, `ended` once that is complete; None where the
    program has ended. result: what a finished branch came to. way: what its complete holes say: the text of a constrained one, the ids
    of others.
    """

    score: float
    logprob: float
    length: int
    site: Site | None = None
    hole: HoleRun | None = None
    result: Result | None = None
    path: Path | None = None
    way: tuple[bytes | tuple[int, ...], ...] = ()

    @property
    def finished(self) -> bool:
        """The program has ended."""
        return self.hole is None

    @property
    def ended(self) -> bool:
        """The hole is complete; the program has not gone on yet."""
        return self.hole is not None and self.hole.reason is not None

    @property
    def variable(self) -> str | None:
        """The hole's name."""
        return None if self.hole is None else self.hole.name

    @property
    def sequence(self) -> list[int]:
        """The ids that the model sees."""
        assert self.site is not None and self.hole is not None
        return [*self.site.opened.prompt, *self.hole.ids]

    def rank(self, length_penalty: float) -> float:
        """The score over the length to the power of a penalty: 0 compares sums, 1 means."""
        return self.score / max(self.length, 1) ** length_penalty if length_penalty else self.score


class Search:
    """The branches of one run, for a decoder."""

    def __init__(
        self,
        run: Run,
        program: Program,
        effects: Effects,
        environment: Callable[[], dict[str, Any]],
        complete: Callable[[Interpreter], Result],
    ) -> None:
        self._run = run
        self._program = program
        self._effects = effects
        self._environment = environment
        self._complete = complete
        self._tasks: dict[asyncio.Task[None], Path] = {}
        self._ends = 0
        self._rows: weakref.WeakKeyDictionary[HoleRun, Logits] = weakref.WeakKeyDictionary()

    @property
    def ends(self) -> int:
        """How many end-of-text ids the model has; known once a branch has come to a hole."""
        return self._ends

    def random(self, step: int) -> np.random.Generator:
        """The random generator of a step of the search."""
        return np.random.default_rng(self._run.seed_of(0, step))

    @property
    def sampling(self) -> Sampling:
        """The decoder's penalties."""
        return self._run.decoder.sampling

    async def start(self) -> list[Branch]:
        """The first branch, at its first hole, or finished where there is none."""
        path = self._path(self._effects)
        return [await self._arrived(Branch(0.0, 0.0, 0), path)]

    async def scores(self, branches: Sequence[Branch]) -> list[Logits]:
        """What may come next in each branch, `float32[V]`: log-probabilities after penalties, -inf for what is not legal. One model call.

        Where the constraint leaves one text, its token is all that is legal.
        """
        sequences = [branch.sequence for branch in branches]
        if not sequences:
            return []
        await self._run.drain()
        rows = await (await self._run.session()).logits(sequences)
        return [self._scored(branch, row, ids) for branch, row, ids in zip(branches, rows, sequences, strict=True)]

    def _scored(self, branch: Branch, row: Logits, sequence: Sequence[int]) -> Logits:
        hole = branch.hole
        assert hole is not None
        own = self._rows[hole] = log_softmax(row)
        penalised = self.sampling.penalised(row, sequence)
        scores = own if penalised is row else log_softmax(penalised)
        forced = hole.forced()
        if not forced:
            return hole.masked(scores)
        only = np.full_like(scores, -np.inf)
        only[forced[0]] = scores[forced[0]]
        return only

    def grow(self, branch: Branch, token: int, score: float) -> Branch:
        """A copy of a branch with one more token, after `scores` was asked about it. Its program does not go on yet."""
        assert branch.hole is not None
        hole = branch.hole.fork()
        own = float(self._rows[branch.hole][token])
        hole.push(token, own, forced=hole.forced()[:1] == [token])
        return replace(branch, score=score, logprob=branch.logprob + own, length=branch.length + 1, hole=hole)

    async def settle(self, branches: Sequence[Branch]) -> list[Branch]:
        """The same branches, the programs of those whose hole has ended run on to their next hole or their end; without those that
        `repeats` names."""
        kept: list[Branch] = []
        for branch in branches:
            if not self.repeats(branch):
                kept.append(branch)
                self._note(branch)
        return list(await asyncio.gather(*(self._settled(branch) for branch in kept)))

    @staticmethod
    def repeats(branch: Branch) -> bool:
        """The branch ends a constrained hole with a text with which a better one has gone on: it says the same in other tokens."""
        if not branch.ended or branch.hole is None or branch.site is None or branch.hole.constraint is None:
            return False
        return branch.site.ended.get(branch.hole.data(), -math.inf) >= branch.score

    @staticmethod
    def _note(branch: Branch) -> None:
        if branch.ended and branch.hole is not None and branch.site is not None and branch.hole.constraint is not None:
            branch.site.ended[branch.hole.data()] = branch.score

    async def _settled(self, branch: Branch) -> Branch:
        if not branch.ended:
            return branch
        assert branch.site is not None and branch.hole is not None
        path = branch.site.claim()
        if path is not None:
            path.go_on(branch.hole)
        else:
            done = replace(branch.site.opened, hole=branch.hole)
            entries = (*branch.site.entries, Entry(done.name, "hole", done))
            path = self._path(Effects(branch.site.effects.boundary.copy(), entries, self._effects.family))
        return await self._arrived(replace(branch, way=(*branch.way, _said(branch.hole))), path)

    def _path(self, effects: Effects) -> Path:
        path = Path(self._run, self._program, effects)
        task = asyncio.ensure_future(path.run(self._environment()))
        self._tasks[task] = path
        task.add_done_callback(lambda done: self._tasks.pop(done, None))
        return path

    async def _arrived(self, branch: Branch, path: Path) -> Branch:
        try:
            at = await path.arrive()
        except BaseException as error:
            attach(error, self._complete(path.interpreter))
            raise
        if isinstance(at, Interpreter):
            return replace(branch, site=None, hole=None, result=self._complete(at), path=path)
        self._ends = len(at.opened.hole.vocabulary.eos_ids)
        return replace(branch, site=at, hole=at.opened.hole)

    def show(self, branch: Branch, number: int) -> None:
        """Tell everybody who listens the events of a finished branch, as those of the branch of a number."""
        for hole in branch.result.holes if branch.result else ():
            tell(self._run, hole, number)
        if branch.path is not None and self._run.settings.writers:
            for event in branch.path.interpreter.events:
                self._run.emit(replace(event, branch=number), number)

    async def close(self) -> None:
        """End the programs that still wait; the effects they would have are left out."""
        tasks = list(self._tasks)
        for task, path in list(self._tasks.items()):
            path.abandon()
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=GRACE)


def _said(hole: HoleRun) -> bytes | tuple[int, ...]:
    """What a complete hole says. Without a constraint that is its tokens, those that end it included, as the model would say them."""
    return tuple(token.id for token in hole.tokens) if hole.constraint is None else hole.data()


def log_softmax(logits: Logits) -> Logits:
    """Natural log-probabilities `float32[V]`."""
    shifted: Logits = logits - logits.max()
    shifted -= np.log(np.exp(shifted).sum())
    return shifted
