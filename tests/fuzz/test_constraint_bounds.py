"""Whatever a pattern or formula says, compiling it ends in masks or in a clear error, within bounded time and memory.

`LMQLC_LONG=1` tries 50,000 of them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

LONG = bool(os.environ.get("LMQLC_LONG"))
PARTS, SHARE = (100, 500) if LONG else (2, 60)
SECONDS = 5.0
"""Processor time of one case, everything included."""
MEGABYTES = 500.0
"""What one case may add to the memory of its process."""


@pytest.mark.parametrize("part", range(PARTS))
def test_time_and_memory_are_bounded(part: int) -> None:
    worker = Path(__file__).with_name("constraint_cases.py")
    done = subprocess.run([sys.executable, worker, str(part * SHARE), str(SHARE)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    print(found)
    assert found["seconds"] <= SECONDS, found
    assert found["megabytes"] <= MEGABYTES, found
    assert sum(found["outcomes"].values()) == SHARE
    assert {"masks", "unsatisfiable", "too large", "refused"} >= set(found["outcomes"])
    assert found["outcomes"]["masks"] > SHARE // 3, found
