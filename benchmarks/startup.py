"""CPU seconds of whole `lmqlc` processes, beside those of a bare interpreter.

python -m benchmarks.startup [--runs N]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

PROGRAM = """"Say hi: [WHO]" where len(TOKENS(WHO)) < 10 and STOPS_AT(WHO, "\\n")
for i in range(3):
    "-[THING]" where STOPS_BEFORE(THING, "\\n")
"It is [WHEN]" where REGEX(WHEN, r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
"""


def cpu_seconds(command: list[str]) -> float:
    """User plus system seconds of one run of a command."""
    before = os.times()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def rows(folder: Path) -> dict[str, list[str]]:
    query = folder / "q.lmql"
    query.write_text(PROGRAM, encoding="utf-8")
    lmqlc = str(Path(sys.executable).with_name("lmqlc"))
    return {
        "python -c pass": [sys.executable, "-c", "pass"],
        "lmqlc --version": [lmqlc, "--version"],
        "lmqlc --help": [lmqlc, "--help"],
        "lmqlc check q.lmql": [lmqlc, "check", str(query)],
        "lmqlc compile q.lmql": [lmqlc, "compile", str(query), "-o", str(folder / "q.lmqlc")],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=11)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as name:
        commands = rows(Path(name))
        for command in commands.values():
            cpu_seconds(command)
        times: dict[str, list[float]] = {label: [] for label in commands}
        for _ in range(runs):
            for label, command in commands.items():
                times[label].append(cpu_seconds(command))
    print("| command | CPU s, median | min | max |\n|---|---|---|---|")
    for label, seconds in times.items():
        print(f"| `{label}` | {statistics.median(seconds):.3f} | {min(seconds):.3f} | {max(seconds):.3f} |")


if __name__ == "__main__":
    main()
