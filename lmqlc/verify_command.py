"""`lmqlc verify`: whether the runs of a certificate repeat."""

from __future__ import annotations

from collections.abc import Sequence

from lmqlc.run_command import compiled_query, parse_arguments
from lmqlc.verify import verify_sync


def verify_command(certificate: str, *, query: str | None, model: str | None, args: Sequence[str]) -> int:
    """Repeat the runs and print what differs; the exit code: 0 where nothing does, else 1."""
    program = None if query is None else compiled_query(query)
    outcome = verify_sync(certificate, program, model=model, arguments=parse_arguments(args))
    print(outcome)
    return 0 if outcome else 1
