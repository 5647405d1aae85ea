"""Constrained text in lmqlc and in other libraries: one checkpoint on disk, one thread each, every engine in an environment of its own.

python -m benchmarks.peers guidance=PYTHON outlines=PYTHON [--config 124m] [--repeats 9] [--checkpoint FOLDER]

PYTHON is the interpreter of an environment with that library: `pip install guidance==0.3.1 "transformers<5" torch==2.13.0` in one,
`pip install outlines==1.3.3 transformers torch==2.13.0` in another. lmqlc runs in this one. The checkpoint (GPT-2's size, random weights)
is made on the spot and read by all of them.

The engines take turns, run by run; each run has a prompt of its own, so that no engine finds it in a cache. What an engine compiles for a
constraint is compiled in a run before the first one that counts. Medians of CPU time of the engine's process (and of the clock, which the
rest of the machine disturbs), and the model's forward passes.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.decode import PROMPT, made_model, made_tokenizer
from benchmarks.peer_runner import ROWS

RUNNER = Path(__file__).with_name("peer_runner.py")


class Engine:
    """A runner's process."""

    def __init__(self, name: str, python: str, checkpoint: str) -> None:
        self.name = name
        home = {"PYTHONPATH": str(RUNNER.parent.parent)} if name == "lmqlc" else {}
        self._process = subprocess.Popen(
            [python, str(RUNNER), name, checkpoint], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **home}
        )
        self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"the runner of {self.name} ended")
        return json.loads(line)

    def run(self, row: str, prompt: str) -> dict[str, Any]:
        """One run: milliseconds `cpu` and `clock`, `calls`, `text`."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"row": row, "prompt": prompt}) + "\n")
        self._process.stdin.flush()
        found: dict[str, Any] = self._answer()
        return found

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def made_checkpoint(config: str, folder: str) -> None:
    """A checkpoint directory with random weights, as transformers saves it."""
    tokenizer = made_tokenizer(config)
    made_model(config, len(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def measured(engines: list[Engine], row: str, repeats: int) -> dict[str, list[dict[str, Any]]]:
    """Every engine's runs of a row, in turns."""
    runs: dict[str, list[dict[str, Any]]] = {engine.name: [] for engine in engines}
    for number in range(-1, repeats):
        for engine in engines:
            found = engine.run(row, f"Part {number + 2}. {PROMPT}")
            if number >= 0:
                runs[engine.name].append(found)
    return runs


def cells(runs: list[dict[str, Any]]) -> str:
    cpu, clock = (statistics.median(run[key] for run in runs) for key in ("cpu", "clock"))
    calls = statistics.mean(run["calls"] for run in runs)
    return f"{cpu:.0f} / {clock:.0f} ms, {calls:.1f} calls"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("peers", nargs="*", metavar="NAME=PYTHON")
    parser.add_argument("--config", choices=("small", "124m"), default="124m")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--checkpoint", help="where the checkpoint lies, or is to be made")
    parser.add_argument("--texts", action="store_true", help="show what the engines wrote")
    arguments = parser.parse_args()
    pythons = {"lmqlc": sys.executable, **dict(peer.split("=", 1) for peer in arguments.peers)}
    with tempfile.TemporaryDirectory() as made:
        folder = arguments.checkpoint or made
        if not (Path(folder) / "config.json").exists():
            made_checkpoint(arguments.config, folder)
        engines = [Engine(name, python, folder) for name, python in pythons.items()]
        print("| row | " + " | ".join(pythons) + " |\n|---|" + "---|" * len(pythons))
        for row in ROWS:
            runs = measured(engines, row, arguments.repeats)
            print(f"| {row} | " + " | ".join(cells(runs[name]) for name in pythons) + " |", flush=True)
            if arguments.texts:
                for name in pythons:
                    print(f"  {name}: {[run['text'] for run in runs[name]]}")
        for engine in engines:
            engine.close()
    print(f"\nCPU / clock, medians of {arguments.repeats}; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
