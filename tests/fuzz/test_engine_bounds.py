"""Whatever a grammar or schema says, it ends in masks or in a clear error, within bounded time and memory: none hangs or kills.

`LMQLC_LONG=1` tries 10,000 of them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lmqlc.compiler.masks.external import MEMORY, WORKERS

LONG = bool(os.environ.get("LMQLC_LONG"))
PARTS, SHARE = (100, 100) if LONG else (1, 60)
SECONDS = 60.0
"""By the clock, for one case with all looks along its text; the processes beside are busy too."""
MEGABYTES = 500.0


@pytest.mark.parametrize("part", range(PARTS))
def test_time_and_memory_are_bounded(part: int) -> None:
    cases = Path(__file__).with_name("engine_cases.py")
    done = subprocess.run([sys.executable, cases, str(part * SHARE), str(SHARE)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    print(found)
    assert found["slowest"][0][0] <= SECONDS, found
    assert found["megabytes"] <= MEGABYTES, found
    assert found["worker_megabytes"] <= (MEMORY >> 20) + 300 and found["workers"] <= WORKERS, found
    assert sum(found["outcomes"].values()) == SHARE
    assert {"masks", "unsatisfiable", "refused", "failed", "given up"} >= set(found["outcomes"]), found
    assert found["outcomes"]["masks"] > SHARE // 3, found
