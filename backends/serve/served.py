"""The model that a server serves: how far its loading is, and, once it is ready, its backend, scheduler and linker.

Everything that answers requests works on this handle; the routes of `app.py` are given it.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Literal

from lmqlc.backends.base import Backend, ModelSpec, Progress, Tokenizer
from lmqlc.backends.registry import load
from lmqlc.backends.scheduler import Scheduler
from lmqlc.backends.serve.linker import Linker
from lmqlc.backends.serve.metrics import Metrics
from lmqlc.backends.serve.problems import Problem
from lmqlc.backends.serve.settings import Settings
from lmqlc.grammar.errors import BackendUnavailable, LmqlError

FAILURES = 3
"""Calls of the model that fail in a row before the server says that it is failing."""

Status = Literal["loading", "ready", "failing"]


@dataclass(frozen=True)
class Ready:
    """A loaded model and what works on it."""

    backend: Backend
    scheduler: Scheduler
    linker: Linker

    @property
    def tokenizer(self) -> Tokenizer:
        return self.backend.tokenizer

    @property
    def width(self) -> int:
        """Tokens of the vocabulary."""
        return len(self.backend.tokenizer.vocabulary)


class Served:
    """One model, from the server's start to its end. `load` may run in any thread."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.started = time.time()
        self.progress: tuple[str, float | None] = ("starting", None)
        self.error: LmqlError | None = None
        self._ready: Ready | None = None
        self._settled = threading.Event()

    @property
    def name(self) -> str:
        """The model's name in answers."""
        return self.settings.names[0]

    @property
    def status(self) -> Status:
        if self.error is not None or (self._ready is not None and self._ready.scheduler.failures >= FAILURES):
            return "failing"
        return "ready" if self._ready is not None else "loading"

    def load(self, spec: ModelSpec | Backend, progress: Progress | None = None) -> None:
        """Loads the model; what goes wrong is in `error`."""

        def told(text: str, done: float | None) -> None:
            self.progress = (text, done)
            if progress is not None:
                progress(text, done)

        try:
            backend = load(spec, progress=told) if isinstance(spec, ModelSpec) else spec
            _require_logits(backend)
            vocabulary = backend.tokenizer.vocabulary  # worked out now, so that no request waits for it
            told(f"{len(vocabulary)} tokens", 1.0)
            scheduler = Scheduler(backend, batch=self.settings.batch, queue=self.settings.queue)
            self._ready = Ready(backend, scheduler, Linker(backend.tokenizer))
        except LmqlError as error:
            self.error = error
        except Exception as error:  # noqa: BLE001 - a model's own code may raise anything
            self.error = BackendUnavailable(f"the model cannot be loaded: {type(error).__name__}: {error}")
        finally:
            self._settled.set()

    def settled(self, patience: float | None = None) -> bool:
        """Waits until the model is ready or has failed."""
        return self._settled.wait(patience)

    def ready(self) -> Ready:
        """The loaded model. Raises Problem (503) while there is none."""
        if self._ready is not None:
            return self._ready
        if self.error is not None:
            raise Problem(503, f"the model failed to load: {self.error.message}", "model_unavailable")
        text, done = self.progress
        share = "" if done is None else f" ({done:.0%})"
        raise Problem(503, f"the model is loading: {text}{share}", "model_loading", retry_after=2)

    def check_model(self, name: str | None) -> None:
        """Raises Problem (404) for a name that the served model does not have: no request chooses what is loaded."""
        if name is not None and name not in self.settings.names:
            known = ", ".join(map(repr, self.settings.names))
            shown = name[:200].encode("ascii", "backslashreplace").decode()
            raise Problem(404, f"the model {shown!r} is not served here; this server has {known}", "model_not_found", param="model")

    def stop(self) -> None:
        """No more work is taken in; what is there is done."""
        if self._ready is not None:
            self._ready.scheduler.stop()

    def close(self, patience: float) -> None:
        """Ends the work that is left, and its threads."""
        if self._ready is not None:
            self._ready.scheduler.close(patience)
            self._ready.linker.close()


def _require_logits(backend: Backend) -> None:
    if backend.level != "exact":
        raise BackendUnavailable(f"{backend.name!r} gives no logits: it cannot be served")
