"""The errors of the project; `lmqlc.errors` is their public home."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lmqlc.grammar.diagnostics import Diagnostic, render_all
from lmqlc.grammar.source import Source


class LmqlError(Exception):
    """Any error of the project.

    `diagnostics` holds the findings, `source` the program they are about (None where there is none),
    `result` what a run had produced when it failed (None outside a run).
    """

    exit_code = 1

    def __init__(self, message: str | None = None, diagnostics: Sequence[Diagnostic] = (), source: Source | None = None) -> None:
        self.diagnostics = tuple(diagnostics)
        self.source = source
        self.result: Any = None
        self.message = message if message is not None else render_all(self.diagnostics, source)
        super().__init__(self.message)


class LmqlSyntaxError(LmqlError):
    """The text is no program. All findings of the run are in `diagnostics`."""


class LmqlCompileError(LmqlError):
    """The program is well formed but cannot mean anything: names, clauses, types, patterns."""


class UnsatisfiableConstraint(LmqlCompileError):
    """No text can meet a hole's constraints."""


class UnsupportedConstraint(LmqlCompileError):
    """A constraint that the chosen backend, or this version, cannot hold; never dropped silently."""


class ConstraintViolated(LmqlError):
    """A constraint that could only be checked, not guaranteed, does not hold."""


class ModelNotFound(LmqlError):
    """No such model, by that name or path."""

    exit_code = 3


class BackendUnavailable(LmqlError):
    """A model or server cannot be used now: not reachable, not installed, out of memory."""

    exit_code = 3


class StreamBroken(BackendUnavailable):
    """A server's answer broke off in the middle; what had arrived of it is valid."""


class ContextOverflow(LmqlError):
    """The prompt leaves no room for a hole: in the model's context window, or within `max_len`."""


class RunEnded(LmqlError):
    """A bound of the whole run (the context window, `max_len`, `max_total_tokens`) ended a program before its `return`.

    `result` is what it had produced: of the likeliest branch, where there are several; `results` those of all.
    """

    results: tuple[Any, ...] = ()
    end: Any = None
    """Where and why, as the runtime knows it."""


class DeadlineExceeded(LmqlError, TimeoutError):
    """A query took longer than its `timeout`."""


class ArtifactError(LmqlError):
    """A `.lmqlc` file that cannot be read: damaged, of another version, or no artifact at all."""
