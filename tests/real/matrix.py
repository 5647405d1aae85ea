"""Forty programs on every engine: `python -m tests.real.matrix [--engines A,B] [--only WORD] [--answers]`, with `LMQLC_REAL` set.

The model in this process is what the others are compared with. A cell says

    =         the same texts in every hole, the same probabilities within a thousandth
    numerics  other texts, whose log-probabilities by the model in this process lie within a thousandth of each other
    refused   a clear error that the engine cannot hold the program's constraints
    checked   other texts, from an engine that can only check what it is given
    differs   anything else

`reasons.json` says why a cell is what it is; a cell that is not `=` and has no reason fails the test.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import lmqlc
from tests.real.engines import ENGINES, available, folder

PROGRAMS = sorted(Path(__file__).with_name("programs").glob("*.lmql"))
REASONS = Path(__file__).with_name("reasons.json")
CLOSE = 1e-3
"""How far probabilities, and log-probabilities of two texts, may lie apart."""

Cell = Literal["=", "numerics", "refused", "checked", "differs"]


@dataclass
class Hole:
    """What a program has in one hole: the prompt before it, and its text."""

    name: str
    prompt: str
    text: str


@dataclass
class Answer:
    """What a program gives on an engine: the holes of every branch, its distribution, or why there is none."""

    branches: list[list[Hole]] = field(default_factory=list)
    shares: list[tuple[str, float]] = field(default_factory=list)
    error: str = ""
    kind: str = ""
    seconds: float = 0.0

    def texts(self) -> list[list[tuple[str, str]]]:
        """Names and texts of the holes, by branch."""
        return [[(hole.name, hole.text) for hole in branch] for branch in self.branches]


def answer(program: Path, model: Any) -> Answer:
    """Run a program with a model."""
    started = time.perf_counter()
    lmqlc.set_default_model(model)
    try:
        given = asyncio.run(lmqlc.run_file(str(program), model=model))
    except lmqlc.errors.LmqlError as error:
        return Answer(error=str(error).strip(), kind=type(error).__name__, seconds=time.perf_counter() - started)
    finally:
        lmqlc.set_default_model(None)
    results = given if isinstance(given, list) else [given]
    shares = [(str(value), share) for value, share in results[0].distribution_values or ()]
    return Answer([holes_of(result) for result in results], shares, seconds=time.perf_counter() - started)


def holes_of(result: Any) -> list[Hole]:
    """A result's holes, each with the text that stands before it."""
    found, at = [], 0
    for hole in result.holes:
        start = result.prompt.find(hole.text, at) if hole.text else at
        found.append(Hole(hole.name, result.prompt[: max(start, at)], hole.text))
        at = max(start, at) + len(hole.text)
    return found


def compare(one: Answer, other: Answer, model: Any) -> Cell:
    """The cell of an answer beside that of the model in this process."""
    if other.error:
        return "=" if one.error and one.kind == other.kind else "refused" if other.kind == "UnsupportedConstraint" else "differs"
    if one.texts() != other.texts() or len(one.shares) != len(other.shares):
        return "numerics" if close_texts(one, other, model) else "differs"
    for (value, share), (second, seconds) in zip(sorted(one.shares), sorted(other.shares), strict=True):
        if value != second or abs(share - seconds) > CLOSE:
            return "differs"
    return "="


def close_texts(one: Answer, other: Answer, model: Any) -> bool:
    """Whether the first hole that differs has texts which the model finds as likely as each other."""
    for mine, theirs in zip(one.branches, other.branches, strict=False):
        for first, second in zip(mine, theirs, strict=False):
            if first.text == second.text:
                continue
            if not first.text or not second.text:
                return False
            scores = lmqlc.score_sync(first.prompt, [first.text, second.text], model).scores()
            return abs(scores[0] - scores[1]) <= CLOSE
    return False


def reasons() -> dict[str, str]:
    """Why cells are not `=`, by "engine/program"."""
    return dict(json.loads(REASONS.read_text(encoding="utf-8")))


def matrix(engines: list[str], programs: list[Path], *, show: bool) -> dict[str, dict[str, Cell]]:
    """The cells by engine and program; printed as they come."""
    weights = folder()
    if weights is None:
        raise SystemExit("set LMQLC_REAL to the folder that `python -m tests.real.prepare FOLDER` makes")
    base: dict[str, Answer] = {}
    cells: dict[str, dict[str, Cell]] = {}
    with ENGINES["inprocess"](weights) as here:
        for program in programs:
            base[program.stem] = answer(program, here)
            shown(show or bool(base[program.stem].error), "inprocess", program.stem, base[program.stem], "")
        for name in engines:
            if name == "inprocess":
                continue
            if not available(name, weights):
                print(f"{name}: not in {weights}")
                continue
            with ENGINES[name](weights) as model:
                for program in programs:
                    found = answer(program, model)
                    cell = compare(base[program.stem], found, here)
                    cells.setdefault(name, {})[program.stem] = cell
                    shown(show or cell != "=", name, program.stem, found, cell)
    return cells


def shown(show: bool, engine: str, program: str, found: Answer, cell: str) -> None:
    """Print an answer."""
    if show:
        print(f"{engine:10} {program:26} {cell:9} {found.seconds:5.1f} s  {found.error or found.texts()} {found.shares or ''}", flush=True)


def main() -> int:
    """Print the matrix; the exit status is 1 where a cell that is not `=` has no reason."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engines", default=",".join(ENGINES))
    parser.add_argument("--only", default="")
    parser.add_argument("--answers", action="store_true", help="print the answers that are the same, too")
    given = parser.parse_args()
    programs = [program for program in PROGRAMS if given.only in program.stem]
    cells = matrix(given.engines.split(","), programs, show=given.answers)
    why = reasons()
    print("\n" + " " * 26 + "".join(f"{name:>11}" for name in cells))
    for program in programs:
        print(f"{program.stem:26}" + "".join(f"{cells[name][program.stem]:>11}" for name in cells))
    for name in cells:
        counts = {cell: list(cells[name].values()).count(cell) for cell in ("=", "numerics", "refused", "checked", "differs")}
        print(f"{name}: {', '.join(f'{count} {cell}' for cell, count in counts.items() if count)}")
    open_cells = [f"{name}/{program}" for name, row in cells.items() for program, cell in row.items() if cell != "="]
    for cell in open_cells:
        print(f"{cell}: {why.get(cell, 'NO REASON')}")
    return int(any(cell not in why for cell in open_cells))


if __name__ == "__main__":
    sys.exit(main())
