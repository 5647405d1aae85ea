"""Bounds on compilation. What goes past one is a clear error (`build.py` words it), never a hang."""

MAX_STATES = 200_000
"""States of one automaton over code points."""

MAX_BYTE_STATES = 400_000
"""States of one automaton over bytes, those inside characters included."""

MAX_REGIONS = 500
"""Ranges of token counts that one formula tells apart."""

MAX_SECONDS = 3.5
"""Seconds of processor time (a busy machine gives the same answer) for the states of one automaton; its arrays take at most one more."""

MAX_WORK = 12_000_000
"""Nodes, their arguments and parts of derivatives in memory: some 500 MB."""

COUNTER_THRESHOLD = 16
"""Upper bounds on characters above this one are kept as a counter outside the states where that is exact."""


class LimitExceeded(Exception):
    """A bound was reached; `what` is "states", "time", "memory" or "regions"."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what
