"""Decoding against raw `model.generate()` of transformers: one process, one model, one thread, the runs interleaved.

python -m benchmarks.decode [--configs small,124m] [--rows TEXT] [--repeats N] [--clock cpu|wall]

The checkpoints are made on the spot: GPT-2 with random weights in float32 over a byte-level BPE that is trained here. `small` has 4 layers
of 128 and 4,096 tokens, `124m` is the size of GPT-2 itself: 12 layers of 768 and 50,257 tokens. Programs are compiled before, and every
program is run once before it is measured, so that its masks are known; keys and values are forgotten between runs, so that every run
reads its prompt.

A row is one program. `generate` beside it produces as many tokens after the same prompt, whatever they are: greedily, or as many samples or
beams. "read" are the positions that were computed: a program's literals and a distribution's options among them, which `generate` has not.
Times are medians over the runs: CPU time of the process by default, which other processes on the machine disturb less than the clock.
"own" is the time outside of the model's forward passes, per token and branch. The tokens of a distribution are those of its best option.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # read when torch is loaded, and by every thread of it

import torch

from lmqlc.api import CompiledQuery, compile
from lmqlc.backends.engine import Engine
from lmqlc.backends.forward import Forward
from lmqlc.backends.inprocess import InProcessBackend
from lmqlc.backends.transformers_tokenizer import from_transformers
from lmqlc.queries import run
from lmqlc.runtime.results import Result

PROMPT = "Once upon a time a clerk of the town wrote down what had been said, and it began"
NAMES = "Ada, Ben, Cleo, Dan, Eve, Finn, Gus, Hana, Ida, Jon, Kim, Leo, Mia, Nora, Olaf, Pia, Quinn, Rosa, Sven, Tess"
RECORD = (
    f'\'{PROMPT} {{{{"name": "[NAME]", "age": [AGE], "job": "[JOB]"}}}}\' where '
    "REGEX(NAME, r'[A-Za-z ]{1,20}') and REGEX(AGE, '[0-9]{1,3}') and REGEX(JOB, r'[A-Za-z ]{1,20}')"
)
SHAPES = {"small": {"n_layer": 4, "n_head": 4, "n_embd": 128}, "124m": {}}
VOCABULARIES = {"small": 4096, "124m": 50_257}


@dataclass(frozen=True)
class Row:
    """One program. branches: how many it has, and sequences `generate` makes at a time; `beams`: they are those of a beam search."""

    name: str
    program: str
    max_tokens: int | None = None
    branches: int = 1
    beams: bool = False


ROWS = (
    Row("plain, 64 tokens", f"'{PROMPT}[X]'", max_tokens=64),
    Row("five holes in a loop, 12 tokens each", f"'{PROMPT}'\nfor i in range(5):\n    '\\n- [X]'", max_tokens=12),
    Row("INT", f"'{PROMPT} in the year [X].' where INT(X)", max_tokens=12),
    Row("date by REGEX", f"'{PROMPT} on [X]' where REGEX(X, r'[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}')"),
    Row("choice of 20", f"'{PROMPT} with [X]' where X in {NAMES.split(', ')!r}"),
    Row("JSON record of three", RECORD),
    Row("sample(n=4), 32 tokens", f"sample(n=4, seed=1)\n    '{PROMPT}[X]'", 32, 4),
    Row("beam(n=4), 32 tokens", f"beam(n=4)\n    '{PROMPT}[X]'", 32, 4, beams=True),
    Row("distribution over five", f"argmax\n    '{PROMPT} [X]'\ndistribution X in {NAMES.split(', ')[:5]!r}"),
)


def made_tokenizer(config: str) -> Any:
    """A byte-level BPE, trained on made-up words and numbers."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    rng = random.Random(1)
    onsets, ends = [*"bcdfghjklmnprstvwz", "st", "tr", "pl", "gr"], ("", "n", "r", "s", "l", "t")
    syllables = [a + v + e for a in onsets for v in "aeiou" for e in ends]
    words = ["".join(rng.choices(syllables, k=rng.choice((1, 2, 2, 3, 3, 4)))) for _ in range(60_000)]
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARIES[config], special_tokens=["<|endoftext|>"], initial_alphabet=alphabet, show_progress=False
    )
    core.train_from_iterator([" ".join(words), " ".join(map(str, range(1000))), PROMPT, NAMES], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<|endoftext|>", bos_token="<|endoftext|>")


def made_model(config: str, width: int) -> Any:
    """GPT-2 with random weights."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(7)
    ends = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    return GPT2LMHeadModel(GPT2Config(vocab_size=width, initializer_range=0.08, **SHAPES[config], **ends)).eval()


@dataclass
class Spent:
    """What runs of one side cost: times in seconds, and the share of forward passes in them; of one run: tokens, passes, positions read."""

    times: list[float] = field(default_factory=list)
    forward: list[float] = field(default_factory=list)
    tokens: int = 0
    passes: int = 0
    read: int = 0

    @property
    def seconds(self) -> float:
        return statistics.median(self.times)

    def own(self) -> float:
        """Milliseconds per token outside of forward passes."""
        return statistics.median(a - b for a, b in zip(self.times, self.forward, strict=True)) * 1000 / max(self.tokens, 1)


class ClockedForward:
    """The engine's pass, with a clock in it."""

    def __init__(self, forward: Forward, enter: Callable[[int], None], leave: Callable[[], None]) -> None:
        self.trees = forward.trees
        self._forward, self._enter, self._leave = forward, enter, leave

    def __call__(self, ids: torch.Tensor, *rest: Any) -> tuple[torch.Tensor, Any]:
        self._enter(ids.numel())
        found = self._forward(ids, *rest)
        self._leave()
        return found


class Bench:
    """One model, both ways of decoding, and a clock in its forward passes."""

    def __init__(self, config: str, hf_tokenizer: Any, clock: str) -> None:
        self._hf_tokenizer = hf_tokenizer
        self.model = made_model(config, len(hf_tokenizer))
        self.engine = Engine(self.model)
        tokenizer = from_transformers(hf_tokenizer, eos=(0,), width=self.engine.width)
        self.backend = InProcessBackend(config, self.engine, tokenizer, 1024)
        self._whole, self._part = (time.process_time, time.thread_time) if clock == "cpu" else (time.perf_counter, time.perf_counter)
        self._began = self._forward = 0.0
        self._passes = self._read = self._inside = 0
        self.model.register_forward_pre_hook(lambda _, args, kwargs: self._enter(kwargs["input_ids"].numel()), with_kwargs=True)
        self.model.register_forward_hook(lambda *_: self._leave())
        self.engine.forward = ClockedForward(self.engine.forward, self._enter, self._leave)

    def _enter(self, positions: int) -> None:
        self._inside += 1
        if self._inside == 1:
            self._read += positions
            self._began = self._part()

    def _leave(self) -> None:
        self._inside -= 1
        if not self._inside:
            self._forward += self._part() - self._began
            self._passes += 1

    def timed(self, spent: Spent, work: Callable[[], int]) -> None:
        """Run once; `work` gives the number of tokens."""
        self.engine.branches.clear()
        self._forward, self._passes, self._read = 0.0, 0, 0
        gc.collect()
        started = self._whole()
        spent.tokens = work()
        spent.times.append(self._whole() - started)
        spent.forward.append(self._forward)
        spent.passes, spent.read = self._passes, self._read

    def ours(self, query: CompiledQuery, row: Row) -> int:
        """Tokens of one run, of all its branches."""
        options = {} if row.max_tokens is None else {"max_tokens": row.max_tokens}
        found = asyncio.run(run(query, model=self.backend, token_healing=False, **options))
        results: Sequence[Result] = found if isinstance(found, list) else [found]
        return sum(len(hole.tokens) for result in results for hole in result.holes)

    def generated(self, tokens: int, row: Row) -> int:
        """Tokens of one call of `generate`."""
        ids = self._hf_tokenizer(PROMPT, return_tensors="pt").input_ids
        count = tokens // row.branches
        arguments: dict[str, Any] = {"attention_mask": torch.ones_like(ids), "pad_token_id": 1, "eos_token_id": []}
        arguments |= {"num_return_sequences": row.branches, "max_new_tokens": count, "min_new_tokens": count}
        arguments |= (
            {"num_beams": row.branches, "length_penalty": 0.0, "early_stopping": True} if row.beams else {"do_sample": row.branches > 1}
        )
        with torch.inference_mode():
            out = self.model.generate(ids, **arguments)
        return int(out.shape[0] * (out.shape[1] - ids.shape[1]))


def measured(bench: Bench, row: Row, repeats: int) -> tuple[Spent, Spent]:
    """Ours and generate's costs of one row."""
    query, ours, theirs = compile(row.program), Spent(), Spent()
    tokens = bench.ours(query, row)
    bench.generated(tokens, row)
    for _ in range(repeats):
        bench.timed(ours, lambda: bench.ours(query, row))
        bench.timed(theirs, lambda: bench.generated(tokens, row))
    return ours, theirs


def table(config: str, arguments: argparse.Namespace) -> None:
    """Measure and print the rows of one configuration."""
    bench = Bench(config, made_tokenizer(config), arguments.clock)
    size = sum(parameter.numel() for parameter in bench.model.parameters())
    print(f"\n### {config}: {size / 1e6:.0f}M parameters, {arguments.clock} time, median of {arguments.repeats}\n")
    print("| program | tokens | model calls | read | ms | own ms per token | generate: calls | read | ms | own | ratio of tokens/s |")
    print("|---|---|---|---|---|---|---|---|---|---|---|", flush=True)
    for row in ROWS:
        if arguments.rows in row.name:
            ours, theirs = measured(bench, row, arguments.repeats)
            ratio = (ours.tokens / ours.seconds) / (theirs.tokens / theirs.seconds)
            counts = [str(ours.tokens), str(ours.passes), str(ours.read), f"{ours.seconds * 1000:.1f}", f"{ours.own():.3f}"]
            cells = [*counts, str(theirs.passes), str(theirs.read), f"{theirs.seconds * 1000:.1f}", f"{theirs.own():.3f}", f"{ratio:.2f}"]
            print(f"| {row.name} | " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--configs", default="small,124m")
    parser.add_argument("--rows", default="", help="only rows whose name contains this")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--clock", choices=("cpu", "wall"), default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for config in arguments.configs.split(","):
        table(config, arguments)


if __name__ == "__main__":
    main()
