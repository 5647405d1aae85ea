"""Models that run in this process, through transformers: `local:NAME_OR_PATH`, `lmql.inprocess(…)` and the embedded `demo`.

A model has one thread. Sessions wait for it without blocking the event loop, so that queries interleave and can be cancelled: a
cancelled call ends for its query at once, and the forward pass it was in is given up at the model's next layer (models that keep
recurrent state or sliding windows run it to its end). Handing a call over costs a fifth of a millisecond and more; a step of one token
that is known to be short is therefore taken where it is asked for, and the event loop gets its turn after it.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from lmqlc.backends.base import DEFAULT_CACHE_BYTES, Level, Logits, ModelSpec, Progress, SessionUsage, Tokenizer
from lmqlc.backends.joined import JoinedQuestions
from lmqlc.backends.model_files import download, find_model, hub_options
from lmqlc.backends.pretrained import explain, is_out_of_memory, load_errors, load_pretrained, quiet
from lmqlc.backends.tokenizer_files import eos_ids
from lmqlc.grammar.errors import BackendUnavailable, ContextOverflow, LmqlError, ModelNotFound

if TYPE_CHECKING:
    from lmqlc.backends.engine import Cost, Engine

T = TypeVar("T")

SHORT = 0.05
"""Seconds of its thread's time that one more token may have taken lately for the next one to be computed in the event loop's own thread."""

DEMO_DIRECTORY = Path(__file__).parent / "demo" / "model"


class InProcessBackend:
    """A loaded model. `engine` may only be called by who holds the model's turn: its own thread (`call`), or a short
    step in the caller's (`logits`)."""

    level: Level = "exact"

    def __init__(self, name: str, engine: Engine, tokenizer: Tokenizer, context_length: int | None) -> None:
        self.name = name
        self.tokenizer = tokenizer
        self.context_length = context_length
        self._engine: Engine | None = engine
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="lmqlc-model")
        self._turn = threading.Lock()
        self._step_seconds = math.inf  # what one more token took lately
        self._sessions: weakref.WeakSet[InProcessSession] = weakref.WeakSet()  # those that are open
        self._joined = JoinedQuestions(self)

    @property
    def closed(self) -> bool:
        return self._engine is None

    async def open(self) -> InProcessSession:
        self._opened()
        session = InProcessSession(self)
        self._sessions.add(session)
        return session

    def left(self, session: InProcessSession) -> None:
        """A session asks nothing more."""
        self._sessions.discard(session)

    async def close(self) -> None:
        """Forgets the model; calls that are under way end first."""
        self._engine = None
        self._thread.shutdown(wait=False)

    def _opened(self) -> Engine:
        if self._engine is None:
            raise BackendUnavailable(f"the model {self.name!r} was closed")
        return self._engine

    async def call(self, work: Callable[[Engine], T]) -> T:
        """Runs `work(engine)` in the model's thread; a cancelled call gives its forward pass up. Errors: BackendUnavailable."""
        engine = self._opened()
        job = object()
        future = self._thread.submit(self._guarded, work, engine, job)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            engine.halt.asked = job
            raise

    async def logits(self, sequences: Sequence[list[int]]) -> tuple[Logits, Cost]:
        """Next-token logits `float32[n, V]` after checked sequences, and what they cost."""
        if len(self._sessions) > 1:
            self._opened()
            joined = await self._joined.ask(sequences, lambda: len(self._sessions))
            if joined is not None:
                return joined
        answer = self._at_once(sequences) if self._step_seconds < SHORT else None
        if answer is None:
            return await self.call(lambda engine: self._step(engine, sequences))
        await asyncio.sleep(0)  # others get their turn, and a cancellation its effect
        return answer

    async def along(self, sequence: list[int], keep: int) -> tuple[Logits, Cost]:
        """Next-token logits `float32[keep, V]` after each of the last `keep` ids of a checked sequence, and what they cost."""
        return await self.call(lambda engine: engine.along(sequence, keep))

    @property
    def looks_ahead(self) -> bool:
        """See `Engine.looks_ahead`."""
        return self._opened().looks_ahead

    def _at_once(self, sequences: Sequence[list[int]]) -> tuple[Logits, Cost] | None:
        """The answer, where it takes one more token and nobody is at the model; else None."""
        engine = self._opened()
        if not self._turn.acquire(blocking=False):
            return None
        try:
            return self._run(lambda engine: self._step(engine, sequences, True), engine, object()) if engine.goes_on(sequences) else None
        finally:
            self._turn.release()

    def _step(self, engine: Engine, sequences: Sequence[list[int]], goes_on: bool | None = None) -> tuple[Logits, Cost]:
        """The engine's answer; how long one more token takes is remembered. goes_on: whether it is one more, where that is known."""
        short = engine.goes_on(sequences) if goes_on is None else goes_on
        started = time.thread_time()  # the clock would count the time that other processes take
        answer = engine.logits(sequences)
        if short:
            self._step_seconds = min(time.thread_time() - started, 2 * self._step_seconds)  # one slow step says little
        return answer

    def soon(self, work: Callable[[], None]) -> None:
        """Do something in the model's thread, when it is its turn. Errors: BackendUnavailable."""
        try:
            self._thread.submit(self._in_turn, work)
        except RuntimeError:
            raise BackendUnavailable(f"the model {self.name!r} was closed") from None

    def here(self, work: Callable[[], None], asked: Sequence[Sequence[list[int]]]) -> bool:
        """Do something in this thread, where it is one more token for these questions, takes no long time, and nobody is at the model."""
        sequences = [ids for question in asked for ids in question]
        if self._step_seconds * len(sequences) > SHORT or not self._turn.acquire(blocking=False):
            return False
        try:
            if not self._opened().has_read(sequences):
                return False
            work()
            return True
        finally:
            self._turn.release()

    def _in_turn(self, work: Callable[[], None]) -> None:
        with self._turn:
            work()

    def do(self, work: Callable[[Engine], T], job: object) -> T:
        """`work(engine)`, for who has the turn. Errors: BackendUnavailable."""
        return self._run(work, self._opened(), job)

    def give_up(self, job: object) -> None:
        """Give up the forward pass of a job, at the model's next layer."""
        if self._engine is not None:
            self._engine.halt.asked = job

    def _guarded(self, work: Callable[[Engine], T], engine: Engine, job: object) -> T:
        with self._turn:
            return self._run(work, engine, job)

    def _run(self, work: Callable[[Engine], T], engine: Engine, job: object) -> T:
        """`work(engine)` for who holds the turn. Errors: BackendUnavailable."""
        engine.halt.running = job
        try:
            return work(engine)
        except (MemoryError, RuntimeError) as error:
            if is_out_of_memory(error):
                raise explain(self.name, error) from None
            raise BackendUnavailable(f"the model {self.name!r} failed: {type(error).__name__}: {error}") from error

    def checked(self, sequence: Sequence[int]) -> list[int]:
        """A sequence as a list. Raises ContextOverflow for one that the model cannot read, ValueError for one that makes no sense."""
        ids = sequence if isinstance(sequence, list) else list(sequence)
        if self.context_length is not None and len(ids) > self.context_length:
            raise ContextOverflow(f"{len(ids)} tokens do not fit the context of {self.name!r}, which is {self.context_length} tokens")
        if not ids or min(ids) < 0 or max(ids) >= len(self.tokenizer.vocabulary):
            raise ValueError(f"a sequence is one or more token ids below {len(self.tokenizer.vocabulary)}")
        return ids


