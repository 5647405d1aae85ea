"""The case studies of the LMQL paper, counted as in the paper: our programs against three ways of writing the same by hand.

python -m benchmarks.paper [--tokenizer FOLDER] [--study NAME]

Beurer-Kellner, Fischer and Vechev (2023), "Prompting Is Programming", section 6: Odd One Out, Date Understanding, ReAct with a dictionary
(fixed here) and arithmetic with a calculator. The items are written for this benchmark in the form of the originals; a scripted model says
what a model would say (`backends/scripted.py`), and after an answer goes on with a further question, as models do. So nothing is said about
answers here, only about what they cost; the counts are the same in every run.

Counted per item, and averaged:
- decoder calls: one per generated chunk or request, one per program, and one per option that is scored;
- model queries: next-token passes (scoring counts in none of the columns, since it is the same in all);
- billable tokens: prompt and generated tokens of every decoder call, which for a program is the length of its whole text;
- cached: billable tokens where those that an earlier call of the same item has seen cost a tenth.

A: chunks of 30 tokens, as in the paper: the text is looked at after each, cut where a tool is called or the answer begins, and sent back.
B: the same, but a chunk ends where it would be cut. C: one request for each hole of our program, ended by the server at a stop phrase.

The tokenizer is a BPE trained on the studies' own texts (words are mostly one token, as with large vocabularies), or the one in FOLDER.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields

import numpy as np

from benchmarks.paper_studies import STUDIES, Item, Study, all_texts
from lmqlc.api import CompiledQuery, compile
from lmqlc.backends.base import Tokenizer
from lmqlc.backends.scripted import ScriptedBackend, scripted
from lmqlc.backends.tokenizer import load_tokenizer
from lmqlc.queries import run_sync
from lmqlc.runtime.stream import Event, HoleEnd, HoleStart, TextEvent

PAPER = {
    "odd_one_out": {"calls": 25, "queries": 43, "billable": 27},
    "date_understanding": {"calls": 30, "queries": 45, "billable": 31},
    "react": {"calls": 80, "queries": 37, "billable": 76},
    "arithmetic": {"calls": 86, "queries": 66, "billable": 85},
}
"""Savings in percent that the paper reports against A, with GPT-J."""

CHUNK = 30
CACHED = 0.1
"""What a token in a prompt costs that an earlier call has seen, as a share of its price."""
LONGEST = 100
"""Most tokens of a request for one hole."""


@dataclass
class Counts:
    """What one item cost."""

    calls: float = 0.0
    queries: float = 0.0
    billable: float = 0.0
    cached: float = 0.0

    def __truediv__(self, count: int) -> Counts:
        return Counts(*(getattr(self, each.name) / count for each in fields(self)))

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))


@dataclass
class Server:
    """A model behind an API: texts go in, greedy texts come out, and every call is billed."""

    model: ScriptedBackend
    counts: Counts = field(default_factory=Counts)
    _seen: list[list[int]] = field(default_factory=list)

    def generate(self, prompt: str, most: int, stops: Sequence[str] = (), *, looked: int | None = None) -> str:
        """Up to `most` tokens, fewer where the model ends the text, or a stop phrase (which is kept) stands in what is new: the text after
        the prompt, or after `looked` of its characters."""
        tokenizer, vocabulary = self.model.tokenizer, self.model.vocabulary
        ids, before = tokenizer.encode(prompt, first=True), prompt[len(prompt) if looked is None else looked :]
        start = len(ids)
        while len(ids) - start < most:
            token = int(np.argmax(self.model.row(tuple(ids))))
            self.counts.queries += 1
            if token in vocabulary.eos_ids:
                break
            ids.append(token)
            new = before + tokenizer.decode(ids[start:])
            if any(stop in new for stop in stops):
                break
        self.bill(ids, start)
        return tokenizer.decode(ids[start:])

    def score(self, prompt: str, options: Sequence[str]) -> None:
        """One decoder call per option, for its log-probability after the prompt."""
        start = self.model.tokenizer.encode(prompt, first=True)
        for option in options:
            self.bill([*start, *self.model.tokenizer.encode(option, first=False)], len(start))

    def bill(self, ids: list[int], prompt: int) -> None:
        """One decoder call over `ids`, the first `prompt` of which were its prompt."""
        known = max((shared(ids[:prompt], old) for old in self._seen), default=0)
        self._seen.append(ids)
        self.counts += Counts(1, 0, len(ids), len(ids) - (1 - CACHED) * known)


def shared(a: Sequence[int], b: Sequence[int]) -> int:
    """How many ids two sequences begin with in common."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def chunked(server: Server, study: Study, item: Item, *, early: bool) -> None:
    """Baselines A and B: chunks, cut where the study says; what a tool returns is put after them."""
    text = study.prompt(item)
    done = len(text)  # up to here everything has been looked at
    while True:
        text += server.generate(text, CHUNK, study.stops if early else (), looked=done)
        found = study.cut.search(text, done)
        if found is None:
            continue
        text = text[: found.end()]
        given = study.tool(item, text)
        if given is None:
            break
        text += given
        done = len(text)
    server.score(text, study.options(item))


