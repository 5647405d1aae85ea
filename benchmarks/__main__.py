"""Runs every benchmark that needs no argument, one after another. `benchmarks.masks` needs folders of tokenizers,
`benchmarks.peers` other environments."""

from __future__ import annotations

import subprocess
import sys

BENCHMARKS = ("startup", "decode", "paper")


def main() -> None:
    for name in BENCHMARKS:
        print(f"## {name}\n", flush=True)
        subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=True)
        print()


if __name__ == "__main__":
    main()
