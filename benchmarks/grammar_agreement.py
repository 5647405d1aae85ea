"""Emitted grammars, read by the engines that they are written for, against our automata: the same texts?

python -m benchmarks.grammar_agreement [--texts 1000] [--rows TEXT] [--readers xgrammar,llguidance,llama.cpp]

Every constraint of `benchmarks.masks` that has a grammar, and some more, is emitted as EBNF, Lark and GBNF. Texts are drawn from its
automaton, changed at one place, and drawn at random; each engine that is installed (xgrammar, llguidance, llama-cpp-python with gguf)
judges all of them. The exit status is 1 where some text is judged differently.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.grammar_readers import READERS, Reader, installed
from benchmarks.mask_rows import ROWS
from lmqlc.compiler import constraints as c
from lmqlc.compiler.automata.automaton import TextAutomaton
from lmqlc.compiler.automata.build import build
from lmqlc.compiler.automata.query import examples, matches, sample
from lmqlc.compiler.emit.ebnf import emit_ebnf, emit_gbnf, emit_lark

EMITTERS = {"ebnf": emit_ebnf, "gbnf": emit_gbnf, "lark": emit_lark}
PIECES = [
    "a",
    "foo",
    "bar",
    "1",
    "0",
    ".",
    "-",
    "日",
    '"',
    "\n",
    " ",
    "A",
    "é",
    "]",
    "\\",
    "x",
    "^",
    "😀",
    "{",
    ",",
    ":",
    "\u0301",
    "/",
    "\t",
]
MORE: dict[str, c.Constraint] = {
    "CJK and escapes in a set": c.InSet(
        c.Const(["car", "cart", "carton", 'a-b]"\\', "日本", "é/", "\n\t^", "[x]{2}(?)", "\x01\x7f", "😀"])
    ),
    "not in a set": c.Not(c.InSet(c.Const(["yes", "no", "日本"]))),
    "-5 < float(X) <= 10.25": c.And((c.NumberCompare("float", ">", c.Const(-5)), c.NumberCompare("float", "<=", c.Const(10.25)))),
    "dict[str, int]": c.TypeIs(c.Const(dict[str, int])),
    "list of two": c.TypeIs(c.Const(tuple[int, bool])),
    "isupper": c.TextIs("isupper"),
    "isalpha, not ß": c.And((c.TextIs("isalpha"), c.Not(c.Contains(c.Const("ß"))))),
    "empty text": c.Equals(c.Const("")),
    "any text": c.Truth(c.Const(True)),
    "2 words": c.Count("words", "==", c.Const(2)),
    "look-ahead": c.Matches(c.Const(r"(?!.*aa)(?=.*b)[ab]{2,9}")),
    "boundaries": c.Matches(c.Const(r".*\bfoo\b.*")),
    "(?i)straße": c.Matches(c.Const(r"(?i)straße|kelvin")),
    "sentences": c.And((c.Count("sentences", "<=", c.Const(2)), c.Matches(c.Const(r"[a-z.! ]*")))),
    "STOPS_AT .": c.And((c.Stop(c.Const("."), True), c.Count("chars", "<=", c.Const(30)))),
}


@dataclass(frozen=True)
class Compared:
    """texts: how many; good: how many of them are of the language; wrong: by reader, texts judged differently, or why there are none."""

    texts: int
    good: int
    wrong: dict[str, list[str] | str]


def meant(automaton: TextAutomaton, text: str) -> bool:
    """Whether a text is a final text: where phrases are removed, a text that a stop ends is none."""
    if not matches(automaton, text):
        return False
    state = automaton.start
    for byte in text.encode():
        state = int(automaton.delta[0, state, automaton.byte_class[byte]])
    return all(phrase.keep for phrase in automaton.phrases) or bool(automaton.accepts[0, state])


def texts_for(automaton: TextAutomaton, count: int, rng: random.Random) -> list[str]:
    """Texts of the language, texts one change away from one, and random ones."""
    found = dict.fromkeys(["", *examples(automaton, 10)])
    tries = 0
    while len(found) < count and tries < 20 * count:
        tries += 1
        kind = rng.random()
        text = sample(automaton, rng) if kind < 0.8 else "".join(rng.choices(PIECES, k=rng.randint(0, 6)))
        if 0.35 < kind < 0.8:
            at = rng.randint(0, len(text))
            text = text[:at] + rng.choice(["", rng.choice(PIECES)]) + text[at + rng.randint(0, 1) :]
        found[text] = None
    return list(found)[:count]


def compare(constraint: c.Constraint, readers: Sequence[Reader], count: int, seed: int = 1) -> Compared:
    """Every reader's judgement of some texts against ours."""
    automaton = build(constraint)
    texts = texts_for(automaton, count, random.Random(seed))
    expected = [meant(automaton, text) for text in texts]
    wrong: dict[str, list[str] | str] = {}
    for reader in readers:
        try:
            accepts = reader.read(EMITTERS[reader.notation](automaton))
        except ValueError as error:
            wrong[reader.name] = "cannot read it: " + (str(error).splitlines() or ["?"])[0][:60]
            continue
        seen = [(text, good) for text, good in zip(texts, expected, strict=True) if not set(text) & set(reader.cannot_see)]
        wrong[reader.name] = [text for text, good in seen if accepts(text) != good]
    return Compared(len(texts), sum(expected), wrong)


def cell(found: list[str] | str) -> str:
    if isinstance(found, str):
        return found
    return f"{len(found)} differ: {ascii(found[0])[:30]}" if found else "same"


def constraints() -> dict[str, c.Constraint]:
    """All constraints by name; a count of tokens has no grammar."""
    rows = {row.name: row.constraint for row in ROWS if "TOKENS" not in row.name}
    return rows | MORE


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--texts", type=int, default=1000)
    parser.add_argument("--rows", default="", help="only constraints whose name holds this text")
    parser.add_argument("--readers", default=",".join(installed()))
    chosen = parser.parse_args()
    readers = [READERS[name][0]() for name in chosen.readers.split(",") if name]
    print("| constraint | texts | of the language | " + " | ".join(f"{r.name} ({r.notation})" for r in readers) + " |")
    print("|---|---|---|" + "---|" * len(readers))
    differences = total = 0
    for name, constraint in constraints().items():
        if chosen.rows not in name:
            continue
        begin = time.perf_counter()
        found = compare(constraint, readers, chosen.texts)
        cells = [cell(found.wrong[reader.name]) for reader in readers]
        print(f"| `{name}` | {found.texts} | {found.good} | " + " | ".join(cells) + " |", flush=True)
        print(f"{name}: {time.perf_counter() - begin:.1f} s", file=sys.stderr)
        differences += sum(cell != "same" for cell in cells)
        total += found.texts * len(readers)
    print(f"\n{total:,} judgements, {differences} cells with a difference")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