_EXPECTED = 64
"""Questions expected at a time; those of branches, whose questions are asked together, may never come."""


class _Ahead:
    """Questions that are likely to come, and the answers to those that did not come yet."""

    def __init__(self) -> None:
        self._expected: dict[tuple[int, ...], list[int]] = {}
        self._answers: dict[tuple[int, ...], Logits] = {}

    def __bool__(self) -> bool:
        return bool(self._expected or self._answers)

    def expect(self, sequence: Sequence[int]) -> None:
        """A question about all but the last id of a sequence is likely to be followed by one about all of it."""
        if len(self._expected) >= _EXPECTED:
            self._expected.clear()
        self._expected[tuple(sequence[:-1])] = list(sequence)

    def after(self, sequence: list[int]) -> list[int] | None:
        """What is likely to be asked after a question; forgotten once told."""
        return self._expected.pop(tuple(sequence), None)

    def keep(self, sequence: list[int], row: Logits) -> None:
        """Keep the answer to the question that is likely to come next, and no older one."""
        self._answers = {tuple(sequence): row}

    def answer(self, sequence: list[int]) -> Logits | None:
        """The answer to a question, where it is kept; then it is kept no longer."""
        row = self._answers.pop(tuple(sequence), None)
        self._answers.clear()
        return row


