"""Lines on standard error: warnings of a run, and what `verbose=True` shows, one line for each hole."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from lmqlc.runtime.results import HoleResult

if TYPE_CHECKING:
    from lmqlc.runtime.run import Run


def warn(message: str) -> None:
    """Show a warning of a run."""
    print(f"lmqlc: warning: {message}", file=sys.stderr, flush=True)


def tell(run: Run, hole: HoleResult, branch: int = 0) -> None:
    """Show a complete hole of a branch, where the run's decoder is told to: the decoder, tokens, seconds and forward passes."""
    if run.decoder.verbose:
        print(_line(run, hole, branch), file=sys.stderr, flush=True)


def _line(run: Run, hole: HoleResult, branch: int) -> str:
    forced = sum(token.forced for token in hole.tokens)
    counts = f"{len(hole.tokens)} tokens" + (f" ({forced} forced)" if forced else "")
    spent = run.spent()
    passes = "" if spent is None else f", {spent.forward_passes} forward passes so far"
    where = f" of branch {branch + 1}" if run.decoder.n > 1 else ""
    return f"lmqlc: {run.decoder.name}: hole `{hole.name}`{where}: {counts} in {hole.seconds:.3f} s, {hole.finish_reason}{passes}"
