"""Masks against llguidance and xgrammar, on real vocabularies, in one process and one run.

python -m benchmarks.masks [--engines lmqlc,llguidance,xgrammar,outlines-core] [--rows TEXT] FOLDER...

Every FOLDER holds a `tokenizer.json`; without one, the folders in `$LMQLC_TOKENIZERS` (separated as in `$PATH`). Times are in microseconds
unless they say ms, the best of some runs, for every engine alike; garbage collection is off. Compile times are CPU time, all others by the
clock. Cold masks are those of the first walk along the texts of a constraint just compiled, after the first mask, which belongs to the
compilation; warm ones those of the walks after it. Needs the packages of the `schema` extra and xgrammar; outlines-core, which needs
minutes to compile some rows, takes part where it is named.
"""

from __future__ import annotations

import argparse
import gc
import math
import os
import statistics
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.mask_engines import Engine, Guidance, Ours, Outlines, XGrammar
from benchmarks.mask_rows import ROWS, Row
from lmqlc.backends.base import Vocabulary
from lmqlc.backends.tokenizer import load_tokenizer
from lmqlc.compiler import artifact
from lmqlc.compiler.masks.forms import unpack
from lmqlc.compiler.masks.store import to_arrays
from lmqlc.compiler.masks.trie import build_index, forget_indexes, vocabulary_index

Ids = list[list[int]]
Bits = np.ndarray[Any, np.dtype[np.uint32]]


@dataclass
class Measured:
    """One engine on one row. Compile times in ms, all others in µs."""

    compile: float = math.nan
    cold: list[float] = field(default_factory=list)
    warm: list[float] = field(default_factory=list)
    advance: list[float] = field(default_factory=list)
    apply: list[float] = field(default_factory=list)
    masks: list[Bits] = field(default_factory=list)
    problem: str = ""


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Microseconds of a call, and its result."""
    start = time.perf_counter_ns()
    result = work()
    return (time.perf_counter_ns() - start) / 1000, result


def best_of(runs: int, work: Callable[[], Any]) -> float:
    """CPU time of the best of some runs in ms, all threads together; one run where it takes over a second."""
    times: list[float] = []
    gc.collect()
    while len(times) < runs and not (times and times[0] > 1000):
        start = time.process_time_ns()
        work()
        times.append((time.process_time_ns() - start) / 1e6)
    return min(times)


@dataclass
class Walk:
    """The times of one walk along some texts, step by step, and the masks."""

    mask: list[float] = field(default_factory=list)
    apply: list[float] = field(default_factory=list)
    advance: list[float] = field(default_factory=list)
    masks: list[Bits] = field(default_factory=list)


def walk(engine: Engine, compiled: Any, texts: Ids, width: int) -> Walk:
    out, scores = Walk(), np.zeros(width, np.float32)
    for ids in texts:
        text = engine.start(compiled)
        for token in [*ids, None]:
            taken, bits = timed(text.mask)
            out.mask.append(taken)
            out.masks.append(np.array(bits).reshape(-1).view(np.uint32))
            scores.fill(0)
            out.apply.append(taken + timed(partial(text.apply, scores))[0])
            if token is not None:
                taken, accepted = timed(partial(text.advance, token))
                out.advance.append(taken)
                if not accepted:
                    raise ValueError("refuses a legal token")
    return out


def best(*walks: list[float]) -> list[float]:
    """The best time of every step: what other processes cost the machine is not the engine's."""
    return [min(times) for times in zip(*walks, strict=True)]


def measure(engine: Engine, row: Row, texts: Ids, width: int) -> Measured:
    out = Measured()
    try:
        compiled = engine.compile(row)
        if compiled is None:
            out.problem = "cannot say it"
            return out
        out.compile = best_of(5, lambda: engine.start(engine.compile(row)).mask())
        runs = 3 if out.compile < 1000 else 1
        cold = []
        for _ in range(runs):
            compiled = engine.compile(row)
            engine.start(compiled).mask()  # the first mask belongs to the compilation
            cold.append(walk(engine, compiled, texts, width))
        warm = [walk(engine, compiled, texts, width) for _ in range(3)]
    except Exception as error:  # a peer may fail in any way; the table says so
        out.problem = str(error).splitlines()[0][:60]
        return out
    out.masks = cold[0].masks
    out.cold, out.warm = best(*(w.mask for w in cold)), best(*(w.mask for w in warm))
    out.advance, out.apply = best(*(w.advance for w in warm)), best(*(w.apply for w in warm))
    return out


