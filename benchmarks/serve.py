"""The server with 1, 8 and 32 clients, beside `generate()` one after another and in static batches, and beside `transformers serve`.

python -m benchmarks.serve [--config small] [--tokens 48] [--requests 32] [--clients 1,8,32] [--peer]

The checkpoint is that of `benchmarks.decode`, made on the spot; every process has one thread for its arithmetic. Each client asks for one
hole after another over our own wire. The prompts share a beginning of some 60 tokens. The constraints are mixed: a pattern, a stop with a
bound on characters, a bound on words, none; each lets about as many tokens through as `--tokens` says. `generate()` and
`transformers serve` have no constraints and produce as many tokens.

"×" is the gain over the first row: by the clock, and by CPU time of the process that has the model (its HTTP work included). "first" is
the time to the first token, "p50" and "p99" are those between two tokens of one hole, in milliseconds. "overhead" is the time per token of
one client over that of the same holes in this process. Busy machines disturb all of it: compare within one run.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

from benchmarks.decode import made_model, made_tokenizer
from lmqlc.backends.base import ModelSpec
from lmqlc.backends.choice import Sampling
from lmqlc.backends.http import load_server
from lmqlc.compiler import constraints as c
from lmqlc.compiler.masks.hole import Budget, TokenResult
from lmqlc.compiler.masks.request import HoleRequest
from lmqlc.queries import program_of, run_program
from lmqlc.runtime.link import Place, text_automaton

SHARED = "The clerk of the town wrote down what had been said that day, line after line, and began every entry with its number. " * 2


@dataclass
class Measured:
    """What the requests of one row took: seconds in all, CPU seconds of the process with the model, tokens, times to the first token and
    between tokens."""

    seconds: float = 0.0
    cpu: float = 0.0
    tokens: int = 0
    first: list[float] = field(default_factory=list)
    between: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        return self.tokens / self.seconds

    def row(self, name: str, base: Measured | None = None) -> str:
        def at(values: list[float], share: float) -> str:
            return f"{sorted(values)[int(share * (len(values) - 1))] * 1000:.1f}" if values else ""

        base = base or self
        cost, before = self.cpu / self.tokens, base.cpu / base.tokens
        shown = [f"{self.rate:.0f}", f"{self.rate / base.rate:.2f}", f"{cost * 1000:.2f}", f"{before / cost:.2f}"]
        shown += [at(self.first, 0.5), at(self.between, 0.5), at(self.between, 0.99)]
        return f"| {name} | " + " | ".join(shown) + " |"


Ask = Callable[[int, Measured], Coroutine[Any, Any, None]]


def languages(tokens: int) -> list[tuple[str, c.Constraint | None]]:
    """The mixed constraints, as they stand in programs and as trees."""
    phrase = c.And(
        (c.Stop(c.Const("\n\n\n"), keep=False), c.Count("chars", "<", c.Const(6 * tokens)), c.Count("chars", ">", c.Const(3 * tokens)))
    )
    pattern = f"[a-zA-Z ,.]{{{3 * tokens},}}"
    return [
        (f"REGEX(X, {pattern!r})", c.Matches(c.Const(pattern))),
        (f"STOPS_BEFORE(X, '\\n\\n\\n') and len(X) < {6 * tokens} and len(X) > {3 * tokens}", phrase),
        (f"len(WORDS(X)) > {tokens // 4}", c.Count("words", ">", c.Const(tokens // 4))),
        ("", None),
    ]


def prompt_of(number: int) -> str:
    return f"{SHARED}Entry {number}:"


@contextlib.contextmanager
def process(command: Sequence[str], ready: Callable[[str], str | None]) -> Iterator[tuple[str, int]]:
    """A server in a process of its own; what `ready` found in its output (a URL), and the process's number."""
    running = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    try:
        assert running.stdout is not None
        for line in running.stdout:
            found = ready(line)
            if found is not None:
                yield found, running.pid
                return
        raise SystemExit(f"{command[0]} ended before it was ready")
    finally:
        running.terminate()
        running.wait(60)


