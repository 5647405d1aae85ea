"""What the branches of one run share: model and session, decoder, and who listens."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import CodeType
from typing import TYPE_CHECKING, Any, cast

from lmqlc.backends.base import Backend, Progress, Session, SessionUsage, Tokenizer
from lmqlc.backends.text import TextBackend, TextSession, takes_text
from lmqlc.compiler.ir import HoleIR, Program
from lmqlc.grammar.errors import LmqlError, UnsupportedConstraint
from lmqlc.runtime import decoders
from lmqlc.runtime.batch import BatchedLogits
from lmqlc.runtime.deadline import Deadline
from lmqlc.runtime.decoders.base import BaseDecoder
from lmqlc.runtime.effects import Effects
from lmqlc.runtime.link import LinkedHole
from lmqlc.runtime.models import AnyBackend, ModelValue, open_model, over_wire
from lmqlc.runtime.stored import StoredAutomata
from lmqlc.runtime.stream import Event, OutputWriter
from lmqlc.runtime.verbose import warn

if TYPE_CHECKING:
    from lmqlc.runtime.interpreter import Interpreter


@dataclass(frozen=True)
class Settings:
    """What a caller chooses for a run.

    model: goes before the program's `from` clause; None leaves it to the program, then to `default_model`.
    decoder, options: go before the program's header, argument by argument. An argument of the header that another decoder does not
        take is left out.
    stored: linked constraints from the program's artifact.
    certificate: where the run's certificate goes: a path, a function of it, True for standard output, None for nowhere.
    left: tokens that the query around this one may still spend; None: any number.
    warn: is told what a user should know beside the results. gives_value: the caller hands values of
        the program on, as if it returned them.
    around: what stands between the run and its loaded model, for tests that record what it says.
    """

    model: ModelValue = None
    default_model: Callable[[], ModelValue] | None = None
    decoder: str | None = None
    options: Mapping[str, object] = field(default_factory=dict)
    writers: Sequence[OutputWriter] = ()
    progress: Progress | None = None
    stored: StoredAutomata | None = None
    around: Callable[[Backend], Backend] | None = None
    certificate: Any = None
    left: int | None = None
    warn: Callable[[str], None] = warn
    gives_value: bool = False

    def listening(self, writer: OutputWriter) -> Settings:
        """These settings with one more writer."""
        return replace(self, writers=(*self.writers, writer))


class Run:
    """One run of one program: opened lazily, at the first hole."""

    def __init__(self, settings: Settings, decoder: str) -> None:
        self.settings = settings
        self.decoder: BaseDecoder = self._first_decoder(decoder)
        self._program_model: ModelValue = None
        self._configured = False
        self._backend: AnyBackend | None = None
        self._session: Session | None = None
        self._text_session: TextSession | None = None
        self._batch: BatchedLogits | None = None
        self._opening = asyncio.Lock()
        self._warned: set[str] = set()
        self._entropy = secrets.randbits(64)
        self._codes: dict[int, tuple[Program, CodeType]] = {}
        self.deadline = Deadline()
        self.deadline.set(self.decoder.timeout)
        self.first: Interpreter | None = None  # the first branch that ran
        self.on_hole: Callable[[Effects], None] | None = None

    def recording_code(self, program: Program) -> CodeType:
        """The code of a program in the form that branches can be copied in."""
        from lmqlc.compiler.code import recording_code_for

        if id(program) not in self._codes:
            self._codes[id(program)] = (program, recording_code_for(program))
        return self._codes[id(program)][1]

    def reach_hole(self, effects: Effects | None) -> None:
        """A branch comes to a hole."""
        if effects is not None and self.on_hole is not None:
            self.on_hole(effects)

    def _first_decoder(self, name: str) -> BaseDecoder:
        """The decoder before the header is reached: its arguments are missing, or it is not known yet which one it is."""
        if not self.settings.decoder and not decoders.is_known(name):
            from lmqlc.runtime.decoders.function import PendingDecoder

            return PendingDecoder({})
        return decoders.make(self.settings.decoder or name, self.settings.options)

    def configure(self, name: str, arguments: Mapping[str, object], bound: object = None) -> None:
        """The program's header; branches repeat it, the first one counts. bound: what the program binds the decoder's name to."""
        if self._configured:
            return
        self._configured = True
        made = decoders.decoder_class(name) if bound is None or decoders.is_known(name) else decoders.class_of(name, bound)
        if self.settings.decoder not in (None, name):
            made(arguments)  # the header must be right, even where it is overridden
            made = decoders.decoder_class(str(self.settings.decoder))
            arguments = {key: value for key, value in arguments.items() if key in decoders.takes(str(self.settings.decoder))}
        self.decoder = made({**arguments, **self.settings.options})
        self.deadline.set(self.decoder.timeout)
        if self.decoder.n > 1 and not self.decoder.searches and not decoders.is_known(self.settings.decoder or name):
            raise LmqlError(
                f"the decoder `{name}`, which the program binds itself, has one branch: registered by a package it may have more"
            )

    @property
    def searches(self) -> bool:
        """The decoder grows a tree of branches."""
        return self.decoder.searches

    def may_branch(self, program: Program) -> bool:
        """The program's run may have several branches: the decoder's name says so, or it is told how many."""
        from lmqlc.compiler.record_calls import header_arguments

        return self.searches or self.decoder.n > 1 or (not self.settings.decoder and "n" in header_arguments(program.body))

    def seed_of(self, branch: int, hole: int) -> tuple[int, int, int]:
        """The seed of a hole's random generator: by the decoder's `seed` (a fresh one where it has none), the branch, and how many
        holes of the branch came before it. So what a hole says depends neither on the other branches nor on where it is decoded."""
        return (self.seed, branch, hole)

    @property
    def seed(self) -> int:
        """The decoder's seed; the one that was drawn where none was given."""
        return self._entropy if self.decoder.seed is None else self.decoder.seed

    @property
    def opened(self) -> AnyBackend | None:
        """The model, where the run has needed one."""
        return self._backend

    def set_model(self, value: ModelValue) -> None:
        """The program's `from` clause."""
        self._program_model = value

    def chosen_model(self) -> ModelValue:
        """The caller's model, else the program's, else the default."""
        value = self.settings.model if self.settings.model is not None else self._program_model
        if value is None and self.settings.default_model is not None:
            return self.settings.default_model()
        return value

    async def any_backend(self) -> AnyBackend:
        """The loaded model, whatever it takes and says."""
        if self._backend is None:
            value = self.chosen_model()
            if value is None:
                raise LmqlError("no model: name one in a `from` clause, or give `model=`")
            wire = self.decoder.arguments.get("backend")
            value = value if wire is None else over_wire(value, wire)
            backend = await open_model(value, self.settings.progress)
            around = self.settings.around
            if isinstance(backend, TextBackend):
                if around is not None:
                    raise UnsupportedConstraint(
                        f"what `{backend.name}` says cannot be recorded: it says text, not tokens of a known tokenizer; "
                        "record with a model in this process (local:NAME), or run the tests without recording"
                    )
                self._backend = backend
            else:
                self._backend = backend if around is None else around(backend)
        return self._backend

    async def backend(self) -> Backend:
        """The loaded model, one of tokens."""
        backend = await self.any_backend()
        if takes_text(backend):
            raise UnsupportedConstraint(f"the decoder `{self.decoder.name}` needs scores of tokens, which `{backend.name}` does not give")
        return cast(Backend, backend)

    async def text_session(self, backend: TextBackend) -> TextSession:
        """The run's session with a server that says text."""
        async with self._opening:
            if self._text_session is None:
                self._text_session = await backend.open_text()
        return self._text_session

    async def session(self) -> Session:
        """The run's session with the model."""
        async with self._opening:
            if self._session is None:
                self._session = await (await self.backend()).open()
                forget = getattr(self._session, "forget", None)
                if not self.decoder.cache and forget is not None:
                    await forget()
        return self._session

    async def tokenizer(self) -> Tokenizer:
        """The model's tokenizer."""
        return (await self.backend()).tokenizer

    async def batch(self) -> BatchedLogits:
        """Where the branches ask for logits."""
        session = await self.session()
        if self._batch is None:
            self._batch = BatchedLogits(session)
            self._batch.branches = self.decoder.n
        return self._batch

    async def begin_hole(self, name: str, prompt: Sequence[int], kept: int) -> None:
        """Tell a session that wants to know that a hole begins after these ids, of which only the first `kept` may be asked about: the
        others were taken back."""
        begin = getattr(await self.session(), "begin_hole", None)
        if begin is not None:
            begin(name, prompt, kept)

    def branch_ended(self) -> None:
        """A branch asks no more; the others need not wait for it."""
        if self._batch is not None and self._batch.branches > 1:
            self._batch.branches -= 1

    def warn(self, message: str) -> None:
        """Tell the user something once."""
        if message not in self._warned:
            self._warned.add(message)
            self.settings.warn(message)

    def emit(self, event: Event, branch: int = 0) -> None:
        """Tell everybody who listens to the event's branch."""
        for writer in self.settings.writers:
            if branch == 0 or getattr(writer, "every_branch", False):
                writer.write(event)

    async def drain(self) -> None:
        """Wait for listeners that are behind; and past the deadline for the event loop, which ends the run."""
        if self.deadline.passed:
            await asyncio.sleep(0)
        for writer in self.settings.writers:
            wait = getattr(writer, "drain", None)
            if wait is not None:
                await wait()

    async def require_masks(self, hole: HoleIR, linked: LinkedHole) -> None:
        """Raise UnsupportedConstraint where the model's backend cannot hold a constraint."""
        backend = await self.backend()
        if linked.constraint is not None and backend.level != "exact":
            raise UnsupportedConstraint(
                f"the backend `{backend.name}` cannot hold the constraint of hole `{hole.name}`: it gives no scores of next tokens; "
                "use a model in this process (`local:NAME`), or leave the constraint out"
            )

    def spent(self) -> SessionUsage | None:
        """What the session has cost so far; None where no model was asked."""
        session = self._session or self._text_session
        return None if session is None else session.usage

    async def close(self) -> None:
        """End the session; the model stays loaded."""
        for session in (self._session, self._text_session):
            if session is not None:
                await session.close()