@dataclass
class OurExtras:
    """What only we have. Times in ms, sizes in KB.

    cached: compiled again in the process. opening: the artifact. aot: the first mask after that. disk: from the file of the cache.
    """

    states: int
    classes: int
    cached: float
    opening: float
    aot: float
    disk: float
    aot_cold: list[float]
    memory: float
    artifact: float
    packed: float


def extras(ours: Ours, row: Row, texts: Ids, folder: Path) -> OurExtras:
    linked, path, kept = ours.compile(row), folder / "q.lmqlc", folder / "kept.bin"
    automaton = linked.core.automaton
    ours.save(linked, path, kept)
    arrays = artifact.load(path)[1]
    times = (
        best_of(5, lambda: ours.start(ours.again(automaton)).mask()),
        best_of(9, lambda: artifact.load(path)),
        best_of(9, lambda: ours.first(arrays).mask()),
        best_of(9, lambda: ours.recalled(kept).mask()),
    )
    cold = best(*(walk(ours, ours.first(arrays).linked, texts, len(ours.vocabulary)).mask for _ in range(3)))
    tables = sum(array.nbytes for array in to_arrays(linked).values())
    data = path.read_bytes()
    whole = linked.core.classes.whole
    classes = whole.classes if whole is not None else 0
    sizes = (tables / 1e3, len(data) / 1e3, len(zlib.compress(data)) / 1e3)
    return OurExtras(linked.core.steps.states, classes, *times, cold, *sizes)


