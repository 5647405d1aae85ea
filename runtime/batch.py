"""Branches of a run share a session: questions that are open at the same time become one call of the model."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from lmqlc.backends.base import AnswersTails, Logits, Session
from lmqlc.compiler.masks.likeliest import Likeliest, RecallsTexts, TextTree


class BatchedLogits:
    """Collects the questions of `branches` branches, and asks them together.

    A call is made when every running branch has asked, or when nothing else is ready to run in the event loop.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._open: list[tuple[Sequence[int], asyncio.Future[Logits]]] = []
        self._turn: asyncio.Task[None] | None = None
        self.branches = 1

    async def __call__(self, sequence: Sequence[int]) -> Logits:
        """Next-token logits `float32[V]` after an id sequence."""
        if self.branches == 1:
            return (await self._session.logits([sequence]))[0]  # type: ignore[no-any-return]
        answer: asyncio.Future[Logits] = asyncio.get_running_loop().create_future()
        self._open.append((sequence, answer))
        if self._turn is None:
            self._turn = asyncio.create_task(self._answer())
        return await answer

    async def after(self, prompt: Sequence[int], tails: Sequence[Sequence[int]]) -> Logits:
        """Next-token logits `float32[n, V]` after a prompt with each of some tails."""
        if len(tails) == 1:
            return (await self([*prompt, *tails[0]]))[None]
        if isinstance(self._session, AnswersTails):
            return await self._session.logits_after(prompt, tails)
        return await self._session.logits([[*prompt, *tail] for tail in tails])

    def recalled(self, prompt: Sequence[int], tree: TextTree) -> Likeliest | None:
        """The text that a hole had when it was recorded, where the session is of a recording."""
        return self._session.recalled(prompt, tree) if isinstance(self._session, RecallsTexts) else None

    async def _answer(self) -> None:
        for _ in range(2):  # the other branches get their turn to ask
            if len(self._open) < self.branches:
                await asyncio.sleep(0)
        asked, self._open, self._turn = self._open, [], None
        try:
            rows = await self._session.logits([sequence for sequence, _ in asked])
        except BaseException as error:
            for _, answer in asked:
                if not answer.done():
                    answer.set_exception(error)
            if not isinstance(error, Exception):
                raise
            return
        for (_, answer), row in zip(asked, rows, strict=True):
            if not answer.done():
                answer.set_result(row)
