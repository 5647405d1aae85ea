"""Everything that the project raises on purpose."""

from lmqlc.grammar.errors import (
    ArtifactError,
    BackendUnavailable,
    ConstraintViolated,
    ContextOverflow,
    DeadlineExceeded,
    LmqlCompileError,
    LmqlError,
    LmqlSyntaxError,
    ModelNotFound,
    RunEnded,
    UnsatisfiableConstraint,
    UnsupportedConstraint,
)

__all__ = [
    "ArtifactError",
    "BackendUnavailable",
    "ConstraintViolated",
    "ContextOverflow",
    "DeadlineExceeded",
    "LmqlCompileError",
    "LmqlError",
    "LmqlSyntaxError",
    "ModelNotFound",
    "RunEnded",
    "UnsatisfiableConstraint",
    "UnsupportedConstraint",
]