def quantiles(times: Sequence[float]) -> str:
    """p50 / p99 / max."""
    if not times:
        return "–"
    ordered = sorted(times)
    return " / ".join(f"{value:.3g}" for value in (ordered[len(ordered) // 2], ordered[int(0.99 * (len(ordered) - 1))], ordered[-1]))


def p50(times: Sequence[float]) -> float:
    return statistics.median(times) if times else math.nan


def geomean(values: Sequence[float]) -> float:
    known = [math.log(value) for value in values if value == value and value > 0]
    return math.exp(sum(known) / len(known)) if known else math.nan


def differing(mine: Measured, peer: Measured, width: int) -> str:
    """At how many steps a peer's mask is another than ours."""
    if peer.problem or not peer.masks:
        return "–"
    wrong = sum(not np.array_equal(unpack(a, width), unpack(b, width)) for a, b in zip(mine.masks, peer.masks, strict=True))
    return f"{wrong}/{len(mine.masks)}"


def table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for line in lines:
        print("| " + " | ".join(line) + " |")
    print(flush=True)


def report(rows: Sequence[Row], found: dict[str, list[Measured]], more: list[OurExtras], width: int) -> None:
    names, mine = list(found), found["lmqlc"]
    peers = names[1:]
    head = [
        "constraint",
        "states",
        "classes",
        "cold ms",
        "cached ms",
        "open ms",
        "AOT ms",
        "disk ms",
        *(f"{peer} ms" for peer in peers),
        "tables KB",
        "file KB",
        "zlib KB",
    ]
    lines = []
    for at, (row, extra) in enumerate(zip(rows, more, strict=True)):
        peer_times = [found[peer][at].problem or f"{found[peer][at].compile:.2f}" for peer in peers]
        ours_times = [f"{ms:.3f}" for ms in (extra.cached, extra.opening, extra.aot, extra.disk)]
        numbers = [f"{mine[at].compile:.2f}", *ours_times, *peer_times]
        sizes = [f"{extra.memory:.0f}", f"{extra.artifact:.0f}", f"{extra.packed:.0f}"]
        lines.append([f"`{row.name}`", str(extra.states), str(extra.classes), *numbers, *sizes])
    print("Compile and first mask\n")
    table(head, lines)
    for title, of in (("Cold masks", "cold"), ("Warm masks", "warm"), ("Advance", "advance"), ("Warm mask and apply", "apply")):
        print(f"{title}, p50 / p99 / max\n")
        ours_too = ["lmqlc AOT"] if of == "cold" else []
        lines = [
            [f"`{row.name}`"]
            + [quantiles(getattr(found[name][at], of)) for name in names]
            + [quantiles(more[at].aot_cold) for _ in ours_too]
            for at, row in enumerate(rows)
        ]
        middles = [f"{geomean([p50(getattr(m, of)) for m in found[name]]):.3g}" for name in names]
        middles += [f"{geomean([p50(extra.aot_cold) for extra in more]):.3g}" for _ in ours_too]
        table(["constraint", *names, *ours_too], [*lines, ["geometric mean of p50", *middles]])
    print("Steps at which a peer's mask differs from ours\n")
    table(
        ["constraint", *peers],
        [[f"`{row.name}`", *(differing(mine[at], found[p][at], width) for p in peers)] for at, row in enumerate(rows)],
    )


def bars(found: dict[str, list[Measured]], more: list[OurExtras]) -> None:
    """One line for every bar."""
    mine = found["lmqlc"]
    peer = found.get("llguidance", [])
    both = [(a, b) for a, b in zip(mine, peer, strict=False) if not b.problem]
    warm, cold = [p50(m.warm) for m in mine], [max(m.cold) for m in mine]
    lines = [
        ("warm mask p50, worst row", f"{max(warm):.2f} µs", "≤ 1 µs"),
        ("cold mask, worst of all", f"{max(cold):.0f} µs", "≤ 300 µs"),
        ("AOT first mask, worst row", f"{max(e.aot for e in more):.3f} ms", "≤ 0.2 ms"),
        ("the same with opening the file of the cache, worst row", f"{max(e.disk for e in more):.3f} ms", ""),
        ("compile + first mask, worst row", f"{max(m.compile for m in mine):.1f} ms", "≤ 150 ms"),
        ("mask + apply p50, worst row", f"{max(p50(m.apply) for m in mine):.1f} µs", "≤ 30 µs"),
    ]
    if both:
        ratio = geomean([p50(b.warm) for _, b in both]) / geomean([p50(a.warm) for a, _ in both])
        slower = geomean([a.compile / b.compile for a, b in both])
        again = [e.cached / b.compile for e, b in zip(more, peer, strict=True) if not b.problem]
        lines += [
            ("warm mask against llguidance, geometric mean", f"{ratio:.1f}× faster", "≥ 8×"),
            ("compile + first mask against llguidance, geometric mean", f"{slower:.2f}× its time", "≤ 10×"),
            ("second compile against llguidance, worst row", f"{max(again):.2f}× its time", "≤ 1×"),
        ]
    table(["bar", "measured", "wanted"], lines)


def index_times(vocabulary: Vocabulary) -> str:
    """How long the index of a vocabulary takes to build, and to load from the cache on disk."""

    def loaded() -> object:
        forget_indexes()
        index = vocabulary_index(vocabulary)
        return index.parents.any() and index.ends.any()

    built = best_of(3, lambda: build_index(vocabulary))
    loaded()
    read = best_of(5, loaded)
    return f"Index of the vocabulary: built in {built / 1e3:.2f} s (wanted 1.5), loaded from the cache in {read:.1f} ms (wanted 50)."


def run(folder: Path, engines: Sequence[str], rows: Sequence[Row]) -> None:
    tokenizer = load_tokenizer(str(folder))
    vocabulary = tokenizer.vocabulary
    taken, ours = timed(lambda: Ours(folder))
    print(f"## {folder.name}: {len(vocabulary):,} tokens (ready in {taken / 1e6:.2f} s)\n\n{index_times(vocabulary)}\n", flush=True)
    made: dict[str, Callable[[], Engine]] = {
        "llguidance": lambda: Guidance(folder, list(vocabulary.eos_ids)),
        "xgrammar": lambda: XGrammar(vocabulary.tokens, list(vocabulary.eos_ids)),
        "outlines-core": lambda: Outlines(vocabulary.tokens, list(vocabulary.eos_ids)),
    }
    used: list[Engine] = [ours, *(made[name]() for name in engines if name in made)]
    found: dict[str, list[Measured]] = {engine.name: [] for engine in used}
    more = []
    with tempfile.TemporaryDirectory() as name:
        for row in rows:
            print(f"{row.name} …", file=sys.stderr, flush=True)
            texts = [tokenizer.encode(text, first=True) for text in row.texts]
            for engine in used:
                found[engine.name].append(measure(engine, row, texts, len(vocabulary)))
            if found["lmqlc"][-1].problem:
                raise SystemExit(f"{row.name}: {found['lmqlc'][-1].problem}")
            more.append(extras(ours, row, texts, Path(name)))
    report(rows, found, more, len(vocabulary))
    bars(found, more)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--engines", default="lmqlc,llguidance,xgrammar")
    parser.add_argument("--rows", default="", help="only rows whose name holds this text")
    chosen = parser.parse_args()
    folders = chosen.folders or [Path(name) for name in os.environ.get("LMQLC_TOKENIZERS", "").split(os.pathsep) if name]
    if not folders:
        parser.error("name the folders of some tokenizers")
    gc.disable()
    torch.set_num_threads(1)  # xgrammar applies masks with torch; one thread, as for everything else
    for folder in folders:
        run(folder, chosen.engines.split(","), [row for row in ROWS if chosen.rows in row.name])


if __name__ == "__main__":
    main()
