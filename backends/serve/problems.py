"""Errors of requests, in the form of OpenAI's API: `{"error": {"message", "type", "param", "code"}}`."""

from __future__ import annotations

import math
from typing import Any

from lmqlc.backends.scheduler import Busy, Expired, Stopping
from lmqlc.grammar.errors import (
    ArtifactError,
    BackendUnavailable,
    ConstraintViolated,
    ContextOverflow,
    LmqlCompileError,
    LmqlError,
    ModelNotFound,
    UnsatisfiableConstraint,
    UnsupportedConstraint,
)

_CODES: tuple[tuple[type[LmqlError], int, str], ...] = (
    (Busy, 429, "queue_full"),
    (Expired, 504, "deadline_exceeded"),
    (Stopping, 503, "shutting_down"),
    (ModelNotFound, 404, "model_not_found"),
    (ContextOverflow, 400, "context_length_exceeded"),
    (UnsatisfiableConstraint, 400, "unsatisfiable_constraint"),
    (UnsupportedConstraint, 400, "unsupported_constraint"),
    (LmqlCompileError, 400, "invalid_constraint"),
    (ConstraintViolated, 422, "constraint_violated"),
    (ArtifactError, 400, "invalid_constraint"),
    (BackendUnavailable, 503, "model_unavailable"),
    (LmqlError, 400, "invalid_value"),
)
"""What the project's own errors are on the wire, first match first."""


class Problem(Exception):
    """A request that cannot be answered. retry_after: seconds, for clients that may try again."""

    def __init__(
        self, status: int, message: str, code: str = "invalid_value", *, param: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.param = param
        self.retry_after = retry_after

    def body(self) -> dict[str, Any]:
        """The JSON of the answer."""
        kind = {401: "authentication_error", 429: "rate_limit_error", 404: "not_found_error"}.get(self.status)
        kind = kind or ("server_error" if self.status >= 500 else "invalid_request_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    def headers(self) -> dict[str, str]:
        """`Retry-After`, and what else HTTP wants beside the status."""
        found = {} if self.retry_after is None else {"retry-after": str(max(1, math.ceil(self.retry_after)))}
        return found | ({"www-authenticate": "Bearer"} if self.status == 401 else {})


def problem_of(error: LmqlError) -> Problem:
    """An error of the project as an answer."""
    status, code = next((status, code) for kind, status, code in _CODES if isinstance(error, kind))
    message = "; ".join(finding.message for finding in error.diagnostics) or error.message
    return Problem(status, message, code, retry_after=getattr(error, "retry_after", None))