def by_hole(server: Server, study: Study, item: Item, holes: Sequence[tuple[str, str]]) -> None:
    """Baseline C: one request per hole, given with the prompts that our program had before them."""
    for name, prompt in holes:
        if name == study.scored:
            server.score(prompt, study.options(item))
        else:
            server.generate(prompt, LONGEST, study.hole_stops[name])


class Prompts:
    """Listens to a run: the names of its holes, and the prompt before each."""

    def __init__(self) -> None:
        self.holes: list[tuple[str, str]] = []
        self._text = ""

    def write(self, event: Event) -> None:
        if isinstance(event, TextEvent):
            self._text += event.text
        elif isinstance(event, HoleStart):
            self.holes.append((event.name, self._text))
        elif isinstance(event, HoleEnd):
            self._text += event.hole.text


def ours(model: ScriptedBackend, study: Study, query: CompiledQuery, item: Item) -> tuple[Counts, list[tuple[str, str]]]:
    """Our program on an item: what it cost, and its holes with the prompts before them."""
    prompts, server, before = Prompts(), Server(model), len(model.calls)
    result = run_sync(query, model=model, output_writer=prompts, shots=study.shots(), **study.arguments(item))
    assert str(result.holes[-1].text) == study.answer(item), (result.holes[-1].text, item)
    server.counts.queries = sum(len(call.sequences) for call in model.calls[before:] if call.kind == "logits")
    end = result.prompt if study.scored is None else prompts.holes[-1][1]
    server.bill(model.tokenizer.encode(end, first=True), 0)
    server.score(end, study.options(item))
    return server.counts, prompts.holes


def measured(study: Study, query: CompiledQuery, item: Item, tokenizer: Tokenizer) -> dict[str, Counts]:
    """What an item costs, by who does it."""
    model = scripted(after=study.script(item), tokenizer=tokenizer)
    mine, holes = ours(model, study, query, item)
    servers = {name: Server(model) for name in "ABC"}
    chunked(servers["A"], study, item, early=False)
    chunked(servers["B"], study, item, early=True)
    by_hole(servers["C"], study, item, holes)
    return {**{name: server.counts for name, server in servers.items()}, "ours": mine}


def all_items(study: Study, tokenizer: Tokenizer) -> list[dict[str, Counts]]:
    """The counts of every item of a study."""
    query = compile(study.program)
    return [measured(study, query, item, tokenizer) for item in study.data()["items"]]


def mean(rows: Sequence[Mapping[str, Counts]]) -> dict[str, Counts]:
    """Averages over items."""
    return {name: sum((row[name] for row in rows), Counts()) / len(rows) for name in rows[0]}


def saved(counts: Mapping[str, Counts], against: str, what: str) -> float:
    """How much less our program needs of something, in percent; below zero where it needs more."""
    return 100 * (1 - float(getattr(counts["ours"], what) / getattr(counts[against], what)))


def made_tokenizer() -> Tokenizer:
    """A byte-level BPE trained on the texts of all studies."""
    from tokenizers import Tokenizer as Core
    from tokenizers import decoders, models, pre_tokenizers, trainers

    core = Core(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    core.train_from_iterator(
        all_texts(),
        trainers.BpeTrainer(vocab_size=3000, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet, show_progress=False),
    )
    return load_tokenizer(core)


def table(study: Study, counts: Mapping[str, Counts]) -> None:
    """Print the row block of a study."""
    for each in fields(Counts):
        values = [f"{getattr(counts[name], each.name):.1f}" for name in ("A", "B", "C", "ours")]
        shares = [f"{-saved(counts, name, each.name):+.0f} %" for name in "ABC"]
        published = PAPER[study.name].get(each.name)
        print(f"| {study.name} | {each.name} | " + " | ".join([*values, *shares, f"−{published} %" if published else ""]) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--tokenizer", help="a folder with a tokenizer, in place of the one trained here")
    parser.add_argument("--study", choices=[study.name for study in STUDIES])
    arguments = parser.parse_args()
    tokenizer = load_tokenizer(arguments.tokenizer) if arguments.tokenizer else made_tokenizer()
    print("| study | per item | A | B | C | ours | against A | against B | against C | the paper against A |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for study in STUDIES:
        if arguments.study in (None, study.name):
            table(study, mean(all_items(study, tokenizer)))


if __name__ == "__main__":
    main()
