"""Bounds on compilation. What goes past one is a clear error (`build.py` words it), never a hang."""

MAX_STATES = 200_000
"""States of one automaton over code points."""

MAX_BYTE_STATES = 400_000
"""States of one automaton over bytes, those inside characters included."""

MAX_ENTRIES = 10_000_000
"""Entries of the table of one automaton over bytes, by region, state and class of bytes: 40 MB, and as much again over a vocabulary."""

MAX_REGIONS = 500
"""Ranges of token counts that one formula tells apart."""

MAX_STEPS = 3_000_000
"""Steps of one compilation: nodes made, parts of derivatives compared, places looked around at. Some 1 to 3 seconds; the same count
on any machine."""

MAX_SECONDS = 4.0
"""Seconds of processor time for so many steps: where a machine is too slow for them, this bound is met first. The arrays of an automaton
take at most one second more."""

MAX_WORK = 12_000_000
"""Nodes, their arguments and parts of derivatives in memory: some 500 MB."""

COUNTER_THRESHOLD = 16
"""Upper bounds on characters above this one are kept as a counter outside the states where that is exact."""


LONGEST_TEXT = 1 << 26
"""Characters, words and sentences that no text has: an upper bound from here on is none, a lower bound from here on cannot be met."""

MOST_TOKENS = 1 << 40
"""Tokens that no text takes: an upper bound from here on is none, a lower bound from here on cannot be met."""

MAX_OPTIONS = 200_000
"""Strings to choose from, and phrases of the stops of one hole."""


class LimitExceeded(Exception):
    """A bound was reached; `what` is "states", "steps", "time", "memory" or "regions"."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what
