"""Grammars and schemas that hang, kill or fill an engine in the process that runs it: what becomes of them here, in seconds and megabytes.

python -m benchmarks.bombs [--tokenizer FOLDER] [--rows TEXT] [--served]

FOLDER holds a `tokenizer.json`; without it the vocabulary is of bytes. Every row is compiled in a fresh worker process, and masks and
forced text are taken along 30 tokens. Seconds are of computing time, here and in the worker, without its start; megabytes the most that the
worker held. The exit status is 1 where something took more than `SECONDS`, or a worker more than its memory.

--served: all rows are sent to a server together instead, and the requests of others are timed meanwhile, and before.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import resource
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lmqlc.backends.base import Vocabulary
from lmqlc.compiler import constraints as c
from lmqlc.compiler.masks import external
from lmqlc.compiler.masks.compose import compose
from lmqlc.compiler.masks.external import MEMORY, workers
from lmqlc.compiler.masks.forms import unpack
from lmqlc.compiler.workers.limits import resident
from lmqlc.grammar.errors import ConstraintViolated, LmqlCompileError

SECONDS = 20.0
STEPS = 30


def _chain(count: int, form: str, last: str = '"a"', name: str = "r") -> str:
    rules = [f"{name}{i}: " + form.replace("&", f"{name}{i + 1}").replace("<", f"{name}{max(0, i - 1)}") for i in range(count)]
    return "\n".join([f"start: {name}0", *rules, f"{name}{count}: {last}"])


def _within(count: int, part: Callable[[Any], Any], inner: Any) -> Any:
    for _ in range(count):
        inner = part(inner)
    return inner


def _definitions(count: int, part: Callable[[Any], Any]) -> Any:
    parts = {f"d{i}": part({"$ref": f"#/$defs/d{i + 1}"}) for i in range(count)}
    return {"$defs": parts | {f"d{count}": {"type": "integer"}}, "$ref": "#/$defs/d0"}


ROWS: dict[str, str | dict[str, Any]] = {
    "A: /a+/ B: /a+b/": "start: A B\nA: /a+/\nB: /a+b/",
    "the same after a choice": 'start: ("x" | "y") A B\nA: /a+/\nB: /a+b/',
    'A: "a"+ and "a"': 'start: A "a"\nA: "a"+',
    "A: /[ab]+/ B: /[ab]+c/": "start: A B\nA: /[ab]+/\nB: /[ab]+c/",
    "4,000 chained rules": _chain(4000, "&"),
    "9,000 chained rules": _chain(9000, "&"),
    "4,000 chained terminals": _chain(4000, "&", name="R"),
    "4,000 chained rules in brackets": _chain(4000, "[&]"),
    "60 rules that double": _chain(60, "& &"),
    "60 terminals that double": _chain(60, "& &", '"a" | "b"', "R"),
    "60 rules that double, or nothing": _chain(60, "& &", '"a" | ""'),
    "1,000 rules that look back": _chain(1000, "< &"),
    "5,000 groups": "start: " + "(" * 5000 + '"a"' + ")" * 5000,
    "5,000 groups in a pattern": "start: /" + "(" * 5000 + "a" + ")" * 5000 + "/",
    "loops of empty rules": 'start: a*\na: b*\nb: c*\nc: "x"?',
    "a cycle without a text": "start: a\na: b\nb: a",
    "ambiguous, with nothing": 'start: s\ns: s s s | s s | "a" | ""',
    'a~1000000': 'start: "a"~1000000',
    "(a~1000)~1000": 'start: ("a"~1000)~1000',
    "/a{1,1000}{1,1000}{1,1000}/": "start: /a{1,1000}{1,1000}{1,1000}/",
    "/(a|b)*a(a|b){25}/": "start: /(a|b)*a(a|b){25}/",
    "/(.*a.*){30}/": "start: /(.*a.*){30}/",
    "8,000 literals": "start: " + " | ".join(f'"{i}"' for i in range(8000)),
    "multipleOf 1000003": {"type": "integer", "multipleOf": 1000003},
    "multipleOf 0.00001": {"type": "number", "multipleOf": 0.00001},
    "29 patterns in an allOf": {"type": "string", "allOf": [{"pattern": chr(97 + i % 26)} for i in range(29)]},
    "3,000 chained $refs": _definitions(3000, lambda ref: ref),
    "2,000 chained arrays": _definitions(2000, lambda ref: {"type": "array", "items": ref}),
    "2,000 chained anyOfs": _definitions(2000, lambda ref: {"anyOf": [ref, {"const": "x"}]}),
    "25 allOfs that double": _definitions(25, lambda ref: {"allOf": [ref, ref]}),
    "25 anyOfs that double": _definitions(25, lambda ref: {"anyOf": [ref, ref]}),
    "190 allOfs in one another": _within(190, lambda inner: {"allOf": [inner]}, {"type": "integer"}),
    "an enum of 5,000": {"enum": [f"value number {i}" for i in range(5000)]},
    "minItems 1000000": {"type": "array", "minItems": 10**6},
    "maxLength 1000000000": {"type": "string", "maxLength": 10**9},
    "a pattern with a length": {"type": "string", "pattern": "^(.*a.*){12}$", "maxLength": 300},
    "900 keys that may be left out": {"type": "object", "properties": {f"k{i}": {"type": "integer"} for i in range(900)}},
    "30 objects of 20 keys in an anyOf": {"anyOf": [{"type": "object", "properties": {f"k{j}": {} for j in range(20)}} for _ in range(30)]},
}  # fmt: skip


def outcome(row: str | dict[str, Any], vocabulary: Vocabulary) -> str:
    """What becomes of a grammar or schema."""
    constraint = c.Grammar(c.Const(row)) if isinstance(row, str) else c.Json(c.Const(row))
    single = {token: number for number, token in enumerate(vocabulary.tokens) if len(token) == 1}
    try:
        made = compose(constraint, vocabulary, encode=lambda text: [single[bytes([byte])] for byte in text.encode()])
        state = made.start()
        for step in range(STEPS):
            made.forced(state)
            allowed = unpack(made.mask(state), len(vocabulary)).nonzero()[0].tolist()
            after = made.advance(state, allowed[step % len(allowed)]) if allowed else None
            if after is None or made.stopped(after) is not None:
                break
            state = after
    except LmqlCompileError as problem:
        return problem.diagnostics[0].message
    except ConstraintViolated as problem:
        return str(problem)
    return "masks"


class Watch:
    """The most memory that a worker process held since the last look, in megabytes."""

    def __init__(self) -> None:
        self._most = 0.0
        threading.Thread(target=self._look, daemon=True).start()

    def _look(self) -> None:
        while True:
            time.sleep(0.01)
            self._most = max([self._most, *self._now()])

    def _now(self) -> list[float]:
        return [(resident(pid) or 0) / (1 << 20) for pid in workers().processes]

    def taken(self) -> float:
        """Megabytes, counted anew from here."""
        most, self._most = max([self._most, *self._now()]), 0.0
        return most


GOOD: dict[str, Any] = {
    "plain": None,
    "a pattern": {"regex": "[ab]{3}"},
    "a schema": {"json": {"type": "array", "items": {"type": "boolean"}}},
    "a grammar": {"grammar": 'start: ("y" | "n")~1..30 "!"'},
}


async def served(rows: dict[str, str | dict[str, Any]]) -> int:
    """Print how long the requests of others take, without and with all rows under way at the same server."""
    import httpx2

    from lmqlc.backends.scripted import RandomBackend
    from lmqlc.backends.serve.server import Server
    from lmqlc.backends.serve.settings import Settings

    with Server(RandomBackend(1), Settings(names=("m",), host="127.0.0.1", port=0)) as server:
        async with httpx2.AsyncClient(base_url=server.url, timeout=300) as client:

            async def ask(structured: Any) -> tuple[int, float]:
                begun = time.perf_counter()
                body = {"prompt": "x", "max_tokens": 30, "temperature": 0, "structured_outputs": structured}
                answer = await client.post("/v1/completions", json={key: value for key, value in body.items() if value is not None})
                return answer.status_code, time.perf_counter() - begun

            async def others(until: Callable[[], bool]) -> dict[str, list[float]]:
                took: dict[str, list[float]] = {name: [] for name in GOOD}
                while not until():
                    for name, structured in GOOD.items():
                        took[name].append((await ask(structured))[1])
                return took

            end = time.perf_counter() + 5
            before = await others(lambda: time.perf_counter() > end)
            tasks = [asyncio.create_task(ask({"grammar" if isinstance(row, str) else "json": row})) for row in rows.values()]
            during = await others(lambda: all(task.done() for task in tasks))
            codes = collections.Counter([(await task)[0] for task in tasks])
    print(
        f"{len(rows)} requests were answered {dict(codes)}.\n\n| request | ms before: p50, most | ms meanwhile: p50, most |\n|---|---|---|"
    )
    for name in GOOD:
        shown = [f"{1000 * sorted(took)[len(took) // 2]:.0f}, {1000 * max(took):.0f}" for took in (before[name], during[name])]
        print(f"| {name} | {shown[0]} | {shown[1]} |")
    return int(any(code >= 500 for code in codes))


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bombs")
    parser.add_argument("--tokenizer", type=Path)
    parser.add_argument("--rows", default="")
    parser.add_argument("--served", action="store_true")
    asked = parser.parse_args(arguments)
    if asked.tokenizer is None:
        vocabulary = Vocabulary.build([*(bytes([byte]) for byte in range(256)), b"<end>"], [256])
    else:
        from lmqlc.backends.transformers_tokenizer import from_directory

        vocabulary = from_directory(asked.tokenizer).vocabulary
    if asked.served:
        return asyncio.run(served({name: row for name, row in ROWS.items() if asked.rows in name}))
    workers().close()
    watch, failed = Watch(), False
    start = _computing(lambda: outcome({"type": "boolean"}, vocabulary))[1]
    print(f"A worker and its vocabulary of {len(vocabulary)} tokens: {start:.2f} s, {watch.taken():.0f} MB.\n")
    print("| grammar or schema | seconds | MB | outcome |\n|---|---|---|---|")
    for name, row in ROWS.items():
        if asked.rows in name:
            found, seconds = _computing(lambda row=row: outcome(row, vocabulary))  # type: ignore[misc]
            megabytes = watch.taken()
            failed |= seconds > SECONDS or megabytes > 1.2 * (MEMORY >> 20)
            print(
                f"| `{name.replace('|', '∣')}` | {max(0.0, seconds - start):.2f} | {megabytes:.0f} | {found[:90].replace('|', '∣')} |",
                flush=True,
            )
    return int(failed)


def _computing(work: Callable[[], str]) -> tuple[str, float]:
    """What some work gives, and the computing time of this process and of the workers that it needs, their start included."""
    external.forget()
    before = time.process_time() + _of_children()
    found = work()
    workers().close()
    return found, time.process_time() + _of_children() - before


def _of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