def our_url(line: str) -> str | None:
    found = re.search(r"ready: .*? at (http://\S+)", line)
    return found[1] if found else None


def cpu_of(pid: int) -> float:
    """CPU seconds that a process has had (Linux); 0 where the system does not tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def clients(count: int, requests: int, one: Ask, pid: int) -> Measured:
    """`count` clients, each asking one request after another until all of them are done; pid: the server's."""
    measured, left = Measured(), iter(range(requests))

    async def client() -> None:
        for number in left:
            await one(number, measured)

    started, spent = time.perf_counter(), cpu_of(pid)
    await asyncio.gather(*(client() for _ in range(count)))
    measured.seconds, measured.cpu = time.perf_counter() - started, cpu_of(pid) - spent
    return measured


def holes(endpoint: str, tokens: int) -> Ask:
    """A request of our own wire."""
    backend = load_server(ModelSpec("server", "", (("endpoint", endpoint),)))
    kinds = [None if tree is None else text_automaton(tree, Place()) for _, tree in languages(tokens)]

    async def one(number: int, measured: Measured) -> None:
        session = await backend.open()
        ids = backend.tokenizer.encode(prompt_of(number), first=True)
        request = HoleRequest("X", ids, Budget(tokens, "budget"), Sampling(), (1, number), kinds[number % len(kinds)])
        last = started = time.perf_counter()
        async with contextlib.aclosing(session.decode(request)) as steps:
            async for step in steps:
                if isinstance(step, TokenResult):
                    now = time.perf_counter()
                    (measured.between if last != started else measured.first).append(now - last)
                    last = now
                    measured.tokens += 1

    return one


async def in_process(path: Path, requests: int, tokens: int) -> Measured:
    """The same holes in this process, one after another."""
    texts = [f'"{{prompt}}[X]"{f" where {where}" if where else ""}' for where, _ in languages(tokens)]
    programs = [program_of(text) for text in texts]
    measured = Measured()

    async def once(number: int) -> int:
        arguments = {"model": f"local:{path}", "prompt": prompt_of(number), "max_tokens": tokens, "token_healing": False}
        (result,) = await run_program(programs[number % len(programs)], (), arguments)
        return len(result.holes[0].tokens)

    for number in range(len(programs)):
        await once(number)
    started, spent = time.perf_counter(), time.process_time()
    for number in range(requests):
        measured.tokens += await once(number)
    measured.seconds, measured.cpu = time.perf_counter() - started, time.process_time() - spent
    return measured


def generated(model: Any, tokenizer: Any, requests: int, tokens: int, batch: int) -> Measured:
    """`generate()` in batches of prompts, padded on the left."""
    import torch

    measured = Measured()
    tokenizer.pad_token, tokenizer.padding_side = tokenizer.eos_token, "left"
    for first in range(-batch, requests, batch):  # the first one is not counted
        started, spent = time.perf_counter(), time.process_time()
        asked = tokenizer([prompt_of(number) for number in range(max(first, 0), max(first, 0) + batch)], return_tensors="pt", padding=True)
        with torch.inference_mode():
            model.generate(**asked, do_sample=False, min_new_tokens=tokens, max_new_tokens=tokens, pad_token_id=0)
        if first >= 0:
            measured.seconds += time.perf_counter() - started
            measured.cpu += time.process_time() - spent
            measured.tokens += batch * tokens
    return measured


def completions(url: str, model: str, tokens: int) -> Ask:
    """A streamed request of OpenAI's API."""
    import openai

    async def one(number: int, measured: Measured) -> None:
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=300) as client:
            last = started = time.perf_counter()
            stream = await client.completions.create(model=model, prompt=prompt_of(number), max_tokens=tokens, temperature=0, stream=True)
            async for chunk in stream:
                if chunk.choices and chunk.choices[0].text:
                    now = time.perf_counter()
                    (measured.between if last != started else measured.first).append(now - last)
                    last = now
                    measured.tokens += 1

    return one


