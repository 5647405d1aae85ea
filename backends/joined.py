"""Questions that several queries have for one model at the same time, asked together.

A question waits until every session that is open has one too, but no longer than the event loop has other things to do; then the model's
thread takes all that wait, those of other threads and loops among them, as one batch. While it computes, the next ones gather.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from lmqlc.backends.base import Logits

if TYPE_CHECKING:
    from lmqlc.backends.engine import Cost, Engine

T = TypeVar("T")
Outcome = Any
"""An answer, `(logits, cost)`, or the exception that came instead."""

TURNS = 3
"""Turns of the event loop that a question waits for others: those of a run's branches need two to come together."""


class Question:
    """Sequences whose next logits a session wants."""

    def __init__(self, sequences: Sequence[list[int]]) -> None:
        self.sequences = sequences
        self.loop = asyncio.get_running_loop()
        self.answer: asyncio.Future[tuple[Logits, Cost]] = self.loop.create_future()
        self.batch: list[Question] = []  # those it is answered with, once the model is at it
        self.dropped = False

    def ask(self, engine: Engine) -> tuple[Logits, Cost]:
        """The answer by itself."""
        return engine.logits(self.sequences)


class Model(Protocol):
    """What the questions need of a model."""

    def soon(self, work: Callable[[], None]) -> None:
        """Do something in the model's thread, when it is its turn."""
        ...

    def here(self, work: Callable[[], None], asked: Sequence[Sequence[list[int]]]) -> bool:
        """Do something in this thread, where it is a short step for these questions, and nobody is at the model; whether it was done."""
        ...

    def do(self, work: Callable[[Engine], T], job: object) -> T:
        """`work(engine)`, for who has the turn. Errors: BackendUnavailable."""
        ...

    def give_up(self, job: object) -> None:
        """Give up the forward pass of a job."""
        ...


class JoinedQuestions:
    """The questions of a model's sessions."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._waiting: list[Question] = []
        self._lock = threading.Lock()

    async def ask(self, sequences: Sequence[list[int]], sessions: Callable[[], int]) -> tuple[Logits, Cost] | None:
        """Next-token logits `float32[n, V]` after the sequences, and what they cost; None where nobody else has a question."""
        question = Question(sequences)
        with self._lock:
            self._waiting.append(question)
        try:
            await self._gather(sessions)
            if self._is_alone(question):
                return None
            if not question.batch and not self._model.here(self._answer, [other.sequences for other in self._waiting]):
                self._model.soon(self._answer)
            return await question.answer
        except BaseException:  # cancelled, or the model was closed
            self._drop(question)
            raise

    async def _gather(self, sessions: Callable[[], int]) -> None:
        for _ in range(TURNS):
            if len(self._waiting) < sessions():
                await asyncio.sleep(0)

    def _is_alone(self, question: Question) -> bool:
        """Nobody else waits; the question is taken back."""
        with self._lock:
            if self._waiting != [question]:
                return False
            self._waiting.clear()
            return True

    def _drop(self, question: Question) -> None:
        """Nobody wants the answer any more. Where this holds for all of a batch, it is given up."""
        with self._lock:
            question.dropped = True
            if question in self._waiting:
                self._waiting.remove(question)
            batch = question.batch
            given_up = bool(batch) and all(other.dropped for other in batch)
        if given_up:
            self._model.give_up(batch[0])

    def _answer(self) -> None:
        """Answer all that waits, in the model's thread."""
        with self._lock:
            asked, self._waiting = self._waiting, []
            for question in asked:
                question.batch = asked
        if not asked:
            return
        try:
            outcomes: list[Outcome] = list(self._model.do(lambda engine: _together(engine, asked), asked[0]))
        except Exception as error:  # noqa: BLE001 - handed to whoever asked
            outcomes = [error] if len(asked) == 1 else [self._alone(question) for question in asked]
        _deliver(asked, outcomes)

    def _alone(self, question: Question) -> Outcome:
        """What fails together may do alone, and one question's error is not the others'."""
        try:
            return self._model.do(question.ask, question)
        except Exception as error:  # noqa: BLE001 - handed to whoever asked
            return error


def _deliver(asked: Sequence[Question], outcomes: Sequence[Outcome]) -> None:
    """Hand outcomes to those who wait, to all of an event loop at once: so their next questions come together again."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[Question, Outcome]]] = {}
    for question, outcome in zip(asked, outcomes, strict=True):
        by_loop.setdefault(question.loop, []).append((question, outcome))
    for loop, pairs in by_loop.items():
        with suppress(RuntimeError):  # the loop is closed: nobody waits there
            loop.call_soon_threadsafe(_settle, pairs)


def _settle(pairs: Sequence[tuple[Question, Outcome]]) -> None:
    for question, outcome in pairs:
        if question.answer.done():
            continue
        if isinstance(outcome, Exception):
            question.answer.set_exception(outcome)
        else:
            question.answer.set_result(outcome)


def _together(engine: Engine, asked: Sequence[Question]) -> list[tuple[Logits, Cost]]:
    """The answers, each with its own costs: prompts are read one by one, the last tokens as one batch, which counts for everybody."""
    sequences = [ids for question in asked for ids in question.sequences]
    if len(asked) == 1 or not engine.joins(sequences):
        return [question.ask(engine) for question in asked]
    costs = [engine.read(question.sequences) for question in asked]
    rows, shared = engine.logits(sequences)
    answers: list[tuple[Logits, Cost]] = []
    place = 0
    for question, cost in zip(asked, costs, strict=True):
        count = len(question.sequences)
        cost.passes += shared.passes
        cost.computed += len(set(map(tuple, question.sequences)))
        answers.append((np.ascontiguousarray(rows[place : place + count]), cost))
        place += count
    return answers