class InProcessSession:
    """One query's use of a model in process. What it computes is kept by the backend, for other sessions too."""

    def __init__(self, backend: InProcessBackend) -> None:
        self._backend = backend
        self._usage = SessionUsage()
        self._ahead = _Ahead()

    @property
    def usage(self) -> SessionUsage:
        return self._usage

    def begin_hole(self, name: str, prompt: Sequence[int], kept: int) -> None:
        """A hole begins after the first `kept` ids of `prompt`; the others were taken back, and are likely to be put back."""
        if len(prompt) - kept == 1 and self._backend.looks_ahead:
            self._ahead.expect(prompt)

    async def logits(self, sequences: Sequence[Sequence[int]]) -> Logits:
        if not sequences:
            return np.empty((0, len(self._backend.tokenizer.vocabulary)), dtype=np.float32)
        asked = [self._backend.checked(sequence) for sequence in sequences]
        rows = await self._ahead_of(asked) if self._ahead else None
        if rows is None:
            rows, cost = await self._backend.logits(asked)
            self._count(cost)
        return rows

    async def logits_after(self, prompt: Sequence[int], tails: Sequence[Sequence[int]]) -> Logits:
        start = self._backend.checked(prompt)
        asked = [tuple(self._backend.checked([*start, *tail])[len(start) :]) for tail in tails]
        rows, cost = await self._backend.call(lambda engine: engine.logits_after(start, asked))
        self._count(cost)
        return rows

    async def _ahead_of(self, asked: list[list[int]]) -> Logits | None:
        """Logits for several equal questions, where the next question is known too, or was known before this one was asked; else None."""
        if any(ids != asked[0] for ids in asked):
            return None
        row = self._ahead.answer(asked[0])
        further = self._ahead.after(asked[0]) if row is None else None
        if further is not None:
            rows, cost = await self._backend.along(further, 2)
            self._count(cost)
            self._ahead.keep(further, rows[1])
            row = rows[0]
        return None if row is None else np.stack([row] * len(asked))

    async def known(self, sequence: Sequence[int]) -> int:
        ids = self._backend.checked(sequence)
        return await self._backend.call(lambda engine: engine.known(ids))

    async def score(self, sequence: Sequence[int], start: int) -> npt.NDArray[np.float64]:
        ids = self._backend.checked(sequence)
        if start < 1:
            raise ValueError("scoring starts at the second token or later")
        scores, cost = await self._backend.call(lambda engine: engine.score(ids, start))
        self._count(cost)
        return scores

    async def score_options(self, prompt: Sequence[int], options: Sequence[Sequence[int]]) -> list[npt.NDArray[np.float64]]:
        start = self._backend.checked(prompt)
        asked = [tuple(self._backend.checked([*start, *option])[len(start) :]) for option in options]
        scores, cost = await self._backend.call(lambda engine: engine.score_options(start, asked))
        self._count(cost)
        return scores

    def _count(self, cost: Cost) -> None:
        self._usage.forward_passes += cost.passes
        self._usage.tokens_computed += cost.computed
        self._usage.tokens_reused += cost.reused

    async def forget(self) -> None:
        """Forget what queries before this one have read. Others that run meanwhile read it again."""
        await self._backend.call(lambda engine: engine.branches.clear())

    async def close(self) -> None:
        self._backend.left(self)


def load_local(spec: ModelSpec, *, progress: Progress | None = None) -> InProcessBackend:
    """The model of a `local:` string or `lmql.inprocess(…)`. Options: see `lmqlc.backends.pretrained`. Errors: as `load_pretrained`."""
    options = dict(spec.options)
    source = find_model(spec.name, options, progress)
    elsewhere = options.get("tokenizer")
    if elsewhere is not None and not Path(str(elsewhere)).expanduser().exists():
        find_model(str(elsewhere), options, progress)
    try:
        return load_model(source, spec.name, options, progress)
    except ModelNotFound:
        if Path(source).exists() or options.get("local_files_only"):
            raise
    download(spec.name, hub_options(options), progress)  # the cache held only a part of it
    return load_model(source, spec.name, options, progress)


def load_demo(spec: ModelSpec, *, progress: Progress | None = None) -> InProcessBackend:
    """The embedded demo model: a checkpoint directory like any other."""
    if not (DEMO_DIRECTORY / "config.json").exists():
        raise BackendUnavailable("the embedded demo model is not part of this installation; name a model: 'local:NAME_OR_PATH'")
    return load_model(str(DEMO_DIRECTORY), "demo", dict(spec.options), progress)


def load_model(source: str, name: str, options: dict[str, Any], progress: Progress | None = None) -> InProcessBackend:
    """A backend for a checkpoint directory or a cached model."""
    budget = options.get("cache_bytes", DEFAULT_CACHE_BYTES)
    if not isinstance(budget, int) or budget < 0:
        raise LmqlError(f"cache_bytes is a number of bytes, not {budget!r}")
    model, hf_tokenizer = load_pretrained(source, name, options, progress)
    from lmqlc.backends.engine import Engine
    from lmqlc.backends.transformers_tokenizer import from_transformers

    with quiet(), load_errors(name):
        engine = Engine(model, budget=budget)
    if not engine.causal:
        raise ModelNotFound(f"{name!r} reads text in both directions; a model that writes text is a causal one")
    generation = getattr(model, "generation_config", None)
    ends = eos_ids(generation.to_dict() if generation else {}) or eos_ids(model.config.to_dict())
    tokenizer = from_transformers(hf_tokenizer, eos=ends, width=engine.width, owned=True)
    return InProcessBackend(name, engine, tokenizer, context_length_of(model.config))


def context_length_of(config: Any) -> int | None:
    """The longest sequence a model takes, as its config says; None where it does not."""
    text = config.get_text_config(decoder=True)
    for key in ("max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length", "seq_length"):
        value = getattr(text, key, None)
        if isinstance(value, int) and value > 0:
            return value
    return None