def reuse(url: str) -> float:
    """The share of positions that the server did not compute again."""
    with urllib.request.urlopen(f"{url}/metrics") as answer:
        values = dict(line.rsplit(" ", 1) for line in answer.read().decode().splitlines() if not line.startswith("#"))
    computed, reused = float(values["lmqlc_positions_computed_total"]), float(values["lmqlc_positions_reused_total"])
    return reused / (computed + reused)


def ours(path: Path, counts: Sequence[int], arguments: argparse.Namespace, base: Measured) -> list[Measured]:
    command = [sys.executable, "-m", "lmqlc", "serve-model", str(path), "--port", "0"]
    found = []
    with process(command, our_url) as (url, pid):
        one = holes(url, arguments.tokens)
        asyncio.run(clients(4, 8, one, pid))
        for count in counts:
            found.append(asyncio.run(clients(count, max(arguments.requests, count), one, pid)))
            print(found[-1].row(f"lmqlc, {count} clients", base), flush=True)
        print(f"\nprefix reuse: {reuse(url):.0%} of the positions")
        print(f"whole process of `lmqlc run`, ten tokens: {statistics.median(whole_runs(url, Path(path))):.2f} s")
    return found


def whole_runs(url: str, folder: Path) -> Iterator[float]:
    """Seconds of whole processes that run a query of ten tokens at the server; the first one, which fills the caches, is left out."""
    program = folder / "query.lmql"
    program.write_text('"Hello[WHO]" where STOPS_AT(WHO, "\\n") and len(TOKENS(WHO)) == 10\n')
    command = [sys.executable, "-m", "lmqlc", "run", str(program), "--no-stream", "--model", url]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    for number in range(10):
        started = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True, env=environment)
        if number:
            yield time.perf_counter() - started


def peer(path: Path, counts: Sequence[int], arguments: argparse.Namespace, base: Measured) -> None:
    """`transformers serve`, with continuous batching and without."""
    for options in ((), ("--continuous-batching",)):
        port = 18000 + len(options)
        command = [
            sys.executable,
            "-c",
            "from transformers.cli.transformers import main; main()",
            "serve",
            str(path),
            "--port",
            str(port),
            "--log-level",
            "info",
            *options,
        ]
        name = " ".join(("transformers serve", *options))
        try:
            with process(command, lambda line: "up" if "Uvicorn running" in line or "startup complete" in line else None) as (_, pid):
                one = completions(f"http://127.0.0.1:{port}", str(path), arguments.tokens)
                asyncio.run(clients(1, 1, one, pid))
                for count in counts:
                    one = completions(f"http://127.0.0.1:{port}", str(path), arguments.tokens)
                    print(
                        asyncio.run(clients(count, max(arguments.requests // 2, count), one, pid)).row(f"{name}, {count} clients", base),
                        flush=True,
                    )
        except Exception as error:
            print(f"| {name} | failed: {type(error).__name__}: {str(error)[:80]} |")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", default="small")
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--requests", type=int, default=32)
    parser.add_argument("--clients", default="1,8,32")
    parser.add_argument("--peer", action="store_true", help="also measure `transformers serve`")
    arguments = parser.parse_args()
    counts = [int(count) for count in arguments.clients.split(",")]
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = made_tokenizer(arguments.config)
        model = made_model(arguments.config, len(tokenizer))
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        print("| | tokens/s | × | CPU ms per token | × | first | p50 | p99 |\n|---|---|---|---|---|---|---|---|")
        alone = generated(model, tokenizer, arguments.requests // 2, arguments.tokens, 1)
        print(alone.row("generate(), one after another"), flush=True)
        for batch in (8, 32):
            print(
                generated(model, tokenizer, max(arguments.requests, batch), arguments.tokens, batch).row(
                    f"generate(), static batches of {batch}", alone
                )
            )
        here = asyncio.run(in_process(Path(folder), arguments.requests // 2, arguments.tokens))
        print(here.row("lmqlc in process, one after another", alone), flush=True)
        found = ours(Path(folder), counts, arguments, alone)
        if counts[0] == 1:
            print(f"overhead at one client: {1000 / found[0].rate - 1000 / here.rate:.2f} ms per token")
        if arguments.peer:
            peer(Path(folder), counts, arguments, alone)


if __name__ == "__main__":
    main()
