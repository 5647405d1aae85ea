"""One engine for constrained text and one checkpoint, in a process of its own: started by `benchmarks.peers`.

Reads a line of JSON per run, `{"row": …, "prompt": …}`, and answers with a line: milliseconds of CPU time and of the clock, the forward
passes of the model, and the text. Every engine runs with its default settings and greedy choices, called as its documentation shows for the
task. Needs nothing of lmqlc unless it runs lmqlc.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # read when torch is loaded
os.environ["TOKENIZERS_PARALLELISM"] = "false"

NAMES = [
    "Ada", "Ben", "Cleo", "Dan", "Eve", "Finn", "Gus", "Hana", "Ida", "Jon",
    "Kim", "Leo", "Mia", "Nora", "Olaf", "Pia", "Quinn", "Rosa", "Sven", "Tess",
]  # fmt: skip
DATE = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
WORDS, AGE = "[A-Za-z ]{1,20}", "[0-9]{1,3}"
ROWS = ("date", "record", "choice")

Task = Callable[[str], str]
"""Runs a row after a prompt; its text."""


def lmqlc_tasks(path: str) -> tuple[dict[str, Task], Callable[[], int]]:
    import asyncio

    from lmqlc.api import compile
    from lmqlc.models import inprocess
    from lmqlc.queries import run

    record = """'{p} {{"name": "[NAME]", "age": [AGE], "job": "[JOB]"}}'"""
    programs = {
        "date": f"'{{p}} on [X]' where REGEX(X, r'{DATE}')",
        "choice": f"'{{p}} with [X]' where X in {NAMES!r}",
        "record": f"{record} where REGEX(NAME, '{WORDS}') and REGEX(AGE, '{AGE}') and REGEX(JOB, '{WORDS}')",
    }
    model, passes = inprocess(path), 0

    def task(program: str) -> Task:
        query = compile(program)

        def work(prompt: str) -> str:
            nonlocal passes
            result = asyncio.run(run(query, p=prompt, model=model))
            passes += result.usage.forward_passes
            return str(result.prompt[len(prompt) :])

        return work

    return {row: task(program) for row, program in programs.items()}, lambda: passes


def loaded(path: str) -> tuple[Any, Any, Callable[[], int]]:
    """The checkpoint through transformers, and a count of its forward passes."""
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

    model, passes = AutoModelForCausalLM.from_pretrained(path).eval(), 0

    def count(*_: Any) -> None:
        nonlocal passes
        passes += 1

    model.register_forward_hook(count)
    end = "<|endoftext|>"
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=f"{path}/tokenizer.json", eos_token=end, bos_token=end, pad_token=end)
    return model, tokenizer, lambda: passes


def guidance_tasks(path: str) -> tuple[dict[str, Task], Callable[[], int]]:
    from guidance import gen, models, select, with_temperature

    model, tokenizer, passes = loaded(path)
    start = models.Transformers(model, tokenizer, echo=False)

    def record(prompt: str) -> str:
        lm = (
            start
            + prompt
            + ' {"name": "'
            + gen("name", regex=WORDS, temperature=0.0)
            + '", "age": '
            + gen("age", regex=AGE, temperature=0.0)
        )
        lm += ', "job": "' + gen("job", regex=WORDS, temperature=0.0) + '"}'
        return f' {{"name": "{lm["name"]}", "age": {lm["age"]}, "job": "{lm["job"]}"}}'

    def date(prompt: str) -> str:
        return " on " + (start + prompt + " on " + gen("x", regex=DATE, temperature=0.0))["x"]

    def choice(prompt: str) -> str:
        return " with " + (start + prompt + " with " + with_temperature(select(NAMES, name="x"), 0.0))["x"]

    return {"date": date, "record": record, "choice": choice}, passes


def outlines_tasks(path: str) -> tuple[dict[str, Task], Callable[[], int]]:
    import outlines
    from outlines.types import Choice, Regex

    model, tokenizer, passes = loaded(path)
    wrapped = outlines.from_transformers(model, tokenizer)
    kinds = {"date": Regex(DATE), "record": Regex(f'\\{{"name": "{WORDS}", "age": {AGE}, "job": "{WORDS}"\\}}'), "choice": Choice(NAMES)}
    before = {"date": " on ", "record": " ", "choice": " with "}

    def task(row: str) -> Task:
        generator = outlines.Generator(wrapped, kinds[row])

        def work(prompt: str) -> str:
            return before[row] + str(generator(prompt + before[row], max_new_tokens=100, do_sample=False))

        return work

    return {row: task(row) for row in kinds}, passes


ENGINES = {"lmqlc": lmqlc_tasks, "guidance": guidance_tasks, "outlines": outlines_tasks}


def main(engine: str, path: str) -> None:
    answers = os.fdopen(os.dup(1), "w")  # whatever an engine prints goes to standard error
    os.dup2(2, 1)
    import torch

    torch.set_num_threads(1)
    with torch.inference_mode() if engine != "lmqlc" else contextlib.nullcontext():
        tasks, passes = ENGINES[engine](path)
        print(json.dumps("ready"), file=answers, flush=True)
        for line in sys.stdin:
            asked = json.loads(line)
            before, cpu, clock = passes(), time.process_time(), time.perf_counter()
            text = tasks[asked["row"]](asked["prompt"])
            cpu, clock = time.process_time() - cpu, time.perf_counter() - clock
            found = {"cpu": cpu * 1000, "clock": clock * 1000, "calls": passes() - before, "text": text}
            print(json.dumps(found), file=answers, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
